//! `amend score`: how likely given answers are under a model, and what direct
//! preference optimisation makes of it.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::args::config::Config;
use crate::cli::args::loop_args::TaskArgs;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::output::error::CliError;
use crate::cli::output::table::table;
use crate::session::interrupt;
use crate::session::{RecordArgs, Recorded, json_lines};
use amend_analysis::preference::{Answer, Figures, Row, Spread};
use amend_core::driver::Engines;
use amend_core::judge::LogProbs;
use amend_core::procedure::Procedure;
use amend_core::random::Stream;
use amend_core::record::Item;
use amend_core::record::{Facts, Label};
use amend_core::stats::Estimate;
use amend_data::rows::input;
use amend_data::rows::input::Input;
use amend_data::store::manifest::InputSummary;
use amend_engine::{Loaded, Source};

/// The most rows that are shown without being asked for.
const FEW: usize = 10;
/// Characters of a histogram's longest bar.
const BAR: usize = 40;

/// Score chosen and rejected answers by their log-probability
///
/// Input is JSON lines: {prompt, chosen, rejected}, with texts or with turns,
/// or {prompt, a, b, label}. Each answer's log-probability is read off a GGUF
/// model, the policy; a reference model's are taken off. Out come implicit
/// reward margins and DPO losses.
#[derive(Debug, Args)]
#[command(mut_arg("judge_model", |arg| arg.hide(true)))]
#[command(mut_arg("judge_endpoint_model", |arg| arg.hide(true)))]
pub struct ScoreArgs {
    /// Input files; `-` is stdin
    #[arg(required_unless_present = "loss", value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// The key that holds the prompt [default: the first common name found]
    #[arg(long, value_name = "KEY")]
    field: Option<String>,
    /// The reference model's GGUF file: the policy before it was trained
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// The strength of the implicit reward
    #[arg(long, default_value_t = 0.1, value_name = "BETA")]
    beta: f64,
    /// Only do the arithmetic: log-probabilities of chosen and rejected, and
    /// of both under the reference
    #[arg(
        long,
        num_args = 2..=4,
        value_names = ["CHOSEN", "REJECTED", "REF_CHOSEN", "REF_REJECTED"],
        allow_negative_numbers = true,
        conflicts_with_all = ["inputs", "reference", "out"],
    )]
    loss: Option<Vec<f64>>,
    /// Show each row, however many there are
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    show: bool,
    /// Print each row as JSON; the table goes to stderr
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    recording: RecordArgs,
    #[command(flatten)]
    task: TaskArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// Scores.
///
/// # Errors
/// Bad input, a model that can't score, a run directory that can't be written or
/// resumed, an engine that can't go on; [`CliError::Findings`] when items failed.
pub fn run(args: &ScoreArgs, config: &Config) -> Result<(), CliError> {
    if !(args.beta.is_finite() && args.beta > 0.0) {
        return Err(CliError::usage(
            format!("--beta {} is out of range", args.beta),
            "it is above 0; 0.1 is usual",
        ));
    }
    if let Some(numbers) = &args.loss {
        return args.arithmetic(numbers);
    }
    let inputs: Vec<Input> = args.inputs.iter().cloned().map(Input::from).collect();
    let order = Stream::new(args.task.prompting.seed).child("order");
    let mut items = input::read_comparisons(&inputs, args.field.as_deref(), order)?;
    args.recording.truncate(&mut items);
    let rows = items.len();
    items.retain(tells_the_better);
    let unlabelled = rows - items.len();
    if items.is_empty() {
        return Err(CliError::usage(
            format!("no row of {rows} says which answer is better"),
            "give {prompt, chosen, rejected}, or a label \"a\" or \"b\" beside a and b",
        ));
    }
    let summary = InputSummary::new(inputs.iter().map(Input::name).collect(), &items);
    let mut job =
        args.task.prompting.job(config, args.task.constitution(config)?, &summary.sha256)?;
    job.procedure = Procedure::Likelihood { reference: args.reference.is_some() };
    job.cohorts = args.recording.reproducible;
    args.recording.check_out()?;
    can_score(&args.model.source(config)?)?;
    let reference = args.reference.as_ref().map(|file| args.model.at(file, config)).transpose()?;
    reference.as_ref().map_or(Ok(()), can_score)?;
    let model = args.recording.model(&args.model, config)?.for_reading();
    let reference = reference.map(|file| file.load().map(Loaded::for_reading)).transpose()?;
    interrupt::listen();
    let mut engine = model.engine()?;
    let mut reference = reference.as_ref().map(Loaded::engine).transpose()?;

    let out = args.recording.destination()?;
    let engines = Engines::new(&mut *engine, &mut reference);
    let work = items.clone();
    let recorded = args.recording.record("score", out.path(), engines, &job, work, summary)?;
    recorded.tell(None)?;
    let result = recorded.result();
    if matches!(result, Err(CliError::Interrupted)) {
        return result;
    }
    let rows = args.rows(&recorded, items)?;
    let figures = Figures::of(&rows, unlabelled, args.beta, job.stream);
    recorded.derive("scores.jsonl", &rows, &figures)?;
    args.print(&rows, &figures).map_err(CliError::Output)?;
    result
}

fn tells_the_better(item: &Item) -> bool {
    matches!(Facts::of(item).label, Some(Label::A | Label::B))
}

/// Refuses a server, before anything is loaded.
fn can_score(source: &Source) -> Result<(), CliError> {
    match source {
        Source::File { .. } => Ok(()),
        Source::Endpoint(_) => Err(CliError::usage(
            "a server does not tell how likely a given text is",
            "name a model file: -m MODEL.gguf",
        )),
    }
}

impl ScoreArgs {
    fn arithmetic(&self, numbers: &[f64]) -> Result<(), CliError> {
        let log_probs = match *numbers {
            [chosen, rejected] => LogProbs { chosen, rejected, reference: None },
            [chosen, rejected, by_chosen, by_rejected] => {
                LogProbs { chosen, rejected, reference: Some([by_chosen, by_rejected]) }
            }
            _ => {
                return Err(CliError::usage(
                    format!("--loss takes two numbers or four, not {}", numbers.len()),
                    "give the reference's log-probabilities of both answers, or of neither",
                ));
            }
        };
        if let Some(wrong) = numbers.iter().find(|number| !number.is_finite()) {
            return Err(CliError::usage(
                format!("{wrong} is no log-probability"),
                "give finite numbers, in nats: sums over an answer's tokens",
            ));
        }
        let (margin, loss) = (log_probs.margin(self.beta), log_probs.loss(self.beta));
        let mut out = io::stdout().lock();
        let printed = if self.json {
            #[derive(Serialize)]
            struct Arithmetic {
                #[serde(flatten)]
                log_probs: LogProbs,
                beta: f64,
                margin: f64,
                loss: f64,
            }
            let all = Arithmetic { log_probs, beta: self.beta, margin, loss };
            serde_json::to_writer(&mut out, &all)
                .map_err(io::Error::from)
                .and_then(|()| writeln!(out))
        } else {
            writeln!(out, "margin  {margin:.4}\nloss    {loss:.4}")
        };
        printed.map_err(CliError::Output)
    }

    /// The scored rows, labelled as the input is now, in its order.
    fn rows(&self, recorded: &Recorded, items: Vec<Item>) -> Result<Vec<Row>, CliError> {
        let mut rows = Vec::new();
        for trajectory in recorded.dir.trajectories()?.with_items(items) {
            rows.extend(Row::of(&trajectory?, self.beta));
        }
        rows.sort_by_key(|row| row.row);
        Ok(rows)
    }

    fn print(&self, rows: &[Row], figures: &Figures) -> io::Result<()> {
        let summary = summary(figures);
        if self.json {
            json_lines(&mut io::BufWriter::new(io::stdout().lock()), rows)?;
            return io::stderr().lock().write_all(summary.as_bytes());
        }
        let mut out = io::stdout().lock();
        if self.show || rows.len() <= FEW {
            writeln!(out, "{}", row_table(rows))?;
        }
        out.write_all(summary.as_bytes())
    }
}

fn row_table(rows: &[Row]) -> String {
    let head = ["row", "chosen", "tokens", "rejected", "tokens", "margin", "loss"];
    let mut cells = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let name = row.id.clone().unwrap_or_else(|| row.row.to_string());
        let rest = match (&row.scored, &row.failure) {
            (Some(found), _) => {
                let answer =
                    |answer: Answer| [number(answer.log_prob, 2), answer.tokens.to_string()];
                let answers = [answer(found.chosen), answer(found.rejected)];
                let figures = [number(found.margin, 4), number(found.loss, 4)];
                answers.into_iter().flatten().chain(figures).collect()
            }
            (None, Some(failure)) => vec![format!("failed: {failure}")],
            (None, None) => Vec::new(),
        };
        cells.push(std::iter::once(name).chain(rest).collect());
    }
    table(1, &cells)
}

fn number(value: f64, digits: usize) -> String {
    format!("{value:.digits$}")
}

fn summary(figures: &Figures) -> String {
    let Figures { pairs, failed, unlabelled, beta, reference, .. } = figures;
    let mut text = format!("{pairs} pairs scored");
    if *failed > 0 {
        let _ = write!(text, ", {failed} failed");
    }
    if *unlabelled > 0 {
        let _ = write!(text, ", {unlabelled} left out that name no better answer");
    }
    let against =
        if *reference { "against the reference" } else { "no reference: the policy alone" };
    let _ = writeln!(text, "; β {beta}, {against}\n");
    let mut cells = vec![["", "value", "95 % interval"].map(str::to_owned).to_vec()];
    let mut line = |name: &str, figure: &Option<Estimate>| {
        let rest = match figure {
            Some(found) => {
                let interval = format!("{} to {}", number(found.low, 4), number(found.high, 4));
                vec![number(found.value, 4), interval]
            }
            None => vec!["–".to_owned()],
        };
        cells.push(std::iter::once(name.to_owned()).chain(rest).collect());
    };
    line("margin above 0", &figures.accuracy);
    line("chosen likelier per token", &figures.accuracy_per_token);
    line("mean margin", &figures.margin);
    line("mean DPO loss (told nothing apart: 0.6931)", &figures.loss);
    let [chosen, rejected] = &figures.per_token;
    line("log-probability per token, chosen", chosen);
    line("log-probability per token, rejected", rejected);
    line("margin with extra tokens, correlation", &figures.length);
    text.push_str(&table(1, &cells));
    if let Some(margins) = &figures.margins {
        let _ = write!(text, "\nmargins\n{}", bars(margins));
    }
    text
}

/// A histogram of text: a line a bin.
fn bars(Spread { histogram, .. }: &Spread) -> String {
    let most = histogram.counts.iter().copied().max().unwrap_or_default().max(1);
    let width = (histogram.high - histogram.low) / histogram.counts.len() as f64;
    let line = |(at, &count): (usize, &usize)| {
        let from = number(histogram.low + width * at as f64, 3);
        // A bin with anything in it is seen.
        let bar = "█".repeat((count * BAR).div_ceil(most));
        vec![from, count.to_string(), bar]
    };
    let cells: Vec<Vec<String>> = histogram.counts.iter().enumerate().map(line).collect();
    let bars = cells.iter().map(|cells| cells[2].clone());
    let numbers: Vec<Vec<String>> = cells.iter().map(|cells| cells[..2].to_vec()).collect();
    table(0, &numbers)
        .lines()
        .zip(bars)
        .map(|(numbers, bar)| format!("{}\n", format!("{numbers}  {bar}").trim_end()))
        .collect()
}

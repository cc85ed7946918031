//! `amend score`: the log-probabilities of given responses under a model, and the
//! margins and losses of direct preference optimisation (DPO) that follow.

use std::fmt::Write as _;
use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::args::config::Config;
use crate::cli::args::input_args::InputArgs;
use crate::cli::args::loop_args::TaskArgs;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::args::recording::RecordArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::format::{NONE, number, range};
use crate::cli::output::print;
use crate::cli::output::table::table;
use crate::session::{Finished, Models, Session};
use amend_analysis::preference::{AnswerLikelihood, PreferenceFigures, PreferenceRow, ValueSpread};
use amend_core::judge::LogProbs;
use amend_core::procedure::Procedure;
use amend_core::random::Stream;
use amend_core::stats::Estimate;
use amend_data::items::Purpose;
use amend_data::store::run_dir::files::SCORES;

/// The maximum number of rows that are shown without `--show`.
const FEW: usize = 10;
/// The length of a histogram's longest bar, in characters.
const BAR: usize = 40;

/// Score chosen and rejected responses by their log-probability
///
/// Input is rows with two responses and a preference: {prompt, chosen, rejected}, as
/// texts or as turns, {prompt, a, b, label}, and many other forms, in the kinds of files
/// that amend run reads. A GGUF model, the policy, gives each response's
/// log-probability; that of a reference model is subtracted. The results are
/// implicit reward margins and DPO losses. Pairs are read row by row; the figures need
/// the numbers of all of them, in memory.
#[derive(Debug, Args)]
#[command(mut_arg("judge_model", |arg| arg.hide(true)))]
#[command(mut_arg("judge_endpoint_model", |arg| arg.hide(true)))]
#[command(mut_arg("endpoints", |arg| arg.hide(true)))]
pub struct ScoreArgs {
    /// Input files and folders; `-` is stdin
    #[arg(required_unless_present = "loss", value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// The reference model's GGUF file: the policy before training
    #[arg(long, value_name = "FILE")]
    reference: Option<PathBuf>,
    /// The factor β of the implicit reward
    #[arg(long, default_value_t = 0.1, value_name = "BETA")]
    beta: f64,
    /// Compute margin and loss from these log-probabilities only: of chosen and
    /// rejected, then of both under the reference
    #[arg(
        long,
        num_args = 2..=4,
        value_names = ["CHOSEN", "REJECTED", "REF_CHOSEN", "REF_REJECTED"],
        allow_negative_numbers = true,
        conflicts_with_all = ["inputs", "reference", "out"],
    )]
    loss: Option<Vec<f64>>,
    /// Show every row, even if there are many
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    show: bool,
    /// Print each row as JSON; the table goes to stderr
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    recording: RecordArgs,
    #[command(flatten)]
    task: TaskArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// Scores the pairs and prints margins and losses.
///
/// # Errors
/// The input is invalid, the model can't score, the run directory can't be written
/// or resumed, or the engine fails; [`CommandError::reported`] if items failed.
pub fn run(args: &ScoreArgs, config: &Config) -> Result<(), CommandError> {
    if !(args.beta.is_finite() && args.beta > 0.0) {
        return Err(CommandError::usage(
            format!("--beta {} is out of range", args.beta),
            "pass a number above 0, such as 0.1",
        ));
    }
    if let Some(numbers) = &args.loss {
        return args.arithmetic(numbers);
    }
    let purpose = Purpose::Preferences(Stream::new(args.task.prompting.seed).child("order"));
    let source = args.input.open(&args.inputs, purpose, args.recording.limit)?;
    let unlabelled = usize::try_from(source.undecided).unwrap_or(usize::MAX);
    if source.summary.rows == 0 {
        return Err(CommandError::usage(
            "no row has a preference",
            "give {prompt, chosen, rejected}, or add a label \"a\" or \"b\" to a and b",
        ));
    }
    let constitution = args.task.constitution(config)?;
    let mut job = args.task.prompting.job(config, constitution, &source.summary.sha256)?;
    job.procedure = Procedure::Likelihood { reference: args.reference.is_some() };
    let session = Session::prepare(&args.recording, "score", source).with_job(job)?;
    let mut models =
        Models::scoring(&args.recording, &args.model, args.reference.as_deref(), config)?;
    let mut engines = models.engines(&session.job, session.longest_item())?;
    let finished = session.run(&mut engines, None)?;
    let rows = args.rows(&finished)?;
    let stream = finished.job().stream;
    let figures = PreferenceFigures::from_rows(&rows, unlabelled, args.beta, stream);
    finished.derive(SCORES, &rows, &figures)?;
    args.print(&rows, &figures)?;
    let next = finished.next_call("report");
    finished.finish(next)
}

impl ScoreArgs {
    fn arithmetic(&self, numbers: &[f64]) -> Result<(), CommandError> {
        let log_probs = match *numbers {
            [chosen, rejected] => LogProbs { chosen, rejected, reference: None },
            [chosen, rejected, reference_chosen, reference_rejected] => {
                let reference = Some([reference_chosen, reference_rejected]);
                LogProbs { chosen, rejected, reference }
            }
            _ => {
                return Err(CommandError::usage(
                    format!("--loss takes two numbers or four, not {}", numbers.len()),
                    "pass the reference's log-probabilities of both responses, or of neither",
                ));
            }
        };
        if let Some(wrong) = numbers.iter().find(|number| !number.is_finite()) {
            return Err(CommandError::usage(
                format!("{wrong} is not a log-probability"),
                "pass finite numbers, in nats: sums over the tokens of a response",
            ));
        }
        let (margin, loss) = (log_probs.margin(self.beta), log_probs.loss(self.beta));
        if self.json {
            #[derive(Serialize)]
            struct Arithmetic {
                #[serde(flatten)]
                log_probs: LogProbs,
                beta: f64,
                margin: f64,
                loss: f64,
            }
            return print::json_lines(&[Arithmetic { log_probs, beta: self.beta, margin, loss }]);
        }
        print::text(&format!("margin  {margin:.4}\nloss    {loss:.4}\n"))
    }

    /// The scored rows, in the order of the input and with its labels.
    fn rows(&self, finished: &Finished) -> Result<Vec<PreferenceRow>, CommandError> {
        let mut rows =
            finished.rows(|trajectory| PreferenceRow::from_trajectory(trajectory, self.beta))?;
        rows.sort_by_key(|row| row.row);
        Ok(rows)
    }

    fn print(
        &self,
        rows: &[PreferenceRow],
        figures: &PreferenceFigures,
    ) -> Result<(), CommandError> {
        let summary = summary(figures);
        if self.json {
            print::json_lines(rows)?;
            print::message(&summary);
            return Ok(());
        }
        if self.show || rows.len() <= FEW {
            print::text(&format!("{}\n", row_table(rows)))?;
        }
        print::text(&summary)
    }
}

fn row_table(rows: &[PreferenceRow]) -> String {
    let head = ["row", "chosen", "tokens", "rejected", "tokens", "margin", "loss"];
    let mut cells = vec![head.map(str::to_owned).to_vec()];
    for row in rows {
        let name = row.id.clone().unwrap_or_else(|| row.row.to_string());
        let rest = match (&row.scored, &row.failure) {
            (Some(scored), _) => {
                let answer = |answer: AnswerLikelihood| {
                    [number(answer.log_prob, 2), answer.tokens.to_string()]
                };
                let answers = [answer(scored.chosen), answer(scored.rejected)];
                let figures = [number(scored.margin, 4), number(scored.loss, 4)];
                answers.into_iter().flatten().chain(figures).collect()
            }
            (None, Some(failure)) => vec![format!("failed: {failure}")],
            (None, None) => Vec::new(),
        };
        cells.push(std::iter::once(name).chain(rest).collect());
    }
    table(1, &cells)
}

fn summary(figures: &PreferenceFigures) -> String {
    let PreferenceFigures { pairs, failed, unlabelled, beta, reference, .. } = figures;
    let mut text = format!("{pairs} pairs scored");
    if *failed > 0 {
        let _ = write!(text, ", {failed} failed");
    }
    if *unlabelled > 0 {
        let _ = write!(text, ", {unlabelled} left out without a preference");
    }
    let against = if *reference { "against the reference" } else { "without a reference" };
    let _ = writeln!(text, "; β {beta}, {against}\n");
    let mut cells = vec![["", "value", "95 % interval"].map(str::to_owned).to_vec()];
    let mut line = |name: &str, figure: &Option<Estimate>| {
        let rest = match figure {
            Some(figure) => {
                vec![number(figure.value, 4), range(figure.low, figure.high, 4)]
            }
            None => vec![NONE.to_owned()],
        };
        cells.push(std::iter::once(name.to_owned()).chain(rest).collect());
    };
    line("margin above 0", &figures.accuracy);
    line("chosen more likely per token", &figures.accuracy_per_token);
    line("mean margin", &figures.margin);
    line("mean DPO loss (chance: 0.6931)", &figures.loss);
    let [chosen, rejected] = &figures.per_token;
    line("log-probability per token, chosen", chosen);
    line("log-probability per token, rejected", rejected);
    line("correlation of margin and extra tokens", &figures.length);
    text.push_str(&table(1, &cells));
    if let Some(margins) = &figures.margins {
        let _ = write!(text, "\nmargins\n{}", bars(margins));
    }
    text
}

/// A histogram as text: one line for each bin.
fn bars(ValueSpread { histogram, .. }: &ValueSpread) -> String {
    let highest = histogram.counts.iter().copied().max().unwrap_or_default().max(1);
    let width = (histogram.high - histogram.low) / histogram.counts.len() as f64;
    let line = |(at, &count): (usize, &usize)| {
        let from = number(histogram.low + width * at as f64, 3);
        // Rounded up, so that every bin that is not empty is visible.
        let bar = "█".repeat((count * BAR).div_ceil(highest));
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

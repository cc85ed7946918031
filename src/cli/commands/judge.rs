//! `amend judge`: which of two given answers is better, and how far the judge
//! can be trusted.

mod table;

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use crate::cli::args::config::Config;
use crate::cli::args::loop_args::{TaskArgs, principle};
use crate::cli::args::model_args::ModelArgs;
use crate::cli::output::error::CliError;
use crate::session::interrupt;
use crate::session::{RecordArgs, Recorded, json_lines};
use amend_analysis::judge_quality as assess;
use amend_analysis::judge_quality::{Figures, Fitted, Row};
use amend_core::constitution::Constitution;
use amend_core::driver::Engines;
use amend_core::procedure::Procedure;
use amend_core::random::Stream;
use amend_core::record::Item;
use amend_data::pairs::reviewed;
use amend_data::rows::input;
use amend_data::rows::input::Input;
use amend_data::store::manifest::InputSummary;
use amend_data::store::run_dir::RunDir;

/// The most rows that are shown without being asked for.
const FEW: usize = 10;

/// Judge which of two given answers is better
///
/// Input is JSON lines: {prompt, a, b}, with {label: "a" | "b" | "tie"} if you
/// know, or {prompt, chosen, rejected}. Each pair is asked in both orders; the
/// verdict is read off the probabilities of the reply's first word. With
/// labels, the judge itself is measured, beside baselines that read nothing.
#[derive(Debug, Args)]
pub struct JudgeArgs {
    /// Input files; `-` is stdin
    #[arg(required_unless_present = "labels", value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// In place of input: the pairs of a run that people decided about with amend
    /// review, their decisions as labels
    #[arg(long, value_name = "DIR", conflicts_with_all = ["inputs", "field"])]
    labels: Option<PathBuf>,
    /// The key that holds the prompt [default: the first common name found]
    #[arg(long, value_name = "KEY")]
    field: Option<String>,
    /// Judge under this principle in place of on the whole; repeat it for several
    #[arg(long = "principle", value_name = "ID", conflicts_with = "principles")]
    principle: Vec<String>,
    /// Judge under each principle of the constitution in place of on the whole
    #[arg(long)]
    principles: bool,
    /// With principles: judge on the whole too, with weight 1
    #[arg(long)]
    overall: bool,
    /// Show each row, however many there are
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    show: bool,
    /// Print each row as JSON; the table goes to stderr
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// With labels: draw the reliability diagram
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    plot: Option<PathBuf>,
    /// With labels: fit temperature and offset on one half of the rows, try them
    /// on the other, and write them for a constitution to extend
    #[arg(long, value_name = "FILE.toml", help_heading = "Output")]
    fit: Option<PathBuf>,
    #[command(flatten)]
    recording: RecordArgs,
    #[command(flatten)]
    task: TaskArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// Judges.
///
/// # Errors
/// Bad input, a run directory that can't be written or resumed, an engine that
/// can't go on; [`CliError::Findings`] when items failed or nothing could be
/// fitted.
pub fn run(args: &JudgeArgs, config: &Config) -> Result<(), CliError> {
    let (names, mut items) = args.items()?;
    args.recording.truncate(&mut items);
    let summary = InputSummary::new(names, &items);
    let constitution = args.task.constitution(config)?;
    let procedure = args.procedure(&constitution)?;
    let mut job = args.task.prompting.job(config, constitution, &summary.sha256)?;
    job.procedure = procedure;
    job.cohorts = args.recording.reproducible;
    args.recording.check_out()?;
    let model = args.recording.judge_model(&args.model, config)?;
    interrupt::listen();
    let mut engine = model.engine()?;

    let out = args.recording.destination()?;
    let engines = Engines::from(&mut *engine);
    let work = items.clone();
    let recorded = args.recording.record("judge", out.path(), engines, &job, work, summary)?;
    recorded.tell(None)?;
    let result = recorded.result();
    if matches!(result, Err(CliError::Interrupted)) {
        return result;
    }
    let rows = rows(&recorded, items, &job.constitution)?;
    let figures = Figures::of(&rows, job.stream);
    let judge = recorded.dir.manifest().model["name"].as_str().unwrap_or("unnamed");
    let lines: Vec<Line<'_>> = rows.iter().map(|row| Line { row, judge }).collect();
    recorded.derive("verdicts.jsonl", &lines, &figures)?;
    args.print(&lines, &figures, judge).map_err(CliError::Output)?;
    if let Some(path) = &args.plot {
        args.plot(path, &figures)?;
    }
    if let Some(path) = &args.fit {
        match assess::fit(&rows, job.constitution.judge.calibration, job.stream) {
            Ok(fitted) => args.keep(path, &fitted, judge)?,
            Err(error) => {
                writeln!(io::stderr(), "nothing fitted: {error}").map_err(CliError::Output)?;
                return Err(CliError::Findings);
            }
        }
    }
    result
}

/// A row as it is written.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    row: &'a Row,
    /// The model that judged.
    judge: &'a str,
}

/// The judged rows, labelled as the input is now; in its order, a clean one before
/// its twin.
fn rows(
    recorded: &Recorded,
    items: Vec<Item>,
    constitution: &Constitution,
) -> Result<Vec<Row>, CliError> {
    let mut rows = Vec::new();
    for trajectory in recorded.dir.trajectories()?.with_items(items) {
        rows.push(Row::of(&trajectory?, constitution));
    }
    rows.sort_by_key(|row| (row.row, !row.is_clean()));
    Ok(rows)
}

impl JudgeArgs {
    /// What is to be judged, and where it comes from.
    fn items(&self) -> Result<(Vec<String>, Vec<Item>), CliError> {
        let order = Stream::new(self.task.prompting.seed).child("order");
        let Some(labels) = &self.labels else {
            let inputs: Vec<Input> = self.inputs.iter().cloned().map(Input::from).collect();
            let items = input::read_comparisons(&inputs, self.field.as_deref(), order)?;
            return Ok((inputs.iter().map(Input::name).collect(), items));
        };
        let items = reviewed::comparisons(&RunDir::open(labels)?, order)?;
        let name = labels.display().to_string();
        if items.is_empty() {
            return Err(CliError::usage(
                format!("people have decided about no pair of {name}"),
                format!("let them: amend review {name}"),
            ));
        }
        Ok((vec![name], items))
    }

    fn procedure(&self, constitution: &Constitution) -> Result<Procedure, CliError> {
        let named: Result<Arc<[usize]>, CliError> =
            self.principle.iter().map(|id| principle(constitution, id)).collect();
        let principles = match self.principles {
            true => (0..constitution.principles.len()).collect(),
            false => named?,
        };
        let overall = self.overall || principles.is_empty();
        Ok(Procedure::Compare { principles, overall })
    }

    fn print(&self, lines: &[Line<'_>], figures: &Figures, judge: &str) -> io::Result<()> {
        if self.json {
            json_lines(&mut io::BufWriter::new(io::stdout().lock()), lines)?;
            return table::figures(&mut io::stderr().lock(), figures, judge);
        }
        let mut out = io::stdout().lock();
        if self.show || lines.len() <= FEW {
            table::rows(&mut out, lines.iter().map(|line| line.row))?;
        }
        table::figures(&mut out, figures, judge)
    }

    fn plot(&self, path: &Path, figures: &Figures) -> Result<(), CliError> {
        let Some(labelled) = &figures.labelled else {
            return Err(CliError::usage(
                "there is nothing to draw: no judged row is labelled a or b",
                "label rows, or leave --plot out",
            ));
        };
        write(path, &assess::reliability_svg(&labelled.reliability))
    }

    /// Tells what a fit does, and writes it for constitutions to extend.
    fn keep(&self, path: &Path, fitted: &Fitted, judge: &str) -> Result<(), CliError> {
        write(path, &fitted.fragment(judge))?;
        let told = match self.json {
            true => table::fitted(&mut io::stderr().lock(), fitted, path),
            false => table::fitted(&mut io::stdout().lock(), fitted, path),
        };
        told.map_err(CliError::Output)
    }
}

fn write(path: &Path, text: &str) -> Result<(), CliError> {
    std::fs::write(path, text)
        .map_err(|source| CliError::Io { attempt: format!("write {}", path.display()), source })
}

//! `amend judge`: which of two given responses is better, and how reliable the judge
//! is.

mod dry_run;
mod table;

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use crate::cli::args::config::Config;
use crate::cli::args::input_args::InputArgs;
use crate::cli::args::loop_args::{TaskArgs, principle};
use crate::cli::args::model_args::ModelArgs;
use crate::cli::args::recording::RecordArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::{print, terminal};
use crate::report::chart::reliability_svg;
use crate::session::{Finished, Models, Session};
use amend_analysis::judge_quality as assess;
use amend_analysis::judge_quality::{Fitted, JudgeFigures, JudgedRow};
use amend_core::constitution::Constitution;
use amend_core::procedure::Procedure;
use amend_core::random::Stream;
use amend_data::items::{ItemSource, Purpose};
use amend_data::pairs::reviewed;
use amend_data::store::atomic;
use amend_data::store::run_dir::RunDir;
use amend_data::store::run_dir::files::VERDICTS;

/// The maximum number of rows that are shown without `--show`.
const FEW: usize = 10;

/// Judge which of two given responses is better
///
/// Input is rows with two responses: {prompt, a, b}, with {label: "a" | "b" | "tie"}
/// if it is known, {prompt, chosen, rejected}, and many other forms, in the kinds of
/// files that amend run reads. Each pair is judged in both orders. The
/// verdict comes from the probabilities of the reply's first word. With labels, the
/// quality of the judge is measured too, beside baselines that read no text. Pairs are
/// read row by row; the figures need the verdicts of all of them, in memory.
#[derive(Debug, Args)]
pub struct JudgeArgs {
    /// Input files and folders; `-` is stdin
    #[arg(required_unless_present = "labels", value_name = "FILE")]
    inputs: Vec<PathBuf>,
    /// Instead of input: the pairs of a run that were reviewed with amend review, with
    /// the decisions as labels
    #[arg(long, value_name = "DIR", conflicts_with_all = ["inputs", "field", "map", "skip_bad"])]
    labels: Option<PathBuf>,
    /// Judge by this principle instead of overall; may be repeated
    #[arg(long = "principle", value_name = "ID", conflicts_with = "principles")]
    principle: Vec<String>,
    /// Judge by each principle of the constitution instead of overall
    #[arg(long)]
    principles: bool,
    /// With principles: also judge overall, with weight 1
    #[arg(long)]
    overall: bool,
    /// Count the pairs, their labels and the tokens of the prompts; judge nothing
    #[arg(long, conflicts_with_all = ["resume", "plot", "fit", "json"])]
    dry_run: bool,
    /// Show every row, even if there are many
    #[arg(long, conflicts_with = "json", help_heading = "Output")]
    show: bool,
    /// Print each row as JSON; the table goes to stderr
    #[arg(long, help_heading = "Output")]
    json: bool,
    /// With labels: draw the reliability diagram
    #[arg(long, value_name = "FILE.svg", help_heading = "Output")]
    plot: Option<PathBuf>,
    /// With labels: fit temperature and offset on one half of the rows, test them on
    /// the other, and write them to a file that a constitution can extend
    #[arg(long, value_name = "FILE.toml", help_heading = "Output")]
    fit: Option<PathBuf>,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    recording: RecordArgs,
    #[command(flatten)]
    task: TaskArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// Judges the pairs and prints the verdicts and the judge's quality.
///
/// # Errors
/// The input is invalid, the run directory can't be written or resumed, or the
/// engine fails; [`CommandError::reported`] if items failed or the fit failed.
pub fn run(args: &JudgeArgs, config: &Config) -> Result<(), CommandError> {
    let source = args.source()?;
    let constitution = args.task.constitution(config)?;
    let procedure = args.procedure(&constitution)?;
    let mut job = args.task.prompting.job(config, constitution, &source.summary.sha256)?;
    job.procedure = procedure;
    if args.dry_run {
        let mut models = Models::judging(&args.recording, &args.model, config)?;
        return dry_run::run(models.engines(&job)?.main(), &job, &source);
    }
    let session = Session::prepare(&args.recording, "judge", source).with_job(job)?;
    let mut models = Models::judging(&args.recording, &args.model, config)?;
    let mut engines = models.engines(&session.job)?;
    let finished = session.run(&mut engines, None)?;
    let (constitution, stream) = (&finished.job().constitution, finished.job().stream);
    let rows = rows(&finished, constitution)?;
    let figures = JudgeFigures::from_rows(&rows, stream);
    let judge = finished.dir().manifest().model["name"].as_str().unwrap_or("unnamed");
    let lines: Vec<Line<'_>> = rows.iter().map(|row| Line { row, judge }).collect();
    finished.derive(VERDICTS, &lines, &figures)?;
    args.print(&lines, &figures, judge)?;
    if let Some(path) = &args.plot {
        args.plot(path, &figures)?;
    }
    if let Some(path) = &args.fit {
        match assess::fit(&rows, constitution.judge.calibration, stream) {
            Ok(fitted) => args.write_fit(path, &fitted, judge)?,
            Err(error) => {
                print::message(&format!("failed to fit a calibration: {error}\n"));
                return Err(CommandError::reported());
            }
        }
    }
    finished.finish()
}

/// A row of verdicts.jsonl and of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    row: &'a JudgedRow,
    /// The judge model.
    judge: &'a str,
}

/// The judged rows, in the order of the input and with its labels. A row without an
/// injection comes before its copy with one.
fn rows(finished: &Finished, constitution: &Constitution) -> Result<Vec<JudgedRow>, CommandError> {
    let mut rows =
        finished.rows(|trajectory| [JudgedRow::from_trajectory(trajectory, constitution)])?;
    rows.sort_by_key(|row| (row.row, !row.is_clean()));
    Ok(rows)
}

impl JudgeArgs {
    /// The items to judge.
    fn source(&self) -> Result<ItemSource, CommandError> {
        let order = Stream::new(self.task.prompting.seed).child("order");
        let Some(labels) = &self.labels else {
            let purpose = Purpose::Comparisons(order);
            return self.input.open(&self.inputs, purpose, self.recording.limit);
        };
        let items = reviewed::comparisons(&RunDir::open(labels)?, order)?;
        let name = labels.display().to_string();
        if items.is_empty() {
            return Err(CommandError::usage(
                format!("no pair of {name} is reviewed"),
                format!("review pairs first: amend review {name}"),
            ));
        }
        Ok(ItemSource::from_items(vec![name], self.recording.limited(items)))
    }

    fn procedure(&self, constitution: &Constitution) -> Result<Procedure, CommandError> {
        let principles: Arc<[usize]> = if self.principles {
            (0..constitution.principles.len()).collect()
        } else {
            let ids = self.principle.iter().map(|id| principle(constitution, id));
            ids.collect::<Result<_, _>>()?
        };
        let overall = self.overall || principles.is_empty();
        Ok(Procedure::Compare { principles, overall })
    }

    fn print(
        &self,
        lines: &[Line<'_>],
        figures: &JudgeFigures,
        judge: &str,
    ) -> Result<(), CommandError> {
        if self.json {
            print::json_lines(lines)?;
        } else if self.show || lines.len() <= FEW {
            let mut out = terminal::stdout();
            table::rows(&mut out, lines.iter().map(|line| line.row))
                .map_err(CommandError::output)?;
        }
        self.print_table(|out| table::figures(out, figures, judge))
    }

    /// Prints a table to stdout, or to stderr if stdout has the rows as JSON.
    fn print_table(
        &self,
        write: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> Result<(), CommandError> {
        let mut table = Vec::new();
        write(&mut table).map_err(CommandError::output)?;
        let table = String::from_utf8_lossy(&table);
        if self.json {
            print::message(&table);
            return Ok(());
        }
        print::text(&table)
    }

    fn plot(&self, path: &Path, figures: &JudgeFigures) -> Result<(), CommandError> {
        let Some(labelled) = &figures.labelled else {
            return Err(CommandError::usage(
                "cannot draw the diagram: no judged row has the label a or b",
                "label rows, or omit --plot",
            ));
        };
        write(path, &reliability_svg(&labelled.reliability))
    }

    /// Writes a fitted calibration for constitutions to extend, and prints its effect.
    fn write_fit(&self, path: &Path, fitted: &Fitted, judge: &str) -> Result<(), CommandError> {
        write(path, &fitted.fragment(judge))?;
        self.print_table(|out| table::fitted(out, fitted, path))
    }
}

fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    atomic::write(path, |out| out.write_all(text.as_bytes())).map_err(|source: io::Error| {
        CommandError::failed(format!("write {}", path.display()), source)
    })
}

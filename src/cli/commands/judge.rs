//! `amend judge`: which of two given responses is better, and how reliable the judge
//! is.

mod dry_run;
mod input;
mod panel;
mod table;

use std::collections::BTreeSet;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use serde::Serialize;

use self::input::{JudgeCorrection, JudgeInput};
use crate::cli::args::config::Config;
use crate::cli::args::input_args::InputArgs;
use crate::cli::args::loop_args::{TaskArgs, principle};
use crate::cli::args::model_args::ModelArgs;
use crate::cli::args::one_of;
use crate::cli::args::recording::RecordArgs;
use crate::cli::args::verdict_args;
use crate::cli::output::error::CommandError;
use crate::cli::output::{print, terminal};
use crate::report::chart::reliability_svg;
use crate::session::{Finished, Models, Session};
use amend_analysis::judge_quality as assess;
use amend_analysis::judge_quality::{JudgeFigures, JudgeFit, JudgedRow};
use amend_core::constitution::{Constitution, DecideBy, Ties};
use amend_core::driver::Job;
use amend_core::judge::{Calibration, SampleCombination};
use amend_core::procedure::Procedure;
use amend_core::random::Stream;
use amend_core::record::Label;
use amend_data::format::CATEGORIES;
use amend_data::store::atomic;
use amend_data::store::run_dir::RunDir;
use amend_data::store::run_dir::files::VERDICTS;
use amend_data::store::verdicts;
use amend_engine::ModelSource;

/// The maximum number of rows that are shown without `--show`.
const FEW: usize = 10;

/// The number of rows in which a column of categories is searched.
const SEARCHED: usize = 10_000;

/// The help of `--by`.
fn by_help() -> String {
    let columns = CATEGORIES.join(", ");
    format!(
        "Report figures for each value of this column [default: the first with several values \
         of {columns}]"
    )
}

/// Judge which of two given responses is better
///
/// Input is rows with two responses: {prompt, a, b}, with {label: "a" | "b" | "tie"}
/// if it is known, {prompt, chosen, rejected}, and many other forms, in the kinds of
/// files that amend run reads. Each pair is judged in both orders. The
/// verdict comes from the probabilities of the reply's first word. With labels, the
/// quality of the judge is measured too, beside baselines that read no text. Pairs are
/// read row by row; the figures need the verdicts of all of them, in memory.
///
/// The directory of a run instead of files judges the run's pairs again. The verdicts
/// stay beside the run, for --verdicts of amend export, report, diff, lint and review.
/// Several --judge-model form a panel, whose log-odds are averaged.
#[derive(Debug, Args)]
pub struct JudgeArgs {
    /// Input files and folders, `-` for stdin, or the directory of one run
    #[arg(required_unless_present = "labels", value_name = "FILE|RUN")]
    inputs: Vec<PathBuf>,
    /// Instead of input: the pairs of a run that were reviewed with amend review, with
    /// the decisions as labels
    #[arg(long, value_name = "DIR", conflicts_with_all = ["inputs", "field", "map", "skip_bad"])]
    labels: Option<PathBuf>,
    /// With a run: the name of the verdicts [default: from the judge and the constitution]
    #[arg(long, value_name = "NAME", value_parser = name)]
    name: Option<String>,
    /// Judge by this principle instead of overall; may be repeated
    #[arg(long = "principle", value_name = "ID", conflicts_with = "principles")]
    principle: Vec<String>,
    /// Judge by each principle of the constitution instead of overall
    #[arg(long)]
    principles: bool,
    /// With principles: also judge overall, with weight 1
    #[arg(long)]
    overall: bool,
    /// The calibration of a judge: a file that --fit wrote. For a panel, one for each
    /// --judge-model in the same order [default: that of the constitution]
    #[arg(long, value_name = "FILE.toml")]
    calibration: Vec<PathBuf>,
    /// With several --judge-model: a row on which the judges disagree more does not count.
    /// The disagreement is the standard deviation of their probabilities (0 to 0.5)
    #[arg(long, value_name = "X", value_parser = verdict_args::disagreement)]
    max_disagreement: Option<f64>,
    /// Which verdicts are ties, overriding the constitution
    #[arg(long, value_parser = one_of(
        &Ties::ALL,
        Ties::as_str,
        &[
            "Those whose log-odds are closer to 0 than `min_margin`",
            "These, and those in which a third label is the most probable one",
        ],
    ), value_name = "WAY")]
    ties: Option<Ties>,
    /// Ask the judge the opposite of each question too, as `ask_opposite` in the constitution
    #[arg(long)]
    ask_opposite: bool,
    /// How several samples of a judge's reasons are combined, overriding the constitution
    #[arg(long, value_parser = one_of(
        &SampleCombination::ALL,
        SampleCombination::as_str,
        &["By the mean of the labels' probabilities", "By votes of samples and orders"],
    ), value_name = "WAY")]
    combine: Option<SampleCombination>,
    /// Count the pairs, their labels and the tokens of the prompts; judge nothing
    #[arg(long, conflicts_with_all = ["resume", "plot", "fit", "json"])]
    dry_run: bool,
    #[arg(long, value_name = "COLUMN", help_heading = "Output", help = by_help())]
    by: Option<String>,
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
    /// the other, and write them to a file that a constitution can extend. If labels are
    /// ties, also `min_margin`
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

fn name(text: &str) -> Result<String, &'static str> {
    verdicts::check_name(text).map(|()| text.to_owned())
}

/// Judges the pairs and prints the verdicts and the judge's quality.
///
/// # Errors
/// The input is invalid, the run directory can't be written or resumed, or the
/// engine fails; [`CommandError::reported`] if items failed or the fit failed.
pub fn run(args: &JudgeArgs, config: &Config) -> Result<(), CommandError> {
    let judges = args.model.panel(config)?;
    let corrections = args.corrections(judges.len())?;
    let input = args.open(&judges, config)?;
    if args.dry_run {
        return args.rehearse(&input, judges, config);
    }
    if judges.len() > 1 {
        return panel::run(args, &input, judges, &corrections, config);
    }
    let out = input.folder.as_deref();
    if args.max_disagreement.is_some() {
        return Err(CommandError::usage(
            "--max-disagreement has no effect with one judge",
            "pass several --judge-model, or omit it",
        ));
    }
    let by = args.by(&input)?;
    let correction = corrections.first().copied();
    let finished = args.judge(&input, out, None, correction, config, || Ok(()))?;
    let (constitution, stream) = (&finished.job().constitution, finished.job().stream);
    let rows = rows(&finished, constitution, by.as_deref())?;
    let figures = JudgeFigures::from_rows(&rows, by.as_deref(), stream);
    let judge = finished.dir().manifest().model["name"].as_str().unwrap_or("unnamed");
    let lines: Vec<Line<'_>> = rows.iter().map(|row| Line { row, judge }).collect();
    finished.derive(VERDICTS, &lines, &figures)?;
    args.print(&lines, |out| table::figures(out, &figures, judge))?;
    input.conclude(&rows);
    args.plot(&figures)?;
    if let Some(path) = &args.fit {
        let fit = fit(&rows, constitution.judge.calibration, stream);
        if fit.calibration.is_none() && fit.margin.is_none() {
            return Err(CommandError::reported());
        }
        args.write_fit(path, &fit, judge)?;
    }
    let report = finished.next_call("report");
    let next = if report.is_some() { input.export_call().or(report) } else { None };
    finished.finish(next)
}

/// Fits a calibration and, if labels are ties, the least margin. Says what can't be fitted.
fn fit(rows: &[JudgedRow], now: Calibration, stream: Stream) -> JudgeFit {
    let mut fit = JudgeFit { calibration: None, margin: None };
    match assess::fit(rows, now, stream) {
        Ok(calibration) => fit.calibration = Some(calibration),
        Err(error) => print::message(&format!("failed to fit a calibration: {error}\n")),
    }
    if rows.iter().any(|row| row.label == Some(Label::Tie)) {
        let new = fit.calibration.as_ref().map_or(now, |fitted| fitted.calibration);
        match assess::fit_margin(rows, now, new, stream) {
            Ok(margin) => fit.margin = Some(margin),
            Err(error) => print::message(&format!("failed to fit a least margin: {error}\n")),
        }
    }
    fit
}

/// A row of verdicts.jsonl and of `--json`.
#[derive(Serialize)]
struct Line<'a> {
    #[serde(flatten)]
    row: &'a JudgedRow,
    /// The judge model, or those of the panel.
    judge: &'a str,
}

/// The judged rows, in the order of the input and with its labels. A row without an
/// injection comes before its copy with one.
fn rows(
    finished: &Finished,
    constitution: &Constitution,
    by: Option<&str>,
) -> Result<Vec<JudgedRow>, CommandError> {
    let mut rows = finished.rows(|trajectory| {
        let row = JudgedRow::from_trajectory(trajectory, constitution);
        [row.in_category(&trajectory.item, by)]
    })?;
    sort(&mut rows);
    Ok(rows)
}

/// Sorts rows by the input; those of one input row with the clean one first.
fn sort(rows: &mut [JudgedRow]) {
    rows.sort_by_key(|row| (row.row, !row.is_clean()));
}

impl JudgeArgs {
    /// Counts the input, and the cost for each judge.
    fn rehearse(
        &self,
        input: &JudgeInput,
        judges: Vec<ModelSource>,
        config: &Config,
    ) -> Result<(), CommandError> {
        let by = self.by(input)?;
        let pairs = dry_run::count(&input.source, by.as_deref())?;
        let job = self.questions(input, None, config)?;
        let item = input.source.longest.as_ref();
        if judges.is_empty() {
            let mut models = Models::judging(&self.recording, &self.model, config)?;
            return dry_run::cost(&models.engines(&job, item)?, &job, &input.source, pairs);
        }
        let is_panel = judges.len() > 1;
        for (number, judge) in judges.into_iter().enumerate() {
            if is_panel {
                print::text(&format!("judge {}: {}\n", number + 1, input::short_name(&judge)))?;
            }
            let mut models = Models::judging_with(&self.recording, judge)?;
            dry_run::cost(&models.engines(&job, item)?, &job, &input.source, pairs)?;
        }
        Ok(())
    }

    /// Judges the input with one judge: `source`, or the one that the flags name. Records
    /// it in the folder `out`. Calls `begin` when the constitution, the folder and the model
    /// are known to be sound.
    fn judge(
        &self,
        input: &JudgeInput,
        out: Option<&Path>,
        source: Option<ModelSource>,
        correction: Option<JudgeCorrection>,
        config: &Config,
        begin: impl FnOnce() -> Result<(), CommandError>,
    ) -> Result<Finished, CommandError> {
        let mut recording = self.recording.clone();
        recording.out = out.map(Path::to_owned);
        if source.is_some() {
            // A judge of a panel may not have begun.
            recording.resume &= out.is_some_and(RunDir::exists);
        }
        let job = self.questions(input, correction, config)?;
        let items = Arc::clone(&input.source);
        let session = Session::prepare(&recording, "judge", items).with_job(job)?;
        let mut models = match source {
            Some(source) => Models::judging_with(&recording, source)?,
            None => Models::judging(&recording, &self.model, config)?,
        };
        let mut engines = models.engines(&session.job, session.longest_item())?;
        begin()?;
        session.run(&mut engines, None)
    }

    /// What all comparisons have in common.
    fn questions(
        &self,
        input: &JudgeInput,
        correction: Option<JudgeCorrection>,
        config: &Config,
    ) -> Result<Job, CommandError> {
        let mut constitution = self.task.constitution(config)?;
        let judge = &mut constitution.judge;
        if let Some(JudgeCorrection { calibration, min_margin }) = correction {
            judge.calibration = calibration;
            judge.min_margin = min_margin.unwrap_or(judge.min_margin);
        }
        judge.ties = self.ties.unwrap_or(judge.ties);
        judge.ask_opposite |= self.ask_opposite;
        judge.combine = self.combine.unwrap_or(judge.combine);
        let procedure = self.procedure(&mut constitution, input)?;
        let job = self.task.prompting.job(config, constitution, input.hash())?;
        Ok(Job { procedure, ..job })
    }

    /// The questions. If a run is judged again, the constitution says by default whether
    /// the judge is asked overall or by its principles, and every verdict that is asked for
    /// decides.
    fn procedure(
        &self,
        constitution: &mut Constitution,
        input: &JudgeInput,
    ) -> Result<Procedure, CommandError> {
        let ids = self.principle.iter().map(|id| principle(constitution, id));
        let mut principles: Arc<[usize]> = ids.collect::<Result<_, _>>()?;
        let mut overall = self.overall;
        let asked = self.principles || self.overall || !principles.is_empty();
        let decide_by = constitution.judge.decide_by;
        let by_constitution = input.run.is_some() && !asked;
        if self.principles || (by_constitution && decide_by != DecideBy::Overall) {
            principles = (0..constitution.principles.len()).collect();
        }
        overall |= principles.is_empty() || (by_constitution && decide_by == DecideBy::All);
        if let Some(run) = &input.run {
            constitution.judge.enabled = true;
            constitution.judge.decide_by = verdicts::decide_by(overall, !principles.is_empty());
            // Only overall verdicts rank candidates.
            overall |= run.has_candidates;
        }
        Ok(Procedure::Compare { principles, overall })
    }

    /// The column that divides the rows into categories.
    fn by(&self, input: &JudgeInput) -> Result<Option<String>, CommandError> {
        if let Some(by) = &self.by {
            check_column(input, by)?;
            return Ok(Some(by.clone()));
        }
        let first: Result<Vec<_>, _> = input.source.items().take(SEARCHED).collect();
        let first = first?;
        let column = assess::usual_column(first.iter().map(|item| &item.metadata));
        Ok(column.map(str::to_owned))
    }

    /// The fitted settings of each judge, if they are given.
    fn corrections(&self, judges: usize) -> Result<Vec<JudgeCorrection>, CommandError> {
        let judges = judges.max(1);
        if !self.calibration.is_empty() && self.calibration.len() != judges {
            return Err(CommandError::usage(
                format!(
                    "--calibration is given {} times for {judges} judges",
                    self.calibration.len()
                ),
                "pass one file for each judge, in the order of --judge-model",
            ));
        }
        self.calibration.iter().map(|path| input::calibration(path)).collect()
    }

    /// Prints the rows, if they are few or requested, and the figures.
    fn print(
        &self,
        lines: &[Line<'_>],
        figures: impl FnOnce(&mut Vec<u8>) -> io::Result<()>,
    ) -> Result<(), CommandError> {
        if self.json {
            print::json_lines(lines)?;
        } else if self.show || lines.len() <= FEW {
            let mut out = terminal::stdout();
            table::rows(&mut out, lines.iter().map(|line| line.row))
                .map_err(CommandError::output)?;
        }
        self.print_table(figures)
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

    /// Draws the reliability diagram, if it is requested.
    fn plot(&self, figures: &JudgeFigures) -> Result<(), CommandError> {
        let Some(path) = &self.plot else { return Ok(()) };
        let Some(labelled) = &figures.labelled else {
            return Err(CommandError::usage(
                "cannot draw the diagram: no judged row has the label a or b",
                "label rows, or omit --plot",
            ));
        };
        write(path, &reliability_svg(&labelled.reliability))
    }

    /// Writes fitted settings for constitutions to extend, and prints their effect.
    fn write_fit(&self, path: &Path, fit: &JudgeFit, judge: &str) -> Result<(), CommandError> {
        write(path, &fit.fragment(judge))?;
        self.print_table(|out| table::fit(out, fit, path))
    }
}

/// Checks that a row has a value in the column `by`.
fn check_column(input: &JudgeInput, by: &str) -> Result<(), CommandError> {
    let mut others: BTreeSet<String> = BTreeSet::new();
    for (at, item) in input.source.items().enumerate() {
        let item = item?;
        if assess::category(&item.metadata, by).is_some() {
            return Ok(());
        }
        if at < SEARCHED {
            let has_category = |name: &&String| assess::category(&item.metadata, name).is_some();
            others.extend(item.metadata.keys().filter(has_category).cloned());
        }
    }
    // The label has figures of its own.
    others.remove("label");
    let hint = if others.is_empty() {
        "omit --by: no other column divides the rows".to_owned()
    } else {
        let names: Vec<&str> = others.iter().map(String::as_str).collect();
        format!("pass one of {}", names.join(", "))
    };
    Err(CommandError::usage(format!("no row has a value in the column {by:?}"), hint))
}

fn write(path: &Path, text: &str) -> Result<(), CommandError> {
    atomic::write(path, |out| out.write_all(text.as_bytes())).map_err(|source: io::Error| {
        CommandError::failed(format!("write {}", path.display()), source)
    })
}

//! `amend trend`: the measures of a series of evaluations over time.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;

use super::eval;
use crate::cli::output::error::CommandError;
use crate::cli::output::format::{NONE, count, interval, number, range};
use crate::cli::output::table::table;
use crate::cli::output::{next, print};
use crate::report;
use amend_analysis::trend::{
    MeasureTrend, Trend, TrendChange, TrendError, TrendInput, TrendOptions, TrendPoint,
};
use amend_data::store::atomic;
use amend_data::store::run_dir::RunDir;

/// The most earlier runs whose values the table shows.
const SHOWN: usize = 5;

/// Compare a series of evaluations: did the latest run leave the band of the earlier ones?
///
/// Prints every measure over time. A finding is a measure of the last run that differs from
/// the earlier runs, or from the first one, by more than chance. The exit code is 1 if
/// there is one.
#[derive(Debug, Args)]
pub struct TrendArgs {
    /// The run directories of two or more evaluations of one set, the oldest first. The
    /// last is compared with the others
    #[arg(value_name = "RUN", required = true)]
    runs: Vec<PathBuf>,
    /// Also compare each measure over each kind of item
    #[arg(long)]
    by_kind: bool,
    /// Report only changes of at least X, in the unit of the measure: of all measures, or
    /// of one. May be repeated [default: 0.01]
    #[arg(long, value_name = "[MEASURE=]X", value_parser = min_change)]
    min_change: Vec<(Option<String>, f64)>,
    /// Do not report changes for the better
    #[arg(long)]
    only_worse: bool,
    /// Also write the trend as an HTML page, with a chart of each measure
    #[arg(long, value_name = "FILE")]
    report: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Parses the least change that is reported: `0.1`, or `warmth=0.1`.
fn min_change(text: &str) -> Result<(Option<String>, f64), String> {
    let (measure, least) = match text.rsplit_once('=') {
        Some((measure, least)) => (Some(measure.to_owned()), least),
        None => (None, text),
    };
    match least.parse::<f64>() {
        Ok(least) if least >= 0.0 && least.is_finite() => Ok((measure, least)),
        _ => Err("pass a number of at least 0, such as 0.1 or warmth=0.1".to_owned()),
    }
}

/// Compares the evaluations and prints the trend.
///
/// # Errors
/// A run can't be read, or the runs are no series of evaluations; the latest run has a
/// finding, which is already printed.
pub fn run(args: &TrendArgs) -> Result<(), CommandError> {
    let trend = trend(args)?;
    if let Some(path) = &args.report {
        write_page(&trend, path)?;
    }
    if args.json {
        print::json(&trend)?;
    } else {
        print::text(&text(&trend))?;
    }
    let mut messages: String = trend.notes.iter().map(|note| format!("note: {note}\n")).collect();
    for finding in trend.messages() {
        let _ = writeln!(messages, "finding: {finding}");
    }
    print::message(&messages);
    match (&args.report, &args.runs[..]) {
        (Some(path), _) => next::print(format!("open {} in a browser", path.display())),
        (None, [.., before, latest]) if trend.finding_count() > 0 => {
            next::print(next::AmendCall::new("diff").arg(before).arg(latest));
        }
        _ => {}
    }
    if trend.finding_count() == 0 { Ok(()) } else { Err(CommandError::reported()) }
}

/// Reads and compares the runs.
fn trend(args: &TrendArgs) -> Result<Trend, CommandError> {
    check_distinct(&args.runs)?;
    let mut runs = Vec::with_capacity(args.runs.len());
    for path in &args.runs {
        let run = RunDir::open(path)?;
        run.check_command("eval")?;
        runs.push(run);
    }
    let mut inputs = Vec::with_capacity(runs.len());
    for run in &runs {
        inputs.push(TrendInput {
            name: run.path().display().to_string(),
            manifest: run.manifest(),
            results: eval::read(run)?,
        });
    }
    let options = TrendOptions {
        by_kind: args.by_kind,
        min_changes: args.min_change.clone(),
        only_worse: args.only_worse,
    };
    let trend = Trend::new(&inputs, &options)?;
    check_measures(args, &trend)?;
    Ok(trend)
}

/// Checks that no run is given twice.
fn check_distinct(runs: &[PathBuf]) -> Result<(), CommandError> {
    let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    for (at, path) in runs.iter().enumerate() {
        if runs[..at].iter().any(|other| resolved(other) == resolved(path)) {
            return Err(CommandError::usage(
                format!("the run {} is given twice", path.display()),
                "pass each run once, the oldest first",
            ));
        }
    }
    Ok(())
}

/// Checks that `--min-change` names measures that exist.
fn check_measures(args: &TrendArgs, trend: &Trend) -> Result<(), CommandError> {
    for name in args.min_change.iter().filter_map(|(name, _)| name.as_ref()) {
        if !trend.measures.iter().any(|measure| measure.measure == *name) {
            let mut known: Vec<&str> =
                trend.measures.iter().map(|measure| measure.measure.as_str()).collect();
            known.dedup();
            return Err(CommandError::usage(
                format!("--min-change: the latest run has no measure {name:?}"),
                format!("its measures are: {}", known.join(", ")),
            ));
        }
    }
    Ok(())
}

fn write_page(trend: &Trend, path: &Path) -> Result<(), CommandError> {
    let html = report::trend(trend)?;
    atomic::write(path, |file| file.write_all(html.as_bytes()))
        .map_err(|source| CommandError::failed(format!("write {}", path.display()), source))
}

impl From<TrendError> for CommandError {
    fn from(error: TrendError) -> Self {
        let hint = match &error {
            TrendError::Runs { .. } => {
                "pass the run directories of `amend eval --out DIR`, the oldest first".to_owned()
            }
            TrendError::NoEvaluation { .. } => "pass runs of amend eval".to_owned(),
            TrendError::Unfinished { run, .. } => {
                format!("finish it with `amend eval … --out {} --resume`", next::quoted(run))
            }
            TrendError::OtherSet { .. } => "pass evaluations of one set".to_owned(),
            TrendError::NothingComparable { .. } => {
                "evaluate the same items with the same --judge-model and constitution".to_owned()
            }
        };
        Self::usage(error.to_string(), hint)
    }
}

/// The trend as text.
fn text(trend: &Trend) -> String {
    let Trend { set, runs, measures, .. } = trend;
    let mut text = format!("{set}, {}\n", count(runs.len(), "run"));
    let mut rows = Vec::new();
    for (number, run) in (1..).zip(runs) {
        let mut row = vec![format!("  {number}"), run.name.clone()];
        row.push(count(run.answered, "answer"));
        row.push(run.model.clone());
        rows.push(row);
    }
    text.push_str(&table(4, &rows));
    text.push('\n');
    text.push_str(&table(1, &measure_rows(measures, runs.len())));
    let changes = |measure: &MeasureTrend| {
        [&measure.shift, &measure.drift].into_iter().flatten().any(|it| measure.is_found(it))
    };
    if measures.iter().any(changes) {
        text.push_str("* unlikely to be chance\n");
    }
    if measures.iter().flat_map(|measure| &measure.points).any(|point| !point.is_compared) {
        text.push_str("() not compared\n");
    }
    let found = match trend.finding_count() {
        0 => "no finding".to_owned(),
        some => count(some, "finding"),
    };
    let _ = writeln!(text, "\n{found}");
    text
}

/// The values of the last runs, the band of the earlier runs, and the changes.
fn measure_rows(measures: &[MeasureTrend], runs: usize) -> Vec<Vec<String>> {
    let last = runs - 1;
    let first_shown = last.saturating_sub(SHOWN);
    let mut head = vec![String::new()];
    head.extend((first_shown..last).map(|run| (run + 1).to_string()));
    head.push("band".to_owned());
    head.push(runs.to_string());
    head.extend(["95 % interval", "change", "", "since first", "", "n"].map(str::to_owned));
    let mut rows = vec![head];
    for measure in measures {
        let point = |run: usize| measure.points.iter().find(|point| point.run == run);
        let mut row = vec![measure.name()];
        row.extend((first_shown..last).map(|run| point(run).map_or(NONE.to_owned(), value)));
        row.push(measure.shift.as_ref().map_or(NONE.to_owned(), |change| {
            let [low, high] = change.band();
            range(low, high, 2)
        }));
        let latest = point(last);
        row.push(latest.map_or(NONE.to_owned(), |point| number(point.mean.value, 2)));
        row.push(latest.map_or(String::new(), |point| interval(&point.mean)));
        for change in [&measure.shift, &measure.drift] {
            let text = change.as_ref().map_or(NONE.to_owned(), |it| format!("{:+.2}", it.change));
            row.extend([text, mark(measure, change).to_owned()]);
        }
        row.push(measure.shift.as_ref().map_or(String::new(), |change| change.n.to_string()));
        rows.push(row);
    }
    rows
}

fn value(point: &TrendPoint) -> String {
    let value = number(point.mean.value, 2);
    if point.is_compared { value } else { format!("({value})") }
}

fn mark(measure: &MeasureTrend, change: &Option<TrendChange>) -> &'static str {
    match change {
        Some(change) if measure.is_found(change) => "*",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_least_change_is_of_all_measures_or_of_one() {
        assert_eq!(min_change("0.5"), Ok((None, 0.5)));
        assert_eq!(min_change("a=b=1"), Ok((Some("a=b".to_owned()), 1.0)));
        for text in ["", "x", "warmth=", "-1", "NaN", "inf"] {
            assert!(min_change(text).is_err(), "{text}");
        }
    }
}

//! `amend diff`: the differences between two evaluations, runs or constitutions.

mod gate;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::{audit, eval};
use crate::cli::args::verdict_args;
use crate::cli::output::error::CommandError;
use crate::cli::output::format::{lines, number, signed_range};
use crate::cli::output::print;
use crate::cli::output::table::table;
use crate::cli::output::terminal::Output;
use amend_analysis::audit::AuditChanges;
use amend_analysis::diff::{
    self, Change, ConstitutionDiff, Flip, Gate, ListDiff, LoopRun, PairedComparison,
};
use amend_core::constitution;
use amend_core::random::Stream;
use amend_core::stats::{Bootstrap, RESAMPLES};
use amend_core::text::word_diff::Part;
use amend_data::store::manifest::Difference;

/// The maximum number of entries that a list shows.
const SHOWN: usize = 20;

/// Compare two evaluations, two runs, or two constitutions
///
/// For two run directories: what rose, fell and flipped, item by item, with paired
/// intervals; for those of amend judge, also the accuracy. If only one of the runs has a gate: also what the gate saved and missed.
/// For two constitutions, given as files or names: the principles that were added,
/// removed and changed, word by word.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A run directory or a constitution
    before: String,
    /// What to compare it with: of the same kind
    after: String,
    /// With two constitutions: also show how behaviour changed, from an audit of each
    /// (its audit.json or its run directory)
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"])]
    audits: Vec<PathBuf>,
    /// With two runs: use the verdicts that `amend judge` made of them under this name,
    /// instead of their own. If it is given twice, the first is for BEFORE and the second
    /// for AFTER
    #[arg(long, value_name = "NAME")]
    verdicts: Vec<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Compares and prints the differences.
///
/// # Errors
/// Either can't be read, or they are of different kinds.
pub fn run(args: &DiffArgs) -> Result<(), CommandError> {
    let is_run = |reference: &str| Path::new(reference).is_dir();
    match (is_run(&args.before), is_run(&args.after)) {
        (true, _) | (_, true) if !args.audits.is_empty() => Err(CommandError::usage(
            "--audits is for two constitutions, not for runs",
            "pass the two constitutions that were audited",
        )),
        (true, true) if args.verdicts.len() > 2 => Err(CommandError::usage(
            format!("--verdicts is given {} times, but there are two runs", args.verdicts.len()),
            "pass it once for both runs, or once for each",
        )),
        (true, true) => runs(args),
        _ if !args.verdicts.is_empty() => Err(CommandError::usage(
            "--verdicts is for two runs, not for constitutions",
            "omit it, or pass two run directories",
        )),
        (false, false) => constitutions(args),
        _ => Err(CommandError::usage(
            "a run directory and a constitution can't be compared",
            "pass two run directories, or two constitutions",
        )),
    }
}

/// The differences in what two runs were started with, and in their results.
#[derive(Serialize)]
struct RunDiff {
    /// The command that made both.
    command: String,
    /// The names of the verdicts that stand for those of the runs.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    verdicts: Vec<String>,
    started_with: Vec<Difference>,
    #[serde(flatten)]
    comparison: PairedComparison,
    /// What a gate saved and missed, if only one of the runs has a gate.
    #[serde(skip_serializing_if = "Option::is_none")]
    gate: Option<Gate>,
}

fn runs(args: &DiffArgs) -> Result<(), CommandError> {
    let first = args.verdicts.first().map(String::as_str);
    let second = args.verdicts.last().map(String::as_str);
    let before = verdict_args::open(Path::new(&args.before), first, None)?;
    let after = verdict_args::open(Path::new(&args.after), second, None)?;
    let manifest = before.manifest();
    if manifest.command != after.manifest().command {
        return Err(CommandError::usage(
            format!(
                "a run of amend {} and one of amend {} can't be compared",
                manifest.command,
                after.manifest().command
            ),
            "pass two runs of the same command",
        ));
    }
    let bootstrap = Bootstrap::new(Stream::new(manifest.seed).child("diff"), RESAMPLES);
    let (comparison, gate) = if manifest.input.set.is_some() {
        let units = |dir| Ok::<_, CommandError>(diff::units_of_evaluation(&eval::read(dir)?));
        (diff::compare(&units(&before)?, &units(&after)?, &bootstrap), None)
    } else if manifest.command == "judge" {
        let [before, after] = [diff::units_of_judge(&before)?, diff::units_of_judge(&after)?];
        (diff::compare(&before, &after, &bootstrap), None)
    } else {
        let (before, after) = (LoopRun::read(&before)?, LoopRun::read(&after)?);
        let comparison = diff::compare(&before.units(), &after.units(), &bootstrap);
        let gate = if manifest.command == "run" {
            Gate::between(&before, &after, &bootstrap)
        } else {
            None
        };
        (comparison, gate)
    };
    let started_with = manifest.difference(after.manifest());
    let diff = RunDiff {
        command: manifest.command.clone(),
        verdicts: args.verdicts.clone(),
        started_with,
        comparison,
        gate,
    };
    if args.json { print::json(&diff) } else { print::text(&report(&diff)) }
}

fn constitutions(args: &DiffArgs) -> Result<(), CommandError> {
    let load = |reference: &str| constitution::load(reference).map(|loaded| loaded.constitution);
    let edited = diff::constitutions(&load(&args.before)?, &load(&args.after)?);
    let behaviour = match &args.audits[..] {
        [before, after] => Some(amend_analysis::audit::compare(
            &audit::read_audit(before)?,
            &audit::read_audit(after)?,
        )),
        _ => None,
    };
    if args.json {
        return print::json(&Edited { edited, behaviour });
    }
    let output = Output::stdout();
    let mut text = edits(&edited, output);
    if let Some(changes) = behaviour {
        text.push_str("\nin behaviour:\n");
        text.push_str(&output.text(&audit::changes(&changes)));
    }
    print::styled(&text)
}

/// The differences between two constitutions, and their effect.
#[derive(Serialize)]
struct Edited {
    #[serde(flatten)]
    edited: ConstitutionDiff,
    #[serde(skip_serializing_if = "Option::is_none")]
    behaviour: Option<AuditChanges>,
}

/// The differences between two runs, as text.
fn report(diff: &RunDiff) -> String {
    let PairedComparison { common, changes, texts, newly_failing, newly_passing, .. } =
        &diff.comparison;
    let mut text = String::new();
    match &diff.verdicts[..] {
        [] => {}
        [both] => {
            let _ = writeln!(text, "both with the verdicts {both}");
        }
        [before, after, ..] => {
            let _ = writeln!(text, "with the verdicts {before} and {after}");
        }
    }
    for difference in diff.started_with.iter().take(SHOWN) {
        let _ = writeln!(text, "started with {difference}");
    }
    if diff.started_with.len() > SHOWN {
        let more = diff.started_with.len() - SHOWN;
        let _ = writeln!(text, "… and {more} more differences");
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "{common} items in both");
    if let Some(texts) = texts {
        let _ = writeln!(
            text,
            "{} of their answers are identical; the mean distance is {:.2}",
            texts.same, texts.distance.value
        );
    }
    if !changes.is_empty() {
        text.push('\n');
        text.push_str(&table(2, &change_rows(changes)));
        if changes.iter().any(|change| change.difference.is_apart_from_zero()) {
            text.push_str("* unlikely to be chance: the interval excludes 0\n");
        }
    }
    if let Some(gate) = &diff.gate {
        text.push_str(&gate::report(gate));
    }
    for (heading, flips) in [("newly failing", newly_failing), ("newly passing", newly_passing)] {
        let name = |flip: &Flip| format!("{} ({})", flip.key, flip.check);
        list(&mut text, heading, flips.iter().map(name).collect());
    }
    list(&mut text, "only in the first", diff.comparison.only_before.clone());
    list(&mut text, "only in the second", diff.comparison.only_after.clone());
    text
}

fn change_rows(changes: &[Change]) -> Vec<Vec<String>> {
    let head = ["", "", "before", "after", "change", "95 % interval", "", "rose", "fell", "n"];
    let mut rows = vec![head.map(str::to_owned).to_vec()];
    for change in changes {
        let (measure, kind) = match &change.kind {
            None => (change.measure.as_str(), "all"),
            Some(kind) => ("", kind.as_str()),
        };
        let difference = &change.difference;
        rows.push(vec![
            measure.to_owned(),
            kind.to_owned(),
            number(change.before, 2),
            number(change.after, 2),
            format!("{:+.2}", difference.value),
            match difference.interval {
                Some(interval) => signed_range(interval.low, interval.high, 2),
                None => String::new(),
            },
            if difference.is_apart_from_zero() { "*" } else { "" }.to_owned(),
            change.rose.to_string(),
            change.fell.to_string(),
            difference.n.to_string(),
        ]);
    }
    rows
}

fn list(text: &mut String, heading: &str, names: Vec<String>) {
    if names.is_empty() {
        return;
    }
    let _ = writeln!(text, "\n{heading}: {}", names.len());
    lines(text, names.iter(), SHOWN);
}

/// The differences between two constitutions, as text.
fn edits(diff: &ConstitutionDiff, output: Output) -> String {
    let mut text = String::new();
    for (noun, list) in [("principle", &diff.principles), ("dimension", &diff.dimensions)] {
        list_edits(&mut text, noun, list, output);
    }
    for difference in &diff.settings {
        let _ = writeln!(text, "{}", output.text(&difference.to_string()));
    }
    if text.is_empty() {
        text.push_str("no difference\n");
    }
    text
}

fn list_edits(text: &mut String, noun: &str, list: &ListDiff, output: Output) {
    for (what, ids) in [("added", &list.added), ("removed", &list.removed)] {
        for id in ids {
            let _ = writeln!(text, "{noun} {id} {what}");
        }
    }
    for edit in &list.changed {
        let _ = writeln!(text, "{noun} {} changed in {}:", edit.id, edit.key);
        let words: String = edit.parts.iter().map(|part| marked(part, output)).collect();
        for line in words.lines() {
            let line = format!("  {line}");
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
}

/// A part with its mark: a colour, or else the brackets of git's word diff.
fn marked(part: &Part, output: Output) -> String {
    match part {
        Part::Same(words) => output.text(words).into_owned(),
        Part::Removed(words) if output.color => {
            output.paint("31;9", &output.text(words)).into_owned()
        }
        Part::Added(words) if output.color => output.paint("32", &output.text(words)).into_owned(),
        Part::Removed(words) => format!("[-{}-]", output.text(words)),
        Part::Added(words) => format!("{{+{}+}}", output.text(words)),
    }
}

//! `amend diff`: what moved between two evaluations, runs or constitutions.

mod gate;

use std::fmt::Write as _;
use std::io::{Write as _, stdout};
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Serialize;

use super::audit;
use super::eval;
use crate::cli::output::error::CliError;
use crate::cli::output::table::table;
use crate::cli::output::terminal;
use amend_analysis::audit::Changes;
use amend_analysis::diff;
use amend_analysis::diff::{Change, Comparison, ConstitutionDiff, Flip, Gate, ListDiff, Run};
use amend_core::constitution;
use amend_core::random::Stream;
use amend_core::stats::Bootstrap;
use amend_core::text::word_diff::Part;
use amend_data::store::manifest::Difference;
use amend_data::store::run_dir::RunDir;

/// How many resamples an interval is made of.
const RESAMPLES: u32 = 1000;

/// How many items a list names.
const SHOWN: usize = 20;

/// Compare two evaluations, two runs, or two constitutions
///
/// Two run directories: what rose, fell and flipped, item by item, with paired
/// intervals; and, where one of them has a gate and the other has none, what the
/// gate saved and missed. Two constitutions, files or shipped ones by name: which principles
/// were added, removed and changed, word by word.
#[derive(Debug, Args)]
pub struct DiffArgs {
    /// A run directory or a constitution
    before: String,
    /// What to compare it with, of the same sort
    after: String,
    /// Of two constitutions, tell too what changed in behaviour: an audit of each,
    /// by its audit.json or its run directory
    #[arg(long, num_args = 2, value_names = ["BEFORE", "AFTER"])]
    audits: Vec<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Compares, and prints what differs.
///
/// # Errors
/// Either can't be read, or they are of different sorts.
pub fn run(args: &DiffArgs) -> Result<(), CliError> {
    let is_run = |reference: &str| Path::new(reference).is_dir();
    let printed = match (is_run(&args.before), is_run(&args.after)) {
        (true, _) | (_, true) if !args.audits.is_empty() => {
            return Err(CliError::usage(
                "--audits goes with two constitutions",
                "name the constitutions that were audited before it",
            ));
        }
        (true, true) => runs(args)?,
        (false, false) => constitutions(args)?,
        _ => {
            return Err(CliError::usage(
                "a run directory and a constitution can't be compared",
                "name two run directories, or two constitutions",
            ));
        }
    };
    stdout().write_all(printed.as_bytes()).map_err(CliError::Output)
}

/// What two runs were started with differently, and what came of it.
#[derive(Serialize)]
struct RunDiff {
    /// The command that made both.
    command: String,
    started_with: Vec<Difference>,
    #[serde(flatten)]
    comparison: Comparison,
    /// What a gate saved and missed, where one of the runs has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    gate: Option<Gate>,
}

fn runs(args: &DiffArgs) -> Result<String, CliError> {
    let open = |path: &str| RunDir::open(Path::new(path));
    let (before, after) = (open(&args.before)?, open(&args.after)?);
    let (one, other) = (before.manifest(), after.manifest());
    if one.command != other.command {
        return Err(CliError::usage(
            format!(
                "a run of amend {} and one of amend {} can't be compared",
                one.command, other.command
            ),
            "name two of the same command",
        ));
    }
    let bootstrap = Bootstrap::new(Stream::new(one.seed).child("diff"), RESAMPLES);
    let (comparison, gate) = if one.input.set.is_some() {
        let units = |dir| Ok::<_, CliError>(diff::units_of_evaluation(&eval::read(dir)?));
        (diff::compare(&units(&before)?, &units(&after)?, &bootstrap), None)
    } else {
        let (before, after) = (loops(&before)?, loops(&after)?);
        let comparison = diff::compare(&before.units(), &after.units(), &bootstrap);
        let has_loop = one.command == "run";
        let gate = has_loop.then(|| Gate::between(&before, &after, &bootstrap)).flatten();
        (comparison, gate)
    };
    let started_with = one.difference(other);
    let diff = RunDiff { command: one.command.clone(), started_with, comparison, gate };
    if args.json { json(&diff) } else { Ok(report(&diff)) }
}

fn loops(dir: &RunDir) -> Result<Run<'_>, CliError> {
    let trajectories: Result<Vec<_>, _> = dir.trajectories()?.collect();
    Ok(Run { manifest: dir.manifest(), trajectories: trajectories? })
}

fn constitutions(args: &DiffArgs) -> Result<String, CliError> {
    let load = |reference: &str| constitution::load(reference).map(|loaded| loaded.constitution);
    let edited =
        diff::constitutions(&load(&args.before)?, &load(&args.after)?).map_err(unwritable)?;
    let behaviour = match &args.audits[..] {
        [before, after] => Some(amend_analysis::audit::compare(
            &audit::read_audit(before)?,
            &audit::read_audit(after)?,
        )),
        _ => None,
    };
    if args.json {
        return json(&Edited { edited, behaviour });
    }
    let mut text = edits(&edited, terminal::stdout_color());
    if let Some(changes) = behaviour {
        text.push_str("\nin behaviour:\n");
        text.push_str(&audit::changes(&changes));
    }
    Ok(text)
}

/// What leads from one constitution to another, and what it does.
#[derive(Serialize)]
struct Edited {
    #[serde(flatten)]
    edited: ConstitutionDiff,
    #[serde(skip_serializing_if = "Option::is_none")]
    behaviour: Option<Changes>,
}

fn json(diff: &impl Serialize) -> Result<String, CliError> {
    Ok(serde_json::to_string_pretty(diff).map_err(unwritable)? + "\n")
}

fn unwritable(error: serde_json::Error) -> CliError {
    CliError::Io { attempt: "write the difference down".to_owned(), source: error.into() }
}

/// What moved between two runs, for people.
fn report(diff: &RunDiff) -> String {
    let Comparison { common, changes, texts, newly_failing, newly_passing, .. } = &diff.comparison;
    let mut text = String::new();
    for difference in diff.started_with.iter().take(SHOWN) {
        let _ = writeln!(text, "started with {difference}");
    }
    if let Some(more) = diff.started_with.len().checked_sub(SHOWN).filter(|more| *more > 0) {
        let _ = writeln!(text, "… and {more} more differences");
    }
    if !text.is_empty() {
        text.push('\n');
    }
    let _ = writeln!(text, "{common} items in both");
    if let Some(texts) = texts {
        let _ = writeln!(
            text,
            "{} of their answers are the same; the mean distance is {:.2}",
            texts.same, texts.distance.value
        );
    }
    if !changes.is_empty() {
        text.push('\n');
        text.push_str(&table(2, &change_rows(changes)));
        if changes.iter().any(|change| change.difference.is_apart_from_zero()) {
            text.push_str("* chance alone would seldom make such a difference\n");
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
            format!("{:.2}", change.before),
            format!("{:.2}", change.after),
            format!("{:+.2}", difference.value),
            difference.interval.map_or_else(String::new, |interval| {
                format!("{:+.2} to {:+.2}", interval.low, interval.high)
            }),
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
    for name in names.iter().take(SHOWN) {
        let _ = writeln!(text, "  {name}");
    }
    if names.len() > SHOWN {
        let _ = writeln!(text, "  … and {} more", names.len() - SHOWN);
    }
}

/// What leads from one constitution to another, for people.
fn edits(diff: &ConstitutionDiff, color: bool) -> String {
    let mut text = String::new();
    for (noun, list) in [("principle", &diff.principles), ("dimension", &diff.dimensions)] {
        list_edits(&mut text, noun, list, color);
    }
    for difference in &diff.settings {
        let _ = writeln!(text, "{difference}");
    }
    if text.is_empty() {
        text.push_str("no difference\n");
    }
    text
}

fn list_edits(text: &mut String, noun: &str, list: &ListDiff, color: bool) {
    for (what, ids) in [("added", &list.added), ("removed", &list.removed)] {
        for id in ids {
            let _ = writeln!(text, "{noun} {id} {what}");
        }
    }
    for edit in &list.changed {
        let _ = writeln!(text, "{noun} {} changed in {}:", edit.id, edit.key);
        let words: String = edit.parts.iter().map(|part| marked(part, color)).collect();
        for line in words.lines() {
            let line = format!("  {line}");
            let _ = writeln!(text, "{}", line.trim_end());
        }
    }
}

/// A part with marks around it: colour, or brackets as git's word diff has them.
fn marked(part: &Part, color: bool) -> String {
    match (part, color) {
        (Part::Same(words), _) => words.clone(),
        (Part::Removed(words), true) => format!("\x1b[31;9m{words}\x1b[0m"),
        (Part::Added(words), true) => format!("\x1b[32m{words}\x1b[0m"),
        (Part::Removed(words), false) => format!("[-{words}-]"),
        (Part::Added(words), false) => format!("{{+{words}+}}"),
    }
}

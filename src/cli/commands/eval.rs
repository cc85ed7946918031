//! `amend eval`: an assistant's scores on an evaluation set.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::args::config::Config;
use crate::cli::args::loop_args::LoopArgs;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::args::recording::RecordArgs;
use crate::cli::output::error::{CommandError, Kind};
use crate::cli::output::format::{interval, number};
use crate::cli::output::print;
use crate::cli::output::table::table;
use crate::session::{Finished, Models, PreparedSession, Session};
use amend_analysis::evaluation as eval;
use amend_analysis::evaluation::{Results, ThresholdOutcome, ThresholdResult};
use amend_core::procedure::Procedure;
use amend_core::stats::GroupedMean;
use amend_data::eval_set as set;
use amend_data::eval_set::{Bound, EvalSet, Responses};
use amend_data::items::ItemSource;
use amend_data::store::run_dir::files::RESULTS;

/// How many of the items with the largest differences between variants are listed.
const SHOWN: usize = 5;

/// Score an assistant's answers to an evaluation set
///
/// The model scores every answer on the constitution's dimensions, and the set's
/// rules check it without a model. If a threshold is missed, the exit code is 1.
/// Items of different kinds alternate, so that --limit covers all kinds.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// The evaluation set, a TOML file
    #[arg(value_name = "SET")]
    set: PathBuf,
    /// The assistant's system prompt; it comes before an item's own
    #[arg(long, value_name = "TEXT")]
    system: Option<String>,
    /// A file with the assistant's system prompt
    #[arg(long, value_name = "PATH", conflicts_with = "system")]
    system_file: Option<PathBuf>,
    /// Score these answers instead of generating any: a file of rows
    /// with the columns id and response
    #[arg(long, value_name = "FILE")]
    responses: Option<PathBuf>,
    /// Revise each answer in the constitution's loop first, and score the last
    /// revision
    #[arg(long)]
    revise: bool,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    recording: RecordArgs,
    #[command(flatten)]
    job: LoopArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// Runs the set and prints its results.
///
/// # Errors
/// The set or the answers are invalid, the run directory can't be written or
/// resumed, or the engine fails; [`CommandError::reported`] if items failed or
/// thresholds were missed.
pub fn run(args: &EvalArgs, config: &Config) -> Result<(), CommandError> {
    let loaded = set::load(&args.set)?;
    let prepared = args.prepare(loaded.set.clone())?;
    let mut job = args.job.job(config, &prepared.source().summary.sha256)?;
    let dimensions: Vec<String> =
        job.constitution.dimensions.iter().map(|dimension| dimension.id.clone()).collect();
    let measures = eval::measures(&dimensions);
    let known: Vec<&str> = measures.iter().map(String::as_str).collect();
    loaded.check_measures(&known)?;
    job.procedure =
        Procedure::Rubric { dimensions: (0..dimensions.len()).collect(), revise: args.revise };
    let session = prepared.with_job(job)?;
    let mut models = Models::writing(&args.recording, &args.model, config)?;
    let mut engines = models.engines(&session.job, session.longest_item())?;
    args.conclude(session.run(&mut engines, None)?)
}

impl EvalArgs {
    /// Prepares the items of the set, with the answers that are given.
    fn prepare(&self, set: EvalSet) -> Result<PreparedSession<'_>, CommandError> {
        let system = self.system_prompt()?;
        let items = set.items(system.as_deref());
        let known: Vec<String> = items.iter().filter_map(|item| item.id.clone()).collect();
        let mut items = self.recording.limited(items);
        let mut files = vec![self.set.display().to_string()];
        if let Some(path) = &self.responses {
            Responses::read(path)?.give(&mut items, &known)?;
            files.push(path.display().to_string());
        }
        let mut source = ItemSource::from_items(files, items);
        source.summary.set = Some(set);
        Ok(Session::prepare(&self.recording, "eval", source))
    }

    /// The assistant's system prompt, if one is given.
    fn system_prompt(&self) -> Result<Option<String>, CommandError> {
        if let Some(path) = &self.system_file {
            let text = std::fs::read_to_string(path).map_err(|source| {
                let attempt = format!("read the system prompt {}", path.display());
                CommandError { kind: Kind::Usage, ..CommandError::failed(attempt, source) }
            })?;
            return Ok(Some(text));
        }
        let Some(text) = &self.system else { return Ok(None) };
        if looks_like_a_path(text) {
            return Err(CommandError::usage(
                format!(
                    "--system takes the text of a system prompt, but {text:?} looks like a path"
                ),
                format!("to read the prompt from a file, pass --system-file {text}"),
            ));
        }
        Ok(Some(text.clone()))
    }

    /// Writes the results and prints them.
    fn conclude(&self, finished: Finished) -> Result<(), CommandError> {
        let results = read(finished.dir())?;
        finished.derive_document(RESULTS, &results)?;
        if self.json {
            print::json(&results)?;
        } else {
            print::text(&report(&results))?;
        }
        let missed: String = results
            .missed()
            .map(|threshold| format!("missed: {}\n", describe_missed(threshold)))
            .collect();
        print::message(&missed);
        let next = finished.next_call("report");
        finished.finish(next)?;
        if missed.is_empty() { Ok(()) } else { Err(CommandError::reported()) }
    }
}

/// Whether a text that should be a system prompt is probably the path of one.
fn looks_like_a_path(text: &str) -> bool {
    let extension = Path::new(text).extension().and_then(|extension| extension.to_str());
    let has_text_extension = matches!(extension, Some("txt" | "md" | "j2"));
    let is_one_word = !text.contains(char::is_whitespace);
    (has_text_extension && is_one_word) || Path::new(text).is_file()
}

/// The results of an evaluation's run.
///
/// # Errors
/// The run is no evaluation, or its journal can't be read.
pub fn read(dir: &amend_data::store::run_dir::RunDir) -> Result<Results, CommandError> {
    let trajectories: Result<Vec<_>, _> = dir.trajectories()?.collect();
    Results::new(dir.manifest(), trajectories?)
        .map_err(|error| CommandError::usage(error.to_string(), "pass a run of amend eval"))
}

/// The results as text.
fn report(results: &Results) -> String {
    let Results { set, set_version, constitution, answered, failed, unsure, .. } = results;
    let mut text = format!("{set} {set_version}, {answered} answers, scored by {constitution}\n");
    if *failed > 0 {
        text.push_str(&format!("{failed} items failed and are not counted\n"));
    }
    if *unsure > 0 {
        text.push_str(&format!(
            "{unsure} scores are left out: the model gave little probability to a number\n"
        ));
    }
    text.push('\n');
    text.push_str(&figures(results));
    if let Some(variants) = &results.variants {
        text.push_str(&format!(
            "\nbetween variants of the same request, {} items\n",
            variants.items.len()
        ));
        let mut rows = Vec::new();
        let line = |name: &str, mean: &Option<GroupedMean>| {
            mean.map(|mean| vec![name.to_owned(), number(mean.value, 2), interval(&mean)])
        };
        rows.extend(line("largest mean difference of scores", &variants.spread));
        rows.extend(line("mean distance of answers", &variants.distance));
        text.push_str(&table(1, &rows));
        let uneven = variants.items.iter().filter(|item| item.most() > 0.0).take(SHOWN);
        let rows: Vec<Vec<String>> =
            uneven.map(|item| vec![format!("  {}", item.item), number(item.most(), 2)]).collect();
        text.push_str(&table(1, &rows));
    }
    if !results.thresholds.is_empty() {
        text.push_str("\nthresholds\n");
        let rows: Vec<Vec<String>> = results.thresholds.iter().map(threshold_row).collect();
        text.push_str(&table(3, &rows));
    }
    text
}

/// The means of every measure: over all answers, and by kind.
fn figures(results: &Results) -> String {
    let mut rows = vec![["", "", "mean", "95 % interval", "n"].map(str::to_owned).to_vec()];
    for figure in results.figures.iter().filter(|figure| figure.slice.category.is_none()) {
        let (measure, kind) = match figure.slice.kind {
            None => (figure.measure.as_str(), "all"),
            Some(kind) => ("", kind.as_str()),
        };
        let mean = &figure.mean;
        rows.push(vec![
            measure.to_owned(),
            kind.to_owned(),
            number(mean.value, 2),
            interval(mean),
            mean.n.to_string(),
        ]);
    }
    table(2, &rows)
}

fn threshold_row(result: &ThresholdResult) -> Vec<String> {
    let outcome = match result.outcome {
        ThresholdOutcome::Met => "met",
        ThresholdOutcome::Missed => "missed",
        ThresholdOutcome::Absent => "no such item",
    };
    let value = match result.value {
        Some(value) => number(value, 2),
        None => "no figure".to_owned(),
    };
    vec![outcome.to_owned(), describe_threshold(result), value]
}

/// What a threshold requires, in words.
fn describe_threshold(result: &ThresholdResult) -> String {
    let threshold = &result.threshold;
    let mut text = threshold.measure.clone();
    if let Some(kind) = threshold.kind {
        text.push_str(&format!(" of {} items", kind.as_str()));
    }
    if let Some(category) = &threshold.category {
        text.push_str(&format!(" in {category}"));
    }
    text.push_str(&match threshold.bound {
        Bound::AtLeast(bound) => format!(" at least {bound}"),
        Bound::AtMost(bound) => format!(" at most {bound}"),
    });
    text
}

/// A missed threshold, in a line.
fn describe_missed(result: &ThresholdResult) -> String {
    let threshold = describe_threshold(result);
    match result.value {
        Some(value) => format!("{threshold}, measured {}", number(value, 2)),
        None => format!("{threshold}, and nothing could be measured"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_distinguished_from_system_prompts() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a prompt");
        std::fs::write(&file, "Be brief.").unwrap();
        for path in ["promts/learning.txt", "SYSTEM.md", "a.j2", file.to_str().unwrap()] {
            assert!(looks_like_a_path(path), "{path}");
        }
        for text in ["Be-brief.", "Be brief.", "Answer as in notes.txt", "", "src", "v1.2"] {
            assert!(!looks_like_a_path(text), "{text}");
        }
    }
}

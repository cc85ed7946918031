//! `amend eval`: an assistant over an evaluation set.

use std::io::{Write, stdout};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::args::config::Config;
use crate::cli::args::loop_args::LoopArgs;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::output::error::{CliError, tell};
use crate::cli::output::table::{interval, table};
use crate::session::interrupt;
use crate::session::{RecordArgs, Recorded};
use amend_analysis::evaluation as eval;
use amend_analysis::evaluation::{Met, Results, ThresholdResult};
use amend_core::driver::Engines;
use amend_core::procedure::Procedure;
use amend_core::record::Item;
use amend_core::stats::GroupedMean;
use amend_data::eval_set as set;
use amend_data::eval_set::{Bound, Responses, Set};
use amend_data::store::manifest::InputSummary;
use amend_engine::Loaded;

/// The file of the results, in the run directory.
const RESULTS: &str = "results.json";

/// How many of the most uneven items are shown.
const SHOWN: usize = 5;

/// Score an assistant's answers to an evaluation set
///
/// Every answer is scored on the constitution's dimensions by the model, and
/// checked by the set's rules without one. Missed thresholds make the exit code
/// 1. The kinds of items take turns, so that --limit shows all of them.
#[derive(Debug, Args)]
pub struct EvalArgs {
    /// The evaluation set, a TOML file
    #[arg(value_name = "SET")]
    set: PathBuf,
    /// The assistant's system prompt, a file or the text itself; it goes before
    /// an item's own
    #[arg(long, value_name = "FILE|TEXT")]
    system: Option<String>,
    /// Answers given beforehand, a JSON object {id, response} a line
    #[arg(long, value_name = "FILE")]
    responses: Option<PathBuf>,
    /// Take each answer through the constitution's loop first, and score the
    /// last revision
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
/// A wrong set or answers that don't fit it, a run directory that can't be
/// written or resumed, an engine that can't go on; [`CliError::Findings`] when
/// items failed or thresholds were missed.
pub fn run(args: &EvalArgs, config: &Config) -> Result<(), CliError> {
    let loaded = set::load(&args.set)?;
    let (items, summary) = args.items(loaded.set.clone())?;
    let mut job = args.job.job(config, &summary.sha256)?;
    let dimensions: Vec<String> =
        job.constitution.dimensions.iter().map(|dimension| dimension.id.clone()).collect();
    let measures = eval::measures(&dimensions);
    let known: Vec<&str> = measures.iter().map(String::as_str).collect();
    loaded.check_measures(&known)?;
    job.procedure =
        Procedure::Score { dimensions: (0..dimensions.len()).collect(), revise: args.revise };
    job.cohorts = args.recording.reproducible;
    args.recording.check_out()?;
    let (model, judge) = args.recording.models(&args.model, config)?;
    interrupt::listen();
    let mut engine = model.engine()?;
    let mut judge = judge.as_ref().map(Loaded::engine).transpose()?;
    let engines = Engines::new(&mut *engine, &mut judge);
    let out = args.recording.destination()?;
    let recorded = args.recording.record("eval", out.path(), engines, &job, items, summary)?;
    recorded.tell(None)?;
    args.conclude(&recorded)
}

impl EvalArgs {
    /// The items to run, and what a manifest says of them.
    fn items(&self, set: Set) -> Result<(Vec<Item>, InputSummary), CliError> {
        let system = self.system.as_deref().map(system_prompt).transpose()?;
        let mut items = set.items(system.as_deref());
        let known: Vec<String> = items.iter().filter_map(|item| item.id.clone()).collect();
        self.recording.truncate(&mut items);
        let mut files = vec![self.set.display().to_string()];
        if let Some(path) = &self.responses {
            Responses::read(path)?.give(&mut items, &known)?;
            files.push(path.display().to_string());
        }
        let mut summary = InputSummary::new(files, &items);
        summary.set = Some(set);
        Ok((items, summary))
    }

    /// Writes the results and prints them.
    fn conclude(&self, recorded: &Recorded) -> Result<(), CliError> {
        let whole = recorded.result();
        if let Err(CliError::Interrupted) = whole {
            return whole;
        }
        let results = read(&recorded.dir)?;
        let json = results_json(&results)?;
        recorded.dir.derive(RESULTS, |out| out.write_all(json.as_bytes()))?;
        let printed = if self.json { json } else { report(&results) };
        stdout().write_all(printed.as_bytes()).map_err(CliError::Output)?;
        let missed: String =
            results.missed().map(|one| format!("missed: {}\n", told(one))).collect();
        tell(&missed);
        whole?;
        if missed.is_empty() { Ok(()) } else { Err(CliError::Findings) }
    }
}

/// A system prompt: the content of the file of that name, else the text itself.
fn system_prompt(given: &str) -> Result<String, CliError> {
    let path = Path::new(given);
    if !path.is_file() {
        return Ok(given.to_owned());
    }
    std::fs::read_to_string(path).map_err(|source| CliError::Io {
        attempt: format!("read the system prompt {given}"),
        source,
    })
}

/// The results of an evaluation's run.
///
/// # Errors
/// It is no evaluation, or its journal can't be read.
pub fn read(dir: &amend_data::store::run_dir::RunDir) -> Result<Results, CliError> {
    let trajectories: Result<Vec<_>, _> = dir.trajectories()?.collect();
    Results::new(dir.manifest(), trajectories?)
        .map_err(|error| CliError::usage(error.to_string(), "amend eval makes runs that have one"))
}

fn results_json(results: &Results) -> Result<String, CliError> {
    let json = serde_json::to_string_pretty(results);
    Ok(json.map_err(|error| CliError::Io {
        attempt: "write the results down".to_owned(),
        source: error.into(),
    })? + "\n")
}

/// The results for people.
fn report(results: &Results) -> String {
    let Results { set, set_version, constitution, answered, failed, unsure, .. } = results;
    let mut text = format!("{set} {set_version}, {answered} answers, scored by {constitution}\n");
    if *failed > 0 {
        text.push_str(&format!("{failed} items failed and count for nothing\n"));
    }
    if *unsure > 0 {
        text.push_str(&format!(
            "{unsure} scores are left out: the model hardly replied with a number\n"
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
            mean.map(|mean| vec![name.to_owned(), number(mean.value), interval(&mean)])
        };
        rows.extend(line("largest mean difference of scores", &variants.spread));
        rows.extend(line("mean distance of answers", &variants.distance));
        text.push_str(&table(1, &rows));
        let uneven = variants.items.iter().filter(|item| item.most() > 0.0).take(SHOWN);
        let rows: Vec<Vec<String>> =
            uneven.map(|item| vec![format!("  {}", item.item), number(item.most())]).collect();
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
            number(mean.value),
            interval(mean),
            mean.n.to_string(),
        ]);
    }
    table(2, &rows)
}

fn number(value: f64) -> String {
    format!("{value:.2}")
}

fn threshold_row(one: &ThresholdResult) -> Vec<String> {
    let outcome = match one.outcome {
        Met::Met => "met",
        Met::Missed => "missed",
        Met::Absent => "no such item",
    };
    let value = one.value.map_or_else(|| "no figure".to_owned(), number);
    vec![outcome.to_owned(), wanted(one), value]
}

/// What a threshold asks for, in words.
fn wanted(one: &ThresholdResult) -> String {
    let threshold = &one.threshold;
    let kind = threshold.kind.map(|kind| format!(" of {} items", kind.as_str()));
    let category = threshold.category.as_ref().map(|category| format!(" in {category}"));
    let bound = match threshold.bound {
        Bound::AtLeast(least) => format!("at least {least}"),
        Bound::AtMost(most) => format!("at most {most}"),
    };
    let of = kind.into_iter().chain(category).collect::<String>();
    format!("{}{of} {bound}", threshold.measure)
}

/// A missed threshold, in a line.
fn told(one: &ThresholdResult) -> String {
    match one.value {
        Some(value) => format!("{}, measured {}", wanted(one), number(value)),
        None => format!("{}, and nothing could be measured", wanted(one)),
    }
}

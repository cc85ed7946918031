//! `amend run`: many prompts, in a run directory that can be resumed.

mod dry_run;
mod rehearsal;

use std::io;
use std::path::PathBuf;

use clap::Args;

use crate::cli::args::config::Config;
use crate::cli::args::loop_args::LoopArgs;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::args::recording::RecordArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::show::Show;
use crate::cli::output::terminal::Output;
use crate::cli::output::{counts, print};
use crate::measured_costs as calibration;
use crate::session::{Models, Session, recorded_costs, run_unrecorded};
use amend_core::driver::Observer;
use amend_core::procedure::ItemLoop;
use amend_core::record::{Outcome, Step};
use amend_data::export::{self, ExportError, ExportOptions};
use amend_data::lint::check::{self, Needs};
use amend_data::lint::{Background, LintFilter, TrainerSettings};
use amend_data::rows::input::{self, Input};
use amend_data::store::run_dir::RunDir;

/// Generate preference data from many prompts, in a run directory
///
/// Input is JSON lines (a string, {prompt}, or {messages}; id and other keys are
/// kept), plain text with one prompt per line, or `-` for stdin. --resume continues
/// an interrupted run: no finished work is lost or repeated.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Input files; `-` is stdin
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// The key that holds the prompt [default: the first common name found]
    #[arg(long, value_name = "KEY")]
    field: Option<String>,
    /// Count the tokens that the run would need; generate nothing
    #[arg(long, conflicts_with_all = ["preview", "resume"])]
    dry_run: bool,
    /// Run the first N rows and show them; write nothing
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = clap::value_parser!(u64).range(1..))]
    preview: Option<u64>,
    #[command(flatten)]
    recording: RecordArgs,
    #[command(flatten)]
    job: LoopArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// Runs the loop over the input.
///
/// # Errors
/// The input is invalid, the run directory can't be written or resumed, or the
/// engine fails; [`CommandError::reported`] if items failed.
pub fn run(args: &RunArgs, config: &Config) -> Result<(), CommandError> {
    let inputs: Vec<Input> = args.inputs.iter().cloned().map(Input::from).collect();
    let mut items = args.recording.limited(input::read(&inputs, args.field.as_deref())?);
    if let Some(first) = args.preview {
        items.truncate(usize::try_from(first).unwrap_or(usize::MAX));
    }
    let files = inputs.iter().map(Input::name).collect();
    let prepared = Session::prepare(&args.recording, "run", files, items);
    let mut job = args.job.job(config, &prepared.input.sha256)?;
    let items = prepared.items();
    if args.dry_run || args.preview.is_some() {
        let mut models = args.models(config, items.len())?;
        let mut engines = models.engines(&job)?;
        if args.dry_run {
            return dry_run::run(engines.main(), &job, items);
        }
        job.cohorts = args.recording.reproducible;
        let mut preview = Preview { show: Show::new(Output::stdout()) };
        return run_unrecorded(&mut engines, &job, items.iter().cloned(), &mut preview);
    }
    if args.recording.out.is_none() {
        return Err(CommandError::usage("no run directory is given", "pass --out DIR"));
    }
    let count = items.len();
    let session = prepared.with_job(job)?;
    let mut models = args.models(config, count)?;
    let mut engines = models.engines(&session.job)?;
    let finished = session.run(&mut engines, Some("export"))?;
    if let Some(pairs) = pairs_to_export(finished.dir())? {
        print::message(&pairs);
    }
    finished.finish()
}

/// How many pairs an export of the run has, and what it leaves out. `None` if no item has
/// ended, or if reviews are missing that the constitution requires.
fn pairs_to_export(run: &RunDir) -> Result<Option<String>, CommandError> {
    let manifest = run.manifest();
    let mut rules: Vec<String> = manifest.constitution.value.export.drop.clone();
    // Other findings need flags of the export.
    rules.retain(|name| check::filters().any(|rule| rule.name == name && rule.needs == Needs::Row));
    rules.extend(check::SPOILT.iter().map(|rule| rule.name.to_owned()));
    let background = Background::from_manifest(manifest);
    let filter = LintFilter::new(&rules, TrainerSettings::default(), background)?;
    let export = ExportOptions { filter: Some(&filter), ..ExportOptions::pairs() };
    let counts = match export::count(run, &export) {
        Ok(counts) => counts,
        Err(ExportError::Unreviewed { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    let left_out = counts::left_out(&counts);
    if counts.written == 0 && left_out.is_empty() {
        return Ok(None);
    }
    Ok(Some(format!("{} to export{left_out}\n", export.in_words(counts.written))))
}

/// The least number of items for which measuring the costs of batches pays off.
const WORTH_MEASURING: usize = 32;

impl RunArgs {
    /// Loads the models. Measures what batches cost, if that is unknown and the width of
    /// a long run is not given. A reproducible run that is resumed keeps the costs that it
    /// started with.
    fn models(&self, config: &Config, items: usize) -> Result<Models, CommandError> {
        let mut models = Models::writing(&self.recording, &self.model, config)?;
        if let Some((model, settings)) = models.main_mut().llama_mut()
            && self.recording.out.is_some()
            && settings.parallel == 0
            && items >= WORTH_MEASURING
            && recorded_costs(&self.recording)?.is_none()
            && calibration::known(model, settings).is_none()
        {
            tracing::info!("measuring once what batches cost on this machine");
            settings.costs = calibration::measured(model, settings)?;
        }
        Ok(models)
    }
}

/// Shows each item once it has ended.
struct Preview {
    show: Show,
}

impl Observer for Preview {
    type Error = CommandError;

    fn step(&mut self, _: &ItemLoop, _: &Step) -> Result<(), CommandError> {
        Ok(())
    }

    fn end(&mut self, trajectory: &ItemLoop, outcome: Outcome) -> Result<(), CommandError> {
        let mut out = io::stdout().lock();
        let item = trajectory.item();
        let mut write = || {
            let prompt = item.messages.last().map_or("", |message| message.content.as_str());
            self.show.heading(&mut out, &format!("row {}: {prompt}\n", item.row))?;
            for step in trajectory.steps() {
                self.show.step(&mut out, trajectory.constitution(), step)?;
            }
            self.show.end(&mut out, &outcome)
        };
        write().map_err(CommandError::output)
    }
}

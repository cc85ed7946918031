//! `amend run`: many prompts, in a run directory that can be resumed.

mod dry_run;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::cli::args::config::Config;
use crate::cli::args::loop_args::LoopArgs;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::show::Show;
use crate::cli::output::terminal::Output;
use crate::measured_costs as calibration;
use crate::session::RecordArgs;
use crate::session::interrupt;
use amend_core::driver::{Ended, Engines, Job, Observer, Work, drive};
use amend_core::procedure::ItemLoop;
use amend_core::record::Item;
use amend_core::record::Outcome;
use amend_core::record::Step;
use amend_data::rows::input;
use amend_data::rows::input::Input;
use amend_data::store::manifest::InputSummary;
use amend_engine::LoadedModel;

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
    let mut items = input::read(&inputs, args.field.as_deref())?;
    args.recording.truncate(&mut items);
    if let Some(first) = args.preview {
        items.truncate(usize::try_from(first).unwrap_or(usize::MAX));
    }
    let files = inputs.iter().map(Input::name).collect();
    let summary = InputSummary::new(files, &items);
    let mut job = args.job.job(config, &summary.sha256)?;
    job.cohorts = args.recording.reproducible;
    let out = match &args.recording.out {
        _ if args.dry_run || args.preview.is_some() => None,
        Some(out) => Some(out),
        None => return Err(CommandError::usage("no run directory is given", "pass --out DIR")),
    };
    if out.is_some() {
        args.recording.check_out()?;
    }
    let (mut model, judge) = args.recording.models(&args.model, config)?;
    args.measure_costs(&mut model, items.len())?;
    interrupt::listen();
    let mut engine = model.engine()?;
    let mut judge = judge.as_ref().map(LoadedModel::engine).transpose()?;

    if args.dry_run {
        return dry_run::run(&*engine, &job, &items);
    }
    let engines = Engines::new(&mut *engine, &mut judge);
    let Some(out) = out else {
        return preview(engines, &job, items);
    };
    let recorded = args.recording.record("run", out, engines, &job, items, summary)?;
    recorded.print_summary(Some("export"));
    recorded.result()
}

/// The least number of items for which measuring the costs of batches pays off.
const WORTH_MEASURING: usize = 32;

impl RunArgs {
    /// Measures what batches cost, if that is unknown and the width of a long run
    /// is not given. A reproducible run that is resumed keeps the costs that it
    /// started with.
    fn measure_costs(&self, loaded: &mut LoadedModel, items: usize) -> Result<(), CommandError> {
        let Some((model, settings)) = loaded.llama_mut() else { return Ok(()) };
        if self.recording.out.is_some()
            && settings.parallel == 0
            && items >= WORTH_MEASURING
            && self.recording.costs()?.is_none()
            && calibration::known(model, settings).is_none()
        {
            tracing::info!("measuring once what batches cost on this machine");
            settings.costs = calibration::measured(model, settings)?;
        }
        Ok(())
    }
}

/// Runs items and shows them, without writing a run.
fn preview(engines: Engines<'_>, job: &Job, items: Vec<Item>) -> Result<(), CommandError> {
    let mut preview = Preview { show: Show::new(Output::stdout()), failed: false };
    let work = items.into_iter().map(|item| Work { item: Arc::new(item), steps: Vec::new() });
    match drive(engines, job, work, &mut preview)? {
        Ended::Stopped => Err(CommandError::interrupted()),
        Ended::Done if preview.failed => Err(CommandError::reported()),
        Ended::Done => Ok(()),
    }
}

struct Preview {
    show: Show,
    failed: bool,
}

impl Observer for Preview {
    type Error = CommandError;

    fn stops(&mut self) -> bool {
        interrupt::requested()
    }

    fn step(&mut self, _: &ItemLoop, _: &Step) -> Result<(), CommandError> {
        Ok(())
    }

    fn end(&mut self, trajectory: &ItemLoop, outcome: Outcome) -> Result<(), CommandError> {
        self.failed |= matches!(outcome, Outcome::Failed { .. });
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

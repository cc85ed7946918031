//! `amend run`: many prompts, into a run directory that can be resumed.

mod dry_run;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use crate::cli::args::config::Config;
use crate::cli::args::loop_args::LoopArgs;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::output::error::CliError;
use crate::cli::output::show::Show;
use crate::cli::output::terminal;
use crate::session::RecordArgs;
use crate::session::interrupt;
use crate::session::measured_costs as calibration;
use amend_core::driver::{Ended, Engines, Job, Observer, Work, drive};
use amend_core::procedure::Trajectory;
use amend_core::record::Item;
use amend_core::record::Outcome;
use amend_core::record::Step;
use amend_data::rows::input;
use amend_data::rows::input::Input;
use amend_data::store::manifest::InputSummary;
use amend_engine::Loaded;

/// Make preference data of many prompts, in a run directory
///
/// Input is JSON lines (a string, {prompt}, or {messages}; id and other keys
/// are kept), plain text with a prompt a line, or `-` for stdin. A run that was
/// interrupted goes on with --resume; nothing finished is lost or done again.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Input files; `-` is stdin
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// The key that holds the prompt [default: the first common name found]
    #[arg(long, value_name = "KEY")]
    field: Option<String>,
    /// Count the tokens of what would run; generate nothing
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
/// Bad input, a run directory that can't be written or resumed, an engine that
/// can't go on; [`CliError::Findings`] when items failed.
pub fn run(args: &RunArgs, config: &Config) -> Result<(), CliError> {
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
        None => return Err(CliError::usage("there is no run directory", "name one: --out DIR")),
    };
    if out.is_some() {
        args.recording.check_out()?;
    }
    let (mut model, judge) = args.recording.models(&args.model, config)?;
    args.measure_costs(&mut model, items.len())?;
    interrupt::listen();
    let mut engine = model.engine()?;
    let mut judge = judge.as_ref().map(Loaded::engine).transpose()?;

    if args.dry_run {
        return dry_run::run(&*engine, &job, &items);
    }
    let engines = Engines::new(&mut *engine, &mut judge);
    let Some(out) = out else {
        return preview(engines, &job, items);
    };
    let recorded = args.recording.record("run", out, engines, &job, items, summary)?;
    recorded.tell(Some("export"))?;
    recorded.result()
}

/// A run of fewer items is over before a measurement has paid for itself.
const WORTH_MEASURING: usize = 32;

impl RunArgs {
    /// Measures what batches cost, where it isn't known and a long run is given no
    /// width. A reproducible run goes on with what it began with.
    fn measure_costs(&self, loaded: &mut Loaded, items: usize) -> Result<(), CliError> {
        let Loaded::File { model, settings } = loaded else { return Ok(()) };
        if self.recording.out.is_some()
            && settings.parallel == 0
            && items >= WORTH_MEASURING
            && self.recording.costs()?.is_none()
            && calibration::known(model, settings).is_none()
        {
            tracing::info!("measuring what batches cost here, once");
            settings.costs = calibration::measured(model, settings)?;
        }
        Ok(())
    }
}

/// Runs items and shows them; writes no run.
fn preview(engines: Engines<'_>, job: &Job, items: Vec<Item>) -> Result<(), CliError> {
    let mut shown = Preview { show: Show::new(terminal::stdout_color()), failed: false };
    let work = items.into_iter().map(|item| Work { item: Arc::new(item), steps: Vec::new() });
    match drive(engines, job, work, &mut shown)? {
        Ended::Stopped => Err(CliError::Interrupted),
        Ended::Done if shown.failed => Err(CliError::Findings),
        Ended::Done => Ok(()),
    }
}

struct Preview {
    show: Show,
    failed: bool,
}

impl Observer for Preview {
    type Error = CliError;

    fn stops(&mut self) -> bool {
        interrupt::requested()
    }

    fn step(&mut self, _: &Trajectory, _: &Step) -> Result<(), CliError> {
        Ok(())
    }

    fn end(&mut self, trajectory: &Trajectory, outcome: Outcome) -> Result<(), CliError> {
        self.failed |= matches!(outcome, Outcome::Failed { .. });
        let mut out = io::stdout().lock();
        let item = trajectory.item();
        let mut write = || {
            let asked = item.messages.last().map_or("", |message| message.content.as_str());
            self.show.heading(&mut out, &format!("row {}: {asked}\n", item.row))?;
            for step in trajectory.steps() {
                self.show.step(&mut out, trajectory.constitution(), step)?;
            }
            self.show.end(&mut out, &outcome)
        };
        write().map_err(CliError::Output)
    }
}

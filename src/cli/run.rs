//! `amend run`: many prompts, into a run directory that can be resumed.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::config::Config;
use super::dry_run;
use super::error::CliError;
use super::loop_args::LoopArgs;
use super::model_args::ModelArgs;
use super::progress::Progress;
use super::show::Show;
use super::{interrupt, terminal};
use crate::dataset::input::{self, Input};
use crate::dataset::item::Item;
use crate::dataset::journal::{Outcome, Progress as ItemProgress, Record, State};
use crate::dataset::manifest::{FORMAT, Hashed, InputSummary, Manifest};
use crate::dataset::run_dir::{RunDir, RunWriter};
use crate::driver::{self, Ended, Job, Observer, Work, drive};
use crate::engine::llama::Llama;
use crate::engine::{Counters, Description, Engine};
use crate::trajectory::{Step, Trajectory};

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
    /// The run directory to make, or to resume
    #[arg(short, long, value_name = "DIR", required_unless_present_any = ["dry_run", "preview"])]
    out: Option<PathBuf>,
    /// The key that holds the prompt [default: the first common name found]
    #[arg(long, value_name = "KEY")]
    field: Option<String>,
    /// Take the first N rows only
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    limit: Option<u64>,
    /// Go on with the run in the directory
    #[arg(long)]
    resume: bool,
    /// With --resume: do the items again that failed
    #[arg(long, requires = "resume")]
    retry_errors: bool,
    /// Give the same bytes on every run and however often it is interrupted,
    /// on one machine with one setting of the engine: slower, since items are
    /// taken in cohorts
    #[arg(long, conflicts_with = "retry_errors")]
    reproducible: bool,
    /// Stop once N items have failed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_errors: Option<u64>,
    /// Count the tokens of what would run; generate nothing
    #[arg(long, conflicts_with_all = ["preview", "resume"])]
    dry_run: bool,
    /// Run the first N rows and show them; write nothing
    #[arg(long, value_name = "N", conflicts_with = "resume", value_parser = clap::value_parser!(u64).range(1..))]
    preview: Option<u64>,
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
    let limit = [args.limit, args.preview].into_iter().flatten().min();
    if let Some(limit) = limit {
        items.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
    }
    let files = inputs.iter().map(Input::name).collect();
    let summary = InputSummary::new(files, &items);
    let mut job = args.job.job(config, &summary.sha256)?;
    job.cohorts = args.reproducible;
    args.check_out()?;
    let (model, settings) = args.model.load(config)?;
    interrupt::listen();
    let mut engine = Llama::new(&model, &settings)?;

    if args.dry_run {
        return dry_run::run(&engine, &job, &items);
    }
    if args.preview.is_some() {
        return preview(&mut engine, &job, items);
    }
    let Some(out) = &args.out else {
        return Err(CliError::usage("there is no run directory", "name one: --out DIR"));
    };
    let manifest = manifest(&job, summary, engine.describe()?, args)?;
    let (mut writer, mut state) = if args.resume {
        RunDir::resume(out, &manifest)?
    } else {
        (RunDir::create(out, &manifest)?, State::default())
    };
    let before = Tally::of(&state);
    let mut retried = 0;
    if args.retry_errors {
        for item in &items {
            if let Some(ItemProgress::Failed(_)) = state.get(&item.key) {
                writer.append(&Record::Retry { item: item.key.clone() })?;
                retried += 1;
            }
        }
    }
    let total = items.len() as u64;
    let work = driver::left(items, &mut state, args.retry_errors);

    let mut recorder = Recorder {
        writer,
        progress: Progress::new(total, total - work.len() as u64),
        done: 0,
        failed: 0,
        decoded: 0,
        max_errors: args.max_errors,
    };
    let ended = drive(&mut engine, &job, work, &mut recorder);
    let Recorder { progress, done, failed, .. } = recorder;
    drop(progress);
    let tally = Tally { done: before.done + done, failed: before.failed - retried + failed };
    tally.tell(total, engine.counters(), out)?;
    match ended? {
        Ended::Stopped if interrupt::requested() => Err(CliError::Interrupted),
        Ended::Stopped | Ended::Done if tally.failed > 0 => Err(CliError::Findings),
        Ended::Stopped | Ended::Done => Ok(()),
    }
}

impl RunArgs {
    /// Refuses a run directory that can't be meant, before a model is loaded
    /// for it.
    fn check_out(&self) -> Result<(), CliError> {
        match &self.out {
            Some(out) if self.resume => RunDir::open(out).map(drop)?,
            Some(out) if !self.dry_run && self.preview.is_none() => RunDir::check_vacant(out)?,
            _ => {}
        }
        Ok(())
    }
}

fn manifest(
    job: &Job,
    input: InputSummary,
    engine: Description,
    args: &RunArgs,
) -> Result<Manifest, CliError> {
    // By way of the text, which has the shortest form of each number; a value
    // made directly would show 0.8 as the double next to it.
    let constitution = serde_json::to_string(&*job.constitution)
        .and_then(|text| serde_json::from_str(&text))
        .map_err(|error| CliError::Io {
            attempt: "write the constitution down".to_owned(),
            source: error.into(),
        })?;
    Ok(Manifest {
        format: FORMAT,
        amend: env!("CARGO_PKG_VERSION").to_owned(),
        model: engine.model,
        constitution: Hashed::json(constitution),
        templates: job
            .templates
            .sources()
            .into_iter()
            .map(|(name, text)| (name, Hashed::text(text)))
            .collect(),
        input,
        limit: args.limit,
        seed: args.job.seed,
        fence: job.fence.delimiter().to_owned(),
        reproducible: args.reproducible,
        settings: engine.settings,
    })
}

/// Items that ended.
#[derive(Debug, Clone, Copy, Default)]
struct Tally {
    done: u64,
    failed: u64,
}

impl Tally {
    fn of(state: &State) -> Self {
        let mut tally = Self::default();
        for (_, progress) in state.iter() {
            match progress {
                ItemProgress::Done => tally.done += 1,
                ItemProgress::Failed(_) => tally.failed += 1,
                ItemProgress::Unfinished(_) => {}
            }
        }
        tally
    }

    /// Says on stderr what came of the run, and what to do next.
    fn tell(self, total: u64, counters: Counters, out: &std::path::Path) -> Result<(), CliError> {
        let Self { done, failed } = self;
        let left = total - done - failed;
        let mut text = format!("{done} of {total} items done");
        if failed > 0 {
            text.push_str(&format!(", {failed} failed (--resume --retry-errors does them again)"));
        }
        if left > 0 {
            text.push_str(&format!(", {left} to go (--resume goes on)"));
        }
        if counters.batches == 0 {
            text.push_str("; there was nothing left to compute");
        } else {
            let prompts = counters.prefilled + counters.cached;
            let cached = 100 * counters.cached / prompts.max(1);
            text.push_str(&format!(
                "; {} tokens decoded in {:.0} s ({:.0} a second), {prompts} of prompts, {cached} % \
                 of these from the prefix cache",
                counters.decoded,
                counters.compute_seconds,
                counters.decoded as f64 / counters.compute_seconds.max(1e-9),
            ));
        }
        text.push_str(&format!("\nthe run is in {0}; next: amend export {0}", out.display()));
        writeln!(io::stderr(), "{text}").map_err(CliError::Output)
    }
}

/// Writes what happens to the journal.
struct Recorder {
    writer: RunWriter,
    progress: Progress,
    done: u64,
    failed: u64,
    decoded: u64,
    max_errors: Option<u64>,
}

impl Observer for Recorder {
    type Error = CliError;

    fn stops(&mut self) -> bool {
        interrupt::requested() || self.max_errors.is_some_and(|most| self.failed >= most)
    }

    fn step(&mut self, trajectory: &Trajectory, step: &Step) -> Result<(), CliError> {
        self.decoded += u64::from(step.usage.decoded);
        self.progress.tokens(self.decoded);
        let item = trajectory.item().key.clone();
        Ok(self.writer.append(&Record::Step { item, step: step.clone() })?)
    }

    fn end(&mut self, trajectory: &Trajectory, outcome: Outcome) -> Result<(), CliError> {
        let item = Item::clone(trajectory.item());
        match &outcome {
            Outcome::Done { .. } => self.done += 1,
            Outcome::Failed { failure } => {
                self.failed += 1;
                tracing::warn!(key = item.key, "row {}: {failure}", item.row);
            }
        }
        self.progress.item();
        Ok(self.writer.append(&Record::End { item, outcome })?)
    }
}

/// Runs items and shows them; writes no run.
fn preview(engine: &mut Llama<'_>, job: &Job, items: Vec<Item>) -> Result<(), CliError> {
    let mut shown = Preview { show: Show::new(terminal::stdout_color()), failed: false };
    let work = items.into_iter().map(|item| Work { item: Arc::new(item), steps: Vec::new() });
    match drive(engine, job, work, &mut shown)? {
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

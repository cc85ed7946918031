//! What the commands share that send many items to a model. A session of a recorded
//! command has three parts: prepare the items ([`Session::prepare`]), run them and record
//! the results in a run directory ([`Session::run`]), and finish with the files that are
//! derived from the run ([`Finished`]).

pub mod batch;
pub mod interrupt;
mod longest;
mod manifest;
mod meter;
mod models;
mod recorder;
mod records;
pub mod rehearsal;
mod shard;
mod summary;
mod unrecorded;
mod worker;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Serialize;
use tempfile::TempDir;

use crate::cli::args::recording::RecordArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::next::{self, AmendCall};
use crate::cli::output::print;
use amend_core::driver::{Ended, Engines, Job, drive};
use amend_core::procedure::Procedure;
use amend_core::record::{Item, Step};
use amend_data::items::{ItemFaults, ItemSource};
use amend_data::store;
use amend_data::store::governance_log::GovernanceLog;
use amend_data::store::journal::{Record, State};
use amend_data::store::manifest::Manifest;
use amend_data::store::run_dir::files::{FIGURES, SKIPPED};
use amend_data::store::run_dir::{RunDir, RunWriter};
use amend_data::store::sharded::{Done, Heartbeat};
use amend_data::store::trajectories::{Trajectories, Trajectory};

use meter::Meter;
pub use models::{ModelEngines, Models, recorded_settings};
pub use recorder::EndWatcher;
use recorder::Recorder;
use shard::ShardPlace;
use summary::{Summary, Tally};
pub use unrecorded::run_unrecorded;
pub use worker::{WorkerOptions, run_worker};

/// The items of a session, before the job is known.
pub struct PreparedSession<'a> {
    args: &'a RecordArgs,
    command: &'static str,
    source: Arc<ItemSource>,
}

/// A recorded command that is ready to run.
pub struct Session<'a> {
    /// What all items have in common.
    pub job: Job,
    args: &'a RecordArgs,
    command: &'static str,
    source: Arc<ItemSource>,
    destination: Destination,
    /// The shard that the run directory is, if the run is in shards.
    place: Option<ShardPlace>,
    /// Whether the run directory exists and the run continues.
    resumes: bool,
    /// Whether the engines were asked what they can do.
    is_probed: bool,
    is_interrupted: fn() -> bool,
}

/// The run's output directory: `--out`, or a temporary directory that is deleted on
/// drop.
struct Destination {
    path: PathBuf,
    _temporary: Option<TempDir>,
}

impl<'a> PreparedSession<'a> {
    /// The items.
    #[must_use]
    pub fn source(&self) -> &ItemSource {
        &self.source
    }

    /// Adds the job, and checks the run directory before a model is loaded.
    ///
    /// # Errors
    /// There is no run to resume, the directory for a new run is not empty, the shards of the run
    /// have another plan, or a temporary directory can't be created.
    pub fn with_job(self, job: Job) -> Result<Session<'a>, CommandError> {
        let Self { args, command, source } = self;
        let place = ShardPlace::new(args, &source);
        let resumes = match (&place, &args.out) {
            (Some(place), _) => place.resumes(args.resume)?,
            (None, Some(out)) if args.resume => RunDir::check_resumable(out).map(|()| true)?,
            (None, Some(out)) => RunDir::check_vacant(out).map(|()| false)?,
            (None, None) if args.resume => {
                return Err(CommandError::usage(
                    "--resume needs the directory of the run",
                    "pass --out DIR",
                ));
            }
            (None, None) => false,
        };
        let destination = match &place {
            Some(place) => Destination::new(Some(&place.folder()))?,
            None => Destination::new(args.out.as_deref())?,
        };
        let session = Session {
            job: Job { cohorts: args.reproducible, ..job },
            args,
            command,
            source,
            destination,
            place,
            resumes,
            is_probed: false,
            is_interrupted: interrupt::requested,
        };
        session.check_plan()?;
        Ok(session)
    }
}

impl Destination {
    fn new(out: Option<&Path>) -> Result<Self, CommandError> {
        if let Some(out) = out {
            return Ok(Self { path: out.to_owned(), _temporary: None });
        }
        let folder = tempfile::tempdir().map_err(|source| {
            CommandError::failed("create a temporary directory for the run", source)
        })?;
        Ok(Self { path: folder.path().join("run"), _temporary: Some(folder) })
    }
}

impl<'a> Session<'a> {
    /// Prepares the items of `command`.
    #[must_use]
    pub fn prepare(
        args: &'a RecordArgs,
        command: &'static str,
        source: impl Into<Arc<ItemSource>>,
    ) -> PreparedSession<'a> {
        PreparedSession { args, command, source: source.into() }
    }

    /// The item with the longest texts, if it is known.
    #[must_use]
    pub fn longest_item(&self) -> Option<&Arc<Item>> {
        self.source.longest.as_ref()
    }

    /// Starts a new run with steps of some items, as if it had been interrupted after
    /// them. Does nothing if the session resumes a run, which has these steps already.
    ///
    /// # Errors
    /// `steps` fails, the run directory can't be written, or an engine can't do what the run
    /// needs.
    pub fn start_with(
        &mut self,
        engines: &mut Engines<'_>,
        steps: impl FnOnce(&Manifest) -> Result<Vec<(String, Vec<Step>)>, CommandError>,
    ) -> Result<(), CommandError> {
        if self.resumes {
            return Ok(());
        }
        self.probe(engines)?;
        let manifest = self.manifest(engines)?;
        let steps = steps(&manifest)?;
        self.create(&manifest)?.begin(steps)?;
        self.resumes = true;
        Ok(())
    }

    /// The run directory, which [`Session::start_with`] or an earlier session has created.
    ///
    /// # Errors
    /// It can't be read.
    pub fn dir(&self) -> Result<RunDir, CommandError> {
        Ok(RunDir::open(&self.destination.path)?)
    }

    /// Runs the job over the items, records everything in the run directory, and prints
    /// a summary. `watcher` receives the items that end.
    ///
    /// # Errors
    /// The run directory can't be written or resumed, an engine fails or can't do what the run
    /// needs, or the user interrupts the run. Items that fail are no error yet: see [`Finished::finish`].
    pub fn run<'e, 'w>(
        mut self,
        engines: impl Into<Engines<'e>>,
        watcher: Option<&'w mut EndWatcher<'w>>,
    ) -> Result<Finished, CommandError> {
        let mut engines = engines.into();
        if !self.resumes {
            self.probe(&mut engines)?;
        }
        let manifest = self.manifest(&engines)?;
        let out = &self.destination.path;
        let (mut writer, mut state) = if self.resumes {
            RunDir::resume(out, &manifest)?
        } else {
            (self.create(&manifest)?, State::default())
        };
        if self.place.is_some() {
            Done::remove(out)?;
        }
        // Only the loop produces output that must be logged.
        let governance_log = if matches!(self.job.procedure, Procedure::Revise { .. }) {
            GovernanceLog::open(&self.job.constitution, out, manifest.model)?
        } else {
            None
        };
        let mut tally = Tally::from_state(&state);
        if self.args.retry_errors {
            tally.failed -= record_retries(&mut writer, &state)?;
        }
        if self.source.skipped.count() > 0 {
            writer.dir().derive(SKIPPED, |out| self.source.skipped.write(out))?;
        }
        let total = self.source.summary.rows;
        // The manifest says that the run has the same items, so all of these are among them.
        let done_before = tally.done + tally.failed;
        if done_before < total {
            self.probe(&mut engines)?;
        }
        let mut faults = None;
        let items = until_fault(self.source.items(), &mut faults);
        let work = store::left(items, &mut state, self.args.retry_errors);
        let meter = Meter::new(&self.job, total, done_before);
        let mut recorder = Recorder::new(writer, governance_log, meter);
        recorder.watcher = watcher;
        recorder.max_errors = self.args.max_errors;
        recorder.is_interrupted = self.is_interrupted;
        if self.place.is_some() {
            let Tally { done, failed } = tally;
            let heartbeat = Heartbeat::new(&self.destination.path, total, done, failed);
            recorder.report_progress(heartbeat);
        }
        let kept_in = self.args.out.as_deref();
        if let Some(out) = kept_in {
            let out = out.display();
            interrupt::continues_with(&format!("the run is in {out}\n{}", next::line(resuming())));
        }
        let ended = drive(&mut engines, &self.job, work, &mut recorder);
        let (writer, in_session, steps) = recorder.finish();
        tally.done += in_session.done;
        tally.failed += in_session.failed;
        if let Some(place) = &self.place
            && ended.is_ok()
            && faults.is_none()
            && tally.done + tally.failed == total
        {
            place.end(&writer, tally)?;
        }
        let dir = writer.into_dir();
        let counters = engines.counters();
        let engines = engines.report();
        let in_session = in_session.done + in_session.failed;
        let summary = Summary { total, tally, in_session, counters, engines, steps, kept_in };
        summary.print();
        if let Some(faults) = faults {
            return Err(faults.into());
        }
        let is_ended = tally.done + tally.failed == total;
        let next = match kept_in {
            Some(_) if !is_ended => Next::Call(resuming()),
            Some(out) if self.place.is_some() => Next::Call(AmendCall::new("status").arg(out)),
            Some(out) if tally.done > 0 => Next::Read(out.to_owned()),
            Some(_) | None => Next::Nothing,
        };
        if ended? == Ended::Stopped && (self.is_interrupted)() {
            if let Next::Call(call) = next {
                next::print(call);
            }
            return Err(CommandError::interrupted());
        }
        Ok(Finished {
            dir,
            job: self.job,
            source: self.source,
            resumed: self.resumes,
            failed: tally.failed,
            has_new_ends: in_session > 0,
            next,
            _destination: self.destination,
        })
    }

    /// Creates the run directory.
    ///
    /// # Errors
    /// It is not empty, can't be written, or the shards of the run have another plan.
    fn create(&self, manifest: &Manifest) -> Result<RunWriter, CommandError> {
        if let Some(place) = &self.place {
            place.agree(manifest)?;
        }
        Ok(RunDir::create(&self.destination.path, manifest)?)
    }

    /// Lets the engines find out, once, whether they can do what the run needs. A run that is
    /// resumed keeps its way to ask for choices.
    ///
    /// # Errors
    /// An engine fails, or can't do it.
    fn probe(&mut self, engines: &mut Engines<'_>) -> Result<(), CommandError> {
        if std::mem::replace(&mut self.is_probed, true) {
            return Ok(());
        }
        let recorded_way = if self.resumes {
            manifest::recorded_way(RunDir::open(&self.destination.path)?.manifest())
        } else {
            // All shards ask for choices in one way.
            match &self.place {
                Some(place) => {
                    place.plan()?.and_then(|plan| manifest::recorded_way(&plan.manifest))
                }
                None => None,
            }
        };
        Ok(engines.probe(&self.job, recorded_way.as_deref())?)
    }
}

/// The call that continues a run of this process.
fn resuming() -> AmendCall {
    AmendCall::this().with(&["--resume"])
}

/// Records that failed items are tried again, and returns how many.
fn record_retries(writer: &mut RunWriter, state: &State) -> Result<u64, CommandError> {
    for key in state.failed() {
        writer.append(&Record::Retry { item: key.to_owned() })?;
    }
    Ok(state.failed().len() as u64)
}

/// The items up to the first fault, which is put into `faults`.
fn until_fault(
    items: impl Iterator<Item = Result<Arc<Item>, ItemFaults>>,
    faults: &mut Option<ItemFaults>,
) -> impl Iterator<Item = Arc<Item>> {
    items.map_while(move |item| match item {
        Ok(item) => Some(item),
        Err(error) => {
            *faults = Some(error);
            None
        }
    })
}

/// What to do after a session.
enum Next {
    /// This call, which goes on with the run.
    Call(AmendCall),
    /// Read the run in this directory.
    Read(PathBuf),
    Nothing,
}

/// A recorded run that was not interrupted. Items may have failed.
pub struct Finished {
    dir: RunDir,
    job: Job,
    source: Arc<ItemSource>,
    /// Whether some items may have been recorded by an earlier session.
    resumed: bool,
    /// The number of items that failed.
    failed: u64,
    /// Whether items ended in this session.
    has_new_ends: bool,
    next: Next,
    // The run directory exists as long as this.
    _destination: Destination,
}

impl Finished {
    /// The run directory, for reading.
    #[must_use]
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// The run directory, if it stays, is no shard, and has all items, some of them done.
    #[must_use]
    pub fn complete_run(&self) -> Option<&Path> {
        match &self.next {
            Next::Read(run) => Some(run),
            Next::Call(_) | Next::Nothing => None,
        }
    }

    /// The call of a command on the complete run.
    #[must_use]
    pub fn next_call(&self, command: &str) -> Option<AmendCall> {
        Some(AmendCall::new(command).arg(self.complete_run()?))
    }

    /// Whether items ended in this session.
    #[must_use]
    pub fn has_new_ends(&self) -> bool {
        self.has_new_ends
    }

    /// What all items have in common.
    #[must_use]
    pub fn job(&self) -> &Job {
        &self.job
    }

    /// Makes rows of each ended item, with the metadata that it has in the input now.
    ///
    /// # Errors
    /// The journal can't be read, or the input has changed.
    pub fn rows<R, I: IntoIterator<Item = R>>(
        &self,
        rows: impl Fn(&Trajectory) -> I,
    ) -> Result<Vec<R>, CommandError> {
        let mut trajectories: Trajectories = self.dir.trajectories()?;
        if self.resumed {
            trajectories = trajectories.with_items(self.source.items())?;
        }
        let mut all = Vec::new();
        for trajectory in trajectories {
            all.extend(rows(&trajectory?));
        }
        Ok(all)
    }

    /// Writes the results to the run directory: `rows` as JSON Lines in the file
    /// `name`, and `figures` in figures.json.
    ///
    /// # Errors
    /// A file can't be written.
    pub fn derive<R: Serialize>(
        &self,
        name: &'static str,
        rows: &[R],
        figures: &impl Serialize,
    ) -> Result<(), CommandError> {
        self.dir.derive(name, |out| print::write_json_lines(out, rows))?;
        self.derive_document(FIGURES, figures)
    }

    /// Writes a JSON document to the file `name` in the run directory.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn derive_document(
        &self,
        name: &'static str,
        value: &impl Serialize,
    ) -> Result<(), CommandError> {
        self.dir.derive(name, |out| out.write_all(print::json_text(value)?.as_bytes()))?;
        Ok(())
    }

    /// Ends the session, after everything else is written and printed. Prints the call to do
    /// next: `next`, unless the run is not complete.
    ///
    /// # Errors
    /// Items failed: [`CommandError::reported`].
    pub fn finish(self, next: Option<AmendCall>) -> Result<(), CommandError> {
        let call = match self.next {
            Next::Call(call) => Some(call),
            Next::Read(_) | Next::Nothing => next,
        };
        if let Some(call) = call {
            next::print(call);
        }
        if self.failed > 0 { Err(CommandError::reported()) } else { Ok(()) }
    }
}

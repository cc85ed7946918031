//! Writes steps and outcomes to the journal, and shows the progress.

use std::cell::Cell;
use std::rc::Rc;

use super::interrupt;
use super::meter::Meter;
use super::summary::{StepCounts, Tally};
use crate::cli::output::error::CommandError;
use amend_core::driver::Observer;
use amend_core::procedure::{ItemLoop, StepRequest};
use amend_core::record::{Item, Outcome, Step};
use amend_data::store::governance_log::GovernanceLog;
use amend_data::store::journal::Record;
use amend_data::store::run_dir::RunWriter;
use amend_data::store::sharded::{Heartbeat, SessionCounts};

/// Receives each item of a session when it has ended, with its outcome.
pub type EndWatcher<'w> = dyn FnMut(&ItemLoop, &Outcome) -> Result<(), CommandError> + 'w;

/// Records what happens to the items of a session.
pub(super) struct Recorder<'w> {
    /// The number of failed items at which the session stops.
    pub(super) max_errors: Option<u64>,
    /// Whether the user asked to stop.
    pub(super) is_interrupted: fn() -> bool,
    /// Whether an engine can do nothing more in this session.
    pub(super) at_standstill: Rc<Cell<bool>>,
    writer: RunWriter,
    governance_log: Option<GovernanceLog>,
    /// The ends of items since the engines' last step. They are written together once the
    /// governance log is on the disk, so that no output is recorded as done without being logged.
    ends: Vec<Record>,
    meter: Meter,
    /// The items that ended in this session.
    tally: Tally,
    steps: StepCounts,
    /// Receives items that end.
    pub(super) watcher: Option<&'w mut EndWatcher<'w>>,
    /// Of a shard: where the progress is written.
    heartbeat: Option<Heartbeat>,
}

impl<'w> Recorder<'w> {
    /// Records what happens to items.
    pub(super) fn new(
        writer: RunWriter,
        governance_log: Option<GovernanceLog>,
        meter: Meter,
    ) -> Self {
        Self {
            max_errors: None,
            is_interrupted: interrupt::requested,
            at_standstill: Rc::default(),
            writer,
            governance_log,
            ends: Vec::new(),
            meter,
            tally: Tally::default(),
            steps: StepCounts::default(),
            watcher: None,
            heartbeat: None,
        }
    }

    /// From now on writes the progress from time to time.
    pub(super) fn report_progress(&mut self, heartbeat: Heartbeat) {
        self.heartbeat = Some(heartbeat);
        self.beat(Heartbeat::write);
    }

    fn beat(&mut self, beat: fn(&mut Heartbeat, SessionCounts)) {
        if let Some(heartbeat) = &mut self.heartbeat {
            let Tally { done, failed } = self.tally;
            beat(heartbeat, SessionCounts { done, failed, decoded: self.meter.decoded() });
        }
    }

    /// Removes the progress bar. Returns the writer of the journal, and the counts of ended
    /// items and of steps.
    pub(super) fn finish(mut self) -> (RunWriter, Tally, StepCounts) {
        // After an error of the engine, the ends before it count.
        if let Err(error) = self.settled() {
            tracing::debug!(%error, "the last ends are not recorded");
        }
        self.beat(Heartbeat::write);
        (self.writer, self.tally, self.steps)
    }
}

impl Observer for Recorder<'_> {
    type Error = CommandError;

    fn stops(&mut self) -> bool {
        self.beat(Heartbeat::beat);
        self.meter.show();
        let has_too_many_errors = match self.max_errors {
            Some(limit) => self.tally.failed >= limit,
            None => false,
        };
        has_too_many_errors || self.at_standstill.get() || (self.is_interrupted)()
    }

    fn text(&mut self, _: &ItemLoop, _: &StepRequest, _: &str) -> Result<(), CommandError> {
        self.meter.text();
        Ok(())
    }

    fn step(&mut self, trajectory: &ItemLoop, step: &Step) -> Result<(), CommandError> {
        self.meter.step(step);
        self.steps.add(step);
        let item = trajectory.item().key.clone();
        Ok(self.writer.append(&Record::Step { item, step: step.clone() })?)
    }

    fn cohort(&mut self) -> Result<(), CommandError> {
        Ok(self.writer.append(&Record::Cohort {})?)
    }

    fn end(&mut self, trajectory: &ItemLoop, outcome: Outcome) -> Result<(), CommandError> {
        let item = Item::clone(trajectory.item());
        match &outcome {
            Outcome::Done { .. } => self.tally.done += 1,
            Outcome::Failed { failure } => {
                self.tally.failed += 1;
                tracing::warn!(key = item.key, "row {}: {failure}", item.row);
            }
        }
        self.meter.end(trajectory, &outcome);
        if let Some(watcher) = &mut self.watcher {
            watcher(trajectory, &outcome)?;
        }
        if let Some(log) = &mut self.governance_log {
            log.add(trajectory, &outcome)?;
        }
        self.ends.push(Record::End { item, outcome });
        Ok(())
    }

    fn settled(&mut self) -> Result<(), CommandError> {
        if let Some(log) = &mut self.governance_log {
            log.commit()?;
        }
        for end in self.ends.drain(..) {
            self.writer.append(&end)?;
        }
        Ok(self.writer.commit()?)
    }
}

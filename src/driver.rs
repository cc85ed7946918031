//! Takes items through the loop on an engine: renders what each trajectory
//! asks for, hands back what the engine answers, and tells an observer.
//!
//! As many items are under way as the engine decodes at once, and each has one
//! request with it; an item's next request follows before the engine's next
//! step, so that it finds its prefix in the cache.

use std::collections::HashMap;
use std::sync::Arc;

use crate::constitution::{Constitution, StepSampling};
use crate::dataset::item::Item;
use crate::dataset::journal::{Outcome, Progress, State};
use crate::engine::{Engine, EngineError, Event, Failure, Request, RequestId, Sampling, Task};
use crate::random::Stream;
use crate::template::{Fence, Templates};
use crate::trajectory::{Ask, Next, ReplayError, Step, StepKind, Trajectory};

/// What every item of a run has in common.
#[derive(Debug, Clone)]
pub struct Job {
    /// The principles and how the loop uses them.
    pub constitution: Arc<Constitution>,
    /// The wording of the prompts.
    pub templates: Arc<Templates>,
    /// What encloses content in them.
    pub fence: Fence,
    /// The run's random stream.
    pub stream: Stream,
    /// Decode every step to its last token, past the end of the turn: for
    /// measurements of fixed length.
    pub ignore_eos: bool,
    /// Take items in cohorts as wide as the engine, one after another, each on
    /// an engine that remembers nothing: an item's numbers then depend on its
    /// cohort alone, so that resuming at a cohort's start changes nothing.
    pub cohorts: bool,
}

impl Job {
    /// An item's loop before its first step.
    #[must_use]
    pub fn trajectory(&self, item: Arc<Item>) -> Trajectory {
        let stream = self.stream.child(&item.key);
        Trajectory::new(self.constitution.clone(), item, stream, self.fence.clone())
    }
}

/// An item to take through the loop, and the steps it has behind it.
#[derive(Debug, Clone)]
pub struct Work {
    /// The item.
    pub item: Arc<Item>,
    /// Steps recorded before an interruption.
    pub steps: Vec<Step>,
}

/// What of a run's items is left to do: those that have not ended and, where
/// `retry` says so, those that failed, from their first step.
#[must_use]
pub fn left(items: Vec<Item>, state: &mut State, retry: bool) -> Vec<Work> {
    items
        .into_iter()
        .filter_map(|item| {
            let is_left = match state.get(&item.key) {
                None | Some(Progress::Unfinished(_)) => true,
                Some(Progress::Failed(_)) => retry,
                Some(Progress::Done) => false,
            };
            is_left.then(|| Work { steps: state.take_steps(&item.key), item: Arc::new(item) })
        })
        .collect()
}

/// Is told what happens, in the order it happens.
pub trait Observer {
    /// Why it may give up: the drive ends with it.
    type Error;

    /// Asked before each engine step: true ends the drive, with what is under
    /// way dropped.
    fn stops(&mut self) -> bool {
        false
    }

    /// A call decoded more text.
    ///
    /// # Errors
    /// As the observer sees fit.
    fn text(&mut self, _: &Trajectory, _: &Ask, _: &str) -> Result<(), Self::Error> {
        Ok(())
    }

    /// An item's step is done.
    ///
    /// # Errors
    /// As the observer sees fit.
    fn step(&mut self, trajectory: &Trajectory, step: &Step) -> Result<(), Self::Error>;

    /// Every item of a cohort ended.
    ///
    /// # Errors
    /// As the observer sees fit.
    fn cohort(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// An item's loop ended.
    ///
    /// # Errors
    /// As the observer sees fit.
    fn end(&mut self, trajectory: &Trajectory, outcome: Outcome) -> Result<(), Self::Error>;
}

/// How a drive ended without error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// Every item ended.
    Done,
    /// The observer stopped it.
    Stopped,
}

/// Why a drive failed.
#[derive(Debug, thiserror::Error)]
pub enum DriveError<E> {
    /// The engine can't go on.
    #[error(transparent)]
    Engine(EngineError),
    /// The observer gave up.
    #[error(transparent)]
    Observer(E),
    /// An item's recorded steps are not those its loop would take.
    #[error("item {key} can't go on from its recorded steps")]
    Replay {
        /// The item.
        key: String,
        /// What is out of place.
        source: ReplayError,
    },
}

/// An item under way and the call it waits for.
struct Flight {
    trajectory: Trajectory,
    ask: Ask,
}

struct Drive<'a, O> {
    engine: &'a mut dyn Engine,
    job: &'a Job,
    observer: &'a mut O,
    flights: HashMap<RequestId, Flight>,
    requests: RequestId,
}

/// Takes every item through the loop.
///
/// # Errors
/// The engine's and the observer's; recorded steps that don't fit their item.
/// What goes wrong with one item ends that item alone.
pub fn drive<O: Observer>(
    engine: &mut dyn Engine,
    job: &Job,
    work: impl IntoIterator<Item = Work>,
    observer: &mut O,
) -> Result<Ended, DriveError<O::Error>> {
    let width = engine.width();
    let mut drive = Drive { engine, job, observer, flights: HashMap::new(), requests: 0 };
    let mut work = work.into_iter();
    let mut events = Vec::new();
    let mut in_cohort = false;
    loop {
        if drive.observer.stops() {
            for &id in drive.flights.keys() {
                drive.engine.cancel(id);
            }
            return Ok(Ended::Stopped);
        }
        if job.cohorts {
            if drive.flights.is_empty() {
                if in_cohort {
                    drive.observer.cohort().map_err(DriveError::Observer)?;
                    drive.engine.reset();
                }
                in_cohort = false;
                for next in work.by_ref().take(width) {
                    in_cohort = true;
                    drive.begin(next)?;
                }
            }
        } else {
            while drive.flights.len() < width
                && let Some(next) = work.next()
            {
                drive.begin(next)?;
            }
        }
        if drive.flights.is_empty() {
            if in_cohort {
                // All of them ended without a call.
                continue;
            }
            return Ok(Ended::Done);
        }
        drive.engine.step(&mut events).map_err(DriveError::Engine)?;
        for event in events.drain(..) {
            drive.take(event)?;
        }
    }
}

impl<O: Observer> Drive<'_, O> {
    /// Takes up an item, after the steps it has behind it.
    fn begin(&mut self, Work { item, steps }: Work) -> Result<(), DriveError<O::Error>> {
        let mut trajectory = self.job.trajectory(item.clone());
        for step in steps {
            trajectory
                .replay(step)
                .map_err(|source| DriveError::Replay { key: item.key.clone(), source })?;
        }
        self.go_on(trajectory, None)
    }

    fn take(&mut self, event: Event) -> Result<(), DriveError<O::Error>> {
        match event {
            Event::Text { id, text } => match self.flights.get(&id) {
                Some(Flight { trajectory, ask }) => {
                    self.observer.text(trajectory, ask, &text).map_err(DriveError::Observer)
                }
                None => Ok(()),
            },
            Event::Done { id, completion } => {
                let Some(Flight { mut trajectory, .. }) = self.flights.remove(&id) else {
                    return Ok(());
                };
                match trajectory.accept(completion) {
                    Ok(_) => {
                        self.tell_step(&trajectory)?;
                        self.go_on(trajectory, Some(id))
                    }
                    Err(failure) => self.fail(&trajectory, failure),
                }
            }
            Event::Failed { id, failure } => match self.flights.remove(&id) {
                Some(Flight { trajectory, .. }) => self.fail(&trajectory, failure),
                None => Ok(()),
            },
            Event::Chosen { .. } | Event::Scored { .. } => Ok(()),
        }
    }

    /// Asks the engine for an item's next step, or ends it. `previous` is the
    /// request whose completion was its last step.
    fn go_on(
        &mut self,
        mut trajectory: Trajectory,
        previous: Option<RequestId>,
    ) -> Result<(), DriveError<O::Error>> {
        if trajectory.accept_given().is_some() {
            self.tell_step(&trajectory)?;
        }
        let ask = match trajectory.next() {
            Next::Ask(ask) => ask,
            Next::Done(stop) => {
                let outcome = Outcome::Done { stop };
                return self.observer.end(&trajectory, outcome).map_err(DriveError::Observer);
            }
            Next::Given => unreachable!("the given answer was just accepted"),
        };
        let rendered = match self.job.templates.render(ask.kind, &trajectory.context(&ask)) {
            Ok(rendered) => rendered,
            Err(error) => return self.fail(&trajectory, error.into()),
        };
        self.requests += 1;
        let id = self.requests;
        self.engine.submit(Request {
            id,
            turns: rendered.turns,
            shared_turns: rendered.shared_turns,
            // A revision's prompt goes on from its critique's completion.
            continues: previous.filter(|_| ask.kind == StepKind::Revise),
            task: Task::Complete {
                sampling: sampling(&self.job.constitution.sampling, ask.kind).clone(),
                stream: ask.stream,
                ignore_eos: self.job.ignore_eos,
            },
        });
        self.flights.insert(id, Flight { trajectory, ask });
        Ok(())
    }

    fn tell_step(&mut self, trajectory: &Trajectory) -> Result<(), DriveError<O::Error>> {
        match trajectory.steps().last() {
            Some(step) => self.observer.step(trajectory, step).map_err(DriveError::Observer),
            None => Ok(()),
        }
    }

    fn fail(
        &mut self,
        trajectory: &Trajectory,
        failure: Failure,
    ) -> Result<(), DriveError<O::Error>> {
        self.observer.end(trajectory, Outcome::Failed { failure }).map_err(DriveError::Observer)
    }
}

/// The sampling of a step's kind.
#[must_use]
pub fn sampling(steps: &StepSampling, kind: StepKind) -> &Sampling {
    match kind {
        StepKind::Generate => &steps.generate,
        StepKind::Critique => &steps.critique,
        StepKind::Revise => &steps.revise,
    }
}

#[cfg(test)]
mod tests;

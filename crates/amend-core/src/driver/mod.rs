//! Takes items through the loop on an engine: renders what each trajectory
//! asks for, hands back what the engine answers, and tells an observer.
//!
//! As many items are under way as the engine decodes at once. What an item needs
//! next is submitted before the engine's next step, so that it finds its prefix
//! in the cache; judgements that share a prefix are submitted together.

mod call;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use crate::constitution::{Constitution, StepSampling};
use crate::model::{Counters, Engine, EngineError, Event, Failure, Request, RequestId, Sampling};
use crate::procedure::{Ask, Next, Procedure, ReplayError, Trajectory};
use crate::prompt::{Fence, Templates};
use crate::random::Stream;
use crate::record::Item;
use crate::record::Outcome;
use crate::record::{Step, StepKind};

use call::{Answer, Call};

/// What every item of a run has in common.
#[derive(Debug, Clone)]
pub struct Job {
    /// What every item is taken through.
    pub procedure: Procedure,
    /// The principles and how the loop uses them.
    pub constitution: Arc<Constitution>,
    /// The wording of the prompts.
    pub templates: Arc<Templates>,
    /// What encloses content in them.
    pub fence: Fence,
    /// The run's seed.
    pub seed: u64,
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
        Trajectory::new(
            self.procedure.clone(),
            self.constitution.clone(),
            item,
            stream,
            self.fence.clone(),
        )
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

/// What answers the requests.
pub struct Engines<'a> {
    /// Writes answers, critiques and revisions; and judges, unless another does.
    pub writer: &'a mut dyn Engine,
    /// Answers gates, verdicts and rubrics, and is the reference model.
    pub judge: Option<&'a mut dyn Engine>,
}

impl<'a> Engines<'a> {
    /// A model that writes, and one that judges if there is another.
    pub fn new<'m: 'a>(
        writer: &'a mut (dyn Engine + 'm),
        judge: &'a mut Option<Box<dyn Engine + 'm>>,
    ) -> Self {
        Self { writer, judge: judge.as_mut().map(|judge| &mut **judge as &mut dyn Engine) }
    }
}

impl<'a, 'm: 'a> From<&'a mut (dyn Engine + 'm)> for Engines<'a> {
    fn from(writer: &'a mut (dyn Engine + 'm)) -> Self {
        Self { writer, judge: None }
    }
}

impl<'a, E: Engine> From<&'a mut E> for Engines<'a> {
    fn from(writer: &'a mut E) -> Self {
        Self { writer, judge: None }
    }
}

impl<'a> From<&'a mut Engines<'_>> for Engines<'a> {
    fn from(engines: &'a mut Engines<'_>) -> Self {
        let judge = engines.judge.as_mut().map(|judge| &mut **judge as &mut dyn Engine);
        Self { writer: engines.writer, judge }
    }
}

impl Engines<'_> {
    /// How many items are worth having under way.
    fn width(&self) -> usize {
        self.writer.width()
    }

    /// The engine that takes a step of a kind.
    fn of(&mut self, kind: StepKind) -> &mut dyn Engine {
        match &mut self.judge {
            Some(judge) if !kind.is_writers() => *judge,
            _ => self.writer,
        }
    }

    /// The engine that judges.
    #[must_use]
    pub fn judging(&self) -> &dyn Engine {
        self.judge.as_deref().unwrap_or(self.writer)
    }

    fn each(&mut self, mut act: impl FnMut(&mut dyn Engine)) {
        act(self.writer);
        if let Some(judge) = &mut self.judge {
            act(*judge);
        }
    }

    /// The counts of both engines so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let counters = self.writer.counters();
        match &self.judge {
            Some(judge) => counters + judge.counters(),
            None => counters,
        }
    }
}

/// An item under way.
struct Flight {
    trajectory: Trajectory,
    /// The steps asked for and not accepted yet, in order.
    calls: VecDeque<Call>,
}

/// Whose a request is.
#[derive(Clone, Copy)]
struct Origin {
    flight: u64,
    /// The number of the step in the item's loop.
    step: usize,
    /// Which of the call's requests.
    part: usize,
}

struct Drive<'a, 'e, O> {
    engines: Engines<'e>,
    job: &'a Job,
    observer: &'a mut O,
    flights: HashMap<u64, Flight>,
    begun: u64,
    requests: HashMap<RequestId, (StepKind, Origin)>,
    submitted: RequestId,
}

/// Takes every item through the loop.
///
/// # Errors
/// The engine's and the observer's; recorded steps that don't fit their item.
/// What goes wrong with one item ends that item alone.
pub fn drive<'e, O: Observer>(
    engines: impl Into<Engines<'e>>,
    job: &Job,
    work: impl IntoIterator<Item = Work>,
    observer: &mut O,
) -> Result<Ended, DriveError<O::Error>> {
    let engines = engines.into();
    let width = engines.width();
    let mut drive = Drive {
        engines,
        job,
        observer,
        flights: HashMap::new(),
        begun: 0,
        requests: HashMap::new(),
        submitted: 0,
    };
    let mut work = work.into_iter();
    let mut in_cohort = false;
    loop {
        if drive.observer.stops() {
            drive.cancel(|_| true);
            return Ok(Ended::Stopped);
        }
        if job.cohorts {
            if drive.flights.is_empty() {
                if in_cohort {
                    drive.observer.cohort().map_err(DriveError::Observer)?;
                    drive.engines.each(|engine| engine.reset());
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
        for event in drive.step()? {
            drive.take(event)?;
        }
    }
}

impl<O: Observer> Drive<'_, '_, O> {
    /// Lets each engine that has requests take a step.
    fn step(&mut self) -> Result<Vec<Event>, DriveError<O::Error>> {
        let mut events = Vec::new();
        let mut step = |engine: &mut dyn Engine| engine.step(&mut events);
        match &mut self.engines.judge {
            None => drop(step(self.engines.writer).map_err(DriveError::Engine)?),
            Some(judge) => {
                let waits =
                    |writer| self.requests.values().any(|(kind, _)| kind.is_writers() == writer);
                if waits(true) {
                    step(self.engines.writer).map_err(DriveError::Engine)?;
                }
                if waits(false) {
                    step(*judge).map_err(DriveError::Engine)?;
                }
            }
        }
        Ok(events)
    }

    /// Takes up an item, after the steps it has behind it.
    fn begin(&mut self, Work { item, steps }: Work) -> Result<(), DriveError<O::Error>> {
        let mut trajectory = self.job.trajectory(item.clone());
        for step in steps {
            trajectory
                .replay(step)
                .map_err(|source| DriveError::Replay { key: item.key.clone(), source })?;
        }
        self.begun += 1;
        self.go_on(self.begun, trajectory, None)
    }

    fn take(&mut self, event: Event) -> Result<(), DriveError<O::Error>> {
        let (id, answer) = match event {
            Event::Text { id, text } => return self.text(id, &text),
            Event::Done { id, completion } => (id, Ok(Answer::Text(completion))),
            Event::Chosen { id, log_probs, usage } | Event::Scored { id, log_probs, usage } => {
                (id, Ok(Answer::LogProbs { log_probs, usage }))
            }
            Event::Failed { id, failure } => (id, Err(failure)),
        };
        let Some((_, origin)) = self.requests.remove(&id) else {
            return Ok(());
        };
        let Some(flight) = self.flights.get_mut(&origin.flight) else {
            return Ok(());
        };
        let call = flight.calls.iter_mut().find(|call| call.ask.step == origin.step);
        let more = match (call, answer) {
            (Some(call), Ok(answer)) => call.take(origin.part, answer),
            (None, Ok(_)) => return Ok(()),
            (_, Err(failure)) => Err(failure),
        };
        match more {
            Ok(true) => match self.submit(origin, Some(id)) {
                Ok(()) => Ok(()),
                Err(failure) => self.fail(origin.flight, failure),
            },
            Ok(false) => self.settle(origin.flight, id),
            Err(failure) => self.fail(origin.flight, failure),
        }
    }

    fn text(&mut self, id: RequestId, text: &str) -> Result<(), DriveError<O::Error>> {
        let Some((kind, origin)) = self.requests.get(&id) else { return Ok(()) };
        let Some(flight) = self.flights.get(&origin.flight).filter(|_| kind.is_text()) else {
            return Ok(());
        };
        match flight.calls.iter().find(|call| call.ask.step == origin.step) {
            Some(call) => self
                .observer
                .text(&flight.trajectory, &call.ask, text)
                .map_err(DriveError::Observer),
            None => Ok(()),
        }
    }

    /// Accepts the steps of a flight that are done, in order, and goes on once
    /// all are. `previous` is the request that was answered last.
    fn settle(&mut self, flight: u64, previous: RequestId) -> Result<(), DriveError<O::Error>> {
        let Some(Flight { mut trajectory, mut calls }) = self.flights.remove(&flight) else {
            return Ok(());
        };
        while let Some(found) = calls.front_mut().and_then(Call::found) {
            calls.pop_front();
            match trajectory.accept(found) {
                Ok(_) => self.tell_step(&trajectory)?,
                Err(failure) => {
                    self.flights.insert(flight, Flight { trajectory, calls });
                    return self.fail(flight, failure);
                }
            }
        }
        if calls.is_empty() {
            return self.go_on(flight, trajectory, Some(previous));
        }
        self.flights.insert(flight, Flight { trajectory, calls });
        Ok(())
    }

    /// Asks the engines for an item's next steps, or ends it. `previous` is the
    /// request whose completion was its last step.
    fn go_on(
        &mut self,
        flight: u64,
        mut trajectory: Trajectory,
        previous: Option<RequestId>,
    ) -> Result<(), DriveError<O::Error>> {
        while trajectory.accept_given().is_some() {
            self.tell_step(&trajectory)?;
        }
        let asks = match trajectory.next() {
            Next::Ask(asks) => asks,
            Next::Done(stop) => {
                let outcome = Outcome::Done { stop };
                return self.observer.end(&trajectory, outcome).map_err(DriveError::Observer);
            }
            Next::Given => unreachable!("given answers were just accepted"),
        };
        let constitution = &self.job.constitution;
        let calls: VecDeque<Call> =
            asks.into_iter().map(|ask| Call::new(ask, constitution)).collect();
        let origins: Vec<Origin> = calls
            .iter()
            .flat_map(|call| {
                let step = call.ask.step;
                (0..call.parts()).map(move |part| Origin { flight, step, part })
            })
            .collect();
        self.flights.insert(flight, Flight { trajectory, calls });
        for origin in origins {
            if let Err(failure) = self.submit(origin, previous) {
                return self.fail(flight, failure);
            }
        }
        Ok(())
    }

    /// Submits the request that a part of a call needs now. `previous` is the
    /// one whose completion its prompt may go on from.
    fn submit(&mut self, origin: Origin, previous: Option<RequestId>) -> Result<(), Failure> {
        let Some(flight) = self.flights.get(&origin.flight) else { return Ok(()) };
        let Some(call) = flight.calls.iter().find(|call| call.ask.step == origin.step) else {
            return Ok(());
        };
        let wanted = call.wants(origin.part, &flight.trajectory, self.job)?;
        self.submitted += 1;
        let id = self.submitted;
        let kind = call.ask.kind;
        let request = Request {
            id,
            turns: wanted.rendered.turns,
            shared_turns: wanted.rendered.shared_turns,
            continues: previous.filter(|_| wanted.continues),
            task: wanted.task,
        };
        self.requests.insert(id, (kind, origin));
        self.engines.of(kind).submit(request);
        Ok(())
    }

    fn tell_step(&mut self, trajectory: &Trajectory) -> Result<(), DriveError<O::Error>> {
        match trajectory.steps().last() {
            Some(step) => self.observer.step(trajectory, step).map_err(DriveError::Observer),
            None => Ok(()),
        }
    }

    /// Drops the requests of some flights.
    fn cancel(&mut self, of: impl Fn(u64) -> bool) {
        let ids: Vec<(RequestId, StepKind)> = self
            .requests
            .iter()
            .filter(|(_, (_, origin))| of(origin.flight))
            .map(|(&id, &(kind, _))| (id, kind))
            .collect();
        for (id, kind) in ids {
            self.requests.remove(&id);
            self.engines.of(kind).cancel(id);
        }
    }

    /// Ends an item that can't go on, with all that is under way for it.
    fn fail(&mut self, flight: u64, failure: Failure) -> Result<(), DriveError<O::Error>> {
        self.cancel(|other| other == flight);
        match self.flights.remove(&flight) {
            Some(Flight { trajectory, .. }) => self
                .observer
                .end(&trajectory, Outcome::Failed { failure })
                .map_err(DriveError::Observer),
            None => Ok(()),
        }
    }
}

/// How a step of a kind draws its tokens.
#[must_use]
pub fn sampling(steps: &StepSampling, kind: StepKind) -> &Sampling {
    match kind {
        StepKind::Generate => &steps.generate,
        StepKind::Critique => &steps.critique,
        StepKind::Revise => &steps.revise,
        _ => &steps.judge,
    }
}

//! Runs the loop of many items on an engine: renders the steps that each trajectory
//! asks for, records the engine's results, and notifies an observer.
//!
//! As many items are in flight as the engine decodes at once. The next requests of
//! an item are submitted before the engine's next step, so that they find their
//! prefix in the cache. Judgements that share a prefix are submitted together.

mod call;
mod needs;
mod source;

use std::cmp::Reverse;
use std::collections::{HashMap, VecDeque};
use std::path::Path;
use std::sync::Arc;

use crate::constitution::{Constitution, StepSampling};
use crate::model::{
    Counters, Engine, EngineError, Event, Failure, ProbeError, ProbeNeeds, Request, RequestId,
    Sampling, Task,
};
use crate::procedure::{ItemLoop, Next, Procedure, ReplayError, StepRequest};
use crate::prompt::{Delimiter, Rendered, Templates, TemplatesError};
use crate::random::Stream;
use crate::record::{Item, Outcome, Step, StepKind, StepModel, StepOutput};

use call::{Call, CallError, EngineReply};
pub use source::{NextWork, WorkSource};

/// What all items of a run have in common.
#[derive(Debug, Clone)]
pub struct Job {
    /// The plan of every item.
    pub procedure: Procedure,
    /// The constitution that the loop follows.
    pub constitution: Arc<Constitution>,
    /// The templates of the prompts.
    pub templates: Arc<Templates>,
    /// The delimiters that enclose content in the prompts.
    pub fence: Delimiter,
    /// The run's seed.
    pub seed: u64,
    /// The run's random stream.
    pub stream: Stream,
    /// Decode every step to its last token, past the end of the turn. This is for
    /// measurements of a fixed length.
    pub ignore_eos: bool,
    /// Process items in cohorts as wide as the engine, one after another, and reset
    /// the engine before each. An item's numbers then depend only on its cohort, so
    /// that resuming at the start of a cohort changes nothing.
    pub cohorts: bool,
}

impl Job {
    /// A job with the templates of the constitution's layout. Files of the folder `overlay`
    /// replace those with the same name. Texts end where the model ends them, and there are no
    /// cohorts.
    ///
    /// # Errors
    /// A template can't be read or is invalid: see [`Templates::load`].
    pub fn new(
        procedure: Procedure,
        constitution: impl Into<Arc<Constitution>>,
        overlay: Option<&Path>,
        fence: Delimiter,
        seed: u64,
    ) -> Result<Self, TemplatesError> {
        let constitution = constitution.into();
        let templates = Templates::load(overlay, &fence, constitution.plan.layout)?;
        Ok(Self::with_templates(procedure, constitution, templates, fence, seed))
    }

    /// A job with these templates, which have the delimiters `fence`. Texts end where the model
    /// ends them, and there are no cohorts.
    #[must_use]
    pub fn with_templates(
        procedure: Procedure,
        constitution: impl Into<Arc<Constitution>>,
        templates: Templates,
        fence: Delimiter,
        seed: u64,
    ) -> Self {
        Self {
            procedure,
            constitution: constitution.into(),
            templates: Arc::new(templates),
            fence,
            seed,
            stream: Stream::new(seed),
            ignore_eos: false,
            cohorts: false,
        }
    }

    /// The loop of an item, before its first step.
    #[must_use]
    pub fn trajectory(&self, item: Arc<Item>) -> ItemLoop {
        let stream = self.stream.child(&item.key);
        ItemLoop::new(
            self.procedure.clone(),
            self.constitution.clone(),
            item,
            stream,
            self.fence.clone(),
        )
    }
}

/// An item to process, and its steps so far.
#[derive(Debug, Clone)]
pub struct Work {
    /// The item.
    pub item: Arc<Item>,
    /// Steps recorded before an interruption.
    pub steps: Vec<Step>,
}

/// Receives events in the order they occur.
pub trait Observer {
    /// Why the observer may stop with an error, which also ends [`drive`].
    type Error;

    /// Returns whether to stop. It is called before each step of the engines; true
    /// cancels all requests in flight and ends [`drive`].
    fn stops(&mut self) -> bool {
        false
    }

    /// A step decoded more text.
    ///
    /// # Errors
    /// The observer fails.
    fn text(&mut self, _: &ItemLoop, _: &StepRequest, _: &str) -> Result<(), Self::Error> {
        Ok(())
    }

    /// A step of an item is done.
    ///
    /// # Errors
    /// The observer fails.
    fn step(&mut self, trajectory: &ItemLoop, step: &Step) -> Result<(), Self::Error>;

    /// Everything that the last step of the engines brought about was reported. It is called
    /// before the next step, and before [`drive`] returns without an error.
    ///
    /// # Errors
    /// The observer fails.
    fn settled(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// All items of a cohort have ended.
    ///
    /// # Errors
    /// The observer fails.
    fn cohort(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }

    /// The loop of an item has ended.
    ///
    /// # Errors
    /// The observer fails.
    fn end(&mut self, trajectory: &ItemLoop, outcome: Outcome) -> Result<(), Self::Error>;
}

/// How [`drive`] ended without error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    /// All items have ended.
    Done,
    /// The observer stopped it.
    Stopped,
}

/// Why [`drive`] failed.
#[derive(Debug, thiserror::Error)]
pub enum DriveError<E> {
    /// The engine cannot continue.
    #[error(transparent)]
    Engine(EngineError),
    /// The observer stopped with an error.
    #[error(transparent)]
    Observer(E),
    /// The recorded steps of an item are not the steps of its loop.
    #[error("item {key} cannot continue from its recorded steps")]
    Replay {
        /// The item's key.
        key: String,
        /// The first step that does not fit.
        source: ReplayError,
    },
}

/// The engines that answer the requests.
pub struct Engines<'a> {
    /// Writes answers, critiques and revisions. Without a separate judge, it also
    /// judges.
    pub writer: &'a mut dyn Engine,
    /// Answers gates, verdicts and rubrics, and is the reference model.
    pub judge: Option<&'a mut dyn Engine>,
    /// Writes the first answers.
    pub student: Option<&'a mut dyn Engine>,
}

impl<'a> Engines<'a> {
    /// An engine that writes and, optionally, a separate one that judges and one that writes
    /// the first answers.
    pub fn new<'m: 'a>(
        writer: &'a mut (dyn Engine + 'm),
        judge: &'a mut Option<Box<dyn Engine + 'm>>,
        student: &'a mut Option<Box<dyn Engine + 'm>>,
    ) -> Self {
        let [judge, student] = [judge, student]
            .map(|engine| engine.as_mut().map(|engine| &mut **engine as &mut dyn Engine));
        Self { writer, judge, student }
    }
}

impl<'a, 'm: 'a> From<&'a mut (dyn Engine + 'm)> for Engines<'a> {
    fn from(writer: &'a mut (dyn Engine + 'm)) -> Self {
        Self { writer, judge: None, student: None }
    }
}

impl<'a, E: Engine> From<&'a mut E> for Engines<'a> {
    fn from(writer: &'a mut E) -> Self {
        Self { writer, judge: None, student: None }
    }
}

impl<'a> From<&'a mut Engines<'_>> for Engines<'a> {
    fn from(engines: &'a mut Engines<'_>) -> Self {
        let [judge, student] = [&mut engines.judge, &mut engines.student]
            .map(|engine| engine.as_mut().map(|engine| &mut **engine as &mut dyn Engine));
        Self { writer: engines.writer, judge, student }
    }
}

impl Engines<'_> {
    /// How many items to have in flight.
    #[must_use]
    pub fn width(&self) -> usize {
        self.writer.width()
    }

    /// The engine that runs steps of this kind.
    fn for_step(&mut self, kind: StepKind) -> &mut dyn Engine {
        self.engine(self.model(kind))
    }

    /// The model among the separate ones that runs steps of this kind.
    fn model(&self, kind: StepKind) -> StepModel {
        let model = kind.model();
        let is_separate = match model {
            StepModel::Student => self.student.is_some(),
            StepModel::Writer => true,
            StepModel::Judge => self.judge.is_some(),
        };
        if is_separate { model } else { StepModel::Writer }
    }

    fn engine(&mut self, model: StepModel) -> &mut dyn Engine {
        let separate = match model {
            StepModel::Student => self.student.as_deref_mut(),
            StepModel::Writer => None,
            StepModel::Judge => self.judge.as_deref_mut(),
        };
        match separate {
            Some(engine) => engine,
            None => self.writer,
        }
    }

    /// The engine that judges.
    #[must_use]
    pub fn judging(&self) -> &dyn Engine {
        self.judge.as_deref().unwrap_or(self.writer)
    }

    /// Lets the engines find out whether they can do what a job needs. `recorded_way` is how
    /// the run asked for choices before it was interrupted.
    ///
    /// # Errors
    /// An engine fails, or can't do it.
    pub fn probe(&mut self, job: &Job, recorded_way: Option<&str>) -> Result<(), ProbeError> {
        let StepSampling { generate, critique, revise, judge } = &job.constitution.sampling;
        let writing = [generate, critique, revise].map(|step| &step.reasoning);
        needs::check_settings(self.writer.reasoning_format(), &writing)?;
        needs::check_settings(self.judging().reasoning_format(), &[&judge.reasoning])?;
        if let Some(student) = &mut self.student {
            needs::check_settings(student.reasoning_format(), &[&generate.reasoning])?;
            let texts = Some(generate.reasoning.clone());
            student.probe(&ProbeNeeds { texts, choices: None })?;
        }
        let (writer, judge) = needs::needs(job, recorded_way);
        match &mut self.judge {
            Some(engine) => {
                self.writer.probe(&writer)?;
                engine.probe(&judge)
            }
            None => {
                let texts = needs::least_thinking(writer.texts.iter().chain(&judge.texts));
                self.writer.probe(&ProbeNeeds { texts, ..judge })
            }
        }
    }

    fn each(&mut self, mut act: impl FnMut(&mut dyn Engine)) {
        act(self.writer);
        for engine in [&mut self.judge, &mut self.student].into_iter().flatten() {
            act(*engine);
        }
    }

    /// What the engines have to say about their work, a line each.
    #[must_use]
    pub fn report(&self) -> Vec<String> {
        let mut lines = self.writer.report();
        for engine in self.separate() {
            lines.extend(engine.report());
        }
        lines
    }

    /// The sum of all engines' counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        let writer = self.writer.counters();
        self.separate().fold(writer, |sum, engine| sum + engine.counters())
    }

    /// The engines besides the one that writes.
    fn separate(&self) -> impl Iterator<Item = &dyn Engine> {
        [&self.judge, &self.student].into_iter().filter_map(|engine| engine.as_deref())
    }
}

/// An item in flight.
struct Flight {
    trajectory: ItemLoop,
    /// The steps that are due and not recorded yet, in order.
    calls: VecDeque<Call>,
}

/// The item, step and part that a request belongs to.
#[derive(Clone, Copy)]
struct Origin {
    flight: u64,
    /// The number of the step in the item's loop.
    step: usize,
    /// The number of the request within the step.
    part: usize,
}

struct Drive<'a, 'e, O> {
    engines: Engines<'e>,
    job: &'a Job,
    observer: &'a mut O,
    flights: HashMap<u64, Flight>,
    /// How many items were started; numbers the flights.
    begun: u64,
    requests: HashMap<RequestId, (StepKind, Origin)>,
    /// How many requests were submitted; numbers the requests.
    submitted: RequestId,
}

/// Runs the loop of every item.
///
/// # Errors
/// The engine or the observer fails, or recorded steps do not fit their item. A
/// failure of one item ends only that item.
pub fn drive<'e, O: Observer>(
    engines: impl Into<Engines<'e>>,
    job: &Job,
    work: impl IntoIterator<Item = Work>,
    observer: &mut O,
) -> Result<Ended, DriveError<O::Error>> {
    drive_source(engines, job, &mut source::Ready(work.into_iter()), observer)
}

/// As [`drive`], for items that arrive while others run.
///
/// # Errors
/// See [`drive`].
pub fn drive_source<'e, O: Observer>(
    engines: impl Into<Engines<'e>>,
    job: &Job,
    source: &mut impl WorkSource,
    observer: &mut O,
) -> Result<Ended, DriveError<O::Error>> {
    let engines = engines.into();
    let mut drive = Drive {
        engines,
        job,
        observer,
        flights: HashMap::new(),
        begun: 0,
        requests: HashMap::new(),
        submitted: 0,
    };
    let mut has_ended = false;
    // How many items of the cohort were started.
    let mut in_cohort = 0;
    'steps: loop {
        drive.observer.settled().map_err(DriveError::Observer)?;
        if drive.observer.stops() {
            drive.cancel(|_| true);
            return Ok(Ended::Stopped);
        }
        // Servers may join and leave during a run.
        let width = drive.engines.width().max(1);
        if drive.flights.is_empty() && in_cohort > 0 && (in_cohort == width || has_ended) {
            drive.observer.cohort().map_err(DriveError::Observer)?;
            drive.engines.each(|engine| engine.reset());
            in_cohort = 0;
        }
        let is_open = |flights: usize, in_cohort| match job.cohorts {
            true => in_cohort < width,
            false => flights < width,
        };
        while !has_ended && is_open(drive.flights.len(), in_cohort) {
            // A cohort is complete before its first step.
            let may_wait = job.cohorts || drive.flights.is_empty();
            match source.next(may_wait) {
                NextWork::Item(work) => {
                    in_cohort += usize::from(job.cohorts);
                    drive.begin(*work)?;
                }
                NextWork::Wait if may_wait => continue 'steps,
                NextWork::Wait => break,
                NextWork::End => has_ended = true,
            }
        }
        if drive.flights.is_empty() {
            if in_cohort > 0 {
                // All items of the cohort ended without a model call.
                continue;
            }
            drive.observer.settled().map_err(DriveError::Observer)?;
            return Ok(Ended::Done);
        }
        for event in drive.step()? {
            drive.take(event)?;
        }
    }
}

impl<O: Observer> Drive<'_, '_, O> {
    /// Runs one step of each engine that has requests.
    fn step(&mut self) -> Result<Vec<Event>, DriveError<O::Error>> {
        let mut events = Vec::new();
        for model in [StepModel::Student, StepModel::Writer, StepModel::Judge] {
            let has_requests =
                self.requests.values().any(|&(kind, _)| self.engines.model(kind) == model);
            if has_requests {
                self.engines.engine(model).step(&mut events).map_err(DriveError::Engine)?;
            }
        }
        Ok(events)
    }

    /// Starts an item, after its recorded steps.
    fn begin(&mut self, Work { item, steps }: Work) -> Result<(), DriveError<O::Error>> {
        let mut trajectory = self.job.trajectory(item.clone());
        for step in steps {
            trajectory
                .replay(step)
                .map_err(|source| DriveError::Replay { key: item.key.clone(), source })?;
        }
        self.begun += 1;
        self.advance(self.begun, trajectory, None)
    }

    fn take(&mut self, event: Event) -> Result<(), DriveError<O::Error>> {
        let (id, reply) = match event {
            Event::Text { id, text } => return self.text(id, &text),
            Event::Done { id, completion } => (id, Ok(EngineReply::Text(completion))),
            Event::Chosen { id, log_probs, usage } | Event::Likelihood { id, log_probs, usage } => {
                (id, Ok(EngineReply::LogProbs { log_probs, usage }))
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
        let needs_more = match (call, reply) {
            (Some(call), Ok(reply)) => call.take(origin.part, reply),
            (None, Ok(_)) => return Ok(()),
            (_, Err(failure)) => Err(failure.into()),
        };
        match needs_more {
            Ok(true) => match self.submit(origin, Some(id)) {
                Ok(()) => Ok(()),
                Err(failure) => self.fail(origin.flight, failure),
            },
            Ok(false) => self.settle(origin.flight, id),
            Err(CallError::Failed(failure)) => self.fail(origin.flight, failure),
            Err(CallError::Engine(error)) => Err(DriveError::Engine(error)),
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

    /// Records the steps of a flight that are done, in order. Once all are recorded,
    /// advances the flight. `previous` is the request that was answered last.
    fn settle(&mut self, flight: u64, previous: RequestId) -> Result<(), DriveError<O::Error>> {
        let Some(Flight { mut trajectory, mut calls }) = self.flights.remove(&flight) else {
            return Ok(());
        };
        while let Some(result) = calls.front_mut().and_then(Call::take_result) {
            calls.pop_front();
            match trajectory.accept(result).map(|_| ()).map_err(CallError::from) {
                Ok(()) => self.notify_step(&trajectory)?,
                Err(CallError::Failed(failure)) => {
                    self.flights.insert(flight, Flight { trajectory, calls });
                    return self.fail(flight, failure);
                }
                Err(CallError::Engine(error)) => return Err(DriveError::Engine(error)),
            }
        }
        if calls.is_empty() {
            return self.advance(flight, trajectory, Some(previous));
        }
        self.flights.insert(flight, Flight { trajectory, calls });
        Ok(())
    }

    /// Submits the next steps of an item, or ends it. `previous` is the request whose
    /// completion was its last step.
    fn advance(
        &mut self,
        flight: u64,
        mut trajectory: ItemLoop,
        previous: Option<RequestId>,
    ) -> Result<(), DriveError<O::Error>> {
        let asks = loop {
            match trajectory.next() {
                Next::Given => {
                    trajectory.accept_given();
                    self.notify_step(&trajectory)?;
                }
                Next::Ask(asks) => break asks,
                Next::Done(stop) => {
                    let outcome = Outcome::Done { stop };
                    return self.observer.end(&trajectory, outcome).map_err(DriveError::Observer);
                }
            }
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

    /// Submits the request that a part of a step needs now. `previous` is the request
    /// whose completion its prompt may continue.
    fn submit(&mut self, origin: Origin, previous: Option<RequestId>) -> Result<(), Failure> {
        let Some(flight) = self.flights.get(&origin.flight) else { return Ok(()) };
        let Some(call) = flight.calls.iter().find(|call| call.ask.step == origin.step) else {
            return Ok(());
        };
        let submission = call.request(origin.part, &flight.trajectory, self.job)?;
        self.submitted += 1;
        let id = self.submitted;
        let kind = call.ask.kind;
        let request = Request {
            id,
            turns: submission.rendered.turns,
            shared_turns: submission.rendered.shared_turns,
            continues: if submission.continues { previous } else { None },
            item: origin.flight,
            task: submission.task,
        };
        self.requests.insert(id, (kind, origin));
        self.engines.for_step(kind).submit(request);
        Ok(())
    }

    fn notify_step(&mut self, trajectory: &ItemLoop) -> Result<(), DriveError<O::Error>> {
        match trajectory.steps().last() {
            Some(step) => self.observer.step(trajectory, step).map_err(DriveError::Observer),
            None => Ok(()),
        }
    }

    /// Cancels the requests of the flights for which `selects` returns true, the last one
    /// submitted first: an engine that is freed of a running request must not start one that
    /// is about to be cancelled.
    fn cancel(&mut self, selects: impl Fn(u64) -> bool) {
        let mut ids: Vec<(RequestId, StepKind)> = self
            .requests
            .iter()
            .filter(|(_, (_, origin))| selects(origin.flight))
            .map(|(&id, &(kind, _))| (id, kind))
            .collect();
        ids.sort_unstable_by_key(|&(id, _)| Reverse(id));
        for (id, kind) in ids {
            self.requests.remove(&id);
            self.engines.for_step(kind).cancel(id);
        }
    }

    /// Ends an item that failed, and cancels its requests.
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

/// The first requests of the steps that an item's loop asks for after the answers that came
/// with it, in order: what to send, and what to do with it. Empty if no model is asked.
///
/// # Errors
/// A template fails on the item.
pub fn first_requests(
    mut trajectory: ItemLoop,
    job: &Job,
) -> Result<Vec<(Rendered, Task)>, Failure> {
    let asks = loop {
        match trajectory.next() {
            Next::Given => drop(trajectory.accept_given()),
            Next::Ask(asks) => break asks,
            Next::Done(_) => return Ok(Vec::new()),
        }
    };
    let mut requests = Vec::new();
    for ask in asks {
        let call = Call::new(ask, &job.constitution);
        for part in 0..call.parts() {
            let submission = call.request(part, &trajectory, job)?;
            requests.push((submission.rendered, submission.task));
        }
    }
    Ok(requests)
}

/// The sampling settings of a kind of step.
#[must_use]
pub fn sampling(steps: &StepSampling, kind: StepKind) -> &Sampling {
    match kind.output() {
        StepOutput::Answer => &steps.generate,
        StepOutput::Critique => &steps.critique,
        StepOutput::Revision => &steps.revise,
        StepOutput::Score | StepOutput::Verdict | StepOutput::Likelihood => &steps.judge,
    }
}

#[cfg(test)]
mod tests;

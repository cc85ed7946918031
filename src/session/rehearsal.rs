//! Dry runs: the cost of an item, found with an engine that computes nothing: it answers every request with a placeholder of the
//! greatest length and counts the tokens that a run would compute and decode.

use std::collections::VecDeque;
use std::fmt;

use amend_core::chat::{Message, NextTurn, Reasoning, ReasoningFormat, ReasoningMode, Role};
use amend_core::driver::{DriveError, Engines, Job, Observer, Work, drive};
use amend_core::model::{
    Capabilities, Completion, Counters, Description, Engine, EngineError, Event, Failure, Finish,
    Prepared, PromptTokens, Request, RequestId, Sampling, Task, Usage,
};
use amend_core::procedure::ItemLoop;
use amend_core::record::{Outcome, Step, StepKind};
use amend_data::items::ItemSource;
use amend_engine::llama::measure::oracle::OraclePrefill;

use super::until_fault;
use crate::cli::output::error::CommandError;

/// How many items are rehearsed for the cost of an item.
const REHEARSED: u64 = 32;

/// The word that placeholders repeat.
const WORD: &str = " time";

/// Nearly all probability. That of the other choices must not be zero.
const CERTAIN: f64 = 1.0 - 1e-9;

/// An engine that computes nothing.
pub(super) struct Rehearsal<'e> {
    /// Knows the tokens.
    prompts: &'e dyn PromptTokens,
    /// The prefix cache, without a limit.
    cache: OraclePrefill,
    events: VecDeque<Event>,
    counters: Counters,
    /// Whether the engine can't tell how long prompts are.
    is_blind: bool,
    /// The number of requests.
    requests: u64,
    /// The most tokens of a request, with its thought and answer.
    pub(super) longest: u64,
}

impl<'e> Rehearsal<'e> {
    pub(super) fn new(prompts: &'e dyn PromptTokens) -> Self {
        Self {
            prompts,
            cache: OraclePrefill::default(),
            events: VecDeque::new(),
            counters: Counters::default(),
            is_blind: false,
            requests: 0,
            longest: 0,
        }
    }

    fn tokens(
        &self,
        turns: &[Message],
        shared_turns: usize,
        (reasoning, next): (&Reasoning, NextTurn),
    ) -> Result<Vec<i32>, Failure> {
        let prepared = self.prompts.prepare(turns, shared_turns, reasoning, next)?;
        Ok(prepared.tokens.iter().map(|&(token, _)| token).collect())
    }

    /// Counts a request and returns its result.
    fn answer(&mut self, request: &Request) -> Result<Event, Failure> {
        let Request { id, turns, shared_turns, task, .. } = request;
        let prompt = match self.tokens(turns, *shared_turns, task.reasoning()) {
            Err(Failure::TokensUnknown) => {
                self.is_blind = true;
                Vec::new()
            }
            tokens => tokens?,
        };
        let last = prompt.len().saturating_sub(1);
        let computed = self.cache.add_prompt(&prompt, last);
        self.counters.prefilled += u64::from(computed);
        self.counters.cached += prompt.len() as u64 - u64::from(computed);
        let usage = Usage::default();
        let mut length = prompt.len() as u64;
        let event = match task {
            Task::Complete { sampling, thought_only, .. } => {
                let thought = thought_tokens(self.prompts, &sampling.reasoning);
                length += thought;
                self.counters.decoded += thought;
                let mut completion = Completion {
                    text: String::new(),
                    reasoning: None,
                    finish: Finish::Stop,
                    usage,
                };
                if *thought_only {
                    completion.reasoning = Some(WORD.repeat(thought as usize));
                } else {
                    length += u64::from(sampling.max_tokens);
                    self.counters.decoded += u64::from(sampling.max_tokens);
                    completion.text = self.placeholder(request, &prompt, sampling)?;
                }
                Event::Done { id: *id, completion }
            }
            Task::Choose { choices, .. } => {
                // The first choice is yes: every principle counts as broken.
                let mut log_probs = vec![(1.0 - CERTAIN).ln(); choices.len()];
                log_probs[0] = CERTAIN.ln();
                Event::Chosen { id: *id, log_probs, usage }
            }
            Task::Likelihood { response, .. } => {
                if !self.is_blind {
                    length = self.with_answer(request, response)?.len() as u64;
                }
                Event::Likelihood { id: *id, log_probs: vec![-1.0], usage }
            }
        };
        self.longest = self.longest.max(length);
        Ok(event)
    }

    /// The tokens of a request's prompt with its answer.
    fn with_answer(&self, request: &Request, answer: &str) -> Result<Vec<i32>, Failure> {
        let mut turns = request.turns.clone();
        turns.push(Message::new(Role::Assistant, answer));
        self.tokens(&turns, request.shared_turns, request.task.reasoning())
    }

    /// A text of about `max_tokens` tokens. They are in the cache afterwards, unless a thought
    /// would stand between them and the prompt. No two requests get the same, since a loop stops at a revision that changes nothing, and an answer equal to
    /// the first is not judged.
    fn placeholder(
        &mut self,
        request: &Request,
        prompt: &[i32],
        sampling: &Sampling,
    ) -> Result<String, Failure> {
        let length = sampling.max_tokens as usize;
        let numbered = |words: usize| format!("{}{}", request.id, WORD.repeat(words));
        let mut text = numbered(length.saturating_sub(1));
        if self.is_blind {
            return Ok(text);
        }
        let mut all = self.with_answer(request, &text)?;
        let taken = all.len().saturating_sub(prompt.len());
        if taken > length {
            // The vocabulary has more than one token for the word.
            text = numbered(length * length / taken);
            all = self.with_answer(request, &text)?;
        }
        if thought_tokens(self.prompts, &sampling.reasoning) == 0 {
            self.cache.add_decoded(prompt, all.get(prompt.len()..).unwrap_or_default());
        }
        Ok(text)
    }
}

/// The most tokens in a thought of a step with these settings.
pub fn thought_tokens(prompts: &dyn PromptTokens, reasoning: &Reasoning) -> u64 {
    let thinks = match prompts.reasoning_format() {
        Some(format) => format.thinks(reasoning),
        None => reasoning.mode == ReasoningMode::On,
    };
    if thinks { u64::from(reasoning.budget) } else { 0 }
}

impl PromptTokens for Rehearsal<'_> {
    fn prepare(
        &self,
        turns: &[Message],
        shared_turns: usize,
        reasoning: &Reasoning,
        next: NextTurn,
    ) -> Result<Prepared, Failure> {
        self.prompts.prepare(turns, shared_turns, reasoning, next)
    }

    fn reasoning_format(&self) -> Option<&ReasoningFormat> {
        self.prompts.reasoning_format()
    }
}

impl Engine for Rehearsal<'_> {
    fn capabilities(&self) -> Capabilities {
        Capabilities {
            scores_texts: true,
            knows_tokens: !self.is_blind,
            is_deterministic: true,
            measures_batches: false,
        }
    }

    fn describe(&self) -> Result<Description, EngineError> {
        Err(EngineError::new("a rehearsal runs no model"))
    }

    fn width(&self) -> usize {
        1
    }

    fn submit(&mut self, request: Request) {
        self.requests += 1;
        let event = match self.answer(&request) {
            Ok(event) => event,
            Err(failure) => Event::Failed { id: request.id, failure },
        };
        self.events.push_back(event);
    }

    fn cancel(&mut self, id: RequestId) {
        self.events.retain(|event| match event {
            Event::Text { id: other, .. }
            | Event::Done { id: other, .. }
            | Event::Chosen { id: other, .. }
            | Event::Likelihood { id: other, .. }
            | Event::Failed { id: other, .. } => *other != id,
        });
    }

    fn reset(&mut self) {}

    fn step(&mut self, events: &mut Vec<Event>) -> Result<bool, EngineError> {
        events.extend(self.events.pop_front());
        Ok(!self.events.is_empty())
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

/// The sum, the least and the greatest of numbers of tokens.
#[derive(Debug, Clone, Copy, Default)]
pub struct Spread {
    /// How many numbers there are.
    pub count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

impl Spread {
    /// Adds a number.
    pub fn add(&mut self, tokens: u64) {
        self.min = if self.count == 0 { tokens } else { self.min.min(tokens) };
        self.max = self.max.max(tokens);
        self.sum += tokens;
        self.count += 1;
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { count, sum, min, max } = self;
        let mean = sum / (*count).max(1);
        write!(f, "{sum} tokens (min {min}, mean {mean}, max {max})")
    }
}

/// The cost of an item.
pub struct ItemCost {
    /// Prompt tokens computed, if the engine can count them. A mean.
    pub computed: Option<u64>,
    /// Tokens decoded. A mean.
    pub decoded: u64,
    /// Verdicts, at most.
    pub verdicts: u64,
    /// Requests. A mean.
    pub requests: u64,
}

/// Runs the loop of some of the items with placeholders for all texts. `None` if all of them
/// fail.
///
/// # Errors
/// An engine fails, or the input has changed.
pub fn rehearse(
    prompts: &dyn PromptTokens,
    job: &Job,
    source: &ItemSource,
) -> Result<Option<ItemCost>, CommandError> {
    let step = usize::try_from(source.summary.rows.div_ceil(REHEARSED)).unwrap_or(usize::MAX);
    let mut faults = None;
    let sample = until_fault(source.items(), &mut faults).step_by(step.max(1));
    let mut rehearsal = Rehearsal::new(prompts);
    let mut done = Done::default();
    let work = sample.map(|item| Work { item, steps: Vec::new() });
    let job = Job { cohorts: false, ..job.clone() };
    rehearse_items(&mut rehearsal, &job, work, &mut done)?;
    if let Some(faults) = faults {
        return Err(faults.into());
    }
    if done.items == 0 {
        return Ok(None);
    }
    let Counters { prefilled, decoded, .. } = rehearsal.counters();
    let per_item = |tokens: u64| tokens.div_ceil(done.items);
    let computed = if rehearsal.is_blind { None } else { Some(per_item(prefilled)) };
    Ok(Some(ItemCost {
        computed,
        decoded: per_item(decoded),
        verdicts: done.verdicts,
        requests: per_item(rehearsal.requests),
    }))
}

/// Runs items on engines that compute nothing.
///
/// # Errors
/// An engine fails.
pub(super) fn rehearse_items<'e>(
    engines: impl Into<Engines<'e>>,
    job: &Job,
    work: impl IntoIterator<Item = Work>,
    done: &mut Done,
) -> Result<(), CommandError> {
    drive(engines, job, work, done).map(drop).map_err(|error| match error {
        DriveError::Engine(error) => CommandError::from(error),
        DriveError::Observer(never) => match never {},
        DriveError::Replay { .. } => unreachable!("nothing was recorded"),
    })
}

/// Counts the items that end, and the most verdicts of one.
#[derive(Default)]
pub(super) struct Done {
    items: u64,
    verdicts: u64,
}

impl Observer for Done {
    type Error = std::convert::Infallible;

    fn step(&mut self, _: &ItemLoop, _: &Step) -> Result<(), Self::Error> {
        Ok(())
    }

    fn end(&mut self, trajectory: &ItemLoop, outcome: Outcome) -> Result<(), Self::Error> {
        if matches!(outcome, Outcome::Done { .. }) {
            self.items += 1;
            let steps = trajectory.steps().iter();
            let verdicts = steps.filter(|step| step.kind == StepKind::Judge).count() as u64;
            self.verdicts = self.verdicts.max(verdicts);
        }
        Ok(())
    }
}

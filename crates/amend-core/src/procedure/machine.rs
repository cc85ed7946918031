//! The loop of one item: which steps come next, and the steps done so far.
//!
//! The procedure, the constitution, the item's random stream and the results of the
//! steps fix the order of steps. The state is therefore the list of steps done, and
//! the next steps are computed from it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::constitution::{Constitution, Dimension, Principle};
use crate::judge::{Likelihood, RubricScore, Verdict};
use crate::model::{Completion, Failure, Usage};
use crate::procedure::clean;
use crate::procedure::plan::{After, Due, Procedure, current, first};
use crate::prompt::{ComparedAnswers, Delimiter, EarlierReview, PromptContext, Reasons};
use crate::random::Stream;
use crate::record::{Item, Step, StepInput, StepKind, StepOutput, Stop, answers};

/// The loop of one item.
///
/// ```text
/// loop {
///     match trajectory.next() {
///         Next::Given => journal(trajectory.accept_given()),
///         Next::Ask(asks) => {
///             for ask in &asks {
///                 journal(trajectory.accept(call(ask))?);
///             }
///         }
///         Next::Done(stop) => break,
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct ItemLoop {
    procedure: Procedure,
    constitution: Arc<Constitution>,
    item: Arc<Item>,
    stream: Stream,
    fence: Delimiter,
    steps: Vec<Step>,
}

/// What the loop needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// Nothing from a model: the next answer came with the item, or is made from
    /// one that did. [`ItemLoop::accept_given`] records it.
    Given,
    /// The results of these steps, which may run in parallel. They go to
    /// [`ItemLoop::accept`] in this order.
    Ask(Vec<StepRequest>),
    /// Nothing: the loop has ended.
    Done(Stop),
}

/// A step that the loop asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepRequest {
    /// The kind of step. Its [`StepKind::output`] is the form of the result that
    /// [`ItemLoop::accept`] takes.
    pub kind: StepKind,
    /// The round, from 1; 0 outside the rounds.
    pub round: u32,
    /// The index of the principle it applies; `None` for a first answer, a guided answer and
    /// an overall verdict.
    pub principle: Option<usize>,
    /// The indices of the principles that guide an answer, in order.
    pub principles: Vec<usize>,
    /// The index of the dimension it scores.
    pub dimension: Option<usize>,
    /// The answers it judges, by their number.
    pub about: Vec<usize>,
    /// The number of the step in the item's loop, from 0.
    pub step: usize,
    /// Whether no answer can follow this one.
    pub last: bool,
    /// The source of the step's random numbers.
    pub stream: Stream,
}

/// The result of a step.
#[derive(Debug, Clone, PartialEq)]
pub enum StepResult {
    /// A text.
    Text(Completion),
    /// The score of a gate or a rubric.
    Score(RubricScore, Usage),
    /// A verdict for the first of the two answers against the second.
    Verdict(Verdict, Usage),
    /// The log-probability of an answer.
    Likelihood(Likelihood, Usage),
}

impl StepResult {
    /// Whether it is a result of this form.
    fn fits(&self, output: StepOutput) -> bool {
        match output {
            StepOutput::Answer | StepOutput::Critique | StepOutput::Revision => {
                matches!(self, StepResult::Text(_))
            }
            StepOutput::Score => matches!(self, StepResult::Score(..)),
            StepOutput::Verdict => matches!(self, StepResult::Verdict(..)),
            StepOutput::Likelihood => matches!(self, StepResult::Likelihood(..)),
        }
    }

    fn name(&self) -> &'static str {
        match self {
            StepResult::Text(_) => "a text",
            StepResult::Score(..) => "a score",
            StepResult::Verdict(..) => "a verdict",
            StepResult::Likelihood(..) => "a log-probability",
        }
    }
}

/// Why a result was not recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AcceptError {
    /// The text is blank, so the item fails: [`Failure::Empty`].
    #[error(transparent)]
    Failed(Failure),
    /// The loop asks for no result: [`ItemLoop::next`] is not [`Next::Ask`].
    #[error("there is no step to record {found} for")]
    NotAsked {
        /// What the result is.
        found: &'static str,
    },
    /// The step that comes next has a result of another form.
    #[error("the result of the {} step cannot be {found}", .kind.as_str())]
    WrongForm {
        /// The kind of the step.
        kind: StepKind,
        /// What the result is.
        found: &'static str,
    },
}

/// Which step of a loop, for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StepPlace {
    /// The kind of step.
    pub kind: StepKind,
    /// The round.
    pub round: u32,
    /// The id of the principle.
    pub principle: Option<String>,
    /// The ids of the principles that guide an answer.
    pub principles: Vec<String>,
    /// The id of the dimension.
    pub dimension: Option<String>,
    /// The answers it judges.
    pub about: Vec<usize>,
}

impl fmt::Display for StepPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of round {}", self.kind.label(), self.round)?;
        if let Some(id) = self.principle.as_ref().or(self.dimension.as_ref()) {
            write!(f, " under `{id}`")?;
        }
        if !self.principles.is_empty() {
            write!(f, " under {}", self.principles.join(", "))?;
        }
        match &self.about[..] {
            [] => Ok(()),
            about => write!(f, " about {about:?}"),
        }
    }
}

impl From<&Step> for StepPlace {
    fn from(step: &Step) -> Self {
        Self {
            kind: step.kind,
            round: step.round,
            principle: step.principle.clone(),
            principles: step.principles.clone(),
            dimension: step.dimension.clone(),
            about: step.about.clone(),
        }
    }
}

/// Why a recorded step is not the one that comes next.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Another step comes next.
    #[error("step {step} should be the {expected}, not the {found}")]
    OutOfPlace {
        /// The step's number, from 0.
        step: usize,
        /// The step that comes next.
        expected: Box<StepPlace>,
        /// The recorded step.
        found: Box<StepPlace>,
    },
    /// The loop has ended.
    #[error("the loop ends before step {step}, the {found}")]
    AfterEnd {
        /// The step's number, from 0.
        step: usize,
        /// The recorded step.
        found: Box<StepPlace>,
    },
    /// An answer is from the model instead of from the item, or the reverse.
    #[error(
        "step {step} should be {}, but is not",
        if *.given { "the answer that came with the item" } else { "an answer from the model" }
    )]
    Origin {
        /// The step's number, from 0.
        step: usize,
        /// Whether the item came with an answer.
        given: bool,
    },
    /// The step lacks the text, score or verdict that its kind needs.
    #[error("step {step}, the {found}, is empty")]
    Empty {
        /// The step's number, from 0.
        step: usize,
        /// The recorded step.
        found: Box<StepPlace>,
    },
}

impl ItemLoop {
    /// The loop of an item, before its first step. `stream` is the item's own;
    /// `fence` encloses content in its prompts.
    #[must_use]
    pub fn new(
        procedure: Procedure,
        constitution: Arc<Constitution>,
        item: Arc<Item>,
        stream: Stream,
        fence: Delimiter,
    ) -> Self {
        Self { procedure, constitution, item, stream, fence, steps: Vec::new() }
    }

    /// The item.
    #[must_use]
    pub fn item(&self) -> &Arc<Item> {
        &self.item
    }

    /// The delimiter of its prompts.
    #[must_use]
    pub fn fence(&self) -> &Delimiter {
        &self.fence
    }

    /// The constitution that the loop follows.
    #[must_use]
    pub fn constitution(&self) -> &Constitution {
        &self.constitution
    }

    /// What the loop needs now. This changes only when a step is accepted; then it is
    /// the rest of the steps that were due, or what follows them.
    #[must_use]
    pub fn next(&self) -> Next {
        let injected = self.item.judge_injection().is_some();
        let after = self.procedure.after(&self.constitution, self.stream, injected, &self.steps);
        let due = match after {
            After::Steps(due) => due,
            After::End(stop) => return Next::Done(stop),
        };
        if due.first().is_some_and(|due| due.kind == StepKind::Generate) && self.given().is_some() {
            return Next::Given;
        }
        Next::Ask((self.steps.len()..).zip(due).map(|(step, due)| self.ask(step, due)).collect())
    }

    fn ask(&self, step: usize, due: Due) -> StepRequest {
        let Due { kind, round, principle, principles, dimension, about, last } = due;
        let stream = self.stream.child(&format!("{step} {}", kind.as_str()));
        StepRequest { kind, round, principle, principles, dimension, about, step, last, stream }
    }

    /// The answer that the item provides for the next step, if any. A blank answer
    /// counts as none.
    fn given(&self) -> Option<Cow<'_, str>> {
        let answer: Cow<'_, str> = match self.steps.last() {
            None => self.item.response.as_deref()?.into(),
            Some(_) if self.steps.len() == 1 && self.procedure.compares() => {
                self.item.response_b.as_deref()?.into()
            }
            // The answer has its scores; it comes again with the prompt injection.
            Some(step) if step.kind == StepKind::Rubric => {
                let injection = self.item.judge_injection()?;
                format!("{}\n\n{injection}", self.current()).into()
            }
            Some(_) => return None,
        };
        if answer.trim().is_empty() { None } else { Some(answer) }
    }

    /// If [`ItemLoop::next`] is [`Next::Given`], records the answer and returns
    /// the step for the journal. Otherwise returns `None`.
    pub fn accept_given(&mut self) -> Option<&Step> {
        if self.next() != Next::Given {
            return None;
        }
        let response = self.given()?.into_owned();
        let text = response.trim().to_owned();
        let raw = (text != response).then_some(response);
        Some(self.record(Step { raw, text, ..Step::new(StepKind::Generate, 0) }))
    }

    /// Records the result of the first step that [`ItemLoop::next`] asks for, and
    /// returns the step for the journal. A text is cleaned. A revision cut off by
    /// length becomes the current answer all the same; its `finish` shows it.
    ///
    /// # Errors
    /// The text is blank, no step is due, or the result does not have the form of
    /// the step's [`StepKind::output`]. Nothing is recorded.
    pub fn accept(&mut self, found: StepResult) -> Result<&Step, AcceptError> {
        let asks = match self.next() {
            Next::Ask(asks) => asks,
            Next::Given | Next::Done(_) => Vec::new(),
        };
        let Some(ask) = asks.first() else {
            return Err(AcceptError::NotAsked { found: found.name() });
        };
        let kind = ask.kind;
        if !found.fits(kind.output()) {
            return Err(AcceptError::WrongForm { kind, found: found.name() });
        }
        let place = self.place(ask);
        let mut step = Step {
            principle: place.principle,
            principles: place.principles,
            dimension: place.dimension,
            about: place.about,
            ..Step::new(kind, place.round)
        };
        match found {
            StepResult::Text(Completion { text: raw, reasoning, finish, usage }) => {
                step.text = clean::clean(kind, &raw, &self.fence);
                if step.text.is_empty() {
                    let failure = Failure::Empty { step: kind.as_str().to_owned() };
                    return Err(AcceptError::Failed(failure));
                }
                if step.text != raw {
                    step.raw = Some(raw);
                }
                step.reasoning = reasoning;
                step.finish = Some(finish);
                step.usage = usage;
            }
            StepResult::Score(score, usage) => {
                step.score = Some(score);
                step.usage = usage;
            }
            StepResult::Verdict(verdict, usage) => {
                step.verdict = Some(verdict);
                step.usage = usage;
            }
            StepResult::Likelihood(likelihood, usage) => {
                step.likelihood = Some(likelihood);
                step.usage = usage;
            }
        }
        Ok(self.record(step))
    }

    fn record(&mut self, step: Step) -> &Step {
        self.steps.push(step);
        &self.steps[self.steps.len() - 1]
    }

    /// Where in the loop a step stands.
    fn place(&self, ask: &StepRequest) -> StepPlace {
        StepPlace {
            kind: ask.kind,
            round: ask.round,
            principle: self.principle(ask).map(|principle| principle.id.clone()),
            principles: self.guiding(ask).map(|principle| principle.id.clone()).collect(),
            dimension: self.dimension(ask).map(|dimension| dimension.id.clone()),
            about: ask.about.clone(),
        }
    }

    /// Takes a step from the journal in place of a model call.
    ///
    /// # Errors
    /// It is not the step that comes next. Nothing is recorded.
    pub fn replay(&mut self, step: Step) -> Result<(), ReplayError> {
        let number = self.steps.len();
        let found = StepPlace::from(&step);
        let (expected, given) = match self.next() {
            Next::Given => (StepPlace::from(&Step::new(StepKind::Generate, 0)), true),
            Next::Ask(asks) => (self.place(&asks[0]), false),
            Next::Done(_) => {
                return Err(ReplayError::AfterEnd { step: number, found: found.into() });
            }
        };
        if expected != found {
            let (expected, found) = (expected.into(), found.into());
            return Err(ReplayError::OutOfPlace { step: number, expected, found });
        }
        let was_given = step.kind == StepKind::Generate && step.finish.is_none();
        if was_given != given || (given && self.given().as_deref() != Some(step.raw())) {
            return Err(ReplayError::Origin { step: number, given });
        }
        if !step.has_result() {
            return Err(ReplayError::Empty { step: number, found: found.into() });
        }
        self.steps.push(step);
        Ok(())
    }

    /// The variables of a step's template. For a comparison, `order` is the order of
    /// the answers (0: as in `about`, 1: exchanged), and `reasons` are the judge's.
    #[must_use]
    pub fn context<'a>(
        &'a self,
        ask: &StepRequest,
        order: usize,
        reasons: Reasons<'a>,
    ) -> PromptContext<'a> {
        let context = PromptContext::new(&self.constitution, &self.item);
        let principle = self.principle(ask);
        match ask.kind.input() {
            StepInput::Conversation => context,
            StepInput::Guidance => context.guiding(self.guiding(ask)),
            StepInput::Review | StepInput::Revision => {
                let Some(principle) = principle else { return context };
                let review = context
                    .reviewing(ask.round, principle, self.reviewed(ask))
                    .after(self.history());
                if ask.kind.input() == StepInput::Review {
                    return review;
                }
                let critique = self.steps.last().filter(|step| step.kind == StepKind::Critique);
                review.revising(critique.map(Step::raw))
            }
            StepInput::Dimension => match self.dimension(ask) {
                Some(dimension) => context.scoring(dimension, self.subject(ask)),
                None => context,
            },
            StepInput::Comparison => {
                let mut pair = [0, 1].map(|at| ask.about.get(at).copied().unwrap_or(at));
                pair.rotate_left(order % 2);
                let comparison = ComparedAnswers {
                    answers: pair.map(|number| self.numbered(number)),
                    labels: self.constitution.labels(principle),
                    reasons,
                };
                context.comparing(ask.round, principle, comparison)
            }
        }
    }

    /// The reviews so far that led to a revision; empty if the plan keeps no history.
    fn history(&self) -> Vec<EarlierReview<'_>> {
        let mut history = Vec::new();
        if !self.constitution.plan.history {
            return history;
        }
        let mut response = self.numbered(first(&self.steps, &self.constitution.judge.standing()));
        let mut critique = None;
        for step in &self.steps {
            match step.kind.output() {
                StepOutput::Critique => critique = Some(step.raw()),
                StepOutput::Revision => {
                    let id = step.principle.as_deref().unwrap_or_default();
                    if let Some(principle) = self.constitution.principle(id) {
                        let critique = critique.take();
                        history.push(EarlierReview { response, principle, critique });
                    }
                    response = &step.text;
                }
                StepOutput::Answer
                | StepOutput::Score
                | StepOutput::Verdict
                | StepOutput::Likelihood => {}
            }
        }
        history
    }

    /// The answer under review: the one the step is about, else the current one.
    fn reviewed(&self, ask: &StepRequest) -> &str {
        if ask.about.is_empty() { self.current() } else { self.subject(ask) }
    }

    /// The text of the first answer that a step is about; empty without one.
    #[must_use]
    pub fn subject(&self, ask: &StepRequest) -> &str {
        ask.about.first().map_or("", |&number| self.numbered(number))
    }

    /// The text with this number: an answer, or one repeated with a prompt
    /// injection.
    fn numbered(&self, number: usize) -> &str {
        let mut texts = self.steps.iter().filter(|step| step.kind.is_answer());
        texts.nth(number).map_or("", |step| &step.text)
    }

    /// The principle that a step applies.
    #[must_use]
    pub fn principle(&self, ask: &StepRequest) -> Option<&Principle> {
        self.constitution.principles.get(ask.principle?)
    }

    /// The principles that guide the answer of a step.
    pub fn guiding(&self, ask: &StepRequest) -> impl Iterator<Item = &Principle> {
        ask.principles.iter().filter_map(|&at| self.constitution.principles.get(at))
    }

    /// The dimension that a step scores.
    #[must_use]
    pub fn dimension(&self, ask: &StepRequest) -> Option<&Dimension> {
        self.constitution.dimensions.get(ask.dimension?)
    }

    /// The steps done, in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The current answer: the last revision, else the guided answer, else the best of the
    /// first answers so far.
    #[must_use]
    pub fn answer(&self) -> Option<&str> {
        answers(&self.steps).next().map(|_| self.current())
    }

    fn current(&self) -> &str {
        self.numbered(current(&self.steps, &self.constitution.judge.standing()))
    }
}

#[cfg(test)]
mod tests;

//! The loop of one item: what it asks for next, and what it has so far.
//!
//! The order of steps is fixed by the procedure, the constitution, the item's
//! stream, and what the steps came to. The state is therefore the list of steps
//! done, and what comes next is computed from it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::constitution::{Constitution, Dimension, Principle};
use crate::judge::Likelihood;
use crate::judge::{Score, Verdict};
use crate::model::{Completion, Failure, Usage};
use crate::procedure::clean;
use crate::procedure::plan::{After, Due, Procedure, current};
use crate::prompt::{Comparison, Context, Fence, Reasons};
use crate::random::Stream;
use crate::record::Item;
use crate::record::{Step, StepKind, Stop, answers};

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
pub struct Trajectory {
    procedure: Procedure,
    constitution: Arc<Constitution>,
    item: Arc<Item>,
    stream: Stream,
    fence: Fence,
    steps: Vec<Step>,
}

/// What the loop needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// An answer came with the item, or is made of what did:
    /// [`Trajectory::accept_given`] records it, without a model call.
    Given,
    /// Steps that can be taken side by side. What they come to goes to
    /// [`Trajectory::accept`] in this order.
    Ask(Vec<Ask>),
    /// Nothing: the loop has ended.
    Done(Stop),
}

/// A step the loop asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// What the step does.
    pub kind: StepKind,
    /// Its round, from 1; 0 for the first answer.
    pub round: u32,
    /// The index of the principle it applies; none for the first answer and an
    /// overall verdict.
    pub principle: Option<usize>,
    /// The index of the dimension it scores.
    pub dimension: Option<usize>,
    /// The answers it judges, by their number.
    pub about: Vec<usize>,
    /// Its number in the item's loop, from 0.
    pub step: usize,
    /// No answer can follow this one.
    pub last: bool,
    /// Where the step's random numbers come from.
    pub stream: Stream,
}

/// What a step came to.
#[derive(Debug, Clone, PartialEq)]
pub enum Found {
    /// A text.
    Text(Completion),
    /// A gate's or a rubric's score.
    Score(Score, Usage),
    /// A judge's verdict, for the first of the answers compared.
    Verdict(Verdict, Usage),
    /// How likely an answer is.
    Likelihood(Likelihood, Usage),
}

/// Which step of a loop: for messages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// What the step does.
    pub kind: StepKind,
    /// Its round.
    pub round: u32,
    /// The id of its principle.
    pub principle: Option<String>,
    /// The id of its dimension.
    pub dimension: Option<String>,
    /// The answers it judges.
    pub about: Vec<usize>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of round {}", self.kind.as_str(), self.round)?;
        if let Some(id) = self.principle.as_ref().or(self.dimension.as_ref()) {
            write!(f, " under `{id}`")?;
        }
        match &self.about[..] {
            [] => Ok(()),
            about => write!(f, " about {about:?}"),
        }
    }
}

/// A recorded step that isn't the one the loop would take.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ReplayError {
    /// Another step comes next.
    #[error("step {step} should be the {expected}, not the {found}")]
    OutOfPlace {
        /// The step's number, from 0.
        step: usize,
        /// What the loop asks for.
        expected: Box<Place>,
        /// What was recorded.
        found: Box<Place>,
    },
    /// The loop has ended.
    #[error("the loop ends before step {step}, the {found}")]
    AfterEnd {
        /// The step's number, from 0.
        step: usize,
        /// What was recorded.
        found: Box<Place>,
    },
    /// An answer isn't from where it should be.
    #[error("step {step} should be {}, and is not", if *.given { "the answer that came with the item" } else { "an answer of the model's" })]
    Origin {
        /// The step's number, from 0.
        step: usize,
        /// The item came with an answer.
        given: bool,
    },
    /// The step doesn't hold what its kind makes: a text, a score, a verdict.
    #[error("step {step}, the {found}, is empty")]
    Empty {
        /// The step's number, from 0.
        step: usize,
        /// What was recorded.
        found: Box<Place>,
    },
}

impl Trajectory {
    /// The loop of an item, before its first step. `stream` is the item's own;
    /// `fence` is the one its prompts are rendered with.
    #[must_use]
    pub fn new(
        procedure: Procedure,
        constitution: Arc<Constitution>,
        item: Arc<Item>,
        stream: Stream,
        fence: Fence,
    ) -> Self {
        Self { procedure, constitution, item, stream, fence, steps: Vec::new() }
    }

    /// The item.
    #[must_use]
    pub fn item(&self) -> &Arc<Item> {
        &self.item
    }

    /// The fence of its prompts.
    #[must_use]
    pub fn fence(&self) -> &Fence {
        &self.fence
    }

    /// The principles and how the loop uses them.
    #[must_use]
    pub fn constitution(&self) -> &Constitution {
        &self.constitution
    }

    /// What the loop needs now. Asking again gives the same until a step is
    /// accepted, and then the rest of it.
    #[must_use]
    pub fn next(&self) -> Next {
        let injected = self.item.judge_injection().is_some();
        let due = match self.procedure.after(&self.constitution, self.stream, injected, &self.steps)
        {
            After::Steps(due) => due,
            After::End(stop) => return Next::Done(stop),
        };
        if due.first().is_some_and(|due| due.kind == StepKind::Generate) && self.given().is_some() {
            return Next::Given;
        }
        Next::Ask((self.steps.len()..).zip(due).map(|(step, due)| self.ask(step, due)).collect())
    }

    fn ask(&self, step: usize, due: Due) -> Ask {
        let Due { kind, round, principle, dimension, about, last } = due;
        let stream = self.stream.child(&format!("{step} {}", kind.as_str()));
        Ask { kind, round, principle, dimension, about, step, last, stream }
    }

    /// The answer that came with the item for the place that is due, or is made of
    /// what did; a blank one counts as none.
    fn given(&self) -> Option<Cow<'_, str>> {
        let answer = match self.steps.last() {
            None => self.item.response.as_deref().map(Cow::from),
            Some(_) if self.steps.len() == 1 && self.procedure.compares() => {
                self.item.rival.as_deref().map(Cow::from)
            }
            // Scored as it is: next with the text that asks for favour.
            Some(step) if step.kind == StepKind::Rubric => self
                .item
                .judge_injection()
                .map(|text| format!("{}\n\n{text}", self.current()).into()),
            Some(_) => None,
        };
        answer.filter(|answer| !answer.trim().is_empty())
    }

    /// Records the answer that came with the item, where [`Next::Given`] stands,
    /// and returns the step for the journal; elsewhere nothing.
    pub fn accept_given(&mut self) -> Option<&Step> {
        if self.next() != Next::Given {
            return None;
        }
        let response = self.given()?.into_owned();
        let text = response.trim().to_owned();
        let raw = (text != response).then_some(response);
        Some(self.record(Step { raw, text, ..Step::new(StepKind::Generate, 0) }))
    }

    /// Records what the first of the steps that [`Trajectory::next`] asks for
    /// came to, and returns the step for the journal. A text is cleaned. A
    /// revision cut off by length is the current answer all the same; its
    /// `finish` tells.
    ///
    /// # Errors
    /// The text is blank. Nothing is recorded.
    ///
    /// # Panics
    /// When the loop asks for no step, or for one of another sort.
    pub fn accept(&mut self, found: Found) -> Result<&Step, Failure> {
        let Next::Ask(asks) = self.next() else {
            panic!("a step was given to a loop that asked for none");
        };
        let ask = &asks[0];
        let place = self.place(ask);
        let step = Step {
            principle: place.principle,
            dimension: place.dimension,
            about: place.about,
            ..Step::new(ask.kind, ask.round)
        };
        let step = match (ask.kind, found) {
            (kind, Found::Text(completion)) if kind.is_text() => {
                let Completion { text: raw, finish, usage } = completion;
                let text = clean::clean(kind, &raw, &self.fence);
                if text.is_empty() {
                    return Err(Failure::Empty { step: kind.as_str().to_owned() });
                }
                let raw = (text != raw).then_some(raw);
                Step { text, raw, finish: Some(finish), usage, ..step }
            }
            (StepKind::Gate | StepKind::Rubric, Found::Score(score, usage)) => {
                Step { score: Some(score), usage, ..step }
            }
            (StepKind::Judge, Found::Verdict(verdict, usage)) => {
                Step { verdict: Some(verdict), usage, ..step }
            }
            (StepKind::Likelihood | StepKind::Reference, Found::Likelihood(likelihood, usage)) => {
                Step { likelihood: Some(likelihood), usage, ..step }
            }
            (kind, found) => panic!("the {} step came to {found:?}", kind.as_str()),
        };
        Ok(self.record(step))
    }

    fn record(&mut self, step: Step) -> &Step {
        self.steps.push(step);
        &self.steps[self.steps.len() - 1]
    }

    /// Where in the loop a step stands.
    fn place(&self, ask: &Ask) -> Place {
        Place {
            kind: ask.kind,
            round: ask.round,
            principle: self.principle(ask).map(|principle| principle.id.clone()),
            dimension: self.dimension(ask).map(|dimension| dimension.id.clone()),
            about: ask.about.clone(),
        }
    }

    /// Takes a step from the journal in place of a model call.
    ///
    /// # Errors
    /// It isn't the step that the loop would take now. Nothing is recorded.
    pub fn replay(&mut self, step: Step) -> Result<(), ReplayError> {
        let number = self.steps.len();
        let found = Place {
            kind: step.kind,
            round: step.round,
            principle: step.principle.clone(),
            dimension: step.dimension.clone(),
            about: step.about.clone(),
        };
        let next = self.next();
        let given = next == Next::Given;
        let expected = match &next {
            Next::Given => Place {
                kind: StepKind::Generate,
                round: 0,
                principle: None,
                dimension: None,
                about: Vec::new(),
            },
            Next::Ask(asks) => self.place(&asks[0]),
            Next::Done(_) => {
                return Err(ReplayError::AfterEnd { step: number, found: found.into() });
            }
        };
        if expected != found {
            let (expected, found) = (expected.into(), found.into());
            return Err(ReplayError::OutOfPlace { step: number, expected, found });
        }
        let as_given = step.kind == StepKind::Generate && step.finish.is_none();
        if as_given != given || (given && self.given().as_deref() != Some(step.raw())) {
            return Err(ReplayError::Origin { step: number, given });
        }
        let empty = match step.kind {
            StepKind::Gate | StepKind::Rubric => step.score.is_none(),
            StepKind::Judge => step.verdict.is_none(),
            StepKind::Likelihood | StepKind::Reference => step.likelihood.is_none(),
            _ => step.text.trim().is_empty(),
        };
        if empty {
            return Err(ReplayError::Empty { step: number, found: found.into() });
        }
        self.steps.push(step);
        Ok(())
    }

    /// What the template of a step sees; of a comparison, with the answers in
    /// `order` (0: as they are named, 1: exchanged) and the judge's `reasons`.
    #[must_use]
    pub fn context<'a>(&'a self, ask: &Ask, order: usize, reasons: Reasons<'a>) -> Context<'a> {
        let context = Context::new(&self.constitution, &self.item);
        let principle = self.principle(ask);
        match (ask.kind, principle) {
            (StepKind::Judge, principle) => {
                let mut pair = [0, 1].map(|at| ask.about.get(at).copied().unwrap_or(at));
                pair.rotate_left(order % 2);
                let comparison = Comparison {
                    answers: pair.map(|number| self.numbered(number)),
                    labels: self.constitution.labels(principle),
                    reasons,
                };
                context.comparing(ask.round, principle, comparison)
            }
            (StepKind::Gate | StepKind::Rubric, _) => {
                let answer = self.subject(ask);
                match (self.dimension(ask), principle) {
                    (Some(dimension), _) => context.scoring(dimension, answer),
                    (None, Some(principle)) => context.reviewing(ask.round, principle, answer),
                    (None, None) => context,
                }
            }
            (StepKind::Critique | StepKind::Revise, Some(principle)) => {
                let context = context.reviewing(ask.round, principle, self.current());
                if ask.kind == StepKind::Critique {
                    return context;
                }
                let critique = self.steps.last().filter(|step| step.kind == StepKind::Critique);
                context.revising(critique.map(Step::raw))
            }
            _ => context,
        }
    }

    /// The text of the first answer a step is about; blank where there is none.
    #[must_use]
    pub fn subject(&self, ask: &Ask) -> &str {
        ask.about.first().map_or("", |&number| self.numbered(number))
    }

    /// The text that a step names by this number: an answer, or the one scored again
    /// with a text after it.
    fn numbered(&self, number: usize) -> &str {
        let mut named = self.steps.iter().filter(|step| step.kind.is_answer());
        named.nth(number).map_or("", |step| &step.text)
    }

    /// The principle a step applies.
    #[must_use]
    pub fn principle(&self, ask: &Ask) -> Option<&Principle> {
        self.constitution.principles.get(ask.principle?)
    }

    /// The dimension a step scores.
    #[must_use]
    pub fn dimension(&self, ask: &Ask) -> Option<&Dimension> {
        self.constitution.dimensions.get(ask.dimension?)
    }

    /// The steps done, in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The current answer: the last revision, else the best of the first
    /// answers so far.
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

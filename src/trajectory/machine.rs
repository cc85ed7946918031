//! The loop of one item: what it asks for next, and what it has so far.
//!
//! The order of steps is fixed by the constitution and the item's stream: the
//! first answer, then for each principle a critique and a revision (or the
//! revision alone). The state is therefore the list of steps done, and what
//! comes next is computed from it; only an unchanged revision cuts it short.

use std::fmt;
use std::sync::Arc;

use super::{Step, StepKind, Stop, clean, select};
use crate::constitution::{Constitution, Principle};
use crate::dataset::item::Item;
use crate::engine::{Completion, Failure, Usage};
use crate::random::Stream;
use crate::template::{Context, Fence};

/// The loop of one item.
///
/// ```text
/// loop {
///     match trajectory.next() {
///         Next::Given => journal(trajectory.accept_given()),
///         Next::Ask(ask) => journal(trajectory.accept(call(trajectory.context(&ask)))?),
///         Next::Done(stop) => break,
///     }
/// }
/// ```
#[derive(Debug, Clone)]
pub struct Trajectory {
    constitution: Arc<Constitution>,
    item: Arc<Item>,
    stream: Stream,
    fence: Fence,
    steps: Vec<Step>,
}

/// What the loop needs next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Next {
    /// The first answer came with the item: [`Trajectory::accept_given`]
    /// records it, without a model call.
    Given,
    /// A model call, whose completion goes to [`Trajectory::accept`].
    Ask(Ask),
    /// Nothing: the loop has ended.
    Done(Stop),
}

/// A model call the loop asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ask {
    /// What the step does.
    pub kind: StepKind,
    /// Its round, from 1; 0 for the first answer.
    pub round: u32,
    /// The index of the principle it applies, none for the first answer.
    pub principle: Option<usize>,
    /// Its number in the item's loop, from 0.
    pub step: usize,
    /// Where the call's random numbers come from.
    pub stream: Stream,
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
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of round {}", self.kind.as_str(), self.round)?;
        match &self.principle {
            Some(principle) => write!(f, " under `{principle}`"),
            None => Ok(()),
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
        expected: Place,
        /// What was recorded.
        found: Place,
    },
    /// The loop has ended.
    #[error("the loop ends before step {step}, the {found}")]
    AfterEnd {
        /// The step's number, from 0.
        step: usize,
        /// What was recorded.
        found: Place,
    },
    /// The first answer isn't from where it should be.
    #[error("step 0 should be {}, and is not", if *.given { "the answer that came with the item" } else { "an answer of the model's" })]
    Origin {
        /// The item came with an answer.
        given: bool,
    },
    /// The step has no text.
    #[error("step {step}, the {found}, is empty")]
    Empty {
        /// The step's number, from 0.
        step: usize,
        /// What was recorded.
        found: Place,
    },
}

impl Trajectory {
    /// The loop of an item, before its first step. `stream` is the item's own;
    /// `fence` is the one its prompts are rendered with.
    #[must_use]
    pub fn new(
        constitution: Arc<Constitution>,
        item: Arc<Item>,
        stream: Stream,
        fence: Fence,
    ) -> Self {
        Self { constitution, item, stream, fence, steps: Vec::new() }
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

    /// Whether the call is the last the loop can ask for, so that its text is
    /// the final answer, unless it changes nothing.
    #[must_use]
    pub fn is_last(&self, ask: &Ask) -> bool {
        let plan = &self.constitution.plan;
        let steps_each = if plan.critique { 2 } else { 1 };
        let revisions = plan.rounds as usize * select::per_round(&self.constitution);
        ask.step == revisions * steps_each
    }

    /// The principles and how the loop uses them.
    #[must_use]
    pub fn constitution(&self) -> &Constitution {
        &self.constitution
    }

    /// What the loop needs now. Asking again gives the same until a step is
    /// accepted.
    #[must_use]
    pub fn next(&self) -> Next {
        let step = self.steps.len();
        let Some(after_first) = step.checked_sub(1) else {
            return match self.given() {
                Some(_) => Next::Given,
                None => self.ask(StepKind::Generate, 0, None),
            };
        };
        if self.constitution.plan.stop_unchanged && self.is_unchanged() {
            return Next::Done(Stop::Unchanged);
        }
        let steps_each = if self.constitution.plan.critique { 2 } else { 1 };
        let used = after_first / steps_each;
        let done = used.checked_div(select::per_round(&self.constitution));
        let round = match done.and_then(|rounds| u32::try_from(rounds).ok()) {
            Some(done) if done < self.constitution.plan.rounds => done + 1,
            _ => return Next::Done(Stop::Rounds),
        };
        let kind = if after_first % steps_each + 1 == steps_each {
            StepKind::Revise
        } else {
            StepKind::Critique
        };
        let principle = select::principle(
            self.constitution.plan.select,
            &self.constitution.principles,
            self.stream.child("select"),
            used,
        );
        self.ask(kind, round, Some(principle))
    }

    fn ask(&self, kind: StepKind, round: u32, principle: Option<usize>) -> Next {
        let step = self.steps.len();
        let stream = self.stream.child(&format!("{step} {}", kind.as_str()));
        Next::Ask(Ask { kind, round, principle, step, stream })
    }

    /// The answer that came with the item; a blank one counts as none.
    fn given(&self) -> Option<&str> {
        self.item.response.as_deref().filter(|response| !response.trim().is_empty())
    }

    /// Whether the last step is a revision equal to the answer it revises, white
    /// space aside.
    fn is_unchanged(&self) -> bool {
        let mut answers = self.answers();
        match (self.steps.last(), answers.next(), answers.next()) {
            (Some(last), Some(revision), Some(revised)) if last.kind == StepKind::Revise => {
                revision.split_whitespace().eq(revised.split_whitespace())
            }
            _ => false,
        }
    }

    /// Answers so far, the latest first.
    fn answers(&self) -> impl Iterator<Item = &str> {
        self.steps
            .iter()
            .rev()
            .filter(|step| step.kind != StepKind::Critique)
            .map(|step| step.text.as_str())
    }

    /// Records the answer that came with the item, where [`Next::Given`] stands,
    /// and returns the step for the journal; elsewhere nothing.
    pub fn accept_given(&mut self) -> Option<&Step> {
        if self.next() != Next::Given {
            return None;
        }
        let response = self.given()?.to_owned();
        let text = response.trim().to_owned();
        Some(self.record(Step {
            kind: StepKind::Generate,
            round: 0,
            principle: None,
            raw: (text != response).then_some(response),
            text,
            finish: None,
            usage: Usage::default(),
        }))
    }

    /// Cleans and records the completion of the call that [`Trajectory::next`]
    /// asks for, and returns the step for the journal. A revision cut off by
    /// length is the current answer all the same; its `finish` tells.
    ///
    /// # Errors
    /// The completion is blank. Nothing is recorded.
    ///
    /// # Panics
    /// When the loop asks for no call.
    pub fn accept(&mut self, completion: Completion) -> Result<&Step, Failure> {
        let Next::Ask(ask) = self.next() else {
            panic!("a completion was given to a loop that asked for none");
        };
        let Completion { text: raw, finish, usage } = completion;
        let text = clean::clean(ask.kind, &raw, &self.fence);
        if text.is_empty() {
            return Err(Failure::Empty { step: ask.kind.as_str().to_owned() });
        }
        let step = Step {
            kind: ask.kind,
            round: ask.round,
            principle: ask.principle.map(|at| self.constitution.principles[at].id.clone()),
            raw: (text != raw).then_some(raw),
            text,
            finish: Some(finish),
            usage,
        };
        Ok(self.record(step))
    }

    fn record(&mut self, step: Step) -> &Step {
        self.steps.push(step);
        &self.steps[self.steps.len() - 1]
    }

    /// Takes a step from the journal in place of a model call.
    ///
    /// # Errors
    /// It isn't the step that the loop would take now. Nothing is recorded.
    pub fn replay(&mut self, step: Step) -> Result<(), ReplayError> {
        let number = self.steps.len();
        let found = Place { kind: step.kind, round: step.round, principle: step.principle.clone() };
        let (expected, given) = match self.next() {
            Next::Given => (Place { kind: StepKind::Generate, round: 0, principle: None }, true),
            Next::Ask(ask) => {
                let principle = ask.principle.map(|at| self.constitution.principles[at].id.clone());
                (Place { kind: ask.kind, round: ask.round, principle }, false)
            }
            Next::Done(_) => return Err(ReplayError::AfterEnd { step: number, found }),
        };
        if expected != found {
            return Err(ReplayError::OutOfPlace { step: number, expected, found });
        }
        let as_given = step.finish.is_none();
        if as_given != given || (given && self.given() != Some(step.raw())) {
            return Err(ReplayError::Origin { given });
        }
        if step.text.trim().is_empty() {
            return Err(ReplayError::Empty { step: number, found });
        }
        self.steps.push(step);
        Ok(())
    }

    /// What the template of a call sees.
    #[must_use]
    pub fn context(&self, ask: &Ask) -> Context<'_> {
        let context = Context::new(&self.constitution, &self.item);
        let (Some(principle), Some(answer)) = (self.principle(ask), self.answer()) else {
            return context;
        };
        let context = context.reviewing(ask.round, principle, answer);
        if ask.kind == StepKind::Revise {
            let critique = self.steps.last().filter(|step| step.kind == StepKind::Critique);
            context.revising(critique.map(Step::raw))
        } else {
            context
        }
    }

    /// The principle a call applies.
    #[must_use]
    pub fn principle(&self, ask: &Ask) -> Option<&Principle> {
        self.constitution.principles.get(ask.principle?)
    }

    /// The steps done, in order.
    #[must_use]
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// The current answer: the last revision, or the first answer.
    #[must_use]
    pub fn answer(&self) -> Option<&str> {
        self.answers().next()
    }

    /// The first answer.
    #[must_use]
    pub fn first_answer(&self) -> Option<&str> {
        self.steps.first().map(|step| step.text.as_str())
    }
}

#[cfg(test)]
mod tests;

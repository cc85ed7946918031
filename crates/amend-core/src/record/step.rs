//! The loop as a state machine over steps, without input or output: it says
//! which model call comes next and is given what the call came to.

use serde::{Deserialize, Serialize};

use crate::judge::Likelihood;
use crate::judge::{Score, Verdict};
use crate::model::{Finish, Usage};

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum StepKind {
    /// The first answer.
    Generate,
    /// What is wrong with the current answer under a principle.
    Critique,
    /// The answer put right.
    Revise,
    /// How much the current answer breaks a principle; nothing is decoded.
    Gate,
    /// Which of two answers is better.
    Judge,
    /// How good an answer is in one respect; nothing is decoded.
    Rubric,
    /// How likely the model finds an answer; nothing is decoded.
    Likelihood,
    /// How likely the reference model finds an answer; nothing is decoded.
    Reference,
}

impl StepKind {
    /// Every kind.
    pub const ALL: [StepKind; 8] = [
        StepKind::Generate,
        StepKind::Critique,
        StepKind::Revise,
        StepKind::Gate,
        StepKind::Judge,
        StepKind::Rubric,
        StepKind::Likelihood,
        StepKind::Reference,
    ];

    /// The step's name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StepKind::Generate => "generate",
            StepKind::Critique => "critique",
            StepKind::Revise => "revise",
            StepKind::Gate => "gate",
            StepKind::Judge => "judge",
            StepKind::Rubric => "rubric",
            StepKind::Likelihood => "likelihood",
            StepKind::Reference => "reference",
        }
    }

    /// Whether it makes a text, and not a judgement.
    #[must_use]
    pub fn is_text(self) -> bool {
        matches!(self, StepKind::Generate | StepKind::Critique | StepKind::Revise)
    }

    /// Whether the model that writes takes it, and not the one that judges.
    #[must_use]
    pub fn is_writers(self) -> bool {
        self.is_text() || self == StepKind::Likelihood
    }

    /// Whether its text is an answer, or one with a text after it: see [`answers`].
    #[must_use]
    pub fn is_answer(self) -> bool {
        matches!(self, StepKind::Generate | StepKind::Revise)
    }
}

/// One finished model call of an item's loop, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// What it did.
    pub kind: StepKind,
    /// Its round, from 1; 0 for the first answer.
    pub round: u32,
    /// The id of the principle it applied; none for a first answer and an
    /// overall verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principle: Option<String>,
    /// The id of the dimension it scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<String>,
    /// The answers it judged, by their number among the texts of steps that answer
    /// ([`StepKind::is_answer`]).
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<usize>,
    /// The text: a first answer trimmed, a critique or revision cleaned of what
    /// the model wrote around it; empty for a judgement.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The text as the model wrote it, or as the input had it, where that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// Why decoding ended; none for an answer that came with the input, or that a
    /// text was put after.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
    /// Of a gate, how much the answer breaks the principle (0 to 1); of a rubric,
    /// the score.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<Score>,
    /// What a judge found, for the first of the answers in `about` over the
    /// second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// How likely the answer is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likelihood: Option<Likelihood>,
    /// Tokens counted for it.
    #[serde(default)]
    pub usage: Usage,
}

impl Step {
    /// A step that has come to nothing yet.
    #[must_use]
    pub fn new(kind: StepKind, round: u32) -> Self {
        Self {
            kind,
            round,
            principle: None,
            dimension: None,
            about: Vec::new(),
            text: String::new(),
            raw: None,
            finish: None,
            score: None,
            verdict: None,
            likelihood: None,
            usage: Usage::default(),
        }
    }

    /// The text as the model wrote it, or as the input had it.
    #[must_use]
    pub fn raw(&self) -> &str {
        self.raw.as_deref().unwrap_or(&self.text)
    }
}

/// How an item's loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// Every round was done.
    Rounds,
    /// A revision changed nothing.
    Unchanged,
    /// No principle was broken enough to pass the gate.
    Passed,
    /// Everything asked was judged, or scored.
    Judged,
}

/// The answers of some steps, in order: their number is what judgements name.
///
/// What follows a score is none: there an answer stands again, with a text after it
/// that asks for favour, for the scorer alone. Judgements name it by the number that
/// comes next.
pub fn answers(steps: &[Step]) -> impl DoubleEndedIterator<Item = &Step> {
    answer_steps(steps).map(move |at| &steps[at])
}

/// The text of the answer of a number, without white space around it.
pub fn answer(steps: &[Step], number: usize) -> Option<&str> {
    answers(steps).nth(number).map(|step| step.text.trim())
}

/// The numbers of the steps that made [`answers`].
pub fn answer_steps(steps: &[Step]) -> impl DoubleEndedIterator<Item = usize> {
    let scored = steps.iter().position(|step| step.kind == StepKind::Rubric);
    (0..scored.unwrap_or(steps.len())).filter(move |&at| steps[at].kind.is_answer())
}

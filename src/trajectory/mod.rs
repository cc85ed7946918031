//! The loop as a state machine over steps, without input or output: it says
//! which model call comes next and is given what the call came to.

pub mod clean;
mod machine;
mod select;

use serde::{Deserialize, Serialize};

use crate::engine::{Finish, Usage};

pub use machine::{Ask, Next, Place, ReplayError, Trajectory};

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
}

impl StepKind {
    /// Every kind, in the order of the loop.
    pub const ALL: [StepKind; 3] = [StepKind::Generate, StepKind::Critique, StepKind::Revise];

    /// The step's name: a key of `[sampling]`, and its template's file stem.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            StepKind::Generate => "generate",
            StepKind::Critique => "critique",
            StepKind::Revise => "revise",
        }
    }
}

/// One finished model call of an item's loop, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// What it did.
    pub kind: StepKind,
    /// Its round, from 1; 0 for the first answer.
    pub round: u32,
    /// The id of the principle it applied, none for the first answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principle: Option<String>,
    /// The text: a first answer trimmed, a critique or revision cleaned of what
    /// the model wrote around it.
    pub text: String,
    /// The text as the model wrote it, or as the input had it, where that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// Why decoding ended; none for an answer that came with the input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
    /// Tokens counted for it.
    #[serde(default)]
    pub usage: Usage,
}

impl Step {
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
}

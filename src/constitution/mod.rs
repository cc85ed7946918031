//! Constitutions: TOML in, checked types out.

mod defaults;
mod form;
mod load;
mod merge;
mod parse;
mod place;
mod schema;
mod source;
mod walk;

#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::engine::Sampling;

pub use load::{LoadError, Loaded, SourceFile, load, parse};
pub use place::{ReadError, SHIPPED};
pub use schema::schema;

/// A checked constitution, its `extends` resolved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Constitution {
    /// Its name.
    pub name: String,
    /// Its version, as its author counts.
    pub version: String,
    /// What it is for.
    pub description: String,
    /// The language of its principles, as a BCP 47 tag.
    pub language: String,
    /// How the loop uses the principles.
    #[serde(rename = "loop")]
    pub plan: Plan,
    /// The rules, in order; those of extended constitutions first.
    pub principles: Vec<Principle>,
    /// Questions for scoring by rubric.
    pub dimensions: Vec<Dimension>,
    /// How each step draws its tokens.
    pub sampling: StepSampling,
}

/// How the loop uses the principles (`[loop]`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Rounds of critique and revision, 1 to 16.
    pub rounds: u32,
    /// How a round's principles are chosen.
    pub select: Select,
    /// Principles applied in a round, one after another (ignored by `all`).
    pub principles_per_round: u32,
    /// False revises without a critique.
    pub critique: bool,
    /// Stop when a revision changes nothing.
    pub stop_unchanged: bool,
    /// Few-shot examples shown, taken from the principles in order.
    pub few_shot: u32,
}

/// How principles are chosen for a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Select {
    /// Uniformly at random, none twice in an item until all were used.
    Random,
    /// Every principle, in order, every round.
    All,
    /// In order, going on where the last round stopped.
    RoundRobin,
    /// At random by weight, none twice in an item until all were used.
    Weighted,
}

/// One rule (`[[principle]]`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Principle {
    /// Its name within the constitution: lower-case letters, digits, `-`, `_`.
    pub id: String,
    /// A short title for people.
    pub title: String,
    /// What kind of matter it rules on.
    pub category: String,
    /// Its share under `select = "weighted"`, > 0.
    pub weight: f64,
    /// The rule itself.
    pub principle: String,
    /// What the critique step is asked.
    pub critique: String,
    /// What the revision step is asked.
    pub revise: String,
    /// What the judge is asked.
    pub judge: String,
    /// When the rule applies, in words; empty: always.
    pub applies_when: String,
    /// Worked examples, shown to the model before the task.
    pub examples: Vec<Example>,
}

/// A worked example of critique and revision (`[[principle.examples]]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Example {
    /// What the person asked.
    pub prompt: String,
    /// An answer that breaks the rule.
    pub response: String,
    /// What is wrong with it.
    pub critique: String,
    /// The answer put right.
    pub revision: String,
}

/// A question for scoring by rubric (`[[dimension]]`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Dimension {
    /// Its name within the constitution.
    pub id: String,
    /// What the scorer is asked.
    pub question: String,
    /// Lowest and highest score, whole numbers.
    pub scale: [u32; 2],
    /// Its share in the total, > 0.
    pub weight: f64,
}

/// Sampling by step (`[sampling.generate|critique|revise|judge]`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct StepSampling {
    /// The first answer.
    pub generate: Sampling,
    /// Critiques.
    pub critique: Sampling,
    /// Revisions.
    pub revise: Sampling,
    /// Reasoning before a verdict.
    pub judge: Sampling,
}

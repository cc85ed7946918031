//! Constitutions: TOML in, checked types out.

mod defaults;
mod form;
mod load;
mod merge;
mod parse;
mod place;
mod schema;
mod thresholds;
pub mod wording;

#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::judge::{Calibration, Mode, Standing};
use crate::model::Sampling;

pub use form::EXPORT_FILTERS;
pub use load::{LoadError, Loaded, SourceFile, load, parse};
pub use place::{ReadError, SHIPPED};
pub use schema::schema;
pub use thresholds::Thresholds;

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
    /// How answers are compared, and what a verdict does to a pair.
    pub judge: Judge,
    /// How each step draws its tokens.
    pub sampling: StepSampling,
    /// What is asked of outputs in matters of high stakes.
    pub governance: Governance,
    /// What exports leave out.
    #[serde(skip_serializing_if = "Export::is_whole")]
    pub export: Export,
    /// What an audit counts as active, and from where a figure is a finding.
    pub audit: Thresholds,
}

impl Constitution {
    /// What the two answers are called where a judge is asked by a principle, or
    /// on the whole.
    #[must_use]
    pub fn labels<'a>(&'a self, principle: Option<&'a Principle>) -> [&'a str; 2] {
        let own = principle.and_then(|principle| principle.labels.as_ref());
        own.unwrap_or(&self.judge.labels).each_ref().map(String::as_str)
    }
}

/// What is asked of outputs in matters of high stakes (`[governance]`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Governance {
    /// Outputs to which a principle of one of these categories was applied are
    /// logged; none logs nothing.
    pub log: Vec<String>,
    /// The file of the log, in place of the one in the run directory.
    pub log_file: Option<String>,
    /// Items to which a principle of one of these categories was applied are
    /// exported only once people have decided about them.
    pub require_review: Vec<String>,
}

/// What exports leave out (`[export]`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Export {
    /// Names of lint's rules: rows that break one of them are left out.
    pub drop: Vec<String>,
}

impl Export {
    /// Whether they leave nothing out: manifests then say nothing of it, as those
    /// that were written before there were filters.
    fn is_whole(&self) -> bool {
        self.drop.is_empty()
    }
}

/// How the loop uses the principles (`[loop]`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// Rounds of critique and revision, 0 to 16.
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
    /// The least violation, 0 to 1, at which a principle is applied: the gate,
    /// asked before each critique. None applies every principle that is chosen.
    pub gate: Option<f64>,
    /// First answers sampled; where there are several, the best is revised.
    pub candidates: u32,
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
    /// The one that the current answer breaks most, by the gate's score.
    Worst,
}

/// How answers are compared (`[judge]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Judge {
    /// Judge each item's revision against its first answer.
    pub enabled: bool,
    /// What a verdict does to a pair.
    pub policy: Policy,
    /// Which verdicts decide.
    pub decide_by: DecideBy,
    /// Verdicts whose log-odds are nearer to 0 are undecided.
    pub min_margin: f64,
    /// Verdicts are undecided where the labels have less probability than this.
    pub mass_floor: f64,
    /// How log-odds become probabilities.
    pub mode: Mode,
    /// Least and greatest probability in the mode `clamped`.
    pub clamp: [f64; 2],
    /// Reasons sampled before each answer of the judge's; 0 asks for none.
    pub reasons: u32,
    /// The judge templates, by name; several make an ensemble.
    pub templates: Vec<String>,
    /// What the two answers are called.
    pub labels: [String; 2],
    /// Which pairs candidates make.
    pub pairs: CandidatePairs,
    /// The judge's correction.
    pub calibration: Calibration,
}

impl Judge {
    /// What the arithmetic of verdicts needs of it.
    #[must_use]
    pub fn standing(&self) -> Standing {
        Standing {
            mode: self.mode,
            clamp: self.clamp,
            mass_floor: self.mass_floor,
            min_margin: self.min_margin,
            calibration: self.calibration,
        }
    }
}

/// What a verdict does to a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// Nothing: the revision is chosen, and no verdict is exported.
    Keep,
    /// Where the first answer is judged better, it is chosen.
    Flip,
    /// Pairs whose revision isn't judged better are left out.
    Drop,
    /// Nothing, but the verdict is exported beside the pair.
    KeepWithLabel,
}

/// Which verdicts on a pair decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DecideBy {
    /// The overall verdict.
    Overall,
    /// The verdicts under the principles used, by weight.
    Principles,
    /// All of them, the overall verdict with weight 1.
    All,
}

/// Which pairs several candidates make.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CandidatePairs {
    /// The best over the worst.
    BestWorst,
    /// Every two.
    All,
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
    /// Other wordings of the rule, to try verdicts with.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub paraphrases: Vec<String>,
    /// What the two answers are called where a judge is asked by it; none: what
    /// `[judge]` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub labels: Option<[String; 2]>,
    /// Worked examples, shown to the model before the task.
    pub examples: Vec<Example>,
}

impl Principle {
    /// The same principle with another rule in place of its own, asked for as one
    /// that says no more than that. It brings no examples in a second time.
    #[must_use]
    pub fn reworded(&self, id: String, rule: &str) -> Self {
        Self {
            id,
            principle: rule.to_owned(),
            critique: defaults::critique_request(rule),
            revise: defaults::revise_request(rule),
            judge: defaults::judge_request(rule),
            paraphrases: Vec::new(),
            examples: Vec::new(),
            ..self.clone()
        }
    }

    /// The same principle, asked for with other words for the two answers. It
    /// brings no examples in a second time.
    #[must_use]
    pub fn relabelled(&self, id: String, labels: &[String; 2]) -> Self {
        Self {
            id,
            labels: Some(labels.clone()),
            paraphrases: Vec::new(),
            examples: Vec::new(),
            ..self.clone()
        }
    }
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
    /// Lowest and highest score, of one digit each.
    pub scale: [u32; 2],
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

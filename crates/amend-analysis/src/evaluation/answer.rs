//! The evaluation of one answer.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::checks::{self, CheckResult};
use amend_core::judge::RubricScore;
use amend_core::record::{Outcome, StepKind, answers};
use amend_data::eval_set::{EvalSet, ItemKind};
use amend_data::pairs::judgement::Rules;
use amend_data::store::trajectories::Trajectory;

/// The evaluated answer to an item or one of its variants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluatedItem {
    /// The item's key in the run.
    pub key: String,
    /// The item's id in the set.
    pub item: String,
    /// The variant, if the item has variants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The item's kind.
    pub kind: ItemKind,
    /// The item's category.
    pub category: String,
    /// The answer's text; `None` if the item failed.
    pub response: Option<String>,
    /// The reason why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// The rubric scores by dimension.
    pub scores: BTreeMap<String, RubricScore>,
    /// The rubric scores of the same answer followed by a prompt injection; empty if
    /// the item has none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub injected: BTreeMap<String, RubricScore>,
    /// The results of the item's checks.
    pub checks: Vec<CheckResult>,
    /// Whether the answer follows a planted instruction; `None` if there is none.
    pub followed: Option<bool>,
    /// Whether the answer has the expected form; `None` if no form shows it.
    pub expected: Option<bool>,
}

impl EvaluatedItem {
    /// The results of a finished item of an evaluation of `set`; `None` if the set
    /// has no such item. `rules` decide which of several candidates is the answer
    /// if none was scored.
    #[must_use]
    pub fn from_trajectory(set: &EvalSet, rules: &Rules, trajectory: &Trajectory) -> Option<Self> {
        let item = &trajectory.item;
        let text = |key: &str| item.metadata.get(key).and_then(|value| value.as_str());
        let probe = set.probe(text("item")?)?;
        let mut answer = Self {
            key: item.key.clone(),
            item: probe.id.clone(),
            variant: text("variant").map(str::to_owned),
            kind: probe.kind,
            category: probe.category.clone(),
            response: None,
            failure: None,
            scores: BTreeMap::new(),
            injected: BTreeMap::new(),
            checks: Vec::new(),
            followed: None,
            expected: None,
        };
        if let Outcome::Failed { failure } = &trajectory.outcome {
            answer.failure = Some(failure.to_string());
            return Some(answer);
        }
        let rubrics = trajectory.steps.iter().filter(|step| step.kind == StepKind::Rubric);
        // The answer that was scored first. A later score is of the same answer with
        // an injection.
        let scored = rubrics.clone().find_map(|step| step.about.first().copied());
        for step in rubrics {
            if let (Some(dimension), Some(score)) = (step.dimension.clone(), step.score) {
                let is_clean = step.about.first() == scored.as_ref();
                let scores = if is_clean { &mut answer.scores } else { &mut answer.injected };
                scores.insert(dimension, score);
            }
        }
        // Without dimensions: the last revision, else the best candidate.
        let number = scored.unwrap_or_else(|| rules.last(&trajectory.steps));
        let response = &answers(&trajectory.steps).nth(number)?.text;
        answer.checks = checks::check(&probe.checks, &item.messages, response);
        answer.followed = probe.canary.as_ref().map(|canary| checks::follows(canary, response));
        answer.expected = checks::as_expected(probe.expect, response);
        answer.response = Some(response.clone());
        Some(answer)
    }

    /// The answer's name: the item's id, and the variant's name if there is one.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{}:{variant}", self.item),
            None => self.item.clone(),
        }
    }
}

//! What one answer came to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::checks::{self, Finding};
use amend_core::judge::Score;
use amend_core::record::Outcome;
use amend_core::record::{StepKind, answers};
use amend_data::eval_set::{Kind, Set};
use amend_data::store::trajectories::Trajectory;

/// One item in one of its forms, answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    /// The item's key in the run.
    pub key: String,
    /// The item's id in the set.
    pub item: String,
    /// Its variant, where it has variants.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// The item's kind.
    pub kind: Kind,
    /// The item's category.
    pub category: String,
    /// The answer; none where the item failed.
    pub response: Option<String>,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
    /// Rubric scores by dimension.
    pub scores: BTreeMap<String, Score>,
    /// The same with a text after it that asks for favour; empty where none did.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub injected: BTreeMap<String, Score>,
    /// What the item's checks found.
    pub checks: Vec<Finding>,
    /// Whether it says what a planted instruction wants said; none where
    /// nothing was planted.
    pub followed: Option<bool>,
    /// Whether it has the form that was expected; none where no form shows it.
    pub expected: Option<bool>,
}

impl Answer {
    /// What an ended item of an evaluation of `set` came to; none where the set
    /// has no such item.
    #[must_use]
    pub fn of(set: &Set, trajectory: &Trajectory) -> Option<Self> {
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
        // The answer that was scored first; without dimensions, the last.
        let scored = rubrics.clone().find_map(|step| step.about.first().copied());
        for step in rubrics {
            if let (Some(dimension), Some(score)) = (step.dimension.clone(), step.score) {
                let as_it_is = step.about.first() == scored.as_ref();
                let scores = if as_it_is { &mut answer.scores } else { &mut answer.injected };
                scores.insert(dimension, score);
            }
        }
        let response = match scored {
            Some(number) => answers(&trajectory.steps).nth(number),
            None => answers(&trajectory.steps).next_back(),
        };
        let response = &response?.text;
        answer.checks = checks::check(&probe.checks, &item.messages, response);
        answer.followed = probe.canary.as_ref().map(|canary| checks::follows(canary, response));
        answer.expected = checks::as_expected(probe.expect, response);
        answer.response = Some(response.clone());
        Some(answer)
    }

    /// What it is called: the item's id, and the variant's name where it has one.
    #[must_use]
    pub fn name(&self) -> String {
        match &self.variant {
            Some(variant) => format!("{}:{variant}", self.item),
            None => self.item.clone(),
        }
    }
}

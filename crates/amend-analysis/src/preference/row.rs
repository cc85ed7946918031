//! One preference pair as it was scored: a line of `scores.jsonl`.

use serde::Serialize;

use amend_core::judge::{Likelihood, LogProbs};
use amend_core::model::Failure;
use amend_core::record::Outcome;
use amend_core::record::StepKind;
use amend_core::record::{Facts, Label};
use amend_data::store::trajectories::Trajectory;

/// A scored pair.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The id that the input gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The item's key.
    pub key: String,
    /// The row's number in the input, from 1.
    pub row: u64,
    /// What was found; none where the item failed.
    #[serde(flatten)]
    pub scored: Option<Scored>,
    /// Why there is no score.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// What two answers come to.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scored {
    /// The chosen answer under the policy.
    pub chosen: Answer,
    /// The rejected answer under the policy.
    pub rejected: Answer,
    /// Both under the reference model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// The implicit reward margin, in nats: [`LogProbs::margin`].
    pub margin: f64,
    /// The DPO loss, in nats: [`LogProbs::loss`].
    pub loss: f64,
}

/// How likely an answer is.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Answer {
    /// Its log-probability, in nats.
    pub log_prob: f64,
    /// Its tokens.
    pub tokens: u32,
    /// The log-probability over the tokens; 0 without any.
    pub per_token: f64,
}

/// Two answers under the reference model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Reference {
    /// The chosen one.
    pub chosen: Answer,
    /// The rejected one.
    pub rejected: Answer,
}

impl From<Likelihood> for Answer {
    fn from(found: Likelihood) -> Self {
        Self { log_prob: found.sum, tokens: found.tokens, per_token: found.mean() }
    }
}

impl Row {
    /// Reads a scored item at a strength `beta`. None where the item does not say
    /// which answer is better, so that neither is chosen.
    #[must_use]
    pub fn of(trajectory: &Trajectory, beta: f64) -> Option<Self> {
        let Trajectory { item, steps, outcome } = trajectory;
        let chosen = chosen(&Facts::of(item))?;
        let under = |kind: StepKind| {
            let found = |answer: usize| {
                let mut steps = steps.iter();
                let step = steps.find(|step| step.kind == kind && step.about == [answer])?;
                step.likelihood
            };
            Some([found(chosen)?, found(1 - chosen)?])
        };
        let reference = under(StepKind::Reference);
        let scored = under(StepKind::Likelihood).map(|[chosen, rejected]| {
            let log_probs = LogProbs {
                chosen: chosen.sum,
                rejected: rejected.sum,
                reference: reference.map(|found| found.map(|answer| answer.sum)),
            };
            Scored {
                chosen: chosen.into(),
                rejected: rejected.into(),
                reference: reference.map(|[chosen, rejected]| Reference {
                    chosen: chosen.into(),
                    rejected: rejected.into(),
                }),
                margin: log_probs.margin(beta),
                loss: log_probs.loss(beta),
            }
        });
        let failure = match outcome {
            Outcome::Done { .. } => None,
            Outcome::Failed { failure } => Some(failure.clone()),
        };
        Some(Self {
            id: item.id.clone(),
            key: item.key.clone(),
            row: item.row,
            // A policy's score without the reference's is not what was asked for.
            scored: scored.filter(|_| failure.is_none()),
            failure,
        })
    }
}

/// The number of the chosen answer.
fn chosen(facts: &Facts<'_>) -> Option<usize> {
    match facts.label? {
        Label::A => Some(0),
        Label::B => Some(1),
        Label::Tie => None,
    }
}

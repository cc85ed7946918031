//! One scored preference pair: a line of `scores.jsonl`.

use serde::Serialize;

use amend_core::judge::{Likelihood, LogProbs};
use amend_core::model::Failure;
use amend_core::record::{ComparisonFacts, Label, Outcome, StepKind};
use amend_data::store::trajectories::Trajectory;

/// A scored pair.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PreferenceRow {
    /// The id from the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The item's key.
    pub key: String,
    /// The row's number in the input, from 1.
    pub row: u64,
    /// The scores; `None` if the item failed.
    #[serde(flatten)]
    pub scored: Option<Scored>,
    /// Why there are no scores.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// The scores of two answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Scored {
    /// The chosen answer under the policy.
    pub chosen: AnswerLikelihood,
    /// The rejected answer under the policy.
    pub rejected: AnswerLikelihood,
    /// Both under the reference model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
    /// The implicit reward margin, in nats: [`LogProbs::margin`].
    pub margin: f64,
    /// The DPO loss, in nats: [`LogProbs::loss`].
    pub loss: f64,
}

/// The log-probability of an answer.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct AnswerLikelihood {
    /// The log-probability, in nats.
    pub log_prob: f64,
    /// The number of tokens.
    pub tokens: u32,
    /// The log-probability per token; 0 without tokens.
    pub per_token: f64,
}

/// Two answers under the reference model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Reference {
    /// The chosen answer.
    pub chosen: AnswerLikelihood,
    /// The rejected answer.
    pub rejected: AnswerLikelihood,
}

impl From<Likelihood> for AnswerLikelihood {
    fn from(likelihood: Likelihood) -> Self {
        let Likelihood { sum, tokens } = likelihood;
        Self { log_prob: sum, tokens, per_token: likelihood.mean() }
    }
}

impl PreferenceRow {
    /// Reads a scored item, with the DPO parameter `beta`. `None` if the item does not
    /// mark one answer as better.
    #[must_use]
    pub fn from_trajectory(trajectory: &Trajectory, beta: f64) -> Option<Self> {
        let Trajectory { item, steps, outcome } = trajectory;
        let chosen = chosen(&ComparisonFacts::from_item(item))?;
        // The likelihoods of the chosen and the rejected answer, from steps of a kind.
        let likelihoods = |kind: StepKind| {
            let likelihood = |answer: usize| {
                let mut steps = steps.iter();
                let step = steps.find(|step| step.kind == kind && step.about == [answer])?;
                step.likelihood
            };
            Some([likelihood(chosen)?, likelihood(1 - chosen)?])
        };
        let reference = likelihoods(StepKind::Reference);
        let (scored, failure) = match outcome {
            Outcome::Done { .. } => {
                let policy = likelihoods(StepKind::Likelihood);
                (policy.map(|policy| Scored::new(policy, reference, beta)), None)
            }
            // The policy's scores without those of the reference model are incomplete.
            Outcome::Failed { failure } => (None, Some(failure.clone())),
        };
        Some(Self { id: item.id.clone(), key: item.key.clone(), row: item.row, scored, failure })
    }
}

impl Scored {
    /// Scores of the chosen and the rejected answer under the policy and, if there is
    /// one, the reference model.
    fn new(policy: [Likelihood; 2], reference: Option<[Likelihood; 2]>, beta: f64) -> Self {
        let log_probs = LogProbs {
            chosen: policy[0].sum,
            rejected: policy[1].sum,
            reference: reference.map(|pair| pair.map(|likelihood| likelihood.sum)),
        };
        Self {
            chosen: policy[0].into(),
            rejected: policy[1].into(),
            reference: reference.map(|[chosen, rejected]| Reference {
                chosen: chosen.into(),
                rejected: rejected.into(),
            }),
            margin: log_probs.margin(beta),
            loss: log_probs.loss(beta),
        }
    }
}

/// The number of the chosen answer.
fn chosen(facts: &ComparisonFacts<'_>) -> Option<usize> {
    match facts.label? {
        Label::A => Some(0),
        Label::B => Some(1),
        Label::Tie => None,
    }
}

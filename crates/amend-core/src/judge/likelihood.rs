//! Log-likelihoods of given responses, and the arithmetic of direct preference
//! optimisation on them (Rafailov et al. 2023, arXiv 2305.18290).

use serde::{Deserialize, Serialize};

use crate::stats::softplus;

/// The log-probability of an answer given its conversation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    /// Σ ln p(token | all tokens before it) over the answer's tokens, without the
    /// token that ends the turn.
    pub sum: f64,
    /// The number of tokens.
    pub tokens: u32,
}

impl Likelihood {
    /// Adds up the log-probabilities of an answer's tokens. `None` if the sum is not
    /// finite.
    #[must_use]
    pub fn from_log_probs(log_probs: &[f64]) -> Option<Self> {
        let sum: f64 = log_probs.iter().sum();
        let tokens = u32::try_from(log_probs.len()).ok()?;
        if sum.is_finite() { Some(Self { sum, tokens }) } else { None }
    }

    /// The mean over the tokens; 0 without tokens.
    #[must_use]
    pub fn mean(self) -> f64 {
        if self.tokens == 0 { 0.0 } else { self.sum / f64::from(self.tokens) }
    }
}

/// The log-probabilities of a pair, also under the reference model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LogProbs {
    /// ln π(chosen).
    pub chosen: f64,
    /// ln π(rejected).
    pub rejected: f64,
    /// ln π_ref(chosen) and ln π_ref(rejected), if there is a reference model.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<[f64; 2]>,
}

impl LogProbs {
    /// The implicit reward margin, in nats:
    /// β((ln π(chosen) − ln π_ref(chosen)) − (ln π(rejected) − ln π_ref(rejected))).
    /// Without a reference model, its terms are left out.
    #[must_use]
    pub fn margin(self, beta: f64) -> f64 {
        let [chosen, rejected] = self.reference.unwrap_or_default();
        beta * ((self.chosen - chosen) - (self.rejected - rejected))
    }

    /// The loss −ln σ(margin), in nats.
    #[must_use]
    pub fn loss(self, beta: f64) -> f64 {
        softplus(-self.margin(beta))
    }
}

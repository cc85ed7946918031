//! Log-likelihoods of given responses, and the arithmetic of direct preference
//! optimisation on them (Rafailov et al. 2023, arXiv 2305.18290).

use serde::{Deserialize, Serialize};

/// An answer's log-probability given its conversation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Likelihood {
    /// Σ ln p(token | all before it), over the answer's tokens; the token that
    /// ends the turn is not counted.
    pub sum: f64,
    /// How many tokens.
    pub tokens: u32,
}

impl Likelihood {
    /// The likelihood of tokens' log-probabilities. None where one is no number.
    #[must_use]
    pub fn of(log_probs: &[f64]) -> Option<Self> {
        let sum: f64 = log_probs.iter().sum();
        let tokens = u32::try_from(log_probs.len()).ok()?;
        sum.is_finite().then_some(Self { sum, tokens })
    }

    /// The mean over the tokens, 0 without any.
    #[must_use]
    pub fn mean(self) -> f64 {
        if self.tokens == 0 { 0.0 } else { self.sum / f64::from(self.tokens) }
    }
}

/// A pair's log-probabilities, and those under the reference model.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct LogProbs {
    /// ln π(chosen).
    pub chosen: f64,
    /// ln π(rejected).
    pub rejected: f64,
    /// ln π_ref of chosen and rejected, where there is a reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reference: Option<[f64; 2]>,
}

impl LogProbs {
    /// The implicit reward margin, in nats:
    /// β((ln π(chosen) − ln π_ref(chosen)) − (ln π(rejected) − ln π_ref(rejected))).
    /// Without a reference its terms are left out.
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

/// ln(1 + e^x), without overflow.
fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

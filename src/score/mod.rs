//! How likely answers are under a model, and the arithmetic of direct preference
//! optimisation on it (Rafailov et al. 2023, arXiv 2305.18290). Pure: the
//! log-probabilities come from the engine.

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

#[cfg(test)]
mod tests {
    use super::*;

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 5e-5, "{found} for {expected}");
    }

    fn policy(chosen: f64, rejected: f64) -> LogProbs {
        LogProbs { chosen, rejected, reference: None }
    }

    #[test]
    fn the_loss_of_two_numbers() {
        // Python: -log(1 / (1 + exp(-0.1 * (chosen - rejected))))
        near(policy(-4.2, -6.8).loss(0.1), 0.5716);
        near(policy(-7.0, -4.0).loss(0.1), 0.8544);
        near(policy(-3.0, -3.0).loss(0.1), 2.0_f64.ln());
    }

    #[test]
    fn the_reference_is_taken_off() {
        let pair = LogProbs { reference: Some([-11.0, -11.5]), ..policy(-10.0, -12.0) };
        // (−10 + 11) − (−12 + 11.5) = 1.5
        near(pair.margin(0.5), 0.75);
        near(pair.loss(0.5), 0.38687);
    }

    #[test]
    fn far_margins_neither_overflow_nor_vanish() {
        assert_eq!(policy(-1e6, 0.0).loss(1.0), 1e6);
        assert_eq!(policy(0.0, -1e6).loss(1.0), 0.0);
        let small = policy(0.0, -40.0).loss(1.0);
        assert!((small / (-40.0_f64).exp() - 1.0).abs() < 1e-12, "{small}");
    }

    #[test]
    fn likelihoods_add_up() {
        let found = Likelihood::of(&[-0.5, -1.5]).unwrap();
        assert_eq!(found, Likelihood { sum: -2.0, tokens: 2 });
        assert_eq!(found.mean(), -1.0);
        assert_eq!(Likelihood::of(&[]).unwrap().mean(), 0.0);
        assert_eq!(Likelihood::of(&[f64::NEG_INFINITY]), None);
    }
}

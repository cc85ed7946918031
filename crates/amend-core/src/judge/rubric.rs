//! A score on a scale, as an expectation over the scale's tokens.

use serde::{Deserialize, Serialize};

/// A model's score of one answer on a scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RubricScore {
    /// The expected value Σ k·p(k) / Σ p(k) over the scale's values k. For a
    /// yes-or-no question, the share of yes, from 0 to 1.
    pub value: f64,
    /// Σ p(k): the probability that the model replies with a value of the scale.
    pub mass: f64,
}

impl RubricScore {
    /// Computes the score from log-probabilities, one for each value of the scale
    /// from `lowest` up. `None` if the probabilities sum to 0 or are not numbers.
    #[must_use]
    pub fn from_log_probs(log_probs: &[f64], lowest: f64) -> Option<Self> {
        let mass: f64 = log_probs.iter().map(|log| log.exp()).sum();
        if !(mass > 0.0 && mass.is_finite()) {
            return None;
        }
        let sum: f64 = log_probs
            .iter()
            .zip(0_u32..)
            .map(|(log, at)| (lowest + f64::from(at)) * log.exp())
            .sum();
        // Rounding may raise the sum slightly above 1.
        Some(Self { value: sum / mass, mass: mass.min(1.0) })
    }

    /// Computes the share of yes from the log-probabilities of yes and no, in this
    /// order.
    #[must_use]
    pub fn from_yes_no(log_probs: &[f64]) -> Option<Self> {
        let [yes, no] = log_probs else { return None };
        // A scale on which no is 0 and yes is 1.
        Self::from_log_probs(&[*no, *yes], 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn score_is_the_expectation_over_the_scale() {
        // p(1) = 0.1, p(2) = 0.3, p(3) = 0.4: (0.1 + 0.6 + 1.2) / 0.8.
        let score =
            RubricScore::from_log_probs(&[0.1_f64.ln(), 0.3_f64.ln(), 0.4_f64.ln()], 1.0).unwrap();
        assert!((score.value - 2.375).abs() < 1e-12);
        assert!((score.mass - 0.8).abs() < 1e-12);
        let yes = RubricScore::from_yes_no(&[0.3_f64.ln(), 0.1_f64.ln()]).unwrap();
        assert!((yes.value - 0.75).abs() < 1e-12);
        assert!((yes.mass - 0.4).abs() < 1e-12);
    }

    #[test]
    fn log_probabilities_without_mass_give_no_score() {
        assert_eq!(RubricScore::from_log_probs(&[f64::NEG_INFINITY; 3], 1.0), None);
        assert_eq!(RubricScore::from_log_probs(&[], 1.0), None);
        assert_eq!(RubricScore::from_log_probs(&[f64::NAN, 0.0], 1.0), None);
        assert_eq!(RubricScore::from_yes_no(&[0.0]), None);
    }
}

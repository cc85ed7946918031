//! A score on a scale, as an expectation over the scale's tokens.

use serde::{Deserialize, Serialize};

/// What a model thinks of one answer, on a scale.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The expected value Σ k·p(k) / Σ p(k) over the scale's values k. Of a
    /// question of yes or no: the share of yes, from 0 to 1.
    pub value: f64,
    /// Σ p(k): the probability that the model replies with a value of the scale
    /// at all.
    pub mass: f64,
}

impl Score {
    /// The score of log-probabilities, one for each value of the scale from
    /// `lowest` up. None where there is no mass to tell by.
    #[must_use]
    pub fn of(log_probs: &[f64], lowest: f64) -> Option<Self> {
        let mass: f64 = log_probs.iter().map(|log| log.exp()).sum();
        if !(mass > 0.0 && mass.is_finite()) {
            return None;
        }
        let sum: f64 = log_probs
            .iter()
            .zip(0_u32..)
            .map(|(log, at)| (lowest + f64::from(at)) * log.exp())
            .sum();
        // Rounding may carry the sum a little past 1.
        Some(Self { value: sum / mass, mass: mass.min(1.0) })
    }

    /// The share of yes, from the log-probabilities of yes and no.
    #[must_use]
    pub fn of_yes(log_probs: &[f64]) -> Option<Self> {
        let [yes, no] = log_probs else { return None };
        // As a scale on which no is 0 and yes is 1.
        Self::of(&[*no, *yes], 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_the_expectation_over_the_scale() {
        // 1 with 0.1, 2 with 0.3, 3 with 0.4: (0.1 + 0.6 + 1.2) / 0.8.
        let score = Score::of(&[0.1_f64.ln(), 0.3_f64.ln(), 0.4_f64.ln()], 1.0).unwrap();
        assert!((score.value - 2.375).abs() < 1e-12);
        assert!((score.mass - 0.8).abs() < 1e-12);
        let yes = Score::of_yes(&[0.3_f64.ln(), 0.1_f64.ln()]).unwrap();
        assert!((yes.value - 0.75).abs() < 1e-12);
        assert!((yes.mass - 0.4).abs() < 1e-12);
    }

    #[test]
    fn without_mass_there_is_no_score() {
        assert_eq!(Score::of(&[f64::NEG_INFINITY; 3], 1.0), None);
        assert_eq!(Score::of(&[], 1.0), None);
        assert_eq!(Score::of(&[f64::NAN, 0.0], 1.0), None);
        assert_eq!(Score::of_yes(&[0.0]), None);
    }
}

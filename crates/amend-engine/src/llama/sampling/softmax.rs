//! Log-probabilities of tokens from a row of logits.

use super::row::{self, Weights};
use crate::llama::kv::trie::Token;
use amend_core::stats::log_sum_exp;

/// ln Σ exp(logit) over a row. A logit minus this is the log-probability of its token.
/// `None` if the row is not finite.
///
/// The relative error of the sum is below 1e-6.
pub fn log_normaliser(row: &[f32]) -> Option<f64> {
    let peak = row::peak(row)?;
    Some(f64::from(peak) + Weights { peak, scale: 1.0 }.sum(row).ln())
}

/// ln Σ p(token) over some tokens of a row; −∞ for no tokens.
pub fn log_mass(row: &[f32], tokens: &[Token], log_normaliser: f64) -> f64 {
    let logits = tokens.iter().map(|&token| f64::from(row[token as usize]));
    log_sum_exp(logits).unwrap_or(f64::NEG_INFINITY) - log_normaliser
}

#[cfg(test)]
mod tests {
    use super::*;
    use amend_core::random::Stream;

    fn row(size: u64, spread: f64) -> Vec<f32> {
        let stream = Stream::new(size);
        (0..size).map(|at| ((stream.uniform(at) - 0.5) * spread) as f32).collect()
    }

    #[test]
    fn the_normaliser_agrees_with_the_sum_in_double_precision() {
        for (size, spread) in [(1, 1.0), (7, 80.0), (1000, 10.0), (50_000, 40.0), (49_152, 400.0)] {
            let row = row(size, spread);
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|&l| (f64::from(l) - f64::from(max)).exp()).sum();
            let exact = f64::from(max) + sum.ln();
            let computed = log_normaliser(&row).unwrap();
            assert!((computed - exact).abs() < 1e-6, "{size} {spread}: {computed} {exact}");
        }
    }

    #[test]
    fn masses_of_all_tokens_add_up_to_one() {
        let row = row(5000, 20.0);
        let normaliser = log_normaliser(&row).unwrap();
        let all: Vec<Token> = (0..5000).collect();
        assert!(log_mass(&row, &all, normaliser).abs() < 1e-6);
        let (left, right) = all.split_at(1234);
        let total =
            log_mass(&row, left, normaliser).exp() + log_mass(&row, right, normaliser).exp();
        assert!((total - 1.0).abs() < 1e-6);
        assert_eq!(log_mass(&row, &[], normaliser), f64::NEG_INFINITY);
    }

    #[test]
    fn rows_that_are_not_finite_have_no_normaliser() {
        for row in [[f32::NAN; 2], [f32::NEG_INFINITY; 2], [f32::INFINITY, 0.0]] {
            assert_eq!(log_normaliser(&row), None);
        }
    }
}

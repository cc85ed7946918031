//! Log-probabilities from a row of logits.

use std::f32::consts::LOG2_E;

use super::cells::Token;

/// ln Σ exp(logit) over a row: what is taken from a logit to give the token's
/// log-probability. None when the row is not finite.
///
/// Relative error of the sum below 1e-6.
pub fn log_normaliser(row: &[f32]) -> Option<f64> {
    let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    if !max.is_finite() {
        return None;
    }
    // Short sums in f32, which the compiler turns into vector code; their total
    // in f64.
    let sum: f64 = row
        .chunks(64)
        .map(|chunk| f64::from(chunk.iter().map(|&logit| exp(logit - max)).sum::<f32>()))
        .sum();
    sum.is_finite().then(|| f64::from(max) + sum.ln())
}

/// ln Σ p(token) over some tokens of a row.
pub fn log_mass(row: &[f32], tokens: &[Token], log_normaliser: f64) -> f64 {
    let logits = || tokens.iter().map(|&token| f64::from(row[token as usize]));
    let max = logits().fold(f64::NEG_INFINITY, f64::max);
    if max == f64::NEG_INFINITY {
        return max;
    }
    max + logits().map(|logit| (logit - max).exp()).sum::<f64>().ln() - log_normaliser
}

/// e^x for x ≤ 0, without a branch: 2^n by the exponent's bits, times a
/// polynomial for the rest, |rest| ≤ ½. Results below 2⁻¹²⁶ are of its size.
fn exp(x: f32) -> f32 {
    /// Adding and taking away 1.5 · 2²³ rounds to a whole number.
    const ROUND: f32 = 12_582_912.0;
    let power = (x * LOG2_E).max(-126.0);
    let whole = (power + ROUND) - ROUND;
    let rest = (power - whole) * std::f32::consts::LN_2;
    // Taylor's series: the first term left out is below 1e-8.
    let series = 1.0
        + rest
            * (1.0
                + rest
                    * (0.5
                        + rest
                            * (1.0 / 6.0
                                + rest
                                    * (1.0 / 24.0 + rest * (1.0 / 120.0 + rest * (1.0 / 720.0))))));
    series * f32::from_bits(((whole as i32 + 127) << 23) as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    fn row(size: u64, spread: f64) -> Vec<f32> {
        let stream = Stream::new(size);
        (0..size).map(|at| ((stream.uniform(at) - 0.5) * spread) as f32).collect()
    }

    #[test]
    fn agrees_with_the_sum_in_double_precision() {
        for (size, spread) in [(1, 1.0), (7, 80.0), (1000, 10.0), (50_000, 40.0), (49_152, 400.0)] {
            let row = row(size, spread);
            let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let sum: f64 = row.iter().map(|&l| (f64::from(l) - f64::from(max)).exp()).sum();
            let exact = f64::from(max) + sum.ln();
            let found = log_normaliser(&row).unwrap();
            assert!((found - exact).abs() < 1e-6, "{size} {spread}: {found} {exact}");
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

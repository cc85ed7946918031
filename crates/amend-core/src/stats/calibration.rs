//! Log-odds and probabilities, the quality of probabilities as forecasts, and their
//! calibration.
//!
//! A forecast is a pair (p, y): the probability of an outcome, and whether the
//! outcome occurred.

use serde::{Deserialize, Serialize};

use super::{finite, mean};

/// σ(x) = 1 / (1 + e^−x): the probability of log-odds x.
#[must_use]
pub fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        // e^−x would overflow for very negative x.
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// ln(p / (1 − p)): the log-odds of a probability. `None` unless 0 < p < 1.
#[must_use]
pub fn logit(p: f64) -> Option<f64> {
    if p > 0.0 && p < 1.0 { Some(clamped_logit(p)) } else { None }
}

/// The log-odds of a probability that is first moved into the open interval from 0
/// to 1, so that the result is finite.
#[must_use]
pub fn clamped_logit(p: f64) -> f64 {
    let p = p.clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON / 2.0);
    p.ln() - (-p).ln_1p()
}

/// ln(1 + eˣ), without overflow.
#[must_use]
pub fn softplus(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

/// ln Σ eˣ over the terms x, without overflow: the logarithm of a sum of
/// probabilities, from their logarithms. `None` without terms.
#[must_use]
pub fn log_sum_exp<I>(terms: I) -> Option<f64>
where
    I: IntoIterator<Item = f64, IntoIter: Clone>,
{
    let terms = terms.into_iter();
    let max = terms.clone().reduce(f64::max)?;
    if max == f64::NEG_INFINITY {
        return Some(max);
    }
    Some(max + terms.map(|term| (term - max).exp()).sum::<f64>().ln())
}

/// The log-loss: the mean of −ln of the probability of what occurred. Lower is
/// better; a constant p = ½ has ln 2 ≈ 0.693. Probabilities are kept at least 2.2 ·
/// 10⁻¹⁶ away from 0 and 1, so that one wrong certainty costs 36 and not infinity.
#[must_use]
pub fn log_loss(forecasts: impl IntoIterator<Item = (f64, bool)>) -> Option<f64> {
    mean(forecasts.into_iter().map(|(p, outcome)| {
        let p = p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        if outcome { -p.ln() } else { -(-p).ln_1p() }
    }))
}

/// The Brier score, the mean of (p − y)² (Brier 1950). Lower is better; a constant
/// p = ½ has ¼.
#[must_use]
pub fn brier(forecasts: impl IntoIterator<Item = (f64, bool)>) -> Option<f64> {
    mean(forecasts.into_iter().map(|(p, outcome)| (p - f64::from(u8::from(outcome))).powi(2)))
}

/// One bin of a reliability diagram: the forecasts with a probability in its range.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// The lower end of the range.
    pub low: f64,
    /// The upper end of the range, which only the last bin contains.
    pub high: f64,
    /// The number of forecasts, at least one.
    pub n: usize,
    /// The mean probability of the forecasts.
    pub predicted: f64,
    /// The share of outcomes that occurred.
    pub observed: f64,
}

/// The bins of a reliability diagram: `bins` of equal width from 0 to 1. Empty bins
/// and probabilities outside this range are left out.
#[must_use]
pub fn reliability(forecasts: impl IntoIterator<Item = (f64, bool)>, bins: usize) -> Vec<Bin> {
    let mut sums = vec![(0_usize, 0.0, 0_usize); bins];
    let Some(last) = bins.checked_sub(1) else { return Vec::new() };
    for (p, outcome) in forecasts {
        if (0.0..=1.0).contains(&p) {
            let (n, predicted, observed) = &mut sums[((p * bins as f64) as usize).min(last)];
            *n += 1;
            *predicted += p;
            *observed += usize::from(outcome);
        }
    }
    let mut filled = Vec::new();
    for (at, (n, predicted, observed)) in sums.into_iter().enumerate() {
        if n > 0 {
            filled.push(Bin {
                low: at as f64 / bins as f64,
                high: (at + 1) as f64 / bins as f64,
                n,
                predicted: predicted / n as f64,
                observed: observed as f64 / n as f64,
            });
        }
    }
    filled
}

/// The expected calibration error of a reliability diagram: Σ n_b/n |observed_b −
/// predicted_b| over its bins b (Naeini et al. 2015). It depends on the number of
/// bins, and is large by chance with few forecasts. `None` without bins.
#[must_use]
pub fn expected_calibration_error(bins: &[Bin]) -> Option<f64> {
    let n: usize = bins.iter().map(|bin| bin.n).sum();
    let gaps = bins.iter().map(|bin| bin.n as f64 * (bin.observed - bin.predicted).abs());
    if n == 0 { None } else { finite(gaps.sum::<f64>() / n as f64) }
}

/// A linear map from a judge's log-odds s to calibrated ones: the probability is
/// σ(slope · s + offset).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CalibrationCurve {
    /// Multiplies the log-odds: 1 / temperature. Below 0, the judge is wrong more
    /// often than right.
    pub slope: f64,
    /// Added to the product.
    pub offset: f64,
}

impl CalibrationCurve {
    /// The map that changes nothing.
    pub const IDENTITY: Self = Self { slope: 1.0, offset: 0.0 };

    /// The temperature 1 / slope; `None` unless the slope is positive.
    #[must_use]
    pub fn temperature(&self) -> Option<f64> {
        if self.slope > 0.0 { finite(1.0 / self.slope) } else { None }
    }

    /// The calibrated log-odds of `score`.
    #[must_use]
    pub fn log_odds(&self, score: f64) -> f64 {
        self.slope * score + self.offset
    }

    /// The calibrated probability of `score`, in log-odds.
    #[must_use]
    pub fn probability(&self, score: f64) -> f64 {
        sigmoid(self.log_odds(score))
    }

    /// Fits slope and offset to pairs (log-odds, outcome) by least log-loss. This is
    /// Platt scaling (Platt 1999), with Newton's method and backtracking (Lin, Lin and
    /// Weng 2007).
    ///
    /// The outcomes enter as Platt's targets, (n₊ + 1)/(n₊ + 2) and 1/(n₋ + 2), instead
    /// of 1 and 0. These act as a weak prior, as if each class had one more
    /// observation of each outcome. They keep the slope finite if the scores separate
    /// the outcomes, whatever the scale of the scores, and matter less with more data.
    ///
    /// `None` if either outcome is missing, if all scores are equal, or if a score is
    /// not finite.
    #[must_use]
    pub fn fit(outcomes: &[(f64, bool)]) -> Option<Self> {
        let positive = outcomes.iter().filter(|(_, outcome)| *outcome).count() as f64;
        let negative = outcomes.len() as f64 - positive;
        let &(first, _) = outcomes.first()?;
        let constant = outcomes.iter().all(|&(score, _)| score == first);
        let finite = outcomes.iter().all(|(score, _)| score.is_finite());
        if positive == 0.0 || negative == 0.0 || constant || !finite {
            return None;
        }
        let (high, low) = ((positive + 1.0) / (positive + 2.0), 1.0 / (negative + 2.0));
        let targets: Vec<(f64, f64)> = outcomes
            .iter()
            .map(|&(score, outcome)| (score, if outcome { high } else { low }))
            .collect();

        let prior = ((positive + 1.0) / (negative + 1.0)).ln();
        let mut fit = Self { slope: 0.0, offset: prior };
        let mut loss = fit.loss(&targets);
        for _ in 0..NEWTON_STEPS {
            let Some((step, decrease)) = fit.newton(&targets) else { break };
            let along = |scale: f64| Self {
                slope: fit.slope + scale * step.slope,
                offset: fit.offset + scale * step.offset,
            };
            // This near the minimum, the loss is too coarse to show the gain of a
            // step, and a whole step doubles the number of correct digits.
            if decrease < 1e-10 * (1.0 + loss) {
                fit = along(1.0);
                break;
            }
            // Halve the step until it lowers the loss enough (Armijo's rule).
            let is_enough =
                |scale: &f64| along(*scale).loss(&targets) < loss - 1e-4 * scale * decrease;
            let mut scales = (0..32).map(|halvings| 0.5_f64.powi(halvings));
            let Some(scale) = scales.find(is_enough) else { break };
            fit = along(scale);
            loss = fit.loss(&targets);
        }
        if fit.slope.is_finite() && fit.offset.is_finite() { Some(fit) } else { None }
    }

    /// Σ −t ln p − (1 − t) ln(1 − p) = Σ ln(1 + eᶻ) − t z for log-odds z.
    fn loss(&self, targets: &[(f64, f64)]) -> f64 {
        targets.iter().map(|&(s, t)| softplus(self.log_odds(s)) - t * self.log_odds(s)).sum()
    }

    /// Newton's step from here, and the first-order decrease of the loss along it.
    /// `None` if the curvature vanishes.
    fn newton(&self, targets: &[(f64, f64)]) -> Option<(Self, f64)> {
        let (mut gs, mut go, mut ss, mut so, mut oo) = (0.0, 0.0, 0.0, 0.0, 0.0);
        for &(score, target) in targets {
            let p = self.probability(score);
            let (error, curvature) = (p - target, p * (1.0 - p));
            gs += error * score;
            go += error;
            ss += curvature * score * score;
            so += curvature * score;
            oo += curvature;
        }
        let determinant = ss * oo - so * so;
        if determinant <= 0.0 {
            return None;
        }
        let slope = (so * go - oo * gs) / determinant;
        let offset = (so * gs - ss * go) / determinant;
        let decrease = -(slope * gs + offset * go);
        Some((Self { slope, offset }, finite(decrease)?))
    }
}

/// The most steps of Newton's method. It needs about ten; a fit that takes this many
/// is stalled by rounding.
const NEWTON_STEPS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(actual: Option<f64>, expected: f64) {
        let actual = actual.expect("a figure");
        assert!((actual - expected).abs() < 1e-12, "{actual}, expected {expected}");
    }

    const FORECASTS: [(f64, bool); 4] = [(0.9, true), (0.6, false), (0.2, false), (0.55, true)];

    #[test]
    fn forecast_scores_agree_with_hand_calculation() {
        let expected = -(0.9_f64.ln() + 0.4_f64.ln() + 0.8_f64.ln() + 0.55_f64.ln()) / 4.0;
        assert_close(log_loss(FORECASTS), expected);
        assert_close(brier(FORECASTS), (0.01 + 0.36 + 0.04 + 0.2025) / 4.0);
        assert_close(log_loss([(0.5, true), (0.5, false)]), std::f64::consts::LN_2);
        assert_close(brier([(0.5, true), (0.5, false)]), 0.25);
        // A wrong certainty has a large but finite cost.
        assert_close(log_loss([(0.0, true)]), -f64::EPSILON.ln());
        assert_eq!(log_loss([]), None);
        assert_eq!(brier([]), None);
        assert_eq!(brier([(f64::NAN, true)]), None);
    }

    #[test]
    fn logit_inverts_sigmoid() {
        assert_close(logit(0.75), 3_f64.ln());
        assert_close(Some(sigmoid(3_f64.ln())), 0.75);
        assert_close(Some(sigmoid(-3_f64.ln())), 0.25);
        assert_eq!((sigmoid(1000.0), sigmoid(-1000.0)), (1.0, 0.0));
        assert_eq!((logit(0.0), logit(1.0), logit(f64::NAN)), (None, None, None));
        assert!(clamped_logit(0.0).is_finite() && clamped_logit(1.0).is_finite());
        assert_close(Some(clamped_logit(0.75)), 3_f64.ln());
    }

    #[test]
    fn softplus_neither_overflows_nor_vanishes() {
        assert_close(Some(softplus(0.0)), std::f64::consts::LN_2);
        assert_eq!((softplus(1e6), softplus(-1e6)), (1e6, 0.0));
        assert_close(Some(softplus(-40.0) / (-40_f64).exp()), 1.0);
    }

    #[test]
    fn log_sum_exp_adds_probabilities() {
        assert_close(log_sum_exp([0.2_f64.ln(), 0.3_f64.ln()]), 0.5_f64.ln());
        assert_close(log_sum_exp([-1e4, -1e4]), -1e4 + std::f64::consts::LN_2);
        assert_eq!(log_sum_exp([f64::NEG_INFINITY; 2]), Some(f64::NEG_INFINITY));
        assert_eq!(log_sum_exp([]), None);
    }

    #[test]
    fn each_bin_collects_its_forecasts() {
        // Two bins: {0.2} with no true outcome, {0.55, 0.6, 0.9} with two of three.
        let bins = reliability(FORECASTS, 2);
        let [low, high] = bins[..] else { panic!("{bins:?}") };
        assert_eq!((low.low, low.high, low.n, low.observed), (0.0, 0.5, 1, 0.0));
        assert_eq!((high.low, high.high, high.n), (0.5, 1.0, 3));
        assert_close(Some(high.predicted), 2.05 / 3.0);
        assert_close(Some(high.observed), 2.0 / 3.0);
        // 1/4 · 0.2 + 3/4 · |2/3 − 2.05/3| = 0.05 + 0.0125
        assert_close(expected_calibration_error(&bins), 0.0625);
    }

    #[test]
    fn ends_fall_into_the_outer_bins_and_empty_bins_are_left_out() {
        let bins = reliability([(0.0, false), (1.0, true), (f64::NAN, true), (1.5, true)], 10);
        assert_eq!(
            bins.iter().map(|bin| (bin.low, bin.n)).collect::<Vec<_>>(),
            [(0.0, 1), (0.9, 1)]
        );
        assert_eq!(expected_calibration_error(&bins), Some(0.0));
        assert_eq!(reliability([(0.5, true)], 0), []);
        assert_eq!(expected_calibration_error(&[]), None);
    }

    const SCORES: [(f64, bool); 8] = [
        (-2.1, false),
        (-1.3, false),
        (-0.4, true),
        (0.2, false),
        (0.5, true),
        (0.9, false),
        (1.7, true),
        (2.4, true),
    ];

    #[test]
    fn fit_minimises_the_loss() {
        // scipy.optimize.root on the gradient, targets 5/6 and 1/6.
        let fit = CalibrationCurve::fit(&SCORES).unwrap();
        assert!((fit.slope - 0.626_673_674_913).abs() < 1e-8, "{fit:?}");
        assert!((fit.offset + 0.155_977_647_140_6).abs() < 1e-8, "{fit:?}");
    }

    #[test]
    fn fit_follows_the_scale_and_sign_of_the_scores() {
        let fit = CalibrationCurve::fit(&SCORES).unwrap();
        for factor in [1e-3, -1.0, 1e3] {
            let scaled = SCORES.map(|(score, outcome)| (score * factor, outcome));
            let rescaled = CalibrationCurve::fit(&scaled).unwrap();
            assert!((rescaled.slope * factor - fit.slope).abs() < 1e-6, "{factor}: {rescaled:?}");
            assert!((rescaled.offset - fit.offset).abs() < 1e-6, "{factor}: {rescaled:?}");
            assert_eq!(rescaled.temperature().is_some(), factor > 0.0);
        }
    }

    #[test]
    fn fit_recovers_the_map_behind_many_forecasts() {
        use crate::random::Stream;
        let stream = Stream::new(5);
        let made = CalibrationCurve { slope: 0.4, offset: -0.7 };
        let data: Vec<(f64, bool)> = (0..40_000)
            .map(|at| {
                let score = stream.uniform(2 * at) * 10.0 - 5.0;
                (score, stream.uniform(2 * at + 1) < made.probability(score))
            })
            .collect();
        let fit = CalibrationCurve::fit(&data).unwrap();
        assert!((fit.slope - 0.4).abs() < 0.02 && (fit.offset + 0.7).abs() < 0.04, "{fit:?}");
        assert!((fit.temperature().unwrap() - 2.5).abs() < 0.12, "{fit:?}");
    }

    #[test]
    fn separable_outcomes_have_a_finite_slope() {
        let fit = CalibrationCurve::fit(&[(-1.0, false), (1.0, true)]).unwrap();
        // The targets ⅓ and ⅔ are σ(±ln 2).
        assert!((fit.slope - std::f64::consts::LN_2).abs() < 1e-9, "{fit:?}");
        assert!(fit.offset.abs() < 1e-9, "{fit:?}");
        let far: Vec<(f64, bool)> = (0..100).map(|i| (f64::from(i) - 49.5, i >= 50)).collect();
        let fit = CalibrationCurve::fit(&far).unwrap();
        assert!(fit.slope > 0.1 && fit.slope < 100.0, "{fit:?}");
    }

    #[test]
    fn insufficient_data_has_no_fit() {
        assert_eq!(CalibrationCurve::fit(&[]), None);
        assert_eq!(CalibrationCurve::fit(&[(1.0, true), (2.0, true)]), None);
        assert_eq!(CalibrationCurve::fit(&[(1.0, true), (1.0, false)]), None);
        assert_eq!(CalibrationCurve::fit(&[(f64::NAN, true), (1.0, false)]), None);
    }
}

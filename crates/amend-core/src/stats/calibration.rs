//! How well probabilities foretell outcomes, and how to make them do better.
//!
//! A forecast is a pair (p, y): the probability given to an outcome, and whether
//! it came about.

use serde::{Deserialize, Serialize};

use super::{finite, mean};

/// σ(x) = 1 / (1 + e^−x): the probability of log-odds x.
#[must_use]
pub fn sigmoid(x: f64) -> f64 {
    if x >= 0.0 {
        1.0 / (1.0 + (-x).exp())
    } else {
        // e^−x would overflow for small x.
        let e = x.exp();
        e / (1.0 + e)
    }
}

/// ln(p / (1 − p)): the log-odds of a probability. `None` unless 0 < p < 1.
#[must_use]
pub fn logit(p: f64) -> Option<f64> {
    (p > 0.0 && p < 1.0).then(|| p.ln() - (-p).ln_1p())
}

/// The mean of −ln of the probability that was given to what came about. Lower is
/// better; ln 2 ≈ 0.693 is what p = ½ always gets. Probabilities are held off 0
/// and 1 by 2.2 · 10⁻¹⁶, so that one wrong certainty costs 36 and not everything.
#[must_use]
pub fn log_loss(forecasts: impl IntoIterator<Item = (f64, bool)>) -> Option<f64> {
    mean(forecasts.into_iter().map(|(p, outcome)| {
        let p = p.clamp(f64::EPSILON, 1.0 - f64::EPSILON);
        if outcome { -p.ln() } else { -(-p).ln_1p() }
    }))
}

/// The Brier score, the mean of (p − y)² (Brier 1950). Lower is better; ¼ is
/// what p = ½ always gets.
#[must_use]
pub fn brier(forecasts: impl IntoIterator<Item = (f64, bool)>) -> Option<f64> {
    mean(forecasts.into_iter().map(|(p, outcome)| (p - f64::from(u8::from(outcome))).powi(2)))
}

/// One bar of a reliability diagram: the forecasts whose probability fell in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Bin {
    /// Where it begins.
    pub low: f64,
    /// Where it ends; only the last bin contains its end.
    pub high: f64,
    /// Forecasts in it, at least one.
    pub n: usize,
    /// The mean probability they gave.
    pub predicted: f64,
    /// The share of them that came about.
    pub observed: f64,
}

/// The bins of a reliability diagram: `bins` of equal width over 0 to 1. Empty
/// ones are left out, and so are probabilities outside 0 to 1.
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
    let bin = |(at, (n, predicted, observed)): (usize, (usize, f64, usize))| {
        (n > 0).then(|| Bin {
            low: at as f64 / bins as f64,
            high: (at + 1) as f64 / bins as f64,
            n,
            predicted: predicted / n as f64,
            observed: observed as f64 / n as f64,
        })
    };
    sums.into_iter().enumerate().filter_map(bin).collect()
}

/// The expected calibration error Σ n_b/n |observed_b − predicted_b| (Naeini et
/// al. 2015) of the bins of a reliability diagram. It depends on their number, and
/// few forecasts make it large by chance. `None` without bins.
#[must_use]
pub fn expected_calibration_error(bins: &[Bin]) -> Option<f64> {
    let n: usize = bins.iter().map(|bin| bin.n).sum();
    let gaps = bins.iter().map(|bin| bin.n as f64 * (bin.observed - bin.predicted).abs());
    if n == 0 { None } else { finite(gaps.sum::<f64>() / n as f64) }
}

/// A map from a judge's log-odds to calibrated ones, linear in them: the
/// probability is σ(slope · s + offset).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Multiplies the log-odds: 1 / temperature. Below 0 the judge is wrong more
    /// often than right.
    pub slope: f64,
    /// Is added to them.
    pub offset: f64,
}

impl Calibration {
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

    /// Fits slope and offset to (log-odds, outcome) by least log-loss: Platt
    /// scaling (Platt 1999), with Newton's method and backtracking (Lin, Lin and
    /// Weng 2007).
    ///
    /// The outcomes enter as Platt's targets, (n₊ + 1)/(n₊ + 2) and 1/(n₋ + 2)
    /// instead of 1 and 0. That is a weak prior: as if each class held one
    /// observation more of each outcome. It keeps the slope finite where the scores
    /// separate the outcomes, whatever the scores' scale, and fades with more data.
    ///
    /// `None` if either outcome is missing, if all scores are equal, or if one is
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
            // So near the minimum the loss no longer shows what a step gains, and
            // a whole step doubles the digits that are right.
            if decrease < 1e-10 * (1.0 + loss) {
                fit = along(1.0);
                break;
            }
            // Halve the step until it lowers the loss enough (Armijo's rule).
            let enough =
                |scale: &f64| along(*scale).loss(&targets) < loss - 1e-4 * scale * decrease;
            let mut halves = (0..32).map(|halvings| 0.5_f64.powi(halvings));
            let Some(scale) = halves.find(enough) else { break };
            fit = along(scale);
            loss = fit.loss(&targets);
        }
        (fit.slope.is_finite() && fit.offset.is_finite()).then_some(fit)
    }

    /// Σ −t ln p − (1 − t) ln(1 − p) = Σ ln(1 + eᶻ) − t z for log-odds z.
    fn loss(&self, targets: &[(f64, f64)]) -> f64 {
        let softplus = |z: f64| z.max(0.0) + (-z.abs()).exp().ln_1p();
        targets.iter().map(|&(s, t)| softplus(self.log_odds(s)) - t * self.log_odds(s)).sum()
    }

    /// Newton's step from here, and the decrease of the loss it promises to first
    /// order. `None` where the curvature vanishes.
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

/// Newton's method needs about ten steps; this many mean that rounding stalls it.
const NEWTON_STEPS: u32 = 100;

#[cfg(test)]
mod tests {
    use super::*;

    fn close(found: Option<f64>, expected: f64) {
        let found = found.expect("a figure");
        assert!((found - expected).abs() < 1e-12, "{found} for {expected}");
    }

    const FORECASTS: [(f64, bool); 4] = [(0.9, true), (0.6, false), (0.2, false), (0.55, true)];

    #[test]
    fn scores_by_hand() {
        let expected = -(0.9_f64.ln() + 0.4_f64.ln() + 0.8_f64.ln() + 0.55_f64.ln()) / 4.0;
        close(log_loss(FORECASTS), expected);
        close(brier(FORECASTS), (0.01 + 0.36 + 0.04 + 0.2025) / 4.0);
        close(log_loss([(0.5, true), (0.5, false)]), std::f64::consts::LN_2);
        close(brier([(0.5, true), (0.5, false)]), 0.25);
        // A wrong certainty is dear, and not infinite.
        close(log_loss([(0.0, true)]), -f64::EPSILON.ln());
        assert_eq!(log_loss([]), None);
        assert_eq!(brier([]), None);
        assert_eq!(brier([(f64::NAN, true)]), None);
    }

    #[test]
    fn log_odds_and_probabilities_are_inverse() {
        close(logit(0.75), 3_f64.ln());
        close(Some(sigmoid(3_f64.ln())), 0.75);
        close(Some(sigmoid(-3_f64.ln())), 0.25);
        assert_eq!((sigmoid(1000.0), sigmoid(-1000.0)), (1.0, 0.0));
        assert_eq!((logit(0.0), logit(1.0), logit(f64::NAN)), (None, None, None));
    }

    #[test]
    fn bins_hold_what_falls_in_them() {
        // By halves: {0.2} with none true, {0.55, 0.6, 0.9} with two of three.
        let bins = reliability(FORECASTS, 2);
        let [low, high] = bins[..] else { panic!("{bins:?}") };
        assert_eq!((low.low, low.high, low.n, low.observed), (0.0, 0.5, 1, 0.0));
        assert_eq!((high.low, high.high, high.n), (0.5, 1.0, 3));
        close(Some(high.predicted), 2.05 / 3.0);
        close(Some(high.observed), 2.0 / 3.0);
        // 1/4 · 0.2 + 3/4 · |2/3 − 2.05/3| = 0.05 + 0.0125
        close(expected_calibration_error(&bins), 0.0625);
    }

    #[test]
    fn the_ends_belong_to_the_outer_bins_and_empty_bins_to_none() {
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
    fn the_fit_is_the_least_loss() {
        // scipy.optimize.root on the gradient, targets 5/6 and 1/6.
        let fit = Calibration::fit(&SCORES).unwrap();
        assert!((fit.slope - 0.626_673_674_913).abs() < 1e-8, "{fit:?}");
        assert!((fit.offset + 0.155_977_647_140_6).abs() < 1e-8, "{fit:?}");
    }

    #[test]
    fn the_fit_follows_the_scores_scale_and_sign() {
        let fit = Calibration::fit(&SCORES).unwrap();
        for factor in [1e-3, -1.0, 1e3] {
            let scaled = SCORES.map(|(score, outcome)| (score * factor, outcome));
            let found = Calibration::fit(&scaled).unwrap();
            assert!((found.slope * factor - fit.slope).abs() < 1e-6, "{factor}: {found:?}");
            assert!((found.offset - fit.offset).abs() < 1e-6, "{factor}: {found:?}");
            assert_eq!(found.temperature().is_some(), factor > 0.0);
        }
    }

    #[test]
    fn many_forecasts_give_back_how_they_were_made() {
        use crate::random::Stream;
        let stream = Stream::new(5);
        let made = Calibration { slope: 0.4, offset: -0.7 };
        let data: Vec<(f64, bool)> = (0..40_000)
            .map(|at| {
                let score = stream.uniform(2 * at) * 10.0 - 5.0;
                (score, stream.uniform(2 * at + 1) < made.probability(score))
            })
            .collect();
        let fit = Calibration::fit(&data).unwrap();
        assert!((fit.slope - 0.4).abs() < 0.02 && (fit.offset + 0.7).abs() < 0.04, "{fit:?}");
        assert!((fit.temperature().unwrap() - 2.5).abs() < 0.12, "{fit:?}");
    }

    #[test]
    fn separable_outcomes_have_a_finite_fit() {
        let fit = Calibration::fit(&[(-1.0, false), (1.0, true)]).unwrap();
        // The targets are ⅓ and ⅔, which σ(±ln 2) meets exactly.
        assert!((fit.slope - std::f64::consts::LN_2).abs() < 1e-9, "{fit:?}");
        assert!(fit.offset.abs() < 1e-9, "{fit:?}");
        let far: Vec<(f64, bool)> = (0..100).map(|i| (f64::from(i) - 49.5, i >= 50)).collect();
        let fit = Calibration::fit(&far).unwrap();
        assert!(fit.slope > 0.1 && fit.slope < 100.0, "{fit:?}");
    }

    #[test]
    fn what_fixes_no_line_has_no_fit() {
        assert_eq!(Calibration::fit(&[]), None);
        assert_eq!(Calibration::fit(&[(1.0, true), (2.0, true)]), None);
        assert_eq!(Calibration::fit(&[(1.0, true), (1.0, false)]), None);
        assert_eq!(Calibration::fit(&[(f64::NAN, true), (1.0, false)]), None);
    }
}

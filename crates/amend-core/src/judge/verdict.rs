//! A verdict between two answers, and its arithmetic.
//!
//! The judge is asked for a label at one position, and p(A), p(B) are summed
//! over every spelling of each label there. With answer x shown as A,
//! `s_AB = ln p(A)/p(B)`; asked again with the answers swapped, `s_BA`. Then
//! `s = ½(s_AB − s_BA)` is the log-odds of x over y with what the judge gives to
//! a position alone taken out, and `½(s_AB + s_BA)` is what it gives to the
//! first position. Position bias: Zheng et al. 2023, arXiv 2306.05685;
//! averaging over samples and clamping: Bai et al. 2022, arXiv 2212.08073.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::sigmoid;

/// The labels' log-probabilities in one order.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// ln p of the label of the answer shown first.
    pub first: f64,
    /// ln p of the label of the answer shown second.
    pub second: f64,
}

impl Reading {
    /// ln p(first)/p(second).
    #[must_use]
    pub fn log_odds(self) -> f64 {
        self.first - self.second
    }

    /// p(first) + p(second).
    #[must_use]
    pub fn mass(self) -> f64 {
        // Rounding may carry the sum a little past 1.
        (self.first.exp() + self.second.exp()).min(1.0)
    }
}

/// What one wording of the question gave, in both orders: a reading each or,
/// where the judge reasons first, one a sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Poll {
    /// The judge template.
    pub template: String,
    /// With the first of the compared answers shown first.
    pub forward: Vec<Reading>,
    /// With the second shown first.
    pub backward: Vec<Reading>,
}

impl Poll {
    /// The log-odds of the answer shown first, with samples averaged as
    /// probabilities, as Bai et al. do.
    fn log_odds(readings: &[Reading]) -> f64 {
        if let [one] = readings {
            return one.log_odds();
        }
        let share = |reading: &Reading| sigmoid(reading.log_odds());
        let mean = readings.iter().map(share).sum::<f64>() / readings.len() as f64;
        logit(mean)
    }

    fn both(&self) -> (f64, f64) {
        (Self::log_odds(&self.forward), Self::log_odds(&self.backward))
    }
}

/// A judgement between two answers x and y, asked in both orders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// What each wording of the question gave; at least one.
    pub polls: Vec<Poll>,
}

impl Verdict {
    /// `s`: the log-odds of x over y, position bias taken out; the mean over
    /// wordings.
    #[must_use]
    pub fn log_odds(&self) -> f64 {
        self.mean(|(forward, backward)| (forward - backward) / 2.0)
    }

    /// What the judge gives to the first position alone, in log-odds.
    #[must_use]
    pub fn offset(&self) -> f64 {
        self.mean(|(forward, backward)| (forward + backward) / 2.0)
    }

    /// The log-odds of x in each order: shown first, shown second.
    #[must_use]
    pub fn orders(&self) -> [f64; 2] {
        [self.mean(|(forward, _)| forward), self.mean(|(_, backward)| -backward)]
    }

    /// The least p(A) + p(B) over all that was asked.
    #[must_use]
    pub fn mass(&self) -> f64 {
        let readings = self.polls.iter().flat_map(|poll| poll.forward.iter().chain(&poll.backward));
        readings.map(|reading| reading.mass()).fold(1.0, f64::min)
    }

    /// Whether both orders favour the same answer.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let [first, second] = self.orders();
        first * second > 0.0
    }

    fn mean(&self, of: impl Fn((f64, f64)) -> f64) -> f64 {
        self.polls.iter().map(|poll| of(poll.both())).sum::<f64>() / self.polls.len().max(1) as f64
    }
}

/// How log-odds become the probability that an answer is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// As they are: σ(s).
    Soft,
    /// 1 or 0, whichever is nearer.
    Hard,
    /// σ(s), kept within `clamp`: for judges whose reasons make them surer than
    /// they are right.
    Clamped,
}

/// Corrects a judge's log-odds: σ((s + offset) / temperature).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Divides the log-odds: above 1 for a judge that is surer than it is right.
    pub temperature: f64,
    /// Added to the log-odds of the answer named first.
    pub offset: f64,
}

impl Default for Calibration {
    /// Changes nothing.
    fn default() -> Self {
        Self { temperature: 1.0, offset: 0.0 }
    }
}

impl Calibration {
    /// The corrected log-odds.
    #[must_use]
    pub fn apply(self, log_odds: f64) -> f64 {
        (log_odds + self.offset) / self.temperature
    }
}

/// What a verdict counts for: the constitution's `[judge]`, as far as the
/// arithmetic goes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Standing {
    /// How log-odds become a probability.
    pub mode: Mode,
    /// Least and greatest probability under [`Mode::Clamped`].
    pub clamp: [f64; 2],
    /// A verdict of less mass is undecided.
    pub mass_floor: f64,
    /// A verdict whose calibrated log-odds are nearer to 0 is undecided.
    pub min_margin: f64,
    /// The judge's correction.
    pub calibration: Calibration,
}

impl Standing {
    /// What calibrated log-odds are as a probability.
    fn probability(&self, margin: f64, undecided: bool) -> f64 {
        match self.mode {
            Mode::Soft => sigmoid(margin),
            Mode::Hard if undecided || margin == 0.0 => 0.5,
            Mode::Hard => f64::from(u8::from(margin > 0.0)),
            Mode::Clamped => sigmoid(margin).clamp(self.clamp[0], self.clamp[1]),
        }
    }
}

/// One or several verdicts on the same two answers, as a single judgement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Combined {
    /// Calibrated log-odds of x over y.
    pub margin: f64,
    /// The probability that x is the better answer; ½ where undecided under
    /// [`Mode::Hard`].
    pub p: f64,
    /// Log-odds given to the first position alone.
    pub offset: f64,
    /// The least mass among the verdicts.
    pub mass: f64,
    /// Log-odds of x shown first, and shown second.
    pub orders: [f64; 2],
    /// Too little mass or margin to be a verdict at all.
    pub undecided: bool,
}

impl Combined {
    /// Whether it is decided, and for x.
    #[must_use]
    pub fn is_for_first(&self) -> bool {
        !self.undecided && self.margin > 0.0
    }

    /// The same judgement with x and y exchanged. A calibration's offset was for
    /// the answer named first, and stays with it.
    #[must_use]
    pub fn swapped(self, standing: &Standing) -> Self {
        let margin = -self.margin;
        Self {
            margin,
            p: standing.probability(margin, self.undecided),
            orders: [-self.orders[1], -self.orders[0]],
            ..self
        }
    }
}

/// Combines verdicts by the weighted mean of their log-odds (a product of
/// experts). None without verdicts or weight.
#[must_use]
pub fn combine(verdicts: &[(&Verdict, f64)], standing: &Standing) -> Option<Combined> {
    let total: f64 = verdicts.iter().map(|(_, weight)| weight).sum();
    if verdicts.is_empty() || total <= 0.0 || !total.is_finite() {
        return None;
    }
    let mean = |of: &dyn Fn(&Verdict) -> f64| {
        verdicts.iter().map(|(verdict, weight)| weight * of(verdict)).sum::<f64>() / total
    };
    let margin = standing.calibration.apply(mean(&Verdict::log_odds));
    let mass = verdicts.iter().map(|(verdict, _)| verdict.mass()).fold(1.0, f64::min);
    let undecided = !(mass >= standing.mass_floor && margin.abs() >= standing.min_margin);
    Some(Combined {
        margin,
        p: standing.probability(margin, undecided),
        offset: mean(&Verdict::offset),
        mass,
        orders: [mean(&|verdict| verdict.orders()[0]), mean(&|verdict| verdict.orders()[1])],
        undecided,
    })
}

/// ln p/(1 − p), kept finite: a mean of probabilities may round to 0 or 1.
fn logit(p: f64) -> f64 {
    let p = p.clamp(f64::MIN_POSITIVE, 1.0 - f64::EPSILON / 2.0);
    (p / (1.0 - p)).ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Standing = Standing {
        mode: Mode::Soft,
        clamp: [0.4, 0.6],
        mass_floor: 0.5,
        min_margin: 0.0,
        calibration: Calibration { temperature: 1.0, offset: 0.0 },
    };

    fn reading(first: f64, second: f64) -> Reading {
        Reading { first: first.ln(), second: second.ln() }
    }

    fn verdict(forward: (f64, f64), backward: (f64, f64)) -> Verdict {
        Verdict {
            polls: vec![Poll {
                template: "judge".to_owned(),
                forward: vec![reading(forward.0, forward.1)],
                backward: vec![reading(backward.0, backward.1)],
            }],
        }
    }

    fn near(found: f64, expected: f64) {
        assert!((found - expected).abs() < 1e-9, "{found} for {expected}");
    }

    #[test]
    fn position_bias_cancels() {
        // The judge likes x three to one, and the first position two to one.
        let verdict = verdict((0.6, 0.1), (0.2, 0.3));
        near(verdict.log_odds(), 3.0_f64.ln());
        near(verdict.offset(), 2.0_f64.ln());
        near(verdict.orders()[0], 6.0_f64.ln());
        near(verdict.orders()[1], 1.5_f64.ln());
        near(verdict.mass(), 0.5);
        assert!(verdict.is_consistent());
        let found = combine(&[(&verdict, 1.0)], &PLAIN).unwrap();
        near(found.p, 0.75);
        near(found.swapped(&PLAIN).p, 0.25);
        near(found.swapped(&PLAIN).offset, verdict.offset());
    }

    #[test]
    fn a_judge_that_follows_position_alone_prefers_nothing() {
        let verdict = verdict((0.8, 0.1), (0.8, 0.1));
        near(verdict.log_odds(), 0.0);
        near(verdict.offset(), 8.0_f64.ln());
        assert!(!verdict.is_consistent());
    }

    #[test]
    fn too_little_mass_or_margin_is_undecided() {
        let thin = verdict((0.4, 0.05), (0.05, 0.85));
        assert!(combine(&[(&thin, 1.0)], &PLAIN).unwrap().undecided);
        let sound = verdict((0.6, 0.3), (0.3, 0.6));
        assert!(!combine(&[(&sound, 1.0)], &PLAIN).unwrap().undecided);
        let strict = Standing { min_margin: 0.7, ..PLAIN };
        // ln 2 = 0.693
        assert!(combine(&[(&sound, 1.0)], &strict).unwrap().undecided);
        // The thin one among others makes the whole undecided.
        assert!(combine(&[(&thin, 1.0), (&sound, 1.0)], &PLAIN).unwrap().undecided);
        // A mass that is no number is no verdict.
        let broken = verdict((f64::NAN, 0.5), (0.5, 0.5));
        assert!(combine(&[(&broken, 1.0)], &PLAIN).unwrap().undecided);
    }

    #[test]
    fn modes_turn_log_odds_into_probabilities() {
        let verdict = verdict((0.8, 0.2), (0.2, 0.8));
        for (mode, expected) in [(Mode::Soft, 0.8), (Mode::Hard, 1.0), (Mode::Clamped, 0.6)] {
            let standing = Standing { mode, ..PLAIN };
            let found = combine(&[(&verdict, 1.0)], &standing).unwrap();
            near(found.p, expected);
            near(found.swapped(&standing).p, 1.0 - expected);
        }
        let even = self::verdict((0.4, 0.4), (0.4, 0.4));
        let hard = Standing { mode: Mode::Hard, ..PLAIN };
        near(combine(&[(&even, 1.0)], &hard).unwrap().p, 0.5);
    }

    #[test]
    fn calibration_divides_after_its_offset() {
        let verdict = verdict((0.8, 0.2), (0.2, 0.8)); // s = ln 4
        let calibration = Calibration { temperature: 2.0, offset: 4.0_f64.ln() };
        let found = combine(&[(&verdict, 1.0)], &Standing { calibration, ..PLAIN }).unwrap();
        near(found.margin, 4.0_f64.ln());
        // The offset is for the answer named first, whichever way it is told.
        let swapped = found.swapped(&Standing { calibration, ..PLAIN });
        near(swapped.margin, -(4.0_f64.ln()));
        near(swapped.p, 0.2);
        near(swapped.orders[0], -found.orders[1]);
    }

    #[test]
    fn a_judgement_exchanged_is_as_probable_as_its_limits_allow() {
        let standing = Standing { mode: Mode::Clamped, clamp: [0.3, 0.6], ..PLAIN };
        let verdict = verdict((0.8, 0.2), (0.2, 0.8));
        let found = combine(&[(&verdict, 1.0)], &standing).unwrap();
        near(found.p, 0.6);
        near(found.swapped(&standing).p, 0.3);
    }

    #[test]
    fn verdicts_combine_by_weighted_log_odds() {
        let (for_x, for_y) = (verdict((0.8, 0.2), (0.2, 0.8)), verdict((0.4, 0.5), (0.5, 0.4)));
        let found = combine(&[(&for_x, 3.0), (&for_y, 1.0)], &PLAIN).unwrap();
        near(found.margin, (3.0 * 4.0_f64.ln() - 1.25_f64.ln()) / 4.0);
        near(found.mass, 0.9);
        assert_eq!(combine(&[], &PLAIN), None);
        assert_eq!(combine(&[(&for_x, 0.0)], &PLAIN), None);
    }

    #[test]
    fn samples_average_as_probabilities_and_wordings_as_log_odds() {
        let poll = |forward: &[(f64, f64)], backward: &[(f64, f64)]| Poll {
            template: String::new(),
            forward: forward.iter().map(|&(a, b)| reading(a, b)).collect(),
            backward: backward.iter().map(|&(a, b)| reading(a, b)).collect(),
        };
        // Forward: 0.9 and 0.5 for x, mean 0.7. Backward: 0.1 and 0.3 for y, mean 0.2.
        let sampled = poll(&[(0.9, 0.1), (0.5, 0.5)], &[(0.1, 0.9), (0.3, 0.7)]);
        let (forward, backward) = ((0.7_f64 / 0.3).ln(), (0.2_f64 / 0.8).ln());
        let verdict = Verdict { polls: vec![sampled.clone()] };
        near(verdict.log_odds(), (forward - backward) / 2.0);
        let even = poll(&[(0.5, 0.5)], &[(0.5, 0.5)]);
        let two = Verdict { polls: vec![sampled, even] };
        near(two.log_odds(), (forward - backward) / 4.0);
        // All samples at the end of what a number can hold: still finite.
        let sure = poll(&[(1.0, 0.0), (1.0, 0.0)], &[(0.0, 1.0), (0.0, 1.0)]);
        assert!(Verdict { polls: vec![sure] }.log_odds().is_finite());
    }
}

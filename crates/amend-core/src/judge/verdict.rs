//! A verdict between two answers, and its arithmetic.
//!
//! The judge replies with a label at one position; p(A) and p(B) are sums over every
//! spelling of each label there. With answer A shown first, `s_AB = ln p(A)/p(B)` is
//! the log-odds of the answer shown first; with the answers exchanged, it is `s_BA`.
//! Then `s = ½(s_AB − s_BA)` is the log-odds of answer A over answer B without
//! position bias, and `½(s_AB + s_BA)` is the bias towards the first position.
//!
//! Sources: for position bias, Zheng et al. 2023, arXiv 2306.05685; for averaging
//! over samples and for clamping, Bai et al. 2022, arXiv 2212.08073.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::{clamped_logit, sigmoid};

/// The log-probabilities of the labels in one order of the answers.
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
        // Rounding may raise the sum slightly above 1.
        (self.first.exp() + self.second.exp()).min(1.0)
    }
}

/// The readings for one wording of the question in both orders: one for each order
/// or, if the judge reasons first, one for each sample.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Poll {
    /// The judge template.
    pub template: String,
    /// With answer A shown first.
    pub forward: Vec<Reading>,
    /// With answer B shown first.
    pub backward: Vec<Reading>,
}

impl Poll {
    /// The log-odds of the answer shown first. Samples are averaged as probabilities
    /// (Bai et al. 2022).
    fn log_odds(readings: &[Reading]) -> f64 {
        if let [reading] = readings {
            return reading.log_odds();
        }
        let probabilities = readings.iter().map(|reading| sigmoid(reading.log_odds()));
        // The mean of probabilities may round to 0 or 1.
        clamped_logit(probabilities.sum::<f64>() / readings.len() as f64)
    }

    /// The log-odds of A over B by this wording, without position bias.
    pub(super) fn preference(&self) -> f64 {
        let (forward, backward) = self.both();
        (forward - backward) / 2.0
    }

    /// The least p(A) + p(B) over its readings.
    pub(super) fn mass(&self) -> f64 {
        let readings = self.forward.iter().chain(&self.backward);
        readings.map(|reading| reading.mass()).fold(1.0, f64::min)
    }

    fn both(&self) -> (f64, f64) {
        (Self::log_odds(&self.forward), Self::log_odds(&self.backward))
    }
}

/// A judgement between answers A and B, shown in both orders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The readings for each wording of the question; at least one.
    pub polls: Vec<Poll>,
}

impl Verdict {
    /// `s`: the log-odds of A over B without position bias, averaged over wordings.
    #[must_use]
    pub fn log_odds(&self) -> f64 {
        self.mean(|(forward, backward)| (forward - backward) / 2.0)
    }

    /// The bias towards the first position, in log-odds.
    #[must_use]
    pub fn offset(&self) -> f64 {
        self.mean(|(forward, backward)| (forward + backward) / 2.0)
    }

    /// The log-odds of A in each order: shown first, shown second.
    #[must_use]
    pub fn orders(&self) -> [f64; 2] {
        [self.mean(|(forward, _)| forward), self.mean(|(_, backward)| -backward)]
    }

    /// The least p(A) + p(B) over all readings.
    #[must_use]
    pub fn mass(&self) -> f64 {
        self.polls.iter().map(Poll::mass).fold(1.0, f64::min)
    }

    /// Whether both orders favour the same answer.
    #[must_use]
    pub fn is_consistent(&self) -> bool {
        let [first, second] = self.orders();
        first * second > 0.0
    }

    /// The mean over wordings of a figure of the log-odds in both orders.
    fn mean(&self, figure: impl Fn((f64, f64)) -> f64) -> f64 {
        let sum: f64 = self.polls.iter().map(|poll| figure(poll.both())).sum();
        sum / self.polls.len().max(1) as f64
    }
}

/// How log-odds s become the probability that an answer is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// σ(s).
    Soft,
    /// 1 or 0, whichever is nearer.
    Hard,
    /// σ(s), kept within `clamp`: for judges that are overconfident after reasoning.
    Clamped,
}

/// Corrects a judge's log-odds: σ((s + offset) / temperature).
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Divides the log-odds: above 1 for an overconfident judge.
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

/// The settings that turn verdicts into decisions: the part of the constitution's
/// `[judge]` that the arithmetic needs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VerdictSettings {
    /// How log-odds become a probability.
    pub mode: Mode,
    /// The least and the greatest probability under [`Mode::Clamped`].
    pub clamp: [f64; 2],
    /// A verdict with less mass is undecided.
    pub mass_floor: f64,
    /// A verdict is undecided if the absolute value of its calibrated log-odds is
    /// smaller, or 0.
    pub min_margin: f64,
    /// The judge's correction.
    pub calibration: Calibration,
}

impl VerdictSettings {
    /// The probability for calibrated log-odds.
    fn probability(&self, margin: f64, undecided: bool) -> f64 {
        match self.mode {
            Mode::Soft => sigmoid(margin),
            Mode::Hard if undecided => 0.5,
            Mode::Hard => f64::from(u8::from(margin > 0.0)),
            Mode::Clamped => sigmoid(margin).clamp(self.clamp[0], self.clamp[1]),
        }
    }
}

/// One or more verdicts on the same two answers, combined into one judgement.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Combined {
    /// The calibrated log-odds of A over B.
    pub margin: f64,
    /// The probability that A is the better answer; ½ if undecided under
    /// [`Mode::Hard`].
    pub p: f64,
    /// The bias towards the first position, in log-odds.
    pub offset: f64,
    /// The least mass among the verdicts.
    pub mass: f64,
    /// The log-odds of A shown first, and shown second.
    pub orders: [f64; 2],
    /// Whether the mass or the margin is too small for a decision.
    pub undecided: bool,
}

impl Combined {
    /// Whether it is decided in favour of A.
    #[must_use]
    pub fn is_for_first(&self) -> bool {
        !self.undecided && self.margin > 0.0
    }

    /// The same judgement with A and B exchanged. The calibration's offset was added
    /// for A, and stays with that answer.
    #[must_use]
    pub fn swapped(self, standing: &VerdictSettings) -> Self {
        let margin = -self.margin;
        Self {
            margin,
            p: standing.probability(margin, self.undecided),
            orders: [-self.orders[1], -self.orders[0]],
            ..self
        }
    }
}

/// Combines verdicts by the weighted mean of their log-odds (a product of experts).
/// `None` without verdicts or without weight.
#[must_use]
pub fn combine(verdicts: &[(&Verdict, f64)], standing: &VerdictSettings) -> Option<Combined> {
    let total: f64 = verdicts.iter().map(|(_, weight)| weight).sum();
    if verdicts.is_empty() || total <= 0.0 || !total.is_finite() {
        return None;
    }
    let mean = |figure: &dyn Fn(&Verdict) -> f64| {
        let weighted = verdicts.iter().map(|(verdict, weight)| weight * figure(verdict));
        weighted.sum::<f64>() / total
    };
    let margin = standing.calibration.apply(mean(&Verdict::log_odds));
    let mass = verdicts.iter().map(|(verdict, _)| verdict.mass()).fold(1.0, f64::min);
    // A margin of exactly 0 favours neither answer, whatever the least margin.
    let decided = margin != 0.0 && margin.abs() >= standing.min_margin;
    let undecided = !(mass >= standing.mass_floor && decided);
    Some(Combined {
        margin,
        p: standing.probability(margin, undecided),
        offset: mean(&Verdict::offset),
        mass,
        orders: [mean(&|verdict| verdict.orders()[0]), mean(&|verdict| verdict.orders()[1])],
        undecided,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: VerdictSettings = VerdictSettings {
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

    #[track_caller]
    fn assert_near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-9, "{actual}, expected {expected}");
    }

    #[test]
    fn position_bias_cancels() {
        // The judge prefers A three to one, and the first position two to one.
        let verdict = verdict((0.6, 0.1), (0.2, 0.3));
        assert_near(verdict.log_odds(), 3.0_f64.ln());
        assert_near(verdict.offset(), 2.0_f64.ln());
        assert_near(verdict.orders()[0], 6.0_f64.ln());
        assert_near(verdict.orders()[1], 1.5_f64.ln());
        assert_near(verdict.mass(), 0.5);
        assert!(verdict.is_consistent());
        let combined = combine(&[(&verdict, 1.0)], &PLAIN).unwrap();
        assert_near(combined.p, 0.75);
        assert_near(combined.swapped(&PLAIN).p, 0.25);
        assert_near(combined.swapped(&PLAIN).offset, verdict.offset());
    }

    #[test]
    fn judge_that_follows_position_prefers_no_answer() {
        let verdict = verdict((0.8, 0.1), (0.8, 0.1));
        assert_near(verdict.log_odds(), 0.0);
        assert_near(verdict.offset(), 8.0_f64.ln());
        assert!(!verdict.is_consistent());
    }

    #[test]
    fn small_mass_or_margin_is_undecided() {
        let thin = verdict((0.4, 0.05), (0.05, 0.85));
        assert!(combine(&[(&thin, 1.0)], &PLAIN).unwrap().undecided);
        let sound = verdict((0.6, 0.3), (0.3, 0.6));
        assert!(!combine(&[(&sound, 1.0)], &PLAIN).unwrap().undecided);
        let strict = VerdictSettings { min_margin: 0.7, ..PLAIN };
        // ln 2 = 0.693
        assert!(combine(&[(&sound, 1.0)], &strict).unwrap().undecided);
        // One thin verdict makes the combination undecided.
        assert!(combine(&[(&thin, 1.0), (&sound, 1.0)], &PLAIN).unwrap().undecided);
        // A mass that is not a number is undecided.
        let broken = verdict((f64::NAN, 0.5), (0.5, 0.5));
        assert!(combine(&[(&broken, 1.0)], &PLAIN).unwrap().undecided);
        // A margin of exactly 0 favours neither answer, although the least margin is 0.
        let even = verdict((0.4, 0.5), (0.4, 0.5));
        let combined = combine(&[(&even, 1.0)], &PLAIN).unwrap();
        assert!(combined.margin == 0.0 && combined.undecided);
        assert!(combined.swapped(&PLAIN).undecided);
    }

    #[test]
    fn each_mode_turns_log_odds_into_its_probability() {
        let verdict = verdict((0.8, 0.2), (0.2, 0.8));
        for (mode, expected) in [(Mode::Soft, 0.8), (Mode::Hard, 1.0), (Mode::Clamped, 0.6)] {
            let standing = VerdictSettings { mode, ..PLAIN };
            let combined = combine(&[(&verdict, 1.0)], &standing).unwrap();
            assert_near(combined.p, expected);
            assert_near(combined.swapped(&standing).p, 1.0 - expected);
        }
        let even = self::verdict((0.4, 0.4), (0.4, 0.4));
        let hard = VerdictSettings { mode: Mode::Hard, ..PLAIN };
        assert_near(combine(&[(&even, 1.0)], &hard).unwrap().p, 0.5);
    }

    #[test]
    fn calibration_adds_its_offset_before_it_divides() {
        let verdict = verdict((0.8, 0.2), (0.2, 0.8)); // s = ln 4
        let calibration = Calibration { temperature: 2.0, offset: 4.0_f64.ln() };
        let combined =
            combine(&[(&verdict, 1.0)], &VerdictSettings { calibration, ..PLAIN }).unwrap();
        assert_near(combined.margin, 4.0_f64.ln());
        // The offset stays with answer A.
        let swapped = combined.swapped(&VerdictSettings { calibration, ..PLAIN });
        assert_near(swapped.margin, -(4.0_f64.ln()));
        assert_near(swapped.p, 0.2);
        assert_near(swapped.orders[0], -combined.orders[1]);
    }

    #[test]
    fn swapped_judgement_is_clamped_again() {
        let standing = VerdictSettings { mode: Mode::Clamped, clamp: [0.3, 0.6], ..PLAIN };
        let verdict = verdict((0.8, 0.2), (0.2, 0.8));
        let combined = combine(&[(&verdict, 1.0)], &standing).unwrap();
        assert_near(combined.p, 0.6);
        assert_near(combined.swapped(&standing).p, 0.3);
    }

    #[test]
    fn verdicts_combine_by_weighted_log_odds() {
        let (for_a, for_b) = (verdict((0.8, 0.2), (0.2, 0.8)), verdict((0.4, 0.5), (0.5, 0.4)));
        let combined = combine(&[(&for_a, 3.0), (&for_b, 1.0)], &PLAIN).unwrap();
        assert_near(combined.margin, (3.0 * 4.0_f64.ln() - 1.25_f64.ln()) / 4.0);
        assert_near(combined.mass, 0.9);
        assert_eq!(combine(&[], &PLAIN), None);
        assert_eq!(combine(&[(&for_a, 0.0)], &PLAIN), None);
    }

    #[test]
    fn samples_average_as_probabilities_and_wordings_as_log_odds() {
        let poll = |forward: &[(f64, f64)], backward: &[(f64, f64)]| Poll {
            template: String::new(),
            forward: forward.iter().map(|&(first, second)| reading(first, second)).collect(),
            backward: backward.iter().map(|&(first, second)| reading(first, second)).collect(),
        };
        // Forward: 0.9 and 0.5 for A, mean 0.7. Backward: 0.1 and 0.3 for B, mean 0.2.
        let sampled = poll(&[(0.9, 0.1), (0.5, 0.5)], &[(0.1, 0.9), (0.3, 0.7)]);
        let (forward, backward) = ((0.7_f64 / 0.3).ln(), (0.2_f64 / 0.8).ln());
        let verdict = Verdict { polls: vec![sampled.clone()] };
        assert_near(verdict.log_odds(), (forward - backward) / 2.0);
        let even = poll(&[(0.5, 0.5)], &[(0.5, 0.5)]);
        let two = Verdict { polls: vec![sampled, even] };
        assert_near(two.log_odds(), (forward - backward) / 4.0);
        // The log-odds stay finite if every sample is certain.
        let sure = poll(&[(1.0, 0.0), (1.0, 0.0)], &[(0.0, 1.0), (0.0, 1.0)]);
        assert!(Verdict { polls: vec![sure] }.log_odds().is_finite());
    }
}

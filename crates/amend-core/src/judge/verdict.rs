//! A verdict between two answers, and its arithmetic.
//!
//! The judge replies with a label at one position; p(A) and p(B) are sums over every
//! spelling of each label there. With answer A shown first, `s_AB = ln p(A)/p(B)` is
//! the log-odds of the answer shown first; with the answers exchanged, it is `s_BA`.
//! Then `s = ½(s_AB − s_BA)` is the log-odds of answer A over answer B without
//! position bias, and `½(s_AB + s_BA)` is the bias towards the first position. `reading`
//! has the arithmetic of ties, samples and opposite questions.
//!
//! Sources: for position bias, Zheng et al. 2023, arXiv 2306.05685; for clamping, Bai et
//! al. 2022, arXiv 2212.08073.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::reading::{Poll, SampleCombination, VerdictOdds};
use crate::stats::sigmoid;

/// A judgement between answers A and B, shown in both orders.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Verdict {
    /// The readings for each wording of the question; at least one.
    pub polls: Vec<Poll>,
}

impl Verdict {
    /// The log-odds, averaged over wordings.
    #[must_use]
    pub fn odds(&self, samples: SampleCombination) -> VerdictOdds {
        let polls: Vec<_> = self.polls.iter().map(|poll| (poll.odds(samples), 1.0)).collect();
        let none = VerdictOdds { log_odds: 0.0, tie: None, orders: [0.0; 2] };
        VerdictOdds::weighted_mean(&polls).unwrap_or(none)
    }

    /// The least probability of the labels together over all readings.
    #[must_use]
    pub fn mass(&self) -> f64 {
        self.polls.iter().map(Poll::mass).fold(1.0, f64::min)
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

    /// The log-odds before [`Calibration::apply`].
    #[must_use]
    pub fn undo(self, margin: f64) -> f64 {
        margin * self.temperature - self.offset
    }

    /// The corrected log-odds of a tie over the geometric mean of both answers. An offset
    /// favours one answer as much as it disfavours the other.
    #[must_use]
    pub fn apply_to_tie(self, log_odds: f64) -> f64 {
        log_odds / self.temperature
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
    /// A verdict is a tie if the absolute value of its calibrated log-odds is smaller,
    /// or 0.
    pub min_margin: f64,
    /// How several samples become one verdict.
    pub samples: SampleCombination,
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
    /// The probability that A is the better answer if one of them is; ½ if undecided
    /// under [`Mode::Hard`].
    pub p: f64,
    /// The bias towards the first position, in log-odds.
    pub offset: f64,
    /// The least mass among the verdicts.
    pub mass: f64,
    /// The log-odds of A shown first, and shown second.
    pub orders: [f64; 2],
    /// The probability of a tie, if the judge may reply with one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub p_tie: Option<f64>,
    /// Whether it favours neither answer: it is a tie, or the mass is too small.
    pub undecided: bool,
    /// Whether it is a tie: the margin is too small for a decision, or a tie is more
    /// probable than either answer.
    pub tied: bool,
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
    let parts: Vec<(VerdictOdds, f64)> = verdicts
        .iter()
        .map(|&(verdict, weight)| (verdict.odds(standing.samples), weight))
        .collect();
    let odds = VerdictOdds::weighted_mean(&parts)?;
    let margin = standing.calibration.apply(odds.log_odds);
    let tie = odds.tie.map(|tie| standing.calibration.apply_to_tie(tie));
    let mass = verdicts.iter().map(|(verdict, _)| verdict.mass()).fold(1.0, f64::min);
    let has_mass = mass >= standing.mass_floor;
    // The answer that the margin favours has the log-odds |margin|/2 on the scale of a tie.
    let is_tie_likeliest = tie.is_some_and(|tie| tie > margin.abs() / 2.0);
    // A margin of exactly 0 favours neither answer, whatever the least margin.
    let decided = margin != 0.0 && margin.abs() >= standing.min_margin && !is_tie_likeliest;
    let undecided = !(has_mass && decided);
    Some(Combined {
        margin,
        p: standing.probability(margin, undecided),
        offset: odds.offset(),
        mass,
        orders: odds.orders,
        p_tie: tie
            .map(|tie| 1.0 / (1.0 + (margin / 2.0 - tie).exp() + (-margin / 2.0 - tie).exp())),
        undecided,
        tied: has_mass && undecided,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::judge::Reading;

    const PLAIN: VerdictSettings = VerdictSettings {
        mode: Mode::Soft,
        clamp: [0.4, 0.6],
        mass_floor: 0.5,
        min_margin: 0.0,
        samples: SampleCombination::Probabilities,
        calibration: Calibration { temperature: 1.0, offset: 0.0 },
    };

    fn reading(first: f64, second: f64) -> Reading {
        Reading { first: first.ln(), second: second.ln(), tie: None }
    }

    fn verdict(forward: (f64, f64), backward: (f64, f64)) -> Verdict {
        Verdict {
            polls: vec![Poll {
                template: "judge".to_owned(),
                forward: vec![reading(forward.0, forward.1)],
                backward: vec![reading(backward.0, backward.1)],
                opposite: None,
            }],
        }
    }

    fn odds(verdict: &Verdict) -> VerdictOdds {
        verdict.odds(SampleCombination::Probabilities)
    }

    #[track_caller]
    fn assert_near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-9, "{actual}, expected {expected}");
    }

    #[test]
    fn position_bias_cancels() {
        // The judge prefers A three to one, and the first position two to one.
        let verdict = verdict((0.6, 0.1), (0.2, 0.3));
        assert_near(odds(&verdict).log_odds, 3.0_f64.ln());
        assert_near(odds(&verdict).offset(), 2.0_f64.ln());
        assert_near(odds(&verdict).orders[0], 6.0_f64.ln());
        assert_near(odds(&verdict).orders[1], 1.5_f64.ln());
        assert_near(verdict.mass(), 0.5);
        let combined = combine(&[(&verdict, 1.0)], &PLAIN).unwrap();
        assert_near(combined.p, 0.75);
        assert_near(combined.swapped(&PLAIN).p, 0.25);
        assert_near(combined.swapped(&PLAIN).offset, odds(&verdict).offset());
    }

    #[test]
    fn judge_that_follows_position_prefers_no_answer() {
        let verdict = verdict((0.8, 0.1), (0.8, 0.1));
        assert_near(odds(&verdict).log_odds, 0.0);
        assert_near(odds(&verdict).offset(), 8.0_f64.ln());
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
            opposite: None,
        };
        // Forward: 0.9 and 0.5 for A, mean 0.7. Backward: 0.1 and 0.3 for B, mean 0.2.
        let sampled = poll(&[(0.9, 0.1), (0.5, 0.5)], &[(0.1, 0.9), (0.3, 0.7)]);
        let (forward, backward) = ((0.7_f64 / 0.3).ln(), (0.2_f64 / 0.8).ln());
        let verdict = Verdict { polls: vec![sampled.clone()] };
        assert_near(odds(&verdict).log_odds, (forward - backward) / 2.0);
        let even = poll(&[(0.5, 0.5)], &[(0.5, 0.5)]);
        let two = Verdict { polls: vec![sampled, even] };
        assert_near(odds(&two).log_odds, (forward - backward) / 4.0);
        // The log-odds stay finite if every sample is certain.
        let sure = poll(&[(1.0, 0.0), (1.0, 0.0)], &[(0.0, 1.0), (0.0, 1.0)]);
        assert!(odds(&Verdict { polls: vec![sure] }).log_odds.is_finite());
    }

    /// A verdict with the same probabilities of a, b and a tie in both orders.
    fn with_tie(a: f64, b: f64, tie: f64) -> Verdict {
        let mut verdict = verdict((a, b), (b, a));
        for poll in &mut verdict.polls {
            for reading in poll.forward.iter_mut().chain(&mut poll.backward) {
                reading.tie = Some(tie.ln());
            }
        }
        verdict
    }

    #[test]
    fn the_most_probable_label_decides_and_too_little_mass_is_no_tie() {
        for ((a, b, tie), undecided, tied) in [
            ((0.5, 0.2, 0.3), false, false),
            ((0.3, 0.2, 0.5), true, true),
            ((0.2, 0.5, 0.3), false, false),
            // Equal answers are a tie, although its label is not the most probable one.
            ((0.4, 0.4, 0.1), true, true),
            ((0.1, 0.05, 0.3), true, false),
        ] {
            let found = combine(&[(&with_tie(a, b, tie), 1.0)], &PLAIN).unwrap();
            assert_eq!((found.undecided, found.tied), (undecided, tied), "{a} {b} {tie}");
            assert_near(found.p_tie.unwrap(), tie / (a + b + tie));
            assert_near(found.p, a / (a + b));
            assert_eq!(found.swapped(&PLAIN).tied, tied);
        }
        // Without the label, a small margin is a tie.
        let strict = VerdictSettings { min_margin: 0.7, ..PLAIN };
        let close = combine(&[(&verdict((0.6, 0.3), (0.3, 0.6)), 1.0)], &strict).unwrap();
        assert_eq!((close.undecided, close.tied, close.p_tie), (true, true, None));
    }

    #[test]
    fn a_temperature_moves_no_verdict_across_the_border_of_ties() {
        for tie in [0.29, 0.31] {
            for temperature in [0.2, 1.0, 30.0] {
                let calibration = Calibration { temperature, offset: 0.0 };
                let settings = VerdictSettings { calibration, ..PLAIN };
                let found = combine(&[(&with_tie(0.3, 0.2, tie), 1.0)], &settings).unwrap();
                assert_eq!(found.tied, tie > 0.3, "{tie} {temperature}");
            }
        }
        let calibration = Calibration { temperature: 2.0, offset: -0.25 };
        assert_near(calibration.undo(calibration.apply(1.5)), 1.5);
    }

    #[test]
    fn orders_that_contradict_each_other_leave_a_tie_that_both_consider() {
        // Either order prefers its first answer; the tie is second in both.
        let verdict = Verdict {
            polls: vec![Poll {
                template: String::new(),
                forward: vec![Reading { tie: Some(0.3_f64.ln()), ..reading(0.6, 0.1) }],
                backward: vec![Reading { tie: Some(0.3_f64.ln()), ..reading(0.6, 0.1) }],
                opposite: None,
            }],
        };
        let found = combine(&[(&verdict, 1.0)], &PLAIN).unwrap();
        assert!(found.tied);
        // The odds of a tie are 0.3/√(0.6·0.1).
        let odds = 0.3 / 0.06_f64.sqrt();
        assert_near(found.p_tie.unwrap(), odds / (2.0 + odds));
    }

    #[test]
    fn ties_combine_only_if_every_verdict_has_them() {
        let (tied, plain) = (with_tie(0.3, 0.2, 0.5), verdict((0.6, 0.3), (0.3, 0.6)));
        let mixed = combine(&[(&tied, 1.0), (&plain, 1.0)], &PLAIN).unwrap();
        assert_eq!((mixed.p_tie, mixed.undecided), (None, false));
        let decided = with_tie(0.8, 0.1, 0.1);
        let both = combine(&[(&tied, 1.0), (&decided, 1.0)], &PLAIN).unwrap();
        // Products: a √(0.3·0.8), b √(0.2·0.1), tie √(0.5·0.1).
        let [a, b, tie] = [0.24_f64, 0.02, 0.05].map(f64::sqrt);
        assert_near(both.p_tie.unwrap(), tie / (a + b + tie));
        assert!(!both.undecided);
    }
}

//! What a judge says about two answers: log-probabilities of the labels in either order,
//! and how they become log-odds.
//!
//! With a label for ties, the three probabilities of one order are described by two
//! numbers: the log-odds `s` of the answer shown first, and those of a tie over the
//! geometric mean of both answers, `u = ln p(tie) − ½(ln p(first) + ln p(second))`. This is
//! the model of Davidson 1970: p(first) : p(tie) : p(second) = e^(s/2) : e^u : e^(−s/2).
//! Both are averaged like `s` alone.
//!
//! Sources: for averaging over samples, Bai et al. 2022, arXiv 2212.08073, and Wang et al.
//! 2025, arXiv 2503.03064; for counts with ties, Dadkhahi et al. 2025, arXiv 2512.03019;
//! for the opposite of a rule, Yang et al. 2023, arXiv 2307.12950.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::stats::{clamped_logit, sigmoid};

/// Added to each count of votes, so that log-odds of counts are finite.
const PRIOR: f64 = 0.5;

/// How several samples of a judge become one verdict.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum SampleCombination {
    /// By the mean of the labels' probabilities.
    #[default]
    Probabilities,
    /// By votes: each sample in each order votes for its most probable label.
    Counts,
}

impl SampleCombination {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Probabilities, Self::Counts];

    /// The name in constitutions and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Probabilities => "probabilities",
            Self::Counts => "counts",
        }
    }
}

/// The log-probabilities of the labels in one order of the answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// ln p of the label of the answer shown first.
    pub first: f64,
    /// ln p of the label of the answer shown second.
    pub second: f64,
    /// ln p of the label of a tie, if the judge may reply with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tie: Option<f64>,
}

impl Reading {
    /// The probability of the labels together.
    #[must_use]
    pub fn mass(self) -> f64 {
        // Rounding may raise the sum slightly above 1.
        (self.first.exp() + self.second.exp() + self.tie.map_or(0.0, f64::exp)).min(1.0)
    }

    fn odds(self) -> Odds {
        Odds {
            log_odds: self.first - self.second,
            tie: self.tie.map(|tie| tie - (self.first + self.second) / 2.0),
        }
    }
}

/// The log-odds of the answer shown first over the other one, and those of a tie over the
/// geometric mean of both.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Odds {
    log_odds: f64,
    tie: Option<f64>,
}

impl Odds {
    /// The odds for shares of first, second and tie.
    fn from_shares([first, second, tie]: [f64; 3]) -> Self {
        let ln = |share: f64| share.max(f64::MIN_POSITIVE).ln();
        let (first, second) = (ln(first), ln(second));
        Self { log_odds: first - second, tie: Some(ln(tie) - (first + second) / 2.0) }
    }

    /// The shares of first, second and tie, which sum to 1.
    fn shares(self) -> [f64; 3] {
        let logs =
            [self.log_odds / 2.0, -self.log_odds / 2.0, self.tie.unwrap_or(f64::NEG_INFINITY)];
        let most = logs.into_iter().fold(f64::NEG_INFINITY, f64::max);
        let parts = logs.map(|log| (log - most).exp());
        let sum: f64 = parts.iter().sum();
        parts.map(|part| part / sum)
    }

    /// The odds of the answer shown second.
    fn swapped(self) -> Self {
        Self { log_odds: -self.log_odds, ..self }
    }

    /// The mean of both.
    fn mean(self, other: Self) -> Self {
        Self {
            log_odds: (self.log_odds + other.log_odds) / 2.0,
            tie: self.tie.zip(other.tie).map(|(one, two)| (one + two) / 2.0),
        }
    }
}

/// The mean of samples, as probabilities.
fn mean(readings: &[Reading]) -> Odds {
    if let [reading] = readings {
        return reading.odds();
    }
    let count = readings.len() as f64;
    if readings.iter().all(|reading| reading.tie.is_none()) {
        let sum: f64 = readings.iter().map(|reading| sigmoid(reading.odds().log_odds)).sum();
        // The mean of probabilities may round to 0 or 1.
        return Odds { log_odds: clamped_logit(sum / count), tie: None };
    }
    let mut sums = [0.0; 3];
    for reading in readings {
        for (sum, share) in sums.iter_mut().zip(reading.odds().shares()) {
            *sum += share;
        }
    }
    Odds::from_shares(sums.map(|sum| sum / count))
}

/// The votes of samples: for the answer shown first, for the other one, and for a tie.
#[derive(Debug, Clone, Copy, Default)]
struct Votes {
    counts: [f64; 3],
    has_ties: bool,
}

impl Votes {
    /// Counts the most probable label of each reading. Without one, there is no vote.
    fn count(readings: &[Reading]) -> Self {
        let mut votes = Self::default();
        for Reading { first, second, tie } in readings {
            let labels = [*first, *second, tie.unwrap_or(f64::NEG_INFINITY)];
            votes.has_ties |= tie.is_some();
            for (at, count) in votes.counts.iter_mut().enumerate() {
                let mut others = (0..labels.len()).filter(|&other| other != at);
                *count += f64::from(u8::from(others.all(|other| labels[at] > labels[other])));
            }
        }
        votes
    }

    /// Adds votes in which the answers were exchanged.
    fn and_exchanged(self, other: Self) -> Self {
        let ([a, b, tie], [second, first, other_tie]) = (self.counts, other.counts);
        Self {
            counts: [a + first, b + second, tie + other_tie],
            has_ties: self.has_ties || other.has_ties,
        }
    }

    fn odds(self) -> Odds {
        let odds = Odds::from_shares(self.counts.map(|count| count + PRIOR));
        Odds { tie: if self.has_ties { odds.tie } else { None }, ..odds }
    }
}

/// The log-odds in both orders, and of answer A over B by both together.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VerdictOdds {
    /// The log-odds of A over B without position bias.
    pub log_odds: f64,
    /// The log-odds of a tie over the geometric mean of both answers, if the judge may reply
    /// with a tie.
    pub tie: Option<f64>,
    /// The log-odds of A in each order: shown first, shown second.
    pub orders: [f64; 2],
}

impl VerdictOdds {
    /// The odds by the readings with A shown first and with B shown first.
    fn new(forward: &[Reading], backward: &[Reading], samples: SampleCombination) -> Self {
        let (forward, backward, both) = match samples {
            SampleCombination::Probabilities => {
                let (forward, backward) = (mean(forward), mean(backward));
                (forward, backward, forward.mean(backward.swapped()))
            }
            SampleCombination::Counts => {
                let (forward, backward) = (Votes::count(forward), Votes::count(backward));
                (forward.odds(), backward.odds(), forward.and_exchanged(backward).odds())
            }
        };
        let orders = [forward.log_odds, -backward.log_odds];
        Self { log_odds: both.log_odds, tie: both.tie, orders }
    }

    /// The odds by a question and its opposite: the answer that the opposite favours is the
    /// worse one.
    fn minus_opposite(self, opposite: Self) -> Self {
        let half = |own: f64, opposite: f64| (own - opposite) / 2.0;
        Self {
            log_odds: half(self.log_odds, opposite.log_odds),
            tie: self.tie.zip(opposite.tie).map(|(own, opposite)| (own + opposite) / 2.0),
            orders: [0, 1].map(|at| half(self.orders[at], opposite.orders[at])),
        }
    }

    /// The weighted mean. `None` without weight.
    pub(super) fn weighted_mean(parts: &[(Self, f64)]) -> Option<Self> {
        let total: f64 = parts.iter().map(|(_, weight)| weight).sum();
        if parts.is_empty() || total <= 0.0 || !total.is_finite() {
            return None;
        }
        let mean = |figure: &dyn Fn(&Self) -> f64| {
            parts.iter().map(|(odds, weight)| weight * figure(odds)).sum::<f64>() / total
        };
        let has_ties = parts.iter().all(|(odds, _)| odds.tie.is_some());
        Some(Self {
            log_odds: mean(&|odds| odds.log_odds),
            tie: has_ties.then(|| mean(&|odds| odds.tie.unwrap_or_default())),
            orders: [mean(&|odds| odds.orders[0]), mean(&|odds| odds.orders[1])],
        })
    }

    /// The bias towards the first position, in log-odds.
    #[must_use]
    pub fn offset(&self) -> f64 {
        (self.orders[0] - self.orders[1]) / 2.0
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
    /// The readings for the opposite of the question, if it was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opposite: Option<OppositeReadings>,
}

/// The readings for the opposite of a question.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OppositeReadings {
    /// With answer A shown first.
    pub forward: Vec<Reading>,
    /// With answer B shown first.
    pub backward: Vec<Reading>,
}

impl Poll {
    /// The log-odds by this wording.
    pub(super) fn odds(&self, samples: SampleCombination) -> VerdictOdds {
        let own = VerdictOdds::new(&self.forward, &self.backward, samples);
        match &self.opposite {
            None => own,
            Some(OppositeReadings { forward, backward }) => {
                own.minus_opposite(VerdictOdds::new(forward, backward, samples))
            }
        }
    }

    /// The least probability of the labels together over its readings.
    pub(super) fn mass(&self) -> f64 {
        let opposite = self.opposite.iter().flat_map(|it| it.forward.iter().chain(&it.backward));
        let readings = self.forward.iter().chain(&self.backward).chain(opposite);
        readings.map(|reading| reading.mass()).fold(1.0, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use SampleCombination::{Counts, Probabilities};

    fn two(first: f64, second: f64) -> Reading {
        Reading { first: first.ln(), second: second.ln(), tie: None }
    }

    fn three(first: f64, second: f64, tie: f64) -> Reading {
        Reading { tie: Some(tie.ln()), ..two(first, second) }
    }

    #[track_caller]
    fn assert_near(actual: f64, expected: f64) {
        assert!((actual - expected).abs() < 1e-9, "{actual}, expected {expected}");
    }

    #[track_caller]
    fn assert_odds(odds: VerdictOdds, log_odds: f64, tie: Option<f64>) {
        assert_near(odds.log_odds, log_odds);
        assert_eq!(odds.tie.is_some(), tie.is_some());
        assert_near(odds.tie.unwrap_or_default(), tie.unwrap_or_default());
    }

    #[test]
    fn a_tie_has_log_odds_over_the_geometric_mean_of_both_answers() {
        let reading = three(0.4, 0.1, 0.3);
        assert_near(reading.mass(), 0.8);
        let (s, u) = (4.0_f64.ln(), 1.5_f64.ln());
        // Exchanged: the log-odds turn, those of a tie do not.
        let both = VerdictOdds::new(&[reading], &[three(0.1, 0.4, 0.3)], Probabilities);
        assert_odds(both, s, Some(u));
        let shares = Odds { log_odds: s, tie: Some(u) }.shares();
        for (share, expected) in shares.into_iter().zip([0.5, 0.125, 0.375]) {
            assert_near(share, expected);
        }
        assert_odds(VerdictOdds::new(&[two(0.4, 0.1)], &[two(0.1, 0.4)], Probabilities), s, None);
    }

    #[test]
    fn probabilities_of_samples_are_averaged_with_ties() {
        let samples = [three(0.6, 0.2, 0.2), three(0.2, 0.2, 0.6)];
        // Means 0.4, 0.2 and 0.4, and the same with the answers exchanged.
        let exchanged = [three(0.2, 0.6, 0.2), three(0.2, 0.2, 0.6)];
        let odds = VerdictOdds::new(&samples, &exchanged, Probabilities);
        assert_odds(odds, 2.0_f64.ln(), Some((0.4 / 0.08_f64.sqrt()).ln()));
        // One sample without mass on an answer leaves the mean finite.
        let sure = [three(1.0, 0.0, 0.0), three(1.0, 0.0, 0.0)];
        let odds = VerdictOdds::new(&sure, &sure, Probabilities);
        assert!(odds.log_odds.is_finite() && odds.tie.unwrap().is_finite());
    }

    #[test]
    fn votes_of_both_orders_are_counted_together() {
        // First: a, tie. Second, exchanged: a, b. No probability but the greatest counts.
        let forward = [three(0.5, 0.1, 0.4), three(0.3, 0.3, 0.4)];
        let backward = [three(0.1, 0.9, 0.0), three(0.51, 0.49, 0.0)];
        let odds = VerdictOdds::new(&forward, &backward, Counts);
        let tie = (1.5 / (2.5_f64 * 1.5).sqrt()).ln();
        assert_odds(odds, (2.5_f64 / 1.5).ln(), Some(tie));
        assert_near(odds.orders[0], (1.5_f64 / 0.5).ln());
        assert_near(odds.orders[1], 0.0);
        // A sample that favours neither answer has no vote without a label for ties.
        let even = VerdictOdds::new(&[two(0.4, 0.4)], &[two(0.2, 0.7)], Counts);
        assert_odds(even, 3.0_f64.ln(), None);
        // Opposite votes of both orders cancel.
        assert_odds(VerdictOdds::new(&[two(0.6, 0.4)], &[two(0.9, 0.1)], Counts), 0.0, None);
    }

    #[test]
    fn the_opposite_question_counts_against_the_answer_that_it_favours() {
        let poll = |opposite| Poll {
            template: String::new(),
            forward: vec![three(0.6, 0.2, 0.1)],
            backward: vec![three(0.3, 0.3, 0.1)],
            opposite,
        };
        // By the opposite, B is favoured four to one in both orders.
        let opposite = OppositeReadings {
            forward: vec![three(0.1, 0.4, 0.4)],
            backward: vec![three(0.4, 0.1, 0.05)],
        };
        let (own, both) = (poll(None), poll(Some(opposite)));
        let (s, opposed) = (3.0_f64.ln() / 2.0, -(4.0_f64.ln()));
        assert_near(own.odds(Probabilities).log_odds, s);
        let odds = both.odds(Probabilities);
        assert_near(odds.log_odds, (s - opposed) / 2.0);
        assert_near(odds.orders[0], (3.0_f64.ln() - opposed) / 2.0);
        assert_near(odds.orders[1], -opposed / 2.0);
        assert_near(own.mass(), 0.7);
        assert_near(both.mass(), 0.55);
        // A habit for a position cancels within each order.
        let habit = |reading| Poll {
            template: String::new(),
            forward: vec![reading],
            backward: vec![reading],
            opposite: Some(OppositeReadings { forward: vec![reading], backward: vec![reading] }),
        };
        assert_eq!(habit(two(0.8, 0.1)).odds(Probabilities).orders, [0.0, 0.0]);
    }

    #[test]
    fn readings_of_earlier_versions_are_read() {
        let poll: Poll = serde_json::from_str(
            r#"{"template":"judge","forward":[{"first":-1,"second":-2}],"backward":[{"first":-2,"second":-1}]}"#,
        )
        .unwrap();
        assert_odds(poll.odds(Probabilities), 1.0, None);
        assert!(!serde_json::to_string(&poll).unwrap().contains("tie"));
    }
}

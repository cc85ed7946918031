//! Compares chosen and rejected answers over the whole data set: their lengths, and
//! how often they refuse. A model learns such a difference before any other.

use serde::Serialize;

use super::{LintRule, Needs, opening};
use crate::format::example::{Example, ExampleTurn, Side, joined_answers};
use crate::lint::report::Sample;
use amend_core::document::Severity;
use amend_core::stats::{Moments, cohens_d};
use amend_core::text::refusal::is_refusal;

pub(super) static LENGTH: LintRule = LintRule {
    name: "length-bias",
    severity: Severity::Warn,
    about: "chosen and rejected answers differ in length by half a standard deviation or more",
    fix: "no automatic fix: add pairs of the other kind, sample by length, or train with a length penalty",
    needs: Needs::Set,
};

pub(super) static REFUSALS: LintRule = LintRule {
    name: "refusal-bias",
    severity: Severity::Warn,
    about: "chosen answers refuse more often than rejected ones, by 10 percentage points or more",
    fix: "no automatic fix: add prompts to which a good answer helps, or revise refusals to safe help",
    needs: Needs::Set,
};

/// The least Cohen's d that is reported: a medium effect.
const EFFECT: f64 = 0.5;

/// The least number of answers on a side for a finding.
const LEAST_ROWS: u64 = 20;

/// The least difference of refusal shares that is reported.
const SHARE: f64 = 0.1;

/// How many examples a finding shows.
const SAMPLES: usize = 3;

/// Count, mean and standard deviation of lengths.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Lengths {
    /// The number of answers.
    pub count: u64,
    /// The mean length.
    pub mean: f64,
    /// The sample standard deviation; 0 for fewer than two answers.
    pub sd: f64,
}

impl From<Moments> for Lengths {
    fn from(moments: Moments) -> Self {
        Self {
            count: moments.count(),
            mean: moments.mean().unwrap_or(0.0),
            sd: moments.sd().unwrap_or(0.0),
        }
    }
}

/// The number of refusals.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Refusals {
    /// Refusals among the chosen answers.
    pub wanted: u64,
    /// Refusals among the rejected answers.
    pub unwanted: u64,
}

/// Statistics of chosen and rejected answers.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct SetStatistics {
    /// Lengths of the chosen answers.
    pub wanted: Lengths,
    /// Lengths of the rejected answers.
    pub unwanted: Lengths,
    /// Cohen's d of the lengths, by the pooled standard deviation: positive if chosen
    /// answers are longer. `None` with fewer than two answers on a side, or if no
    /// lengths vary.
    pub length_effect: Option<f64>,
    /// The number of refusals.
    pub refusals: Refusals,
}

/// A fault of the data set as a whole.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::lint) struct Imbalance {
    /// The broken rule.
    pub rule: &'static LintRule,
    /// The number of rows that show it.
    pub count: u64,
    /// Examples.
    pub samples: Vec<Sample>,
}

/// Accumulates the statistics of rows.
#[derive(Debug, Default)]
pub(in crate::lint) struct Balance {
    chosen: Moments,
    rejected: Moments,
    refusals: Refusals,
    /// The pairs whose chosen answer is longer.
    longer: Extremes,
    /// The pairs whose chosen answer is shorter.
    shorter: Extremes,
    refusing: Vec<Sample>,
}

/// The number of pairs, and those with the greatest differences of length.
#[derive(Debug, Default)]
struct Extremes {
    count: u64,
    greatest: Vec<(usize, Sample)>,
}

impl Extremes {
    fn add(&mut self, difference: usize, sample: impl FnOnce() -> Sample) {
        self.count += 1;
        let rank = self.greatest.partition_point(|(greater, _)| *greater >= difference);
        if rank < SAMPLES {
            self.greatest.insert(rank, (difference, sample()));
            self.greatest.truncate(SAMPLES);
        }
    }
}

impl Balance {
    /// Adds a row. `sample` turns an excerpt into a sample of the row.
    pub(in crate::lint) fn add(&mut self, example: &Example, sample: impl Fn(String) -> Sample) {
        let (chosen, rejected) = (example.chosen(), example.rejected());
        let length =
            |side: Option<(Side, &[ExampleTurn])>| side.map(|(side, _)| example.length(side));
        let lengths = (length(chosen), length(rejected));
        if let Some(length) = lengths.0 {
            self.chosen.add(length as f64);
        }
        if let Some(length) = lengths.1 {
            self.rejected.add(length as f64);
        }
        if let (Some(chosen), Some(rejected)) = lengths {
            let sample =
                || sample(format!("{chosen} against {rejected}: {}", opening(&example.prompt)));
            match chosen.cmp(&rejected) {
                std::cmp::Ordering::Greater => self.longer.add(chosen - rejected, sample),
                std::cmp::Ordering::Less => self.shorter.add(rejected - chosen, sample),
                std::cmp::Ordering::Equal => {}
            }
        }
        let refuses = |turns: &[ExampleTurn]| is_refusal(&joined_answers(turns));
        if let Some((_, turns)) = chosen
            && refuses(turns)
        {
            self.refusals.wanted += 1;
            if self.refusing.len() < SAMPLES {
                self.refusing.push(sample(opening(turns)));
            }
        }
        if let Some((_, turns)) = rejected
            && refuses(turns)
        {
            self.refusals.unwanted += 1;
        }
    }

    /// Returns the statistics, and the faults that they show.
    pub(in crate::lint) fn finish(self) -> (SetStatistics, Vec<Imbalance>) {
        let (wanted, unwanted) = (Lengths::from(self.chosen), Lengths::from(self.rejected));
        let refusals = self.refusals;
        let mut length_effect = None;
        if wanted.count >= 2 && unwanted.count >= 2 {
            length_effect = cohens_d(&self.chosen, &self.rejected);
        }
        let mut imbalances = Vec::new();
        let enough = wanted.count >= LEAST_ROWS && unwanted.count >= LEAST_ROWS;
        if let Some(effect) = length_effect
            && enough
            && effect.abs() >= EFFECT
        {
            let extremes = if effect > 0.0 { self.longer } else { self.shorter };
            let samples = extremes.greatest.into_iter().map(|(_, sample)| sample).collect();
            imbalances.push(Imbalance { rule: &LENGTH, count: extremes.count, samples });
        }
        let share = |count: u64, all: u64| if all == 0 { 0.0 } else { count as f64 / all as f64 };
        let more = share(refusals.wanted, wanted.count) - share(refusals.unwanted, unwanted.count);
        if wanted.count >= LEAST_ROWS && more >= SHARE {
            let (count, samples) = (refusals.wanted, self.refusing);
            imbalances.push(Imbalance { rule: &REFUSALS, count, samples });
        }
        (SetStatistics { wanted, unwanted, length_effect, refusals }, imbalances)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::example;
    use super::*;
    use crate::rows::Place;

    fn balance(rows: &[(&str, &str)]) -> (SetStatistics, Vec<Imbalance>) {
        let mut balance = Balance::default();
        for (row, (chosen, rejected)) in (1..).zip(rows) {
            // Each x is a word.
            let [chosen, rejected] = [chosen, rejected].map(|text| text.replace('x', "x "));
            let example = example(json!({"prompt": "p", "chosen": chosen, "rejected": rejected}));
            let sample = |excerpt| Sample { file: "f".to_owned(), place: Place::Row(row), excerpt };
            balance.add(&example, sample);
        }
        balance.finish()
    }

    #[test]
    fn length_effect_is_cohens_d() {
        // Means 4 and 2, sums of squares 8 and 2: pooled √(10/4), d = 2/√2.5.
        let (statistics, imbalances) = balance(&[("xx", "x"), ("xxxx", "xx"), ("xxxxxx", "xxx")]);
        assert_eq!((statistics.wanted.mean, statistics.wanted.sd), (4.0, 2.0));
        assert!((statistics.length_effect.unwrap() - 2.0 / 2.5_f64.sqrt()).abs() < 1e-12);
        assert_eq!(imbalances, [], "three rows are too few");
        assert_eq!(balance(&[("x", "x"), ("x", "x")]).0.length_effect, None);
    }

    #[test]
    fn length_bias_shows_the_most_extreme_rows() {
        let long = "x".repeat(40);
        let mut rows: Vec<(&str, &str)> = vec![("xxxx", "xx"); 12];
        rows.extend(vec![("xx", "xxx"); 5]);
        rows.extend([("xxxxx", "x"), (long.as_str(), "x"), ("xxxxxx", "xxx")]);
        // d = (5.05 − 2.15) / pooled: the one long row raises the deviation.
        let (statistics, imbalances) = balance(&rows);
        assert_eq!(imbalances.is_empty(), statistics.length_effect.unwrap() < 0.5);
        rows[18].0 = "xxxxxxx";
        let (_, imbalances) = balance(&rows);
        let [imbalance] = imbalances.as_slice() else { panic!("{imbalances:?}") };
        assert_eq!((imbalance.rule.name, imbalance.count), ("length-bias", 15));
        let rows: Vec<u64> = imbalance.samples.iter().map(|sample| sample.place.number()).collect();
        assert_eq!(rows, [19, 18, 20]);
    }

    #[test]
    fn thoughts_count_neither_in_lengths_nor_as_refusals() {
        let (statistics, _) = balance(&[
            ("<think>\nI can't help with that.\n</think>\n\nxx", "xx"),
            ("<think>x x x</think>I can't help with that.", "xx"),
        ]);
        assert_eq!((statistics.wanted.mean, statistics.unwanted.mean), (3.5, 2.0));
        assert_eq!(statistics.refusals, Refusals { wanted: 1, unwanted: 0 });
    }

    #[test]
    fn refusals_are_counted_on_each_side() {
        let no = "I'm sorry, but I can't help with that request here.";
        let yes = "Of course. One takes the first left, then the right.";
        let mut rows = vec![(yes, no); 2];
        rows.extend(vec![(no, yes); 3]);
        rows.extend(vec![(yes, yes); 15]);
        let (statistics, imbalances) = balance(&rows);
        assert_eq!(statistics.refusals, Refusals { wanted: 3, unwanted: 2 });
        assert_eq!(imbalances, [], "5 points");
        rows[0] = (no, yes);
        let (_, imbalances) = balance(&rows);
        assert_eq!(imbalances[0].rule.name, "refusal-bias");
        assert_eq!((imbalances[0].count, imbalances[0].samples.len()), (4, 3));
    }
}

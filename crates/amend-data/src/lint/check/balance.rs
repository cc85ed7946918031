//! How the two sides differ over the whole of the data: in length, and in how
//! often they refuse. A trainer learns such a difference before any other.

use serde::Serialize;

use super::{Needs, Rule, Severity, opening};
use crate::format::example::{Example, Side, Turn, joined};
use crate::lint::report::Sample;
use amend_core::text::refusal::is_refusal;

pub(super) static LENGTH: Rule = Rule {
    name: "length-bias",
    severity: Severity::Warn,
    about: "wanted answers differ in length from unwanted ones by half a standard deviation or more",
    fix: "none by itself: add pairs of the other kind, sample by length, or train with a length penalty",
    needs: Needs::Set,
};

pub(super) static REFUSALS: Rule = Rule {
    name: "refusal-bias",
    severity: Severity::Warn,
    about: "wanted answers refuse more often than unwanted ones, by 10 points or more",
    fix: "none by itself: add prompts to which a good answer helps, or revise refusals to safe help",
    needs: Needs::Set,
};

/// Cohen's medium effect.
const EFFECT: f64 = 0.5;

/// Rows without which a share or an effect says nothing.
const LEAST_ROWS: u64 = 20;

/// A difference of shares that is told.
const SHARE: f64 = 0.1;

/// Examples kept.
const SAMPLES: usize = 3;

/// Count, mean and standard deviation (Welford's updates).
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Lengths {
    /// Answers.
    pub count: u64,
    /// Mean length.
    pub mean: f64,
    /// Standard deviation of the sample; 0 for fewer than two.
    pub sd: f64,
    #[serde(skip)]
    squares: f64,
}

impl Lengths {
    fn add(&mut self, length: f64) {
        self.count += 1;
        let delta = length - self.mean;
        self.mean += delta / self.count as f64;
        self.squares += delta * (length - self.mean);
        if self.count > 1 {
            self.sd = (self.squares / (self.count - 1) as f64).sqrt();
        }
    }
}

/// How many answers refuse.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Refusals {
    /// Of the wanted answers.
    pub wanted: u64,
    /// Of the unwanted answers.
    pub unwanted: u64,
}

/// Figures about the two sides.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Statistics {
    /// Lengths of wanted answers.
    pub wanted: Lengths,
    /// Lengths of unwanted answers.
    pub unwanted: Lengths,
    /// Cohen's d of the lengths, by the pooled standard deviation: positive
    /// where wanted answers are longer. None with fewer than two on a side, or
    /// no spread.
    pub length_effect: Option<f64>,
    /// How many answers refuse.
    pub refusals: Refusals,
}

/// A fault of the data as a whole.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::lint) struct Skew {
    /// What fault.
    pub rule: &'static Rule,
    /// Rows that go with it.
    pub count: u64,
    /// Some of them.
    pub samples: Vec<Sample>,
}

/// Adds up the sides of rows.
#[derive(Debug, Default)]
pub(in crate::lint) struct Balance {
    statistics: Statistics,
    /// Pairs whose wanted side is longer, and shorter: how many, and the extremes.
    longer: Extremes,
    shorter: Extremes,
    refusing: Vec<Sample>,
}

/// Rows, and those of the greatest differences.
#[derive(Debug, Default)]
struct Extremes {
    count: u64,
    greatest: Vec<(usize, Sample)>,
}

impl Extremes {
    fn add(&mut self, difference: usize, sample: impl FnOnce() -> Sample) {
        self.count += 1;
        let rank = self.greatest.partition_point(|(other, _)| *other >= difference);
        if rank < SAMPLES {
            self.greatest.insert(rank, (difference, sample()));
            self.greatest.truncate(SAMPLES);
        }
    }
}

impl Balance {
    /// Adds a row. `sample` makes an example of a text about the row.
    pub(in crate::lint) fn add(&mut self, example: &Example, sample: impl Fn(String) -> Sample) {
        let (wanted, unwanted) = (example.wanted(), example.unwanted());
        let length = |side: Option<(Side, &[Turn])>| side.map(|(side, _)| example.length(side));
        let lengths = (length(wanted), length(unwanted));
        let statistics = &mut self.statistics;
        if let Some(length) = lengths.0 {
            statistics.wanted.add(length as f64);
        }
        if let Some(length) = lengths.1 {
            statistics.unwanted.add(length as f64);
        }
        if let (Some(wanted), Some(unwanted)) = lengths {
            let told =
                || sample(format!("{wanted} against {unwanted}: {}", opening(&example.prompt)));
            match wanted.cmp(&unwanted) {
                std::cmp::Ordering::Greater => self.longer.add(wanted - unwanted, told),
                std::cmp::Ordering::Less => self.shorter.add(unwanted - wanted, told),
                std::cmp::Ordering::Equal => {}
            }
        }
        let refuses = |turns: &[Turn]| is_refusal(&joined(turns));
        if let Some((_, turns)) = wanted.filter(|(_, turns)| refuses(turns)) {
            statistics.refusals.wanted += 1;
            if self.refusing.len() < SAMPLES {
                self.refusing.push(sample(opening(turns)));
            }
        }
        if unwanted.is_some_and(|(_, turns)| refuses(turns)) {
            statistics.refusals.unwanted += 1;
        }
    }

    /// The figures, and what they show to be wrong.
    pub(in crate::lint) fn finish(mut self) -> (Statistics, Vec<Skew>) {
        let effect = cohens_d(&self.statistics.wanted, &self.statistics.unwanted);
        self.statistics.length_effect = effect;
        let Statistics { wanted, unwanted, refusals, .. } = &self.statistics;
        let mut skews = Vec::new();
        let enough = wanted.count >= LEAST_ROWS && unwanted.count.max(LEAST_ROWS) == unwanted.count;
        if let Some(effect) = effect.filter(|effect| enough && effect.abs() >= EFFECT) {
            let extremes = if effect > 0.0 { self.longer } else { self.shorter };
            let samples = extremes.greatest.into_iter().map(|(_, sample)| sample).collect();
            skews.push(Skew { rule: &LENGTH, count: extremes.count, samples });
        }
        let share = |count: u64, of: u64| if of == 0 { 0.0 } else { count as f64 / of as f64 };
        let more = share(refusals.wanted, wanted.count) - share(refusals.unwanted, unwanted.count);
        if wanted.count >= LEAST_ROWS && more >= SHARE {
            skews.push(Skew { rule: &REFUSALS, count: refusals.wanted, samples: self.refusing });
        }
        (self.statistics, skews)
    }
}

/// Cohen's d, by the standard deviation pooled over both samples.
fn cohens_d(a: &Lengths, b: &Lengths) -> Option<f64> {
    if a.count < 2 || b.count < 2 {
        return None;
    }
    let pooled = ((a.squares + b.squares) / (a.count + b.count - 2) as f64).sqrt();
    (pooled > 0.0).then(|| (a.mean - b.mean) / pooled)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::example;
    use super::*;

    fn balance(rows: &[(&str, &str)]) -> (Statistics, Vec<Skew>) {
        let mut balance = Balance::default();
        for (row, (chosen, rejected)) in (1..).zip(rows) {
            // Each x is a word.
            let [chosen, rejected] = [chosen, rejected].map(|text| text.replace('x', "x "));
            let example = example(json!({"prompt": "p", "chosen": chosen, "rejected": rejected}));
            let sample = |excerpt| Sample { file: "f".to_owned(), row, excerpt };
            balance.add(&example, sample);
        }
        balance.finish()
    }

    #[test]
    fn the_effect_is_cohens_d() {
        // Means 4 and 2, sums of squares 8 and 2: pooled √(10/4), d = 2/√2.5.
        let (statistics, skews) = balance(&[("xx", "x"), ("xxxx", "xx"), ("xxxxxx", "xxx")]);
        assert_eq!((statistics.wanted.mean, statistics.wanted.sd), (4.0, 2.0));
        assert!((statistics.length_effect.unwrap() - 2.0 / 2.5_f64.sqrt()).abs() < 1e-12);
        assert_eq!(skews, [], "three rows show nothing");
        assert_eq!(balance(&[("x", "x"), ("x", "x")]).0.length_effect, None);
    }

    #[test]
    fn a_bias_is_told_with_its_extremes() {
        let long = "x".repeat(40);
        let mut rows: Vec<(&str, &str)> = vec![("xxxx", "xx"); 12];
        rows.extend(vec![("xx", "xxx"); 5]);
        rows.extend([("xxxxx", "x"), (long.as_str(), "x"), ("xxxxxx", "xxx")]);
        // d = (5.05 − 2.15) / pooled: the one long row spreads it.
        let (statistics, skews) = balance(&rows);
        assert_eq!(skews.is_empty(), statistics.length_effect.unwrap() < 0.5);
        rows[18].0 = "xxxxxxx";
        let (_, skews) = balance(&rows);
        let [skew] = skews.as_slice() else { panic!("{skews:?}") };
        assert_eq!((skew.rule.name, skew.count), ("length-bias", 15));
        let rows: Vec<u64> = skew.samples.iter().map(|sample| sample.row).collect();
        assert_eq!(rows, [19, 18, 20]);
    }

    #[test]
    fn refusals_are_counted_by_side() {
        let no = "I'm sorry, but I can't help with that request here.";
        let yes = "Of course. One takes the first left, then the right.";
        let mut rows = vec![(yes, no); 2];
        rows.extend(vec![(no, yes); 3]);
        rows.extend(vec![(yes, yes); 15]);
        let (statistics, skews) = balance(&rows);
        assert_eq!(statistics.refusals, Refusals { wanted: 3, unwanted: 2 });
        assert_eq!(skews, [], "5 points");
        rows[0] = (no, yes);
        let (_, skews) = balance(&rows);
        assert_eq!(skews[0].rule.name, "refusal-bias");
        assert_eq!((skews[0].count, skews[0].samples.len()), (4, 3));
    }
}

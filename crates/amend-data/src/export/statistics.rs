//! Statistics of the exported rows for the dataset card.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::format::example::{ExampleTurn, Side};
use crate::format::recognise;
use crate::format::write::ExportRow;

/// Counts over rows.
#[derive(Debug, Default)]
pub(super) struct ExportStatistics {
    lengths: BTreeMap<Side, Lengths>,
    /// Rows by category.
    categories: BTreeMap<String, u64>,
    /// Rows whose chosen response is longer than the rejected one, and rows whose
    /// responses differ in length.
    longer: (u64, u64),
    /// Rows by the judge's verdict.
    verdicts: BTreeMap<String, u64>,
    /// Rows with a review.
    reviewed: u64,
}

/// The number of texts of each length.
#[derive(Debug, Default)]
struct Lengths(BTreeMap<u64, u64>);

/// The spread of the lengths of a part of the rows, in characters.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct LengthSpread {
    /// The name of the part: the prompt or an answer.
    pub part: &'static str,
    pub least: u64,
    pub median: u64,
    /// The 95th percentile.
    pub most_95: u64,
    pub most: u64,
}

impl ExportStatistics {
    /// Counts a row. Lengths are those of the prompt and the answers that its shape has,
    /// whatever the format calls them.
    pub fn add(&mut self, row: &ExportRow) {
        if let Ok(example) = recognise(row).and_then(|(shape, _)| shape.read(row)) {
            for (side, turns) in example.sides().filter(|(_, turns)| !turns.is_empty()) {
                let length = rounded(characters(side, turns));
                *self.lengths.entry(side).or_default().0.entry(length).or_default() += 1;
            }
            if let Some([chosen, rejected]) = example.pair() {
                let chosen = characters(Side::Chosen, chosen);
                let rejected = characters(Side::Rejected, rejected);
                if chosen != rejected {
                    self.longer.0 += u64::from(chosen > rejected);
                    self.longer.1 += 1;
                }
            }
        }
        if let Some(verdict) = row.get("verdict").and_then(Value::as_str) {
            *self.verdicts.entry(verdict.to_owned()).or_default() += 1;
        }
        let reviewers = row.get("reviewers").and_then(Value::as_array);
        self.reviewed += u64::from(reviewers.is_some_and(|names| !names.is_empty()));
        for category in row.get("category").and_then(Value::as_array).into_iter().flatten() {
            if let Some(category) = category.as_str() {
                *self.categories.entry(category.to_owned()).or_default() += 1;
            }
        }
    }

    /// The spread of lengths of each part.
    pub fn spreads(&self) -> Vec<LengthSpread> {
        let spread = |(side, lengths): (&Side, &Lengths)| LengthSpread {
            part: side.name(),
            least: lengths.quantile(0.0),
            median: lengths.quantile(0.5),
            most_95: lengths.quantile(0.95),
            most: lengths.quantile(1.0),
        };
        self.lengths.iter().map(spread).collect()
    }

    /// The number of rows by the judge's verdict: `better`, `worse`, `tie`,
    /// `undecided`.
    pub fn verdicts(&self) -> &BTreeMap<String, u64> {
        &self.verdicts
    }

    /// The number of rows with a review.
    pub fn reviewed(&self) -> u64 {
        self.reviewed
    }

    /// The number of rows in each category.
    pub fn categories(&self) -> &BTreeMap<String, u64> {
        &self.categories
    }

    /// Among pairs of unequal length, the share whose chosen response is longer.
    /// `None` if there are no such pairs.
    pub fn longer_share(&self) -> Option<f64> {
        let (longer, unequal) = self.longer;
        if unequal > 0 { Some(longer as f64 / unequal as f64) } else { None }
    }
}

impl Lengths {
    /// The least length that is not exceeded by `share` of the texts.
    fn quantile(&self, share: f64) -> u64 {
        let total: u64 = self.0.values().sum();
        let rank = ((total as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (&length, &count) in &self.0 {
            seen += count;
            if seen >= rank {
                return length;
            }
        }
        0
    }
}

/// Rounds a length down to three digits, to bound the number of distinct lengths.
fn rounded(length: u64) -> u64 {
    let unit = 10_u64.pow(length.max(1).ilog10().saturating_sub(2));
    length / unit * unit
}

/// The number of characters in the turns of a side. A thought at the start of an answer does
/// not count, nor does one in an earlier turn of the assistant.
fn characters(side: Side, turns: &[ExampleTurn]) -> u64 {
    let text = |turn: &ExampleTurn| {
        let is_answer = side != Side::Prompt || turn.role == "assistant";
        let text = if is_answer { turn.answer() } else { &turn.text };
        text.chars().count() as u64
    };
    turns.iter().map(text).sum()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_and_turns_are_measured_in_characters() {
        let thought = "<think>nine?</think>nine";
        let user = ExampleTurn::new("user", thought, "");
        let assistant = ExampleTurn::new("assistant", thought, "");
        for (turns, as_prompt, as_answer) in [
            (vec![ExampleTurn::new("user", "größe", "")], 5, 5),
            (vec![user.clone()], 24, 4),
            (vec![user, assistant], 28, 8),
            (Vec::new(), 0, 0),
        ] {
            assert_eq!(characters(Side::Prompt, &turns), as_prompt, "{turns:?}");
            assert_eq!(characters(Side::Chosen, &turns), as_answer, "{turns:?}");
        }
    }

    #[test]
    fn quantiles_match_the_sorted_lengths() {
        let mut statistics = ExportStatistics::default();
        for length in 1..=100 {
            let row = json!({
                "prompt": "p", "chosen": "c".repeat(length), "rejected": "r".repeat(30),
                "category": if length % 4 == 0 { json!(["a", "b"]) } else { json!(["a"]) },
            });
            statistics.add(row.as_object().unwrap());
        }
        let spread = |part, least, median, most_95, most| LengthSpread {
            part,
            least,
            median,
            most_95,
            most,
        };
        assert_eq!(
            statistics.spreads(),
            [
                spread("prompt", 1, 1, 1, 1),
                spread("chosen", 1, 50, 95, 100),
                spread("rejected", 30, 30, 30, 30),
            ]
        );
        // 31 to 100 are longer, 30 is of equal length.
        assert_eq!(statistics.longer_share(), Some(70.0 / 99.0));
        let categories = BTreeMap::from([("a".to_owned(), 100), ("b".to_owned(), 25)]);
        assert_eq!(*statistics.categories(), categories);
        assert_eq!(ExportStatistics::default().longer_share(), None);
    }

    #[test]
    fn long_lengths_are_rounded_down_to_three_digits() {
        for (length, expected) in [(0, 0), (7, 7), (999, 999), (1009, 1000), (12_345, 12_300)] {
            assert_eq!(rounded(length), expected);
        }
    }
}

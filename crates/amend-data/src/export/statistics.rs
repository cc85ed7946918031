//! What a card says of the rows, counted as they pass by.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use crate::format::write::Row;

/// The columns whose lengths are told, where a format has them.
const MEASURED: [&str; 9] = [
    "prompt",
    "question",
    "instruction",
    "messages",
    "conversations",
    "chosen",
    "rejected",
    "completion",
    "response",
];

/// Counts over rows.
#[derive(Debug, Default)]
pub(super) struct Statistics {
    lengths: BTreeMap<&'static str, Lengths>,
    /// Rows by category.
    categories: BTreeMap<String, u64>,
    /// Rows whose better answer is the longer one, and rows with two answers of
    /// unequal length.
    longer: (u64, u64),
    /// Rows by the judge's verdict on them.
    verdicts: BTreeMap<String, u64>,
    /// Rows that people decided about.
    reviewed: u64,
}

/// How many texts have each length.
#[derive(Debug, Default)]
struct Lengths(BTreeMap<u64, u64>);

/// The lengths of a column's texts, in characters.
#[derive(Debug, Serialize, PartialEq, Eq)]
pub(super) struct Spread {
    pub column: &'static str,
    pub least: u64,
    pub median: u64,
    /// 95 in 100 are no longer.
    pub most_95: u64,
    pub most: u64,
}

impl Statistics {
    /// Counts a row.
    pub fn add(&mut self, row: &Row) {
        let length = |name| row.get(name).map(characters);
        for name in MEASURED {
            if let Some(length) = length(name) {
                *self.lengths.entry(name).or_default().0.entry(rounded(length)).or_default() += 1;
            }
        }
        if let (Some(chosen), Some(rejected)) = (length("chosen"), length("rejected"))
            && chosen != rejected
        {
            self.longer.0 += u64::from(chosen > rejected);
            self.longer.1 += 1;
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

    /// The lengths, a column each.
    pub fn spreads(&self) -> Vec<Spread> {
        let spread = |(&column, lengths): (&&'static str, &Lengths)| Spread {
            column,
            least: lengths.quantile(0.0),
            median: lengths.quantile(0.5),
            most_95: lengths.quantile(0.95),
            most: lengths.quantile(1.0),
        };
        self.lengths.iter().map(spread).collect()
    }

    /// Rows by the judge's verdict: `better`, `worse`, `undecided`.
    pub fn verdicts(&self) -> &BTreeMap<String, u64> {
        &self.verdicts
    }

    /// Rows that people decided about.
    pub fn reviewed(&self) -> u64 {
        self.reviewed
    }

    /// Rows by category.
    pub fn categories(&self) -> &BTreeMap<String, u64> {
        &self.categories
    }

    /// The share of pairs of unequal length whose better answer is the longer
    /// one; none without such pairs.
    pub fn longer_share(&self) -> Option<f64> {
        (self.longer.1 > 0).then(|| self.longer.0 as f64 / self.longer.1 as f64)
    }
}

impl Lengths {
    /// The least length that a share of all do not exceed.
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

/// A length cut to three digits, so that there are few of them however many rows.
fn rounded(length: u64) -> u64 {
    let unit = 10_u64.pow(length.max(1).ilog10().saturating_sub(2));
    length / unit * unit
}

/// The characters of a text, of a turn's text, or of all turns' texts.
fn characters(value: &Value) -> u64 {
    match value {
        Value::String(text) => text.chars().count() as u64,
        Value::Array(turns) => turns.iter().map(characters).sum(),
        Value::Object(turn) => {
            ["content", "value"].iter().filter_map(|&key| turn.get(key)).map(characters).sum()
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn texts_and_turns_are_measured_alike() {
        for (value, expected) in [
            (json!("größe"), 5),
            (json!({"role": "user", "content": "hello"}), 5),
            (json!([{"from": "human", "value": "ab"}, {"from": "gpt", "value": "c"}]), 3),
            (json!(null), 0),
        ] {
            assert_eq!(characters(&value), expected, "{value}");
        }
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_lengths() {
        let mut statistics = Statistics::default();
        for length in 1..=100 {
            let row = json!({
                "prompt": "p", "chosen": "c".repeat(length), "rejected": "r".repeat(30),
                "category": if length % 4 == 0 { json!(["a", "b"]) } else { json!(["a"]) },
            });
            statistics.add(row.as_object().unwrap());
        }
        let spread =
            |column, least, median, most_95, most| Spread { column, least, median, most_95, most };
        assert_eq!(
            statistics.spreads(),
            [
                spread("chosen", 1, 50, 95, 100),
                spread("prompt", 1, 1, 1, 1),
                spread("rejected", 30, 30, 30, 30),
            ]
        );
        // 31 to 100 are longer, 30 is of equal length.
        assert_eq!(statistics.longer_share(), Some(70.0 / 99.0));
        let categories = BTreeMap::from([("a".to_owned(), 100), ("b".to_owned(), 25)]);
        assert_eq!(*statistics.categories(), categories);
        assert_eq!(Statistics::default().longer_share(), None);
    }

    #[test]
    fn long_lengths_are_cut_to_three_digits() {
        for (length, expected) in [(0, 0), (7, 7), (999, 999), (1009, 1000), (12_345, 12_300)] {
            assert_eq!(rounded(length), expected);
        }
    }
}

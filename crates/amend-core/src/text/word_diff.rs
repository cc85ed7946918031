//! Two texts, word by word.

use serde::Serialize;
use similar::utils::diff_words;
use similar::{Algorithm, ChangeTag, DiffOp, capture_diff_slices};

/// How many words of a text are compared: the time grows with their number
/// times that of the differences.
const MOST: usize = 4096;

/// How far two texts differ: 1 − 2m/(a + b), where m words stand in both in the
/// same order, and a and b are their numbers of words. 0: the same words; 1: none
/// in common. White space doesn't count; beyond 4,096 words neither does text.
#[must_use]
pub fn distance(one: &str, other: &str) -> f64 {
    let split = |text| str::split_whitespace(text).take(MOST).collect::<Vec<&str>>();
    let (one, other) = (split(one), split(other));
    let equal = |op: &DiffOp| match *op {
        DiffOp::Equal { len, .. } => len,
        _ => 0,
    };
    let common: usize = capture_diff_slices(Algorithm::Myers, &one, &other).iter().map(equal).sum();
    match one.len() + other.len() {
        0 => 0.0,
        all => 1.0 - 2.0 * common as f64 / all as f64,
    }
}

/// A stretch of two texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// In both.
    Same(String),
    /// In the first only.
    Removed(String),
    /// In the second only.
    Added(String),
}

/// What leads from one text to another, in order. The parts that are not added
/// make the first text, those that are not removed the second.
#[must_use]
pub fn changes(before: &str, after: &str) -> Vec<Part> {
    let part = |(tag, text): (ChangeTag, &str)| match tag {
        ChangeTag::Equal => Part::Same(text.to_owned()),
        ChangeTag::Delete => Part::Removed(text.to_owned()),
        ChangeTag::Insert => Part::Added(text.to_owned()),
    };
    diff_words(Algorithm::Myers, before, after).into_iter().map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_by_hand() {
        for (one, other, expected) in [
            ("", "", 0.0),
            ("a", "", 1.0),
            ("a b c d", "a  b\nc d", 0.0),
            // Three words in both: 1 − 2·3/(4 + 4).
            ("a b c d", "a b x d", 1.0 - 6.0 / 8.0),
            // One word in the same order: 1 − 2·1/(2 + 2).
            ("a b", "b a", 0.5),
            ("a b", "c d e", 1.0),
            ("a b c", "a", 1.0 - 2.0 / 4.0),
        ] {
            assert_eq!(distance(one, other), expected, "{one:?} {other:?}");
            assert_eq!(distance(other, one), expected, "{other:?} {one:?}");
        }
    }

    #[test]
    fn a_long_text_is_compared_at_its_start() {
        let long = "w ".repeat(MOST);
        assert_eq!(distance(&format!("{long} x"), &format!("{long} y z")), 0.0);
    }

    #[test]
    fn changes_make_both_texts() {
        let found = changes("be kind to all", "be honest to all men");
        let same = |text: &str| Part::Same(text.to_owned());
        assert_eq!(
            found,
            [
                same("be "),
                Part::Removed("kind".to_owned()),
                Part::Added("honest".to_owned()),
                same(" to all"),
                Part::Added(" men".to_owned()),
            ]
        );
    }
}

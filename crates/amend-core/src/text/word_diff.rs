//! Word-by-word comparison of two texts.

use serde::Serialize;
use similar::utils::diff_words;
use similar::{Algorithm, ChangeTag, DiffOp, capture_diff_slices};

/// The maximum number of words of a text that are compared: the time grows with the
/// number of words times the number of differences.
const MAX_WORDS: usize = 4096;

/// The distance between two texts, from 0 (the same words) to 1 (no common words):
/// 1 − 2m/(a + b), where the texts have a and b words, m of them in common and in the
/// same order. White space does not count, nor does text beyond 4,096 words.
#[must_use]
pub fn distance(first: &str, second: &str) -> f64 {
    let split = |text| str::split_whitespace(text).take(MAX_WORDS).collect::<Vec<&str>>();
    let (first, second) = (split(first), split(second));
    let equal = |op: &DiffOp| match *op {
        DiffOp::Equal { len, .. } => len,
        _ => 0,
    };
    let differences = capture_diff_slices(Algorithm::Myers, &first, &second);
    let common: usize = differences.iter().map(equal).sum();
    match first.len() + second.len() {
        0 => 0.0,
        all => 1.0 - 2.0 * common as f64 / all as f64,
    }
}

/// A part of a comparison of two texts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// Text in both.
    Same(String),
    /// Text in the first only.
    Removed(String),
    /// Text in the second only.
    Added(String),
}

/// The changes from one text to another, in order. The parts that are not added make
/// the first text; those that are not removed make the second.
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
        for (first, second, expected) in [
            ("", "", 0.0),
            ("a", "", 1.0),
            ("a b c d", "a  b\nc d", 0.0),
            // Three common words: 1 − 2·3/(4 + 4).
            ("a b c d", "a b x d", 1.0 - 6.0 / 8.0),
            // One word in the same order: 1 − 2·1/(2 + 2).
            ("a b", "b a", 0.5),
            ("a b", "c d e", 1.0),
            ("a b c", "a", 1.0 - 2.0 / 4.0),
        ] {
            assert_eq!(distance(first, second), expected, "{first:?} {second:?}");
            assert_eq!(distance(second, first), expected, "{second:?} {first:?}");
        }
    }

    #[test]
    fn only_the_start_of_long_texts_is_compared() {
        let long = "w ".repeat(MAX_WORDS);
        assert_eq!(distance(&format!("{long} x"), &format!("{long} y z")), 0.0);
    }

    #[test]
    fn changes_reproduce_both_texts() {
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

//! The word-level difference between an answer and its revision.
//!
//! The page holds each text once. The second text comes with the lengths of the
//! stretches that were kept, removed and added, and the page's script marks them.

use std::fmt::Write;

use similar::utils::diff_words;
use similar::{Algorithm, ChangeTag};

/// The longest text that is compared, in bytes. The time grows with the length of
/// the texts times the length of their differences.
const MAX_TEXT: usize = 40_000;

/// The difference between two texts.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportChanges {
    /// The stretches in order: `=5` kept, `-2` removed, `+3` added. Lengths are in
    /// UTF-16 code units, as in JavaScript.
    pub stretches: String,
    /// The share of the characters of both texts that are kept, without white space.
    pub kept: f64,
}

/// Compares two texts. Returns `None` if one of them is too long.
pub fn changes(before: &str, after: &str) -> Option<ReportChanges> {
    if before.len().max(after.len()) > MAX_TEXT {
        return None;
    }
    let parts = diff_words(Algorithm::Myers, before, after);
    let mut stretches = Stretches::default();
    let (mut kept, mut all) = (0, 0);
    for (at, &(tag, text)) in parts.iter().enumerate() {
        let letters = text.chars().filter(|c| !c.is_whitespace()).count();
        all += letters;
        match tag {
            ChangeTag::Delete => stretches.removed += units(text),
            ChangeTag::Insert => stretches.added += units(text),
            // White space between two changes joins them into one.
            ChangeTag::Equal if letters == 0 && stretches.is_open() && at + 1 < parts.len() => {
                stretches.removed += units(text);
                stretches.added += units(text);
            }
            ChangeTag::Equal => {
                kept += 2 * letters;
                all += letters;
                stretches.keep(units(text));
            }
        }
    }
    stretches.close();
    let kept = if all == 0 { 1.0 } else { kept as f64 / all as f64 };
    Some(ReportChanges { stretches: stretches.closed, kept })
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// The closed stretches, and the change that is still open.
#[derive(Default)]
struct Stretches {
    closed: String,
    removed: usize,
    added: usize,
}

impl Stretches {
    fn is_open(&self) -> bool {
        self.removed + self.added > 0
    }

    fn keep(&mut self, length: usize) {
        self.close();
        self.put('=', length);
    }

    fn close(&mut self) {
        let (removed, added) = (self.removed, self.added);
        (self.removed, self.added) = (0, 0);
        self.put('-', removed);
        self.put('+', added);
    }

    fn put(&mut self, sign: char, length: usize) {
        if length > 0 {
            // Writing to a String can't fail.
            let _ = write!(self.closed, "{sign}{length}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn compare(before: &str, after: &str) -> (String, f64) {
        let changes = changes(before, after).unwrap();
        (changes.stretches, changes.kept)
    }

    #[test]
    fn stretches_cover_kept_removed_and_added_words() {
        for (before, after, stretches, kept) in [
            ("", "", "", 1.0),
            ("same", "same", "=4", 1.0),
            ("be kind to all", "be honest to all men", "=3-4+6=7+4", 14.0 / (11.0 + 16.0)),
            // Two changed words in a row are one change, with the space between them.
            ("a big dog", "a small cat", "=2-7+9", 2.0 / (7.0 + 9.0)),
            // An emoji has two UTF-16 code units, an umlaut one.
            ("ä 😀 b", "ä 😀😀 b", "=2-2+4=2", 4.0 / (3.0 + 4.0)),
            ("gone", "", "-4", 0.0),
        ] {
            assert_eq!(
                compare(before, after),
                (stretches.to_owned(), kept),
                "{before:?} {after:?}"
            );
        }
    }

    #[test]
    fn long_texts_are_not_compared() {
        let long = "word ".repeat(MAX_TEXT / 5);
        assert_eq!(compare(&long, &long).1, 1.0);
        assert_eq!(changes(&format!("{long}x"), "y"), None);
    }

    proptest::proptest! {
        #[test]
        fn stretches_rebuild_both_texts(
            before in "[ab \n😀é]{0,40}",
            after in "[ab \n😀é]{0,40}",
        ) {
            let (stretches, kept) = compare(&before, &after);
            let before: Vec<u16> = before.encode_utf16().collect();
            let after: Vec<u16> = after.encode_utf16().collect();
            let (mut i, mut j) = (0, 0);
            let mut rest = stretches.as_str();
            while let Some(sign) = rest.chars().next() {
                let end = rest[1..].find(['=', '-', '+']).map_or(rest.len(), |at| at + 1);
                let length: usize = rest[1..end].parse().unwrap();
                match sign {
                    '=' => {
                        proptest::prop_assert_eq!(&before[i..i + length], &after[j..j + length]);
                        i += length;
                        j += length;
                    }
                    '-' => i += length,
                    _ => j += length,
                }
                rest = &rest[end..];
            }
            proptest::prop_assert_eq!((i, j), (before.len(), after.len()));
            proptest::prop_assert!((0.0..=1.0).contains(&kept));
        }
    }
}

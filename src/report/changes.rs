//! What was changed from one answer to the next, word by word.
//!
//! The page holds both texts once and, beside the second, this: how long the
//! stretches are that were kept, removed and added. Its script marks them.

use std::fmt::Write;

use similar::utils::diff_words;
use similar::{Algorithm, ChangeTag};

/// Longer texts, in bytes, are not compared: the time grows with their length
/// times that of their differences.
const MOST: usize = 40_000;

/// The way from one text to another.
#[derive(Debug, Clone, PartialEq)]
pub struct Changes {
    /// Stretches in order: `=5` kept, `-2` removed, `+3` added. Lengths are in
    /// UTF-16 code units, as scripts count.
    pub stretches: String,
    /// The share of both texts, white space aside, that is kept.
    pub kept: f64,
}

/// Compares two texts; none where one of them is too long.
pub fn changes(before: &str, after: &str) -> Option<Changes> {
    if before.len().max(after.len()) > MOST {
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
            // A blank between two changes: one change reads better than two.
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
    Some(Changes { stretches: stretches.written, kept })
}

fn units(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Stretches being written: those closed, and the change under way.
#[derive(Default)]
struct Stretches {
    written: String,
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
            let _ = write!(self.written, "{sign}{length}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(before: &str, after: &str) -> (String, f64) {
        let changes = changes(before, after).unwrap();
        (changes.stretches, changes.kept)
    }

    #[test]
    fn stretches_by_hand() {
        for (before, after, stretches, kept) in [
            ("", "", "", 1.0),
            ("same", "same", "=4", 1.0),
            ("be kind to all", "be honest to all men", "=3-4+6=7+4", 14.0 / (11.0 + 16.0)),
            // Two words changed in a row are one change, the blank within.
            ("a big dog", "a small cat", "=2-7+9", 2.0 / (7.0 + 9.0)),
            // A smiley is two units of UTF-16, an umlaut one.
            ("ä 😀 b", "ä 😀😀 b", "=2-2+4=2", 4.0 / (3.0 + 4.0)),
            ("gone", "", "-4", 0.0),
        ] {
            assert_eq!(found(before, after), (stretches.to_owned(), kept), "{before:?} {after:?}");
        }
    }

    #[test]
    fn long_texts_are_left_alone() {
        let long = "word ".repeat(MOST / 5);
        assert_eq!(found(&long, &long).1, 1.0);
        assert_eq!(changes(&format!("{long}x"), "y"), None);
    }

    proptest::proptest! {
        #[test]
        fn kept_and_removed_make_the_first_text_kept_and_added_the_second(
            before in "[ab \n😀é]{0,40}",
            after in "[ab \n😀é]{0,40}",
        ) {
            let (stretches, kept) = found(&before, &after);
            let (one, other): (Vec<u16>, Vec<u16>) =
                (before.encode_utf16().collect(), after.encode_utf16().collect());
            let (mut i, mut j) = (0, 0);
            let mut rest = stretches.as_str();
            while let Some(sign) = rest.chars().next() {
                let end = rest[1..].find(['=', '-', '+']).map_or(rest.len(), |at| at + 1);
                let length: usize = rest[1..end].parse().unwrap();
                match sign {
                    '=' => {
                        proptest::prop_assert_eq!(&one[i..i + length], &other[j..j + length]);
                        i += length;
                        j += length;
                    }
                    '-' => i += length,
                    _ => j += length,
                }
                rest = &rest[end..];
            }
            proptest::prop_assert_eq!((i, j), (one.len(), other.len()));
            proptest::prop_assert!((0.0..=1.0).contains(&kept));
        }
    }
}

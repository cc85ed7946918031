//! How much of a text is copied from another: the sequences of words that both have.
//!
//! A sequence is [`SEQUENCE`] words in a row, in lower case and without punctuation. Each
//! East Asian character counts as a word. This needs no knowledge of the language.

use std::collections::HashSet;
use std::ops::Range;

use super::minhash::{LocatedWord, located_words, sequence_hash};

/// The number of words in a sequence.
pub const SEQUENCE: usize = 4;

/// The sequences of words in one or more texts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sequences(HashSet<u64>);

impl Sequences {
    /// The sequences of a text.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let mut sequences = Self::default();
        sequences.add(text);
        sequences
    }

    /// Adds the sequences of a text.
    pub fn add(&mut self, text: &str) {
        self.0.extend(hashes(&located_words(text)));
    }
}

/// The hash of each sequence of words, in order.
fn hashes(words: &[LocatedWord]) -> impl Iterator<Item = u64> {
    words.windows(SEQUENCE).map(|window| sequence_hash(window.iter().map(|word| word.hash)))
}

/// The part of a text that is copied.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Overlap {
    /// The number of sequences in the text.
    pub sequences: usize,
    /// How many of them are copied.
    pub copied: usize,
    /// The number of words in the longest passage that is copied without a gap.
    pub longest: usize,
    /// The bytes of that passage.
    pub span: Range<usize>,
}

impl Overlap {
    /// The share of the text's sequences that are copied, from 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.copied as f64 / self.sequences.max(1) as f64
    }
}

/// Finds what `text` has copied from `source`. Sequences in `known`, which the text may
/// repeat, are not copied.
#[must_use]
pub fn overlap(text: &str, source: &Sequences, known: &Sequences) -> Overlap {
    let words = located_words(text);
    let mut overlap = Overlap::default();
    let mut run = 0;
    for (at, hash) in hashes(&words).enumerate() {
        overlap.sequences += 1;
        if !source.0.contains(&hash) || known.0.contains(&hash) {
            run = 0;
            continue;
        }
        overlap.copied += 1;
        run += 1;
        let length = run + SEQUENCE - 1;
        if length > overlap.longest {
            overlap.longest = length;
            let end = at + SEQUENCE - 1;
            overlap.span = words[end + 1 - length].span.start..words[end].span.end;
        }
    }
    overlap
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copied_passages_are_found_in_any_script() {
        for (text, source, known, copied, longest) in [
            ("A b c d e.", "x a b c d, e", "", 2, "A b c d e"),
            ("A b c d e f", "a b c d x b c d e f", "", 3, "A b c d e f"),
            ("one a b c d two e f g h i", "a b c d\n\ne f g h i", "", 3, "e f g h i"),
            ("a b c d e", "a b c d e", "b c d e", 1, "a b c d"),
            ("a b c", "a b c", "", 0, ""),
            ("", "a b c d", "", 0, ""),
            ("Größe é ç ñ", "GRÖSSE é ç ñ; größe É Ç Ñ", "", 1, "Größe é ç ñ"),
            ("他先写批评再改", "先写批评再", "", 2, "先写批评再"),
        ] {
            let [source, known] = [source, known].map(Sequences::from_text);
            let found = overlap(text, &source, &known);
            assert_eq!((found.copied, &text[found.span.clone()]), (copied, longest), "{text}");
        }
    }

    #[test]
    fn the_share_is_that_of_the_text() {
        let source = Sequences::from_text("a b c d e");
        let found = overlap("a b c d e v w x y z", &source, &Sequences::default());
        assert_eq!((found.sequences, found.copied, found.longest), (7, 2, 5));
        assert!((found.share() - 2.0 / 7.0).abs() < 1e-12);
        assert_eq!(Overlap::default().share(), 0.0);
    }
}

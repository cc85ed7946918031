//! Near-duplicate texts: MinHash signatures, and an index that finds similar ones.
//!
//! A text is represented by the set of its shingles: runs of [`SHINGLE`] words in lower
//! case. The similarity of two texts is the Jaccard similarity of their sets:
//! intersection over union. For each of [`HASHES`] hash functions, the probability that
//! two sets have the same minimum is their similarity (Broder 1997). The share of equal
//! minima therefore estimates it, with a standard deviation of at most 1/16.
//!
//! A signature is divided into [`BANDS`] bands, and only signatures that agree on a whole
//! band are compared. This finds all but 2 in 10,000 pairs with similarity 0.8, and all
//! but 1 in 80 pairs with similarity 0.7.

mod nearest;

use std::ops::Range;

pub use nearest::Nearest;

/// The number of words in a shingle.
pub const SHINGLE: usize = 3;
/// The number of hash functions in a signature.
pub const HASHES: usize = 64;
/// The number of bands in a signature. Each has `HASHES / BANDS` minima.
pub const BANDS: usize = 16;
const ROWS: usize = HASHES / BANDS;

/// The most earlier signatures in a bucket that a signature is compared with. Keeps the
/// work linear if very many texts share a band.
const REACH: usize = 16;

/// The signature of a text: 16 bits of each minimum, 128 bytes in total.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature([u16; HASHES]);

impl Signature {
    /// Computes the signature of a text. A text with fewer words than a shingle, or
    /// without words, is one shingle.
    #[must_use]
    pub fn from_text(text: &str) -> Self {
        let words = words(text);
        let mut minima = [u32::MAX; HASHES];
        let mut add = |shingle: u64| {
            for (minimum, multiplier) in minima.iter_mut().zip(MULTIPLIERS) {
                // Multiply-shift: the high half of the product.
                *minimum = (*minimum).min((shingle.wrapping_mul(multiplier) >> 32) as u32);
            }
        };
        if words.is_empty() {
            add(hash(text.trim()));
        } else {
            for shingle in words.windows(SHINGLE.min(words.len())) {
                add(sequence_hash(shingle.iter().copied()));
            }
        }
        Self(minima.map(|minimum| minimum as u16))
    }

    /// The estimated Jaccard similarity of two texts, from 0 to 1.
    #[must_use]
    pub fn similarity(&self, other: &Self) -> f64 {
        let equal = self.0.iter().zip(&other.0).filter(|(a, b)| a == b).count();
        equal as f64 / HASHES as f64
    }

    /// The key of a band. Signatures with equal keys are compared.
    fn band(&self, band: usize) -> u64 {
        let rows = &self.0[band * ROWS..][..ROWS];
        rows.iter().fold(0, |key, &row| key << 16 | u64::from(row))
    }
}

/// An index of signatures that finds all similar pairs. Takes 128 bytes for each
/// signature, and 16 more during a search.
#[derive(Debug, Clone, Default)]
pub struct Index {
    signatures: Vec<Signature>,
}

impl Index {
    /// Adds a signature and returns its number, from 0.
    pub fn add(&mut self, signature: Signature) -> usize {
        self.signatures.push(signature);
        self.signatures.len() - 1
    }

    /// The number of signatures.
    #[must_use]
    pub fn len(&self) -> usize {
        self.signatures.len()
    }

    /// Returns whether there are no signatures.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.signatures.is_empty()
    }

    /// Calls `found(a, b, similarity)` with a < b for each pair of at least the given
    /// similarity. Reports a pair once for each band in which it agrees. If more than 16
    /// texts share a band, each is compared only with the 16 before it. Among many copies,
    /// each is still found similar to another one.
    pub fn near(&self, similarity: f64, mut found: impl FnMut(usize, usize, f64)) {
        let mut keys: Vec<(u64, usize)> = Vec::with_capacity(self.signatures.len());
        for band in 0..BANDS {
            keys.clear();
            let signatures = self.signatures.iter().enumerate();
            keys.extend(signatures.map(|(at, signature)| (signature.band(band), at)));
            keys.sort_unstable();
            for bucket in keys.chunk_by(|a, b| a.0 == b.0) {
                for (at, &(_, b)) in bucket.iter().enumerate() {
                    for &(_, a) in &bucket[at.saturating_sub(REACH)..at] {
                        let measured = self.signatures[a].similarity(&self.signatures[b]);
                        if measured >= similarity {
                            found(a, b, measured);
                        }
                    }
                }
            }
        }
    }

    /// Groups the texts: two texts are in one group if a chain of pairs of at least the
    /// given similarity connects them.
    #[must_use]
    pub fn groups(&self, similarity: f64) -> Groups {
        let mut groups = Groups::new(self.len());
        self.near(similarity, |a, b, _| groups.join(a, b));
        groups
    }
}

/// A partition of 0..n (union-find). The smallest number represents its group.
#[derive(Debug, Clone)]
pub struct Groups(Vec<usize>);

impl Groups {
    /// Makes n groups of one number.
    #[must_use]
    pub fn new(n: usize) -> Self {
        Self((0..n).collect())
    }

    /// The smallest number in the group of `at`.
    pub fn find(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    /// Joins the groups of `a` and `b`.
    pub fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}

/// The hashes of the words of a text, in lower case. Each East Asian character counts as
/// a word, because these scripts have no spaces.
#[must_use]
pub fn words(text: &str) -> Vec<u64> {
    located_words(text).into_iter().map(|word| word.hash).collect()
}

/// A word of a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocatedWord {
    /// The hash of the word in lower case.
    pub hash: u64,
    /// The bytes of the word in the text.
    pub span: Range<usize>,
}

/// The words of a text, as [`words()`] hashes them, with their places.
#[must_use]
pub fn located_words(text: &str) -> Vec<LocatedWord> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut start = 0;
    for (at, c) in text.char_indices().chain([(text.len(), ' ')]) {
        let alone = matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..);
        if c.is_alphanumeric() && !alone {
            if word.is_empty() {
                start = at;
            }
            word.extend(c.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            words.push(LocatedWord { hash: hash(&word), span: start..at });
            word.clear();
        }
        if alone && c.is_alphanumeric() {
            let span = at..at + c.len_utf8();
            words.push(LocatedWord { hash: hash(&text[span.clone()]), span });
        }
    }
    words
}

/// The hash of a sequence of words.
pub(super) fn sequence_hash(words: impl Iterator<Item = u64>) -> u64 {
    words.fold(0, |all, word| mix(all ^ word).wrapping_add(word))
}

/// The FNV-1a hash, finalised by [`mix`].
fn hash(text: &str) -> u64 {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
    mix(text.bytes().fold(0xcbf2_9ce4_8422_2325, step))
}

/// The finaliser of SplitMix64 (Steele et al. 2014).
const fn mix(z: u64) -> u64 {
    let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// An odd multiplier for each hash function.
const MULTIPLIERS: [u64; HASHES] = {
    let mut multipliers = [0; HASHES];
    let mut at = 0;
    while at < HASHES {
        multipliers[at] = mix(at as u64 + 1) | 1;
        at += 1;
    }
    multipliers
};

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;
    use crate::random::Stream;

    /// Draws `count` words out of a thousand.
    fn draw(stream: Stream, count: u64) -> Vec<String> {
        (0..count).map(|at| format!("w{}", stream.bits(at) % 1000)).collect()
    }

    fn jaccard(a: &[String], b: &[String]) -> f64 {
        let [a, b] = [a, b].map(|words| words.windows(SHINGLE).collect::<HashSet<_>>());
        a.intersection(&b).count() as f64 / a.union(&b).count() as f64
    }

    #[test]
    fn estimates_match_the_exact_similarity() {
        let stream = Stream::new(3);
        let mut error = Vec::new();
        for text in 0..200_u64 {
            let stream = stream.child(&text.to_string());
            let a = draw(stream, 60);
            // Share the first words only: similarities from 0 to 1.
            let mut b = a[..(text as usize * 60 / 200)].to_vec();
            b.extend(draw(stream.child("other"), 60 - b.len() as u64));
            let estimate =
                Signature::from_text(&a.join(" ")).similarity(&Signature::from_text(&b.join(" ")));
            error.push(estimate - jaccard(&a, &b));
        }
        let mean = error.iter().sum::<f64>() / 200.0;
        let deviation = (error.iter().map(|e| e * e).sum::<f64>() / 200.0).sqrt();
        // The mean of 200 has a standard error below 1/16/√200 = 0.0044.
        assert!(mean.abs() < 0.015, "bias {mean}");
        assert!(deviation < 1.0 / 16.0, "deviation {deviation}");
    }

    #[test]
    fn case_spacing_and_punctuation_are_ignored() {
        for (a, b, similarity) in [
            ("How do I get OUT of it?", "how do i get out\nof it", 1.0),
            ("Why?", "why", 1.0),
            ("Why?", "How?", 0.0),
            ("???", " ??? ", 1.0),
            ("???", "!!!", 0.0),
            ("", "", 1.0),
            ("天空为什么是蓝色的", "天空为什么是蓝色的?", 1.0),
        ] {
            let measured = Signature::from_text(a).similarity(&Signature::from_text(b));
            assert!((measured - similarity).abs() < 0.05, "{a:?} {b:?}: {measured}");
        }
        let [a, b] = ["天空为什么是蓝色的呢", "天空为什么是蓝色的吗"].map(Signature::from_text);
        // 8 shingles each, 7 of them shared: 7/9.
        assert!((a.similarity(&b) - 7.0 / 9.0).abs() < 0.2, "{}", a.similarity(&b));
    }

    #[test]
    fn only_near_duplicates_are_grouped() {
        let mut index = Index::default();
        let stream = Stream::new(5);
        for text in 0..300_u64 {
            // Three versions of each text: one word in 60 differs.
            let words = draw(stream.child(&(text / 3).to_string()), 60);
            let mut changed = words.clone();
            changed[59] = format!("version{}", text % 3);
            assert_eq!(index.add(Signature::from_text(&changed.join(" "))), text as usize);
        }
        let mut groups = index.groups(0.7);
        for text in 0..300 {
            assert_eq!(groups.find(text), text / 3 * 3, "{text}");
        }
    }

    #[test]
    fn many_copies_take_linear_work_and_form_one_group() {
        let mut index = Index::default();
        for _ in 0..5000 {
            index.add(Signature::from_text("the same text over and over"));
        }
        let mut compared = 0;
        index.near(0.9, |a, b, similarity| {
            assert!(a < b && similarity == 1.0);
            compared += 1;
        });
        assert!(compared <= BANDS * REACH * 5000);
        let mut groups = index.groups(0.9);
        assert!((0..5000).all(|at| groups.find(at) == 0));
    }
}

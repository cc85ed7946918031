//! Near-duplicate texts: MinHash signatures and the index that finds those that
//! are close.
//!
//! A text is the set of its shingles, runs of [`SHINGLE`] words in lower case;
//! two texts are as close as their sets' Jaccard similarity, intersection over
//! union. Each of [`HASHES`] hash functions gives two sets the same minimum
//! with just that probability (Broder 1997), so the share of equal minima
//! estimates it, with a standard deviation of at most 1/16. Cut into [`BANDS`]
//! bands, signatures that agree on a whole band are compared: of pairs with
//! similarity 0.8 all but 2 in 10,000 are, of those with 0.7 all but 1 in 80.

mod nearest;

pub use nearest::Nearest;

/// Words of a shingle.
pub const SHINGLE: usize = 3;
/// Hash functions of a signature.
pub const HASHES: usize = 64;
/// Bands of a signature; each has `HASHES / BANDS` minima.
pub const BANDS: usize = 16;
const ROWS: usize = HASHES / BANDS;

/// With how many of those before it a signature is compared in a band: keeps
/// the work linear where very many texts share a band.
const REACH: usize = 16;

/// A text's minima, 16 bits of each: 128 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signature([u16; HASHES]);

impl Signature {
    /// The signature of a text. A text of fewer words than a shingle has is one
    /// shingle, as is one without any word.
    #[must_use]
    pub fn of(text: &str) -> Self {
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
                add(shingle.iter().fold(0, |all, &word| mix(all ^ word).wrapping_add(word)));
            }
        }
        Self(minima.map(|minimum| minimum as u16))
    }

    /// The estimated Jaccard similarity of two texts, 0 to 1.
    #[must_use]
    pub fn similarity(&self, other: &Self) -> f64 {
        let equal = self.0.iter().zip(&other.0).filter(|(a, b)| a == b).count();
        equal as f64 / HASHES as f64
    }

    /// What must be equal for two signatures to be compared in a band.
    fn band(&self, band: usize) -> u64 {
        let rows = &self.0[band * ROWS..][..ROWS];
        rows.iter().fold(0, |key, &row| key << 16 | u64::from(row))
    }
}

/// Signatures among which close ones are found: 128 bytes each, and 16 more
/// while they are looked for.
#[derive(Debug, Clone, Default)]
pub struct Index {
    signatures: Vec<Signature>,
}

impl Index {
    /// Takes in a signature and gives its number, counted from 0.
    pub fn add(&mut self, signature: Signature) -> usize {
        self.signatures.push(signature);
        self.signatures.len() - 1
    }

    /// How many signatures it holds.
    #[must_use]
    pub fn len(&self) -> usize {
        self.signatures.len()
    }

    /// Whether it holds none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.signatures.is_empty()
    }

    /// Calls `found(a, b, similarity)`, a < b, for pairs of at least the given
    /// similarity. A pair may come once for each band it agrees on. Among more
    /// than 16 texts that share a band only those near each other in number are
    /// compared, so that of many copies each is found close to some other.
    pub fn near(&self, similarity: f64, mut found: impl FnMut(usize, usize, f64)) {
        let mut keys: Vec<(u64, usize)> = Vec::with_capacity(self.signatures.len());
        for band in 0..BANDS {
            keys.clear();
            keys.extend(self.signatures.iter().enumerate().map(|(at, one)| (one.band(band), at)));
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

    /// Puts texts in one group that a chain of pairs of at least the given
    /// similarity connects.
    #[must_use]
    pub fn groups(&self, similarity: f64) -> Groups {
        let mut groups = Groups::new(self.len());
        self.near(similarity, |a, b, _| groups.join(a, b));
        groups
    }
}

/// A partition of 0..n (union-find); a group goes by its smallest number.
#[derive(Debug, Clone)]
pub struct Groups(Vec<usize>);

impl Groups {
    /// Each number on its own.
    #[must_use]
    pub fn new(n: usize) -> Self {
        Self((0..n).collect())
    }

    /// The smallest number of the group that `at` is in.
    pub fn find(&mut self, mut at: usize) -> usize {
        while self.0[at] != at {
            self.0[at] = self.0[self.0[at]];
            at = self.0[at];
        }
        at
    }

    /// Makes one group of two.
    pub fn join(&mut self, a: usize, b: usize) {
        let (a, b) = (self.find(a), self.find(b));
        self.0[a.max(b)] = a.min(b);
    }
}

/// The hashes of a text's words in lower case. East Asian characters, which
/// are written without blanks, count as a word each.
#[must_use]
pub fn words(text: &str) -> Vec<u64> {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars().chain([' ']) {
        let alone = matches!(c, '\u{2e80}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..);
        if c.is_alphanumeric() && !alone {
            word.extend(c.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            words.push(hash(&word));
            word.clear();
        }
        if alone && c.is_alphanumeric() {
            words.push(hash(c.encode_utf8(&mut [0; 4])));
        }
    }
    words
}

/// FNV-1a, mixed.
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

    /// `count` words drawn from a thousand.
    fn draw(stream: Stream, count: u64) -> Vec<String> {
        (0..count).map(|at| format!("w{}", stream.bits(at) % 1000)).collect()
    }

    fn jaccard(a: &[String], b: &[String]) -> f64 {
        let [a, b] = [a, b].map(|words| words.windows(SHINGLE).collect::<HashSet<_>>());
        a.intersection(&b).count() as f64 / a.union(&b).count() as f64
    }

    #[test]
    fn the_estimate_is_that_of_the_sets() {
        let stream = Stream::new(3);
        let mut error = Vec::new();
        for text in 0..200_u64 {
            let stream = stream.child(&text.to_string());
            let a = draw(stream, 60);
            // The first words of one, then others: similarities from 0 to 1.
            let mut b = a[..(text as usize * 60 / 200)].to_vec();
            b.extend(draw(stream.child("other"), 60 - b.len() as u64));
            let estimate = Signature::of(&a.join(" ")).similarity(&Signature::of(&b.join(" ")));
            error.push(estimate - jaccard(&a, &b));
        }
        let mean = error.iter().sum::<f64>() / 200.0;
        let deviation = (error.iter().map(|e| e * e).sum::<f64>() / 200.0).sqrt();
        // The mean of 200 has a standard error below 1/16/√200 = 0.0044.
        assert!(mean.abs() < 0.015, "bias {mean}");
        assert!(deviation < 1.0 / 16.0, "deviation {deviation}");
    }

    #[test]
    fn case_spacing_and_punctuation_make_no_difference() {
        for (a, b, similarity) in [
            ("How do I get OUT of it?", "how do i get out\nof it", 1.0),
            ("Why?", "why", 1.0),
            ("Why?", "How?", 0.0),
            ("???", " ??? ", 1.0),
            ("???", "!!!", 0.0),
            ("", "", 1.0),
            ("天空为什么是蓝色的", "天空为什么是蓝色的?", 1.0),
        ] {
            let measured = Signature::of(a).similarity(&Signature::of(b));
            assert!((measured - similarity).abs() < 0.05, "{a:?} {b:?}: {measured}");
        }
        let [a, b] = ["天空为什么是蓝色的呢", "天空为什么是蓝色的吗"].map(Signature::of);
        // 8 shingles each, 7 of them shared: 7/9.
        assert!((a.similarity(&b) - 7.0 / 9.0).abs() < 0.2, "{}", a.similarity(&b));
    }

    #[test]
    fn near_duplicates_are_grouped_and_strangers_are_not() {
        let mut index = Index::default();
        let stream = Stream::new(5);
        for text in 0..300_u64 {
            // Three versions of each text: one word in 60 differs.
            let words = draw(stream.child(&(text / 3).to_string()), 60);
            let mut changed = words.clone();
            changed[59] = format!("version{}", text % 3);
            assert_eq!(index.add(Signature::of(&changed.join(" "))), text as usize);
        }
        let mut groups = index.groups(0.7);
        for text in 0..300 {
            assert_eq!(groups.find(text), text / 3 * 3, "{text}");
        }
    }

    #[test]
    fn very_many_copies_stay_linear_and_together() {
        let mut index = Index::default();
        for _ in 0..5000 {
            index.add(Signature::of("the same text over and over"));
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

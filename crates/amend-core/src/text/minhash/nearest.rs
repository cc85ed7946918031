//! Signatures as they come: which of those before is the nearest.

use std::collections::HashMap;

use super::{BANDS, Signature};

/// The most members of a bucket that are looked at, the last ones first: many
/// texts that begin alike don't make the search slow.
const BUCKET: usize = 256;

/// Signatures, found again by their bands. About 0.6 KB a signature.
#[derive(Debug, Default)]
pub struct Nearest {
    signatures: Vec<Signature>,
    /// The last signature of each bucket.
    heads: HashMap<(usize, u64), u32>,
    /// By signature and band: the one before it in the bucket.
    before: Vec<[Option<u32>; BANDS]>,
}

impl Nearest {
    /// Adds a signature and gives its number: 0, 1, 2 and so on.
    ///
    /// # Panics
    /// At 2³² signatures: memory ends long before.
    pub fn insert(&mut self, signature: Signature) -> u32 {
        let number = u32::try_from(self.signatures.len()).expect("fewer than 2^32 signatures");
        self.before.push(std::array::from_fn(|band| {
            self.heads.insert((band, signature.band(band)), number)
        }));
        self.signatures.push(signature);
        number
    }

    /// The numbers of the signatures that share a band with `signature`, in
    /// ascending order, each once: candidates, to be told apart by
    /// [`Signature::similarity`]. Of a crowded bucket, its last 256.
    #[must_use]
    pub fn near(&self, signature: &Signature) -> Vec<u32> {
        let mut candidates = Vec::new();
        for band in 0..BANDS {
            let head = self.heads.get(&(band, signature.band(band))).copied();
            let bucket = std::iter::successors(head, |&at| self.before[at as usize][band]);
            candidates.extend(bucket.take(BUCKET));
        }
        candidates.sort_unstable();
        candidates.dedup();
        candidates
    }

    /// The signature of a number.
    #[must_use]
    pub fn signature(&self, number: u32) -> &Signature {
        &self.signatures[number as usize]
    }

    /// The most similar signature that is at least `floor` similar, and its
    /// similarity; the earliest of equals.
    #[must_use]
    pub fn nearest(&self, signature: &Signature, floor: f64) -> Option<(u32, f64)> {
        let mut best: Option<(u32, f64)> = None;
        for number in self.near(signature) {
            let near = signature.similarity(self.signature(number));
            if near >= floor && best.is_none_or(|(_, most)| near > most) {
                best = Some((number, near));
            }
        }
        best
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `count` words that start at a number.
    fn numbers(start: usize, count: usize) -> String {
        (start..start + count).map(|word| format!("w{word} ")).collect()
    }

    #[test]
    fn near_texts_are_found_and_far_ones_are_not() {
        let mut index = Nearest::default();
        for text in 0..50 {
            assert_eq!(index.insert(Signature::of(&numbers(1000 * text, 60))), text as u32);
        }
        for text in 0..50_u32 {
            // Three of 62 shingles are new: similarity 55/61.
            let near = Signature::of(&numbers(1000 * text as usize + 3, 60));
            assert_eq!(index.nearest(&near, 0.7).map(|(number, _)| number), Some(text));
            assert_eq!(index.nearest(&near, 1.0), None);
        }
        assert_eq!(index.nearest(&Signature::of(&numbers(99_000, 60)), 0.3), None);
    }

    #[test]
    fn of_equals_the_earliest_is_nearest() {
        let mut index = Nearest::default();
        let signature = Signature::of("one two three four");
        for _ in 0..3 {
            index.insert(signature);
        }
        assert_eq!(index.near(&signature), [0, 1, 2]);
        assert_eq!(index.nearest(&signature, 0.9), Some((0, 1.0)));
    }
}

//! An incremental index of signatures that finds the nearest earlier one.

use std::collections::HashMap;

use super::{BANDS, Signature};

/// The most members of a bucket that are examined, from the last one. Keeps the search
/// fast if many texts are similar.
const BUCKET: usize = 256;

/// Signatures indexed by their bands. Takes about 0.6 KB for each signature.
#[derive(Debug, Default)]
pub struct Nearest {
    signatures: Vec<Signature>,
    /// The last signature of each bucket.
    heads: HashMap<(usize, u64), u32>,
    /// For each signature and band, the previous signature in the bucket.
    before: Vec<[Option<u32>; BANDS]>,
}

impl Nearest {
    /// Adds a signature and returns its number, from 0.
    ///
    /// # Panics
    /// Panics at 2³² signatures, for which no machine has the memory.
    pub fn insert(&mut self, signature: Signature) -> u32 {
        let number = u32::try_from(self.signatures.len()).expect("fewer than 2^32 signatures");
        self.before.push(std::array::from_fn(|band| {
            self.heads.insert((band, signature.band(band)), number)
        }));
        self.signatures.push(signature);
        number
    }

    /// The numbers of the signatures that share a band with `signature`, in ascending
    /// order without repetition. These are candidates to compare by
    /// [`Signature::similarity`]. At most the last 256 of each bucket are included.
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

    /// The signature with this number.
    #[must_use]
    pub fn signature(&self, number: u32) -> &Signature {
        &self.signatures[number as usize]
    }

    /// The number and the similarity of the most similar signature, if its similarity is at
    /// least `floor`. The earliest one wins a tie.
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

    /// A text of `count` words with consecutive numbers from `start`.
    fn numbers(start: usize, count: usize) -> String {
        (start..start + count).map(|word| format!("w{word} ")).collect()
    }

    #[test]
    fn only_similar_texts_are_found() {
        let mut index = Nearest::default();
        for text in 0..50 {
            assert_eq!(index.insert(Signature::from_text(&numbers(1000 * text, 60))), text as u32);
        }
        for text in 0..50_u32 {
            // Three of 62 shingles are new: similarity 55/61.
            let near = Signature::from_text(&numbers(1000 * text as usize + 3, 60));
            assert_eq!(index.nearest(&near, 0.7).map(|(number, _)| number), Some(text));
            assert_eq!(index.nearest(&near, 1.0), None);
        }
        assert_eq!(index.nearest(&Signature::from_text(&numbers(99_000, 60)), 0.3), None);
    }

    #[test]
    fn the_earliest_of_equal_signatures_is_nearest() {
        let mut index = Nearest::default();
        let signature = Signature::from_text("one two three four");
        for _ in 0..3 {
            index.insert(signature);
        }
        assert_eq!(index.near(&signature), [0, 1, 2]);
        assert_eq!(index.nearest(&signature, 0.9), Some((0, 1.0)));
    }
}

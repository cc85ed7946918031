//! Counter-based random streams. The number at a position depends only on the stream's
//! key and the position, never on earlier draws, so a resumed run draws the same numbers
//! as an uninterrupted one.

use sha2::{Digest, Sha256};

/// A keyed stream of uniform random numbers, addressed by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stream(u64);

/// 2^64 / golden ratio: the increment of SplitMix64 (Steele et al. 2014).
const INCREMENT: u64 = 0x9e37_79b9_7f4a_7c15;

impl Stream {
    /// The root stream of a run.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(mix(seed.wrapping_add(INCREMENT)))
    }

    /// Derives an independent stream for a named part, such as an item or a step.
    #[must_use]
    pub fn child(self, name: &str) -> Self {
        let mut hash = Sha256::new();
        hash.update(self.0.to_le_bytes());
        hash.update(name.as_bytes());
        let digest = hash.finalize();
        let mut key = [0; 8];
        key.copy_from_slice(&digest[..8]);
        Self(u64::from_le_bytes(key))
    }

    /// 64 uniform bits at `position`: the output of SplitMix64 started at the
    /// stream's key.
    #[must_use]
    pub fn bits(self, position: u64) -> u64 {
        mix(self.0.wrapping_add(position.wrapping_add(1).wrapping_mul(INCREMENT)))
    }

    /// A uniform number in [0, 1) at `position`, with 53 bits of precision.
    #[must_use]
    pub fn uniform(self, position: u64) -> f64 {
        (self.bits(position) >> 11) as f64 * (1.0 / (1_u64 << 53) as f64)
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_gives_the_same_number_in_any_order() {
        let stream = Stream::new(7).child("item").child("critique 1");
        let forward: Vec<u64> = (0..5).map(|at| stream.bits(at)).collect();
        let backward: Vec<u64> = (0..5).rev().map(|at| stream.bits(at)).collect();
        assert!(forward.iter().eq(backward.iter().rev()));
        assert_ne!(stream, Stream::new(8).child("item").child("critique 1"));
    }

    #[test]
    fn uniform_numbers_fill_the_unit_interval_evenly() {
        let stream = Stream::new(1);
        let mut bins = [0_u32; 16];
        for at in 0..16_000 {
            bins[(stream.uniform(at) * 16.0) as usize] += 1;
        }
        // χ² with 15 degrees of freedom exceeds 44.3 with probability 1e-4.
        let chi2: f64 = bins.iter().map(|&n| (f64::from(n) - 1000.0).powi(2) / 1000.0).sum();
        assert!(chi2 < 44.3, "χ² = {chi2}");
    }
}

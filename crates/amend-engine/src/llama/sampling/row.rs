//! Functions over a row of logits that the compiler can vectorise. Vocabularies have up to
//! 200,000 tokens, and every decoded token needs several passes.

/// The number of vector lanes.
const LANES: usize = 16;

/// The largest logit. `None` if a logit is NaN or the largest is not finite. A logit of −∞
/// bans a token.
pub fn peak(row: &[f32]) -> Option<f32> {
    let mut max = [f32::NEG_INFINITY; LANES];
    let mut bad = [0_u32; LANES];
    let (chunks, rest) = row.as_chunks::<LANES>();
    for chunk in chunks {
        for lane in 0..LANES {
            max[lane] = if chunk[lane] > max[lane] { chunk[lane] } else { max[lane] };
            bad[lane] |= u32::from(chunk[lane].is_nan());
        }
    }
    let peak = max.iter().chain(rest).copied().fold(f32::NEG_INFINITY, f32::max);
    let nan = bad.iter().any(|&lane| lane != 0) || rest.iter().any(|logit| logit.is_nan());
    if nan || !peak.is_finite() {
        return None;
    }
    Some(peak)
}

/// The first index of `peak` in a row.
pub fn position(row: &[f32], peak: f32) -> Option<usize> {
    let mut first = None;
    at_least(row, peak, |at, _| {
        first = Some(at);
        f32::INFINITY
    });
    first
}

/// Calls `visit` with the index and logit of every logit at or above a floor. The floor is
/// `floor` at first, then the last value that `visit` returned.
pub fn at_least(row: &[f32], mut floor: f32, mut visit: impl FnMut(usize, f32) -> f32) {
    for (at, chunk) in row.chunks(4 * LANES).enumerate() {
        // This test has no branches so that it is vectorised. Most chunks fail it.
        if chunk.iter().fold(false, |any, &logit| any | (logit >= floor)) {
            for (offset, &logit) in chunk.iter().enumerate() {
                if logit >= floor {
                    floor = visit(at * 4 * LANES + offset, logit);
                }
            }
        }
    }
}

/// The weights exp((logit − peak) · scale) of a row, summed in blocks.
#[derive(Debug, Clone, Copy)]
pub struct Weights {
    /// The largest logit of the row.
    pub peak: f32,
    /// The inverse of the temperature.
    pub scale: f32,
}

/// The number of logits in a block.
const BLOCK: usize = 32 * LANES;

impl Weights {
    /// The weight of a logit.
    pub fn weight(self, logit: f32) -> f32 {
        exp((logit - self.peak) * self.scale)
    }

    /// The sum of the weights of a row.
    pub fn sum(self, row: &[f32]) -> f64 {
        row.chunks(BLOCK).map(|block| self.block_sum(block)).sum()
    }

    /// The index at which the running sum of the weights of a row exceeds `left`. If none
    /// does because of rounding, the index of the last positive weight.
    pub fn find(self, row: &[f32], mut left: f64) -> Option<usize> {
        let mut start = 0;
        for block in row.chunks(BLOCK) {
            let sum = self.block_sum(block);
            if left < sum {
                for (at, &logit) in block.iter().enumerate() {
                    left -= f64::from(self.weight(logit));
                    if left < 0.0 {
                        return Some(start + at);
                    }
                }
                // The lanes were added in another order, so rounding differs: continue
                // with the next block.
            }
            left = (left - sum).max(0.0);
            start += block.len();
        }
        row.iter().rposition(|&logit| self.weight(logit) > 0.0)
    }

    fn block_sum(self, block: &[f32]) -> f64 {
        let mut sums = [0.0_f32; LANES];
        let (chunks, rest) = block.as_chunks::<LANES>();
        for chunk in chunks {
            for lane in 0..LANES {
                sums[lane] += self.weight(chunk[lane]);
            }
        }
        sums.into_iter().chain(rest.iter().map(|&logit| self.weight(logit))).map(f64::from).sum()
    }
}

/// e^x for x ≤ 0, with an error of at most 2 units in the last place. 0 below −87, where
/// the result is not a normal `f32`.
///
/// Let x = n ln 2 + r with |r| ≤ ln 2 / 2. A polynomial computes e^r, and n becomes the
/// exponent. Unlike [`f32::exp`], this has no branches and no calls.
fn exp(x: f32) -> f32 {
    /// 1.5 · 2^23: adding it to a small number leaves the nearest integer in the low
    /// bits.
    const ROUND: f32 = 12_582_912.0;
    /// ln 2 in two parts, of which the first ends in zero bits.
    const LN_2: (f32, f32) = (0.693_359_4, -2.121_944_4e-4);
    let clamped = if x > -87.0 { x } else { -87.0 };
    let shifted = clamped * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * LN_2.0) - n * LN_2.1;
    // The Taylor series; the first omitted term is below 2^-27.
    let series = [1.0 / 720.0, 1.0 / 120.0, 1.0 / 24.0, 1.0 / 6.0, 0.5, 1.0, 1.0];
    let e_r = series.into_iter().fold(1.0 / 5040.0, |sum, term| sum * r + term);
    let power = f32::from_bits((shifted.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    if x > -87.0 { e_r * power } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_accurate_to_two_units_in_the_last_place() {
        let mut worst = 0.0_f64;
        for step in 0..870_000 {
            let x = -(step as f32) * 1e-4;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) - exact).abs() / exact);
        }
        assert!(worst < 2.0 * f64::from(f32::EPSILON), "{worst:e}");
        assert_eq!((exp(0.0), exp(-88.0), exp(f32::NEG_INFINITY)), (1.0, 0.0, 0.0));
    }

    #[test]
    fn peak_checks_every_position() {
        for length in [1, 15, 16, 17, 100] {
            for at in 0..length {
                let mut row = vec![-1.0; length];
                row[at] = 2.0;
                assert_eq!(peak(&row), Some(2.0));
                row[at] = f32::NEG_INFINITY;
                assert_eq!(peak(&row), (length > 1).then_some(-1.0));
                for bad in [f32::NAN, f32::INFINITY] {
                    row[at] = bad;
                    assert_eq!(peak(&row), None, "{bad} at {at} of {length}");
                }
            }
        }
    }

    #[test]
    fn position_is_the_first_one_in_case_of_a_tie() {
        let mut row = vec![0.0; 300];
        for at in [250, 77, 70] {
            row[at] = 3.0;
            assert_eq!(position(&row, 3.0), Some(at));
        }
    }

    #[test]
    fn find_inverts_the_running_sum() {
        let row: Vec<f32> = (0..2000).map(|at| ((at * 37) % 101) as f32 / 25.0).collect();
        let weights = Weights { peak: 4.0, scale: 0.7 };
        let sum = weights.sum(&row);
        let exact = |at: usize| (f64::from(row[at] - 4.0) * f64::from(0.7_f32)).exp();
        let total: f64 = (0..row.len()).map(exact).sum();
        assert!((sum / total - 1.0).abs() < 1e-6, "{sum} {total}");
        let mut before = 0.0;
        for at in 0..row.len() {
            let middle = before + exact(at) / 2.0;
            assert_eq!(weights.find(&row, middle), Some(at));
            before += exact(at);
        }
        assert_eq!(weights.find(&row, total * 2.0), Some(1999));
        let banned = [1.0, 4.0, f32::NEG_INFINITY];
        assert_eq!(weights.find(&banned, 1e9), Some(1));
    }

    #[test]
    fn at_least_follows_a_rising_floor() {
        let row: Vec<f32> = (0..200).map(|at| (at % 70) as f32).collect();
        let mut visited = Vec::new();
        at_least(&row, 68.0, |at, logit| {
            visited.push(at);
            logit
        });
        assert_eq!(visited, [68, 69, 139]);
    }
}

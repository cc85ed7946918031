//! Correlations.

use super::finite;

/// Pearson's correlation Σ(x − x̄)(y − ȳ) / √(Σ(x − x̄)² Σ(y − ȳ)²); `None` if
/// either is constant.
#[must_use]
pub fn pearson<I>(pairs: I) -> Option<f64>
where
    I: IntoIterator<Item = (f64, f64), IntoIter: Clone>,
{
    let pairs = pairs.into_iter();
    // Shifted by the first pair, so that equal values have a deviation of exactly 0.
    let (x0, y0) = pairs.clone().next()?;
    let (mut n, mut x_mean, mut y_mean) = (0.0, 0.0, 0.0);
    for (x, y) in pairs.clone() {
        n += 1.0;
        x_mean += x - x0;
        y_mean += y - y0;
    }
    x_mean /= n;
    y_mean /= n;
    let (mut xx, mut yy, mut xy) = (0.0, 0.0, 0.0);
    for (x, y) in pairs {
        let (dx, dy) = (x - x0 - x_mean, y - y0 - y_mean);
        xx += dx * dx;
        yy += dy * dy;
        xy += dx * dy;
    }
    finite(xy / (xx * yy).sqrt()).map(|r| r.clamp(-1.0, 1.0))
}

/// Spearman's rank correlation: Pearson's correlation of the ranks, where equal
/// values share the mean of their ranks. `None` if either variable is constant or
/// has a value that is not a number.
#[must_use]
pub fn spearman(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<f64> {
    let (x, y): (Vec<f64>, Vec<f64>) = pairs.into_iter().unzip();
    if x.iter().chain(&y).any(|value| value.is_nan()) {
        return None;
    }
    pearson(ranks(&x).into_iter().zip(ranks(&y)))
}

/// The rank of each value, from 1. Equal values share the mean of their ranks.
fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    order.sort_by(|&a, &b| values[a].total_cmp(&values[b]));
    let mut ranks = vec![0.0; values.len()];
    let mut before = 0;
    for equal in order.chunk_by(|&a, &b| values[a] == values[b]) {
        let rank = before as f64 + (equal.len() + 1) as f64 / 2.0;
        equal.iter().for_each(|&at| ranks[at] = rank);
        before += equal.len();
    }
    ranks
}

/// The partial correlation of x and y given z, which is the correlation of their
/// residuals after linear regression on z: (r_xy − r_xz r_yz) / √((1 − r_xz²)(1 −
/// r_yz²)). `None` if one of the three is constant, or if z determines x or y.
#[must_use]
pub fn partial<I>(triples: I) -> Option<f64>
where
    I: IntoIterator<Item = (f64, f64, f64), IntoIter: Clone>,
{
    let triples = triples.into_iter();
    let xy = pearson(triples.clone().map(|(x, y, _)| (x, y)))?;
    let xz = pearson(triples.clone().map(|(x, _, z)| (x, z)))?;
    let yz = pearson(triples.map(|(_, y, z)| (y, z)))?;
    let unexplained = (1.0 - xz * xz) * (1.0 - yz * yz);
    // If z determines x or y, only rounding errors remain.
    if unexplained < 1e-12 {
        return None;
    }
    finite((xy - xz * yz) / unexplained.sqrt()).map(|r| r.clamp(-1.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Invented data. The expected figures are from SciPy 1.17.
    const X: [f64; 8] = [0.3, 1.2, -0.7, 2.5, 0.9, -1.4, 0.3, 1.8];
    const Y: [f64; 8] = [0.1, 0.8, -0.2, 1.9, 1.5, -2.0, 0.6, 0.7];
    const Z: [f64; 8] = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 1.0, 0.0];

    fn assert_close(actual: Option<f64>, expected: f64) {
        let actual = actual.expect("a figure");
        assert!((actual - expected).abs() < 1e-12, "{actual}, expected {expected}");
    }

    #[test]
    fn correlations_agree_with_scipy() {
        let pairs = || X.into_iter().zip(Y);
        assert_close(pearson(pairs()), 0.882_415_157_761_672_1);
        assert_close(spearman(pairs()), 0.898_219_696_434_944_1);
        assert_close(partial(pairs().zip(Z).map(|((x, y), z)| (x, y, z))), 0.895_193_053_478_416_7);
    }

    #[test]
    fn monotonic_data_has_full_rank_correlation() {
        assert_eq!(pearson([(1.0, 2.0), (2.0, 4.0), (3.0, 6.0)]), Some(1.0));
        assert_eq!(pearson([(1.0, 6.0), (2.0, 4.0), (3.0, 2.0)]), Some(-1.0));
        assert_eq!(spearman([(1.0, 1.0), (2.0, 8.0), (3.0, 27.0)]), Some(1.0));
    }

    #[test]
    fn equal_values_share_the_mean_rank() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 0.0, 3.0]), [4.0, 2.0, 4.0, 1.0, 4.0]);
    }

    #[test]
    fn constant_data_has_no_correlation() {
        assert_eq!(pearson([]), None);
        assert_eq!(pearson([(1.0, 2.0)]), None);
        assert_eq!(pearson([(0.1, 1.0), (0.1, 2.0), (0.1, 3.0)]), None);
        assert_eq!(pearson([(f64::NAN, 1.0), (2.0, 2.0)]), None);
        assert_eq!(spearman([(1.0, 0.1), (2.0, 0.1)]), None);
        assert_eq!(spearman([(f64::NAN, 1.0), (2.0, 2.0)]), None);
        // z constant, and z the same as x.
        assert_eq!(partial([(1.0, 2.0, 0.0), (2.0, 1.0, 0.0), (3.0, 5.0, 0.0)]), None);
        assert_eq!(partial([(1.0, 2.0, 1.0), (2.0, 1.0, 2.0), (3.0, 5.0, 3.0)]), None);
    }
}

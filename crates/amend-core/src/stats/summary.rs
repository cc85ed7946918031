//! One sample in a few numbers: mean, spread, quantiles, histogram; and the
//! distance between two samples.

use serde::{Deserialize, Serialize};

use super::finite;

/// The arithmetic mean; `None` without values.
#[must_use]
pub fn mean(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (mut n, mut sum) = (0.0, 0.0);
    for value in values {
        n += 1.0;
        sum += value;
    }
    if n == 0.0 { None } else { finite(sum / n) }
}

/// The sample standard deviation √(Σ(x − x̄)² / (n − 1)); `None` for fewer than
/// two values.
#[must_use]
pub fn sd<I>(values: I) -> Option<f64>
where
    I: IntoIterator<Item = f64, IntoIter: Clone>,
{
    let (n, squares) = squares(values.into_iter())?;
    if n < 2.0 { None } else { finite((squares / (n - 1.0)).sqrt()) }
}

/// The number of values and Σ(x − x̄)². The values are shifted by the first of
/// them, so that equal values give exactly 0.
fn squares(values: impl Iterator<Item = f64> + Clone) -> Option<(f64, f64)> {
    let first = values.clone().next()?;
    let shifted = values.map(move |value| value - first);
    let centre = mean(shifted.clone())?;
    Some(shifted.fold((0.0, 0.0), |(n, sum), value| (n + 1.0, sum + (value - centre).powi(2))))
}

/// Cohen's d, the difference of two means in pooled standard deviations:
/// (x̄ − ȳ) / √(((n − 1)s² + (m − 1)t²) / (n + m − 2)) (Cohen 1988). `None` if
/// a sample is empty, or if neither varies.
#[must_use]
pub fn cohens_d<I, J>(x: I, y: J) -> Option<f64>
where
    I: IntoIterator<Item = f64, IntoIter: Clone>,
    J: IntoIterator<Item = f64, IntoIter: Clone>,
{
    let (x, y) = (x.into_iter(), y.into_iter());
    let difference = mean(x.clone())? - mean(y.clone())?;
    let ((n, s), (m, t)) = (squares(x)?, squares(y)?);
    if n + m <= 2.0 || s + t == 0.0 {
        return None;
    }
    finite(difference / ((s + t) / (n + m - 2.0)).sqrt())
}

/// The q-quantile of values in ascending order, by linear interpolation between
/// the two nearest (type 7 of Hyndman and Fan 1996, as in R and NumPy). `None`
/// without values, or if q lies outside 0 to 1.
#[must_use]
pub fn quantile(ascending: &[f64], q: f64) -> Option<f64> {
    if !(0.0..=1.0).contains(&q) {
        return None;
    }
    let at = q * ascending.len().checked_sub(1)? as f64;
    let (below, above) = (ascending[at.floor() as usize], ascending[at.ceil() as usize]);
    finite(below + (above - below) * at.fract())
}

/// Counts of values in bins of equal width.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Histogram {
    /// Where the first bin begins.
    pub low: f64,
    /// Where the last bin ends; it contains this point.
    pub high: f64,
    /// Values in each bin.
    pub counts: Vec<usize>,
    /// Values below the first bin.
    pub below: usize,
    /// Values above the last bin.
    pub above: usize,
}

/// Counts `values` in `bins` bins of equal width from `low` to `high`. What is
/// not a number is not counted. `None` without bins or without width.
#[must_use]
pub fn histogram(
    values: impl IntoIterator<Item = f64>,
    low: f64,
    high: f64,
    bins: usize,
) -> Option<Histogram> {
    let width = finite(high - low)?;
    if bins == 0 || width <= 0.0 {
        return None;
    }
    let mut histogram = Histogram { low, high, counts: vec![0; bins], below: 0, above: 0 };
    for value in values {
        if value < low {
            histogram.below += 1;
        } else if value > high {
            histogram.above += 1;
        } else if !value.is_nan() {
            let bin = ((value - low) / width * bins as f64) as usize;
            histogram.counts[bin.min(bins - 1)] += 1;
        }
    }
    Some(histogram)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_and_deviations() {
        assert_eq!(mean([1.0, 2.0, 6.0]), Some(3.0));
        // ((−2)² + (−1)² + 3²) / 2 = 7
        assert_eq!(sd([1.0, 2.0, 6.0]), Some(7_f64.sqrt()));
        assert_eq!(sd([0.1; 7]), Some(0.0));
    }

    #[test]
    fn too_little_data_gives_nothing() {
        assert_eq!(mean([]), None);
        assert_eq!(mean([f64::NAN]), None);
        assert_eq!(mean([f64::INFINITY, 1.0]), None);
        assert_eq!(sd([]), None);
        assert_eq!(sd([4.0]), None);
        assert_eq!(cohens_d([1.0], [2.0]), None);
        assert_eq!(cohens_d([], [2.0, 3.0]), None);
        assert_eq!(cohens_d([1.0, 1.0], [2.0, 2.0]), None);
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[1.0], 1.5), None);
        assert_eq!(quantile(&[1.0], f64::NAN), None);
        assert_eq!(histogram([1.0], 0.0, 1.0, 0), None);
        assert_eq!(histogram([1.0], 1.0, 1.0, 4), None);
    }

    #[test]
    fn the_distance_of_two_samples_in_pooled_deviations() {
        // Means 2 and 4, Σ squares 2 and 8, pooled variance 10 / 4.
        let d = cohens_d([1.0, 2.0, 3.0], [2.0, 4.0, 6.0]).unwrap();
        assert!((d - -2.0 / 2.5_f64.sqrt()).abs() < 1e-15, "{d}");
        // One value against two: the variance is that of the two.
        let d = cohens_d([5.0], [1.0, 3.0]).unwrap();
        assert!((d - 3.0 / 2_f64.sqrt()).abs() < 1e-15, "{d}");
    }

    #[test]
    fn quantiles_interpolate() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        for (q, expected) in [(0.0, 1.0), (0.25, 1.75), (0.5, 3.0), (0.9, 6.8), (1.0, 8.0)] {
            let found = quantile(&sorted, q).unwrap();
            assert!((found - expected).abs() < 1e-12, "{q}: {found}");
        }
        assert_eq!(quantile(&[3.0], 0.7), Some(3.0));
    }

    #[test]
    fn every_number_falls_in_one_bin() {
        let values = [-0.1, 0.0, 0.24, 0.25, 0.5, 0.99, 1.0, 1.1, f64::NAN];
        let found = histogram(values, 0.0, 1.0, 4).unwrap();
        assert_eq!(found.counts, [2, 1, 1, 2]);
        assert_eq!((found.below, found.above), (1, 1));
    }
}

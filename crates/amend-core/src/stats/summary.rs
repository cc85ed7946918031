//! Summaries of a sample (mean, standard deviation, quantiles, histogram), and the
//! effect size between two samples.

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

/// The count, mean and squared deviations of values that are added one by one
/// (Welford 1962). Equal values have squared deviations of exactly 0.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Moments {
    n: u64,
    mean: f64,
    /// Σ(x − x̄)².
    squares: f64,
}

impl Moments {
    /// Adds a value.
    pub fn add(&mut self, value: f64) {
        self.n += 1;
        let deviation = value - self.mean;
        self.mean += deviation / self.n as f64;
        self.squares += deviation * (value - self.mean);
    }

    /// The number of values.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.n
    }

    /// The arithmetic mean; `None` without values.
    #[must_use]
    pub fn mean(&self) -> Option<f64> {
        if self.n == 0 { None } else { finite(self.mean) }
    }

    /// The sample standard deviation √(Σ(x − x̄)² / (n − 1)); `None` for fewer than
    /// two values.
    #[must_use]
    pub fn sd(&self) -> Option<f64> {
        if self.n < 2 { None } else { finite((self.squares / (self.n - 1) as f64).sqrt()) }
    }
}

impl FromIterator<f64> for Moments {
    fn from_iter<I: IntoIterator<Item = f64>>(values: I) -> Self {
        let mut moments = Self::default();
        for value in values {
            moments.add(value);
        }
        moments
    }
}

/// Cohen's d, the difference of two means in pooled standard deviations:
/// (x̄ − ȳ) / √(((n − 1)s² + (m − 1)t²) / (n + m − 2)) (Cohen 1988). `None` if a
/// sample is empty, or if neither varies.
#[must_use]
pub fn cohens_d(x: &Moments, y: &Moments) -> Option<f64> {
    let difference = x.mean()? - y.mean()?;
    let squares = x.squares + y.squares;
    if x.n + y.n <= 2 || squares == 0.0 {
        return None;
    }
    finite(difference / (squares / (x.n + y.n - 2) as f64).sqrt())
}

/// The q-quantile of values in ascending order, by linear interpolation between the
/// two nearest values (type 7 of Hyndman and Fan 1996, as in R and NumPy). `None`
/// without values, or if q is outside 0 to 1.
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
    /// The lower end of the first bin.
    pub low: f64,
    /// The upper end of the last bin, which contains it.
    pub high: f64,
    /// The number of values in each bin.
    pub counts: Vec<usize>,
    /// The number of values below the first bin.
    pub below: usize,
    /// The number of values above the last bin.
    pub above: usize,
}

/// Counts `values` in `bins` bins of equal width from `low` to `high`. Values that
/// are not a number are not counted. `None` without bins or without width.
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

    fn sd(values: &[f64]) -> Option<f64> {
        Moments::from_iter(values.iter().copied()).sd()
    }

    fn effect(x: &[f64], y: &[f64]) -> Option<f64> {
        let moments = |values: &[f64]| Moments::from_iter(values.iter().copied());
        cohens_d(&moments(x), &moments(y))
    }

    #[test]
    fn mean_and_sd_agree_with_hand_calculation() {
        assert_eq!(mean([1.0, 2.0, 6.0]), Some(3.0));
        // ((−2)² + (−1)² + 3²) / 2 = 7
        assert_eq!(sd(&[1.0, 2.0, 6.0]), Some(7_f64.sqrt()));
        assert_eq!(sd(&[0.1; 7]), Some(0.0));
    }

    #[test]
    fn insufficient_data_gives_none() {
        assert_eq!(mean([]), None);
        assert_eq!(mean([f64::NAN]), None);
        assert_eq!(mean([f64::INFINITY, 1.0]), None);
        assert_eq!(sd(&[]), None);
        assert_eq!(sd(&[4.0]), None);
        assert_eq!(effect(&[1.0], &[2.0]), None);
        assert_eq!(effect(&[], &[2.0, 3.0]), None);
        assert_eq!(effect(&[1.0, 1.0], &[2.0, 2.0]), None);
        assert_eq!(quantile(&[], 0.5), None);
        assert_eq!(quantile(&[1.0], 1.5), None);
        assert_eq!(quantile(&[1.0], f64::NAN), None);
        assert_eq!(histogram([1.0], 0.0, 1.0, 0), None);
        assert_eq!(histogram([1.0], 1.0, 1.0, 4), None);
    }

    #[test]
    fn cohens_d_agrees_with_hand_calculation() {
        // Means 2 and 4, sums of squares 2 and 8, pooled variance 10 / 4.
        let d = effect(&[1.0, 2.0, 3.0], &[2.0, 4.0, 6.0]).unwrap();
        assert!((d - -2.0 / 2.5_f64.sqrt()).abs() < 1e-15, "{d}");
        // With one value against two, the variance is that of the two.
        let d = effect(&[5.0], &[1.0, 3.0]).unwrap();
        assert!((d - 3.0 / 2_f64.sqrt()).abs() < 1e-15, "{d}");
    }

    #[test]
    fn quantiles_interpolate_linearly() {
        let sorted = [1.0, 2.0, 4.0, 8.0];
        for (q, expected) in [(0.0, 1.0), (0.25, 1.75), (0.5, 3.0), (0.9, 6.8), (1.0, 8.0)] {
            let actual = quantile(&sorted, q).unwrap();
            assert!((actual - expected).abs() < 1e-12, "{q}: {actual}");
        }
        assert_eq!(quantile(&[3.0], 0.7), Some(3.0));
    }

    #[test]
    fn each_number_falls_into_one_bin() {
        let values = [-0.1, 0.0, 0.24, 0.25, 0.5, 0.99, 1.0, 1.1, f64::NAN];
        let histogram = histogram(values, 0.0, 1.0, 4).unwrap();
        assert_eq!(histogram.counts, [2, 1, 1, 2]);
        assert_eq!((histogram.below, histogram.above), (1, 1));
    }
}

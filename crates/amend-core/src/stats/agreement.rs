//! Shares, and the agreement of two judges.

use std::collections::BTreeMap;

use super::{Estimate, Interval, finite};

/// The standard normal's 0.975 quantile.
const Z: f64 = 1.959_963_984_540_054;

/// Wilson's score interval of a share: `(p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) /
/// (1 + z²/n)` with p = successes / n (Wilson 1927). Unlike a bootstrap interval, it
/// has a width even if nothing or everything is a success. `None` if n is 0 or
/// smaller than `successes`.
#[must_use]
pub fn wilson(successes: usize, n: usize) -> Option<Interval> {
    if n == 0 || successes > n {
        return None;
    }
    let n = n as f64;
    let p = successes as f64 / n;
    let centre = p + Z * Z / (2.0 * n);
    let half = Z * (p * (1.0 - p) / n + Z * Z / (4.0 * n * n)).sqrt();
    let scale = 1.0 + Z * Z / n;
    let interval = Interval { low: (centre - half) / scale, high: (centre + half) / scale };
    // These ends are exact; the formula misses them by rounding.
    Some(Interval {
        low: if p == 0.0 { 0.0 } else { interval.low },
        high: if p == 1.0 { 1.0 } else { interval.high },
    })
}

/// The share of values that are true, with its [`wilson`] interval; `None` without
/// values.
#[must_use]
pub fn share(values: impl IntoIterator<Item = bool>) -> Option<Estimate> {
    let (mut n, mut successes) = (0, 0);
    for value in values {
        n += 1;
        successes += usize::from(value);
    }
    Some(Estimate::new(successes as f64 / n as f64, wilson(successes, n)?, n))
}

/// Cohen's κ of two raters' categories: (p_o − p_e) / (1 − p_e), where p_o is the
/// share of equal ratings and p_e the share expected by chance from the raters'
/// margins (Cohen 1960). 1 means that they always agree; 0, that they agree as often
/// as by chance. `None` without ratings, or if both raters always give the same
/// category. For an interval, resample the pairs ([`super::Bootstrap`]).
#[must_use]
pub fn kappa<T: Ord>(ratings: impl IntoIterator<Item = (T, T)>) -> Option<f64> {
    let (mut n, mut equal) = (0.0, 0.0);
    let mut margins: BTreeMap<T, (f64, f64)> = BTreeMap::new();
    for (a, b) in ratings {
        n += 1.0;
        equal += f64::from(u8::from(a == b));
        margins.entry(a).or_default().0 += 1.0;
        margins.entry(b).or_default().1 += 1.0;
    }
    // In counts, so that the comparison for one category is exact.
    let chance: f64 = margins.values().map(|(a, b)| a * b).sum();
    if n == 0.0 || chance == n * n {
        return None;
    }
    finite((equal * n - chance) / (n * n - chance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use crate::stats::Bootstrap;

    #[test]
    fn wilson_intervals_agree_with_scipy() {
        // scipy.stats.binomtest(k, n).proportion_ci(method="wilson")
        for (successes, n, low, high) in [
            (0, 20, 0.0, 0.161_125_158_052_819_35),
            (7, 10, 0.396_778_147_461_145_26, 0.892_208_732_593_699),
            (1, 3, 0.061_491_944_720_396_26, 0.792_340_399_197_952_3),
            (50, 50, 0.928_652_400_866_641_2, 1.0),
            (133, 400, 0.288_117_958_185_574_6, 0.380_068_660_416_414_74),
        ] {
            let interval = wilson(successes, n).unwrap();
            assert!((interval.low - low).abs() < 1e-12, "{successes} of {n}: {interval:?}");
            assert!((interval.high - high).abs() < 1e-12, "{successes} of {n}: {interval:?}");
        }
        assert_eq!(wilson(0, 0), None);
        assert_eq!(wilson(3, 2), None);
    }

    #[test]
    fn share_counts_true_values() {
        let share_true = share([true, false, true, true]).unwrap();
        assert_eq!((share_true.value, share_true.n), (0.75, 4));
        assert_eq!(share([]), None);
    }

    /// Cohen's 2 × 2 example: 20 and 15 agreements, 5 and 10 disagreements.
    /// p_o = 35/50 = 0.7, p_e = ½·0.6 + ½·0.4 = 0.5, κ = 0.4.
    fn ratings() -> Vec<(char, char)> {
        [(('y', 'y'), 20), (('y', 'n'), 5), (('n', 'y'), 10), (('n', 'n'), 15)]
            .into_iter()
            .flat_map(|(rating, times)| std::iter::repeat_n(rating, times))
            .collect()
    }

    #[test]
    fn kappa_agrees_with_hand_calculation() {
        assert!((kappa(ratings()).unwrap() - 0.4).abs() < 1e-15);
        assert_eq!(kappa([(1, 1), (2, 2), (3, 3)]), Some(1.0));
        assert_eq!(kappa([(1, 2), (2, 1)]), Some(-1.0));
        // Undefined if both raters always say 1; 0 if one of them does.
        assert_eq!(kappa([(1, 1), (1, 1)]), None);
        assert_eq!(kappa([(1, 1), (1, 2)]), Some(0.0));
        assert_eq!(kappa::<u8>([]), None);
    }

    #[test]
    fn bootstrap_interval_of_kappa_is_near_the_asymptotic_one() {
        let ratings = ratings();
        let interval = Bootstrap::new(Stream::new(3), 4000)
            .interval(ratings.len(), |rows| kappa(rows.iter().map(|&i| ratings[i])))
            .unwrap();
        // The standard error of Fleiss, Cohen and Everitt (1969) for this table.
        let half = Z * 0.126_996;
        assert!((interval.low - (0.4 - half)).abs() < 0.03, "{interval:?}");
        assert!((interval.high - (0.4 + half)).abs() < 0.03, "{interval:?}");
    }
}

//! Means of values that come in groups. The values within a group are not
//! independent of each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Bootstrap, Estimate, Interval, mean, wilson};

/// A mean of values that come in groups.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GroupedMean {
    /// The mean of all values.
    pub value: f64,
    /// Its 95 % interval; `None` with a single group, because the variation between
    /// groups is then unknown.
    pub interval: Option<Interval>,
    /// The number of values.
    pub n: usize,
    /// The number of groups.
    pub groups: usize,
}

/// The indices of the values in each group, in the order of the groups' names.
#[must_use]
pub fn groups<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, name) in names.into_iter().enumerate() {
        groups.entry(name).or_default().push(at);
    }
    groups.into_values().collect()
}

impl GroupedMean {
    /// The mean of values, each with the name of its group; `None` without values.
    /// For the interval, whole groups are drawn.
    #[must_use]
    pub fn new<'a>(
        values: impl IntoIterator<Item = (&'a str, f64)>,
        bootstrap: &Bootstrap,
    ) -> Option<Self> {
        let (names, all): (Vec<&str>, Vec<f64>) = values.into_iter().unzip();
        Self::from_groups(&groups(names), bootstrap, |rows| mean(rows.iter().map(|&row| all[row])))
    }

    /// Any figure of values that come in groups. Each group holds the indices of its
    /// values. `None` if `statistic` is `None` for all values.
    #[must_use]
    pub fn from_groups(
        groups: &[Vec<usize>],
        bootstrap: &Bootstrap,
        statistic: impl Fn(&[usize]) -> Option<f64>,
    ) -> Option<Self> {
        let all: Vec<usize> = groups.concat();
        let value = statistic(&all)?;
        let mut interval = None;
        if groups.len() > 1
            && let Some(Estimate { low, high, .. }) = bootstrap.clustered(groups, statistic)
        {
            interval = Some(Interval { low, high });
        }
        Some(Self { value, interval, n: all.len(), groups: groups.len() })
    }

    /// The share of values that are true. If all values are equal, all resamples are
    /// too, and the interval is that of [`wilson`] for the number of groups.
    #[must_use]
    pub fn share<'a>(
        values: impl IntoIterator<Item = (&'a str, bool)>,
        bootstrap: &Bootstrap,
    ) -> Option<Self> {
        let values = values.into_iter().map(|(group, value)| (group, f64::from(u8::from(value))));
        let share = Self::new(values, bootstrap)?;
        let interval = if share.value == 0.0 {
            wilson(0, share.groups)
        } else if share.value == 1.0 {
            wilson(share.groups, share.groups)
        } else {
            share.interval
        };
        Some(Self { interval, ..share })
    }

    /// Whether the interval excludes 0, with more than five groups. If all groups have
    /// the same sign, the interval always excludes 0; with five groups, this happens
    /// by chance in 6 % of cases (2 · 2⁻⁵).
    #[must_use]
    pub fn is_apart_from_zero(&self) -> bool {
        self.groups > 5
            && self.interval.is_some_and(|interval| interval.low > 0.0 || interval.high < 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;
    use crate::stats::RESAMPLES;

    fn bootstrap() -> Bootstrap {
        Bootstrap::new(Stream::new(1), RESAMPLES)
    }

    #[test]
    fn whole_groups_are_drawn() {
        // A resample of two groups has the first one twice (mean 0), both (mean 8/3),
        // or the second one twice (mean 4). The outer cases have probability ¼ each.
        let values = [("a", 0.0), ("b", 3.0), ("b", 5.0)];
        let mean = GroupedMean::new(values, &bootstrap()).unwrap();
        assert_eq!((mean.value, mean.n, mean.groups), (8.0 / 3.0, 3, 2));
        assert_eq!(mean.interval, Some(Interval { low: 0.0, high: 4.0 }));
        assert!(!mean.is_apart_from_zero());
    }

    #[test]
    fn at_most_five_groups_of_one_sign_are_not_apart_from_zero() {
        for (count, apart) in [(5, false), (6, true)] {
            let names: Vec<String> = (0..count).map(|at| at.to_string()).collect();
            let values = names.iter().zip(1..).map(|(name, at)| (name.as_str(), f64::from(at)));
            let mean = GroupedMean::new(values, &bootstrap()).unwrap();
            assert!(mean.interval.unwrap().low > 0.0);
            assert_eq!(mean.is_apart_from_zero(), apart, "{mean:?}");
        }
    }

    #[test]
    fn one_group_has_no_interval() {
        let mean = GroupedMean::new([("a", 1.0), ("a", 3.0)], &bootstrap()).unwrap();
        assert_eq!((mean.value, mean.interval, mean.groups), (2.0, None, 1));
        assert!(!mean.is_apart_from_zero());
        assert_eq!(GroupedMean::new([], &bootstrap()), None);
    }

    #[test]
    fn constant_share_has_a_wilson_interval_over_the_groups() {
        let all =
            GroupedMean::share([("a", true), ("b", true), ("b", true)], &bootstrap()).unwrap();
        assert_eq!((all.value, all.n, all.interval), (1.0, 3, wilson(2, 2)));
        let none = GroupedMean::share([("a", false)], &bootstrap()).unwrap();
        assert_eq!((none.value, none.interval), (0.0, wilson(0, 1)));
        let half = GroupedMean::share([("a", true), ("a", false)], &bootstrap()).unwrap();
        assert_eq!((half.value, half.interval), (0.5, None));
    }
}

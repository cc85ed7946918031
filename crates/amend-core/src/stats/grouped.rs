//! Means of values that come in groups: several values of one group are no
//! independent evidence.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Bootstrap, Interval, mean, wilson};

/// A mean of values that come in groups.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GroupedMean {
    /// The mean of all values.
    pub value: f64,
    /// Its 95 % interval; none where one group holds all values, since nothing
    /// then tells how groups differ.
    pub interval: Option<Interval>,
    /// How many values there are.
    pub n: usize,
    /// How many groups they come in.
    pub groups: usize,
}

/// The indices of values by the names of their groups, in order of name.
#[must_use]
pub fn groups<'a>(names: impl IntoIterator<Item = &'a str>) -> Vec<Vec<usize>> {
    let mut groups: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for (at, name) in names.into_iter().enumerate() {
        groups.entry(name).or_default().push(at);
    }
    groups.into_values().collect()
}

impl GroupedMean {
    /// The mean of values, each with the name of its group; `None` without any.
    /// Whole groups are drawn for the interval.
    #[must_use]
    pub fn new<'a>(
        values: impl IntoIterator<Item = (&'a str, f64)>,
        bootstrap: &Bootstrap,
    ) -> Option<Self> {
        let (names, all): (Vec<&str>, Vec<f64>) = values.into_iter().unzip();
        Self::of(&groups(names), bootstrap, |rows| mean(rows.iter().map(|&row| all[row])))
    }

    /// Any figure of values that come in groups, each of which holds the indices of
    /// its values; `None` where `statistic` of all of them is.
    #[must_use]
    pub fn of(
        groups: &[Vec<usize>],
        bootstrap: &Bootstrap,
        statistic: impl Fn(&[usize]) -> Option<f64>,
    ) -> Option<Self> {
        let all: Vec<usize> = groups.concat();
        let value = statistic(&all)?;
        let found = bootstrap.clustered(groups, statistic).filter(|_| groups.len() > 1);
        let interval = found.map(|found| Interval { low: found.low, high: found.high });
        Some(Self { value, interval, n: all.len(), groups: groups.len() })
    }

    /// The share of trues. Where all values are the same, no resample differs: the
    /// interval is then [`wilson`]'s over the groups.
    #[must_use]
    pub fn share<'a>(
        values: impl IntoIterator<Item = (&'a str, bool)>,
        bootstrap: &Bootstrap,
    ) -> Option<Self> {
        let values = values.into_iter().map(|(group, value)| (group, f64::from(u8::from(value))));
        let found = Self::new(values, bootstrap)?;
        let interval = if found.value == 0.0 {
            wilson(0, found.groups)
        } else if found.value == 1.0 {
            wilson(found.groups, found.groups)
        } else {
            found.interval
        };
        Some(Self { interval, ..found })
    }

    /// Whether the interval leaves 0 out, and the groups are enough to say so: a
    /// few that happen to have the same sign always leave it out, and five do by
    /// chance in 6 % of cases (2 · 2⁻⁵).
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

    fn bootstrap() -> Bootstrap {
        Bootstrap::new(Stream::new(1), 1000)
    }

    #[test]
    fn groups_are_drawn_whole() {
        // Of two groups a resample has the first twice, both, or the second twice:
        // means 0, 8/3 and 4, the outer ones in a quarter of the cases each.
        let values = [("a", 0.0), ("b", 3.0), ("b", 5.0)];
        let found = GroupedMean::new(values, &bootstrap()).unwrap();
        assert_eq!((found.value, found.n, found.groups), (8.0 / 3.0, 3, 2));
        assert_eq!(found.interval, Some(Interval { low: 0.0, high: 4.0 }));
        assert!(!found.is_apart_from_zero());
    }

    #[test]
    fn a_few_groups_of_one_sign_are_not_apart_from_zero() {
        for (count, apart) in [(5, false), (6, true)] {
            let names: Vec<String> = (0..count).map(|at| at.to_string()).collect();
            let values = names.iter().zip(1..).map(|(name, at)| (name.as_str(), f64::from(at)));
            let found = GroupedMean::new(values, &bootstrap()).unwrap();
            assert!(found.interval.unwrap().low > 0.0);
            assert_eq!(found.is_apart_from_zero(), apart, "{found:?}");
        }
    }

    #[test]
    fn one_group_has_no_interval() {
        let found = GroupedMean::new([("a", 1.0), ("a", 3.0)], &bootstrap()).unwrap();
        assert_eq!((found.value, found.interval, found.groups), (2.0, None, 1));
        assert!(!found.is_apart_from_zero());
        assert_eq!(GroupedMean::new([], &bootstrap()), None);
    }

    #[test]
    fn a_share_without_variation_has_wilsons_interval_over_the_groups() {
        let all =
            GroupedMean::share([("a", true), ("b", true), ("b", true)], &bootstrap()).unwrap();
        assert_eq!((all.value, all.n, all.interval), (1.0, 3, wilson(2, 2)));
        let none = GroupedMean::share([("a", false)], &bootstrap()).unwrap();
        assert_eq!((none.value, none.interval), (0.0, wilson(0, 1)));
        let one = GroupedMean::share([("a", true), ("a", false)], &bootstrap()).unwrap();
        assert_eq!((one.value, one.interval), (0.5, None));
    }
}

//! Bootstrap intervals: how a figure varies when its data are drawn anew.

use super::{Estimate, Interval, quantile};
use crate::random::Stream;

/// Draws resamples with replacement and takes percentiles of the figure over
/// them (the percentile method of Efron 1979). The same stream gives the same
/// resamples of as many units, so figures of one bootstrap vary together.
///
/// A resample on which the figure is undefined is left out. If that befalls more
/// than half of them, there is no interval.
#[derive(Debug, Clone, Copy)]
pub struct Bootstrap {
    stream: Stream,
    resamples: u32,
}

impl Bootstrap {
    /// A bootstrap of as many `resamples`, drawn from `stream`. A thousand are
    /// enough for 95 % intervals.
    #[must_use]
    pub fn new(stream: Stream, resamples: u32) -> Self {
        Self { stream, resamples }
    }

    /// The interval of `statistic` over `n` independent units. It is given the
    /// indices of the units drawn, `n` of them.
    pub fn interval(
        &self,
        n: usize,
        statistic: impl FnMut(&[usize]) -> Option<f64>,
    ) -> Option<Interval> {
        self.percentiles(n, |unit, rows| rows.push(unit), statistic)
    }

    /// `statistic` of all `n` units in order, with its interval.
    pub fn estimate(
        &self,
        n: usize,
        mut statistic: impl FnMut(&[usize]) -> Option<f64>,
    ) -> Option<Estimate> {
        let all: Vec<usize> = (0..n).collect();
        let value = statistic(&all)?;
        Some(Estimate::new(value, self.interval(n, statistic)?, n))
    }

    /// The paired difference a − b of two figures of the same `n` units: both see
    /// the same resample, so what they have in common cancels.
    pub fn difference(
        &self,
        n: usize,
        mut a: impl FnMut(&[usize]) -> Option<f64>,
        mut b: impl FnMut(&[usize]) -> Option<f64>,
    ) -> Option<Estimate> {
        self.estimate(n, |rows| Some(a(rows)? - b(rows)?))
    }

    /// As [`Bootstrap::estimate`], for units that depend on each other within
    /// groups (answers to one prompt, say): whole groups are drawn. `groups` holds
    /// the indices of each group's units.
    pub fn clustered(
        &self,
        groups: &[Vec<usize>],
        mut statistic: impl FnMut(&[usize]) -> Option<f64>,
    ) -> Option<Estimate> {
        let all: Vec<usize> = groups.concat();
        let value = statistic(&all)?;
        let draw = |group: usize, rows: &mut Vec<usize>| rows.extend(&groups[group]);
        Some(Estimate::new(value, self.percentiles(groups.len(), draw, statistic)?, all.len()))
    }

    /// Draws `units` units per resample; `take` adds the rows of a drawn unit.
    fn percentiles(
        &self,
        units: usize,
        take: impl Fn(usize, &mut Vec<usize>),
        mut statistic: impl FnMut(&[usize]) -> Option<f64>,
    ) -> Option<Interval> {
        let mut rows = Vec::with_capacity(units);
        let mut values = Vec::with_capacity(self.resamples as usize);
        let mut position = 0;
        for _ in 0..self.resamples {
            rows.clear();
            for _ in 0..units {
                let unit = (self.stream.uniform(position) * units as f64) as usize;
                position += 1;
                take(unit, &mut rows);
            }
            values.extend(statistic(&rows).filter(|value| value.is_finite()));
        }
        if values.len() * 2 < self.resamples as usize {
            return None;
        }
        values.sort_by(f64::total_cmp);
        Some(Interval { low: quantile(&values, 0.025)?, high: quantile(&values, 0.975)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::mean;

    fn bootstrap(seed: u64) -> Bootstrap {
        Bootstrap::new(Stream::new(seed), 2000)
    }

    fn mean_of<'a>(values: &'a [f64]) -> impl Fn(&[usize]) -> Option<f64> + 'a {
        |rows| mean(rows.iter().map(|&i| values[i]))
    }

    /// 0, 1, …, 99: the mean's standard error is √(9999/12)/√100 = 2.8866.
    fn ramp() -> Vec<f64> {
        (0..100).map(f64::from).collect()
    }

    #[test]
    fn the_interval_of_a_mean_is_the_normal_one() {
        let found = bootstrap(1).estimate(100, mean_of(&ramp())).unwrap();
        assert_eq!((found.value, found.n), (49.5, 100));
        assert!((found.low - (49.5 - 1.96 * 2.8866)).abs() < 0.5, "{found:?}");
        assert!((found.high - (49.5 + 1.96 * 2.8866)).abs() < 0.5, "{found:?}");
    }

    #[test]
    fn the_seed_fixes_the_interval() {
        let ramp = ramp();
        let of = |seed| bootstrap(seed).interval(100, mean_of(&ramp));
        assert_eq!(of(1), of(1));
        assert_ne!(of(1), of(2));
    }

    #[test]
    fn intervals_cover_the_truth_about_as_often_as_they_say() {
        // 200 samples of 60 uniform numbers, whose mean is ½.
        let covered = (0..200)
            .filter(|&sample| {
                let stream = Stream::new(sample).child("data");
                let values: Vec<f64> = (0..60).map(|at| stream.uniform(at)).collect();
                let found = Bootstrap::new(Stream::new(sample), 400).interval(60, mean_of(&values));
                found.is_some_and(|found| found.low <= 0.5 && 0.5 <= found.high)
            })
            .count();
        // Binomial (200, 0.95): 176 to 199 in all but 1 case of 10,000.
        assert!((176..=199).contains(&covered), "{covered}");
    }

    #[test]
    fn a_paired_difference_is_surer_than_its_parts() {
        let a = ramp();
        let b: Vec<f64> = a.iter().map(|value| value - 1.0).collect();
        let found = bootstrap(1).difference(100, mean_of(&a), mean_of(&b)).unwrap();
        for end in [found.value, found.low, found.high] {
            assert!((end - 1.0).abs() < 1e-9, "{found:?}");
        }
    }

    #[test]
    fn copies_in_groups_are_no_new_evidence() {
        // Each of 20 values four times: the interval must be that of 20 values.
        let single: Vec<f64> = (0..20).map(f64::from).collect();
        let copies: Vec<f64> = single.iter().flat_map(|&value| [value; 4]).collect();
        let groups: Vec<Vec<usize>> = (0..20).map(|g| (4 * g..4 * g + 4).collect()).collect();
        let grouped = bootstrap(1).clustered(&groups, mean_of(&copies)).unwrap();
        let alone = bootstrap(1).estimate(20, mean_of(&single)).unwrap();
        assert_eq!(
            (grouped.value, grouped.low, grouped.high),
            (alone.value, alone.low, alone.high)
        );
        assert_eq!((grouped.n, alone.n), (80, 20));
    }

    #[test]
    fn what_is_undefined_has_no_interval() {
        assert_eq!(bootstrap(1).estimate(0, mean_of(&[])), None);
        assert_eq!(bootstrap(1).interval(3, |_| None), None);
        assert_eq!(bootstrap(1).interval(3, |_| Some(f64::NAN)), None);
        // Defined only where unit 0 was drawn three times: 1 resample in 27.
        let rare = |rows: &[usize]| rows.iter().all(|&row| row == 0).then_some(1.0);
        assert_eq!(bootstrap(1).interval(3, rare), None);
        // Where it was drawn at all, 19 in 27: an interval.
        let common = |rows: &[usize]| rows.contains(&0).then_some(1.0);
        assert_eq!(bootstrap(1).interval(3, common), Some(Interval { low: 1.0, high: 1.0 }));
        assert_eq!(Bootstrap::new(Stream::new(1), 0).interval(3, |_| Some(1.0)), None);
    }
}

//! Bootstrap intervals: the variation of a figure over resamples of its data.

use super::{Estimate, Interval, quantile};
use crate::random::Stream;

/// The number of resamples behind an interval.
pub const RESAMPLES: u32 = 2000;

/// Draws resamples with replacement and takes percentiles of a figure over them (the
/// percentile method, Efron 1979). For the same number of units, the same stream
/// gives the same resamples, so the figures of one bootstrap vary together.
///
/// A resample on which the figure is undefined is left out. If more than half of
/// them are left out, there is no interval.
#[derive(Debug, Clone, Copy)]
pub struct Bootstrap {
    stream: Stream,
    resamples: u32,
}

impl Bootstrap {
    /// A bootstrap with this many resamples, usually [`RESAMPLES`], drawn from
    /// `stream`.
    #[must_use]
    pub fn new(stream: Stream, resamples: u32) -> Self {
        Self { stream, resamples }
    }

    /// The interval of `statistic` over `n` independent units. `statistic` receives
    /// the indices of the `n` units drawn.
    pub fn interval(
        &self,
        n: usize,
        statistic: impl FnMut(&[usize]) -> Option<f64>,
    ) -> Option<Interval> {
        self.percentiles(n, |unit, rows| rows.push(unit), statistic)
    }

    /// The value of `statistic` for all `n` units in order, with its interval.
    pub fn estimate(
        &self,
        n: usize,
        mut statistic: impl FnMut(&[usize]) -> Option<f64>,
    ) -> Option<Estimate> {
        let all: Vec<usize> = (0..n).collect();
        let value = statistic(&all)?;
        Some(Estimate::new(value, self.interval(n, statistic)?, n))
    }

    /// The paired difference a − b of two figures of the same `n` units. Both receive
    /// the same resamples, so their common variation cancels.
    pub fn difference(
        &self,
        n: usize,
        mut a: impl FnMut(&[usize]) -> Option<f64>,
        mut b: impl FnMut(&[usize]) -> Option<f64>,
    ) -> Option<Estimate> {
        self.estimate(n, |rows| Some(a(rows)? - b(rows)?))
    }

    /// The same as [`Bootstrap::estimate`], for units that depend on each other
    /// within groups, such as answers to one prompt. Whole groups are drawn. `groups`
    /// holds the indices of each group's units.
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

    /// As [`Bootstrap::estimate`], for several statistics of the same `n` units. Each
    /// resample is drawn once for all of them, and the estimates are those that
    /// [`Bootstrap::estimate`] gives.
    pub fn estimates(
        &self,
        n: usize,
        statistics: &[impl Fn(&[usize]) -> Option<f64>],
    ) -> Vec<Option<Estimate>> {
        let all: Vec<usize> = (0..n).collect();
        let mut values: Vec<Vec<f64>> = vec![Vec::new(); statistics.len()];
        self.each_resample(
            n,
            |unit, rows| rows.push(unit),
            |rows| {
                for (values, statistic) in values.iter_mut().zip(statistics) {
                    values.extend(statistic(rows).filter(|value| value.is_finite()));
                }
            },
        );
        let mut estimates = Vec::with_capacity(statistics.len());
        for (values, statistic) in values.into_iter().zip(statistics) {
            let interval = self.middle(values);
            let estimate = statistic(&all).zip(interval);
            estimates.push(estimate.map(|(value, interval)| Estimate::new(value, interval, n)));
        }
        estimates
    }

    /// Draws `units` units for each resample; `take` adds the rows of a drawn unit.
    fn percentiles(
        &self,
        units: usize,
        take: impl Fn(usize, &mut Vec<usize>),
        mut statistic: impl FnMut(&[usize]) -> Option<f64>,
    ) -> Option<Interval> {
        let mut values = Vec::with_capacity(self.resamples as usize);
        self.each_resample(units, take, |rows| {
            values.extend(statistic(rows).filter(|value| value.is_finite()));
        });
        self.middle(values)
    }

    /// Draws the resamples, one after another, and hands the rows of each to `each`.
    fn each_resample(
        &self,
        units: usize,
        take: impl Fn(usize, &mut Vec<usize>),
        mut each: impl FnMut(&[usize]),
    ) {
        let mut rows = Vec::with_capacity(units);
        let mut position = 0;
        for _ in 0..self.resamples {
            rows.clear();
            for _ in 0..units {
                let unit = (self.stream.uniform(position) * units as f64) as usize;
                position += 1;
                take(unit, &mut rows);
            }
            each(&rows);
        }
    }

    /// The middle 95 % of a statistic's values over the resamples. `None` if it is
    /// defined on less than half of the resamples.
    fn middle(&self, mut values: Vec<f64>) -> Option<Interval> {
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
        Bootstrap::new(Stream::new(seed), RESAMPLES)
    }

    fn mean_of<'a>(values: &'a [f64]) -> impl Fn(&[usize]) -> Option<f64> + 'a {
        |rows| mean(rows.iter().map(|&i| values[i]))
    }

    /// 0, 1, …, 99: the mean's standard error is √(9999/12)/√100 = 2.8866.
    fn ramp() -> Vec<f64> {
        (0..100).map(f64::from).collect()
    }

    #[test]
    fn interval_of_a_mean_is_near_the_normal_one() {
        let interval = bootstrap(1).estimate(100, mean_of(&ramp())).unwrap();
        assert_eq!((interval.value, interval.n), (49.5, 100));
        assert!((interval.low - (49.5 - 1.96 * 2.8866)).abs() < 0.5, "{interval:?}");
        assert!((interval.high - (49.5 + 1.96 * 2.8866)).abs() < 0.5, "{interval:?}");
    }

    #[test]
    fn seed_determines_the_interval() {
        let ramp = ramp();
        let interval = |seed| bootstrap(seed).interval(100, mean_of(&ramp));
        assert_eq!(interval(1), interval(1));
        assert_ne!(interval(1), interval(2));
    }

    #[test]
    fn estimates_of_several_statistics_are_those_of_each() {
        let ramp = ramp();
        let halves: Vec<f64> = ramp.iter().map(|value| value / 2.0).collect();
        let statistics = [mean_of(&ramp), mean_of(&halves), mean_of(&[])];
        let each = statistics[..2].iter().map(|statistic| bootstrap(1).estimate(100, statistic));
        let together = bootstrap(1).estimates(100, &statistics[..2]);
        assert_eq!(together, each.collect::<Vec<_>>());
        let undefined = bootstrap(1).estimates(3, &[|_: &[usize]| None]);
        assert_eq!(undefined, [None]);
        assert_eq!(bootstrap(1).estimates(0, &statistics[2..]), [None]);
    }

    #[test]
    fn intervals_have_about_their_nominal_coverage() {
        // 200 samples of 60 uniform numbers, whose mean is ½.
        let covered = (0..200)
            .filter(|&sample| {
                let stream = Stream::new(sample).child("data");
                let values: Vec<f64> = (0..60).map(|at| stream.uniform(at)).collect();
                let interval =
                    Bootstrap::new(Stream::new(sample), 400).interval(60, mean_of(&values));
                interval.is_some_and(|interval| interval.low <= 0.5 && 0.5 <= interval.high)
            })
            .count();
        // Binomial(200, 0.95): from 176 to 199, except in 1 case of 10,000.
        assert!((176..=199).contains(&covered), "{covered}");
    }

    #[test]
    fn paired_difference_varies_less_than_its_parts() {
        let a = ramp();
        let b: Vec<f64> = a.iter().map(|value| value - 1.0).collect();
        let interval = bootstrap(1).difference(100, mean_of(&a), mean_of(&b)).unwrap();
        for end in [interval.value, interval.low, interval.high] {
            assert!((end - 1.0).abs() < 1e-9, "{interval:?}");
        }
    }

    #[test]
    fn copies_within_groups_leave_the_interval_unchanged() {
        // With each of 20 values four times, the interval is that of the 20 values.
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
    fn undefined_figures_have_no_interval() {
        assert_eq!(bootstrap(1).estimate(0, mean_of(&[])), None);
        assert_eq!(bootstrap(1).interval(3, |_| None), None);
        assert_eq!(bootstrap(1).interval(3, |_| Some(f64::NAN)), None);
        // Defined only if unit 0 is drawn three times: in 1 resample of 27.
        let rare = |rows: &[usize]| rows.iter().all(|&row| row == 0).then_some(1.0);
        assert_eq!(bootstrap(1).interval(3, rare), None);
        // Defined if unit 0 is drawn at all: in 19 resamples of 27.
        let common = |rows: &[usize]| rows.contains(&0).then_some(1.0);
        assert_eq!(bootstrap(1).interval(3, common), Some(Interval { low: 1.0, high: 1.0 }));
        assert_eq!(Bootstrap::new(Stream::new(1), 0).interval(3, |_| Some(1.0)), None);
    }
}

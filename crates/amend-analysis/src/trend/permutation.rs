//! A permutation test of whether the latest run differs from earlier ones, for many
//! measures at once.
//!
//! If nothing changed, the answers of an item are drawn alike in every run, so any of the
//! runs could be the latest (Pitman 1937). Each permutation draws, for each item, the run
//! that stands for the latest; the variants of an item and all its measures are drawn
//! together. This needs no assumption about the distribution of values, and it holds for
//! few items and for rare failures.
//!
//! A contrast is compared with the greatest of all contrasts in each permutation, each in
//! units of its own standard deviation (the max-T method, Westfall and Young 1993). The
//! probability that any contrast leaves its bound although nothing changed is then at
//! most [`ALPHA`], however many there are and however they depend on each other.

use serde::Serialize;

use amend_core::random::Stream;

/// The probability of a false alarm in a series in which nothing changed.
pub const ALPHA: f64 = 0.05;

/// The number of permutations. With the observed order they make 2,000.
pub const PERMUTATIONS: u32 = 1999;

/// Relative differences below this are rounding.
const ROUNDING: f64 = 1e-9;

/// The values of one answer in every run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PairedValues {
    /// The number of the item. Answers of one item are not independent.
    pub group: usize,
    /// The number of values behind each mean.
    pub weight: f64,
    /// The mean of the answer's values in each run; `None` where it has none.
    pub means: Vec<Option<f64>>,
}

/// The latest run against earlier runs, in one measure. Answers count that have values in
/// the latest run and in an earlier one.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Contrast {
    /// The numbers of the earlier runs.
    earlier: Vec<usize>,
    /// The mean in the earlier runs.
    before: f64,
    /// The mean in the latest run.
    latest: f64,
    answers: Vec<ContrastAnswer>,
}

/// What an answer adds to a contrast, for each run that may stand for the latest.
#[derive(Debug, Clone, PartialEq)]
struct ContrastAnswer {
    group: usize,
    /// By run: the weighted difference between that run and the mean of the others, as a
    /// share of the contrast; `None` for runs that the answer isn't compared in.
    differences: Vec<Option<f64>>,
}

/// How the latest run differs from earlier ones, in one measure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrendChange {
    /// The numbers of the earlier runs, from 0.
    pub earlier: Vec<usize>,
    /// The mean in the earlier runs.
    pub before: f64,
    /// The mean in the latest run, of the same answers.
    pub latest: f64,
    /// `latest` − `before`.
    pub change: f64,
    /// Half the width of the band: the greatest difference, in either direction, that is
    /// not a finding.
    pub bound: f64,
    /// The probability of such a change in any of the measures if nothing changed.
    pub p: f64,
    /// The number of answers compared.
    pub n: usize,
    /// The number of items that they belong to.
    pub groups: usize,
}

impl TrendChange {
    /// The band around the mean of the earlier runs.
    #[must_use]
    pub fn band(&self) -> [f64; 2] {
        [self.before - self.bound, self.before + self.bound]
    }

    /// Whether the change is beyond its bound.
    #[must_use]
    pub fn is_out(&self) -> bool {
        self.change.abs() > self.bound
    }
}

impl Contrast {
    /// The contrast between the last run of `values` and the runs `earlier`. `None` if no
    /// answer has values in the last run and in one of them.
    pub fn new(values: &[PairedValues], earlier: &[usize]) -> Option<Self> {
        let runs = values.first()?.means.len();
        let last = runs - 1;
        let mut contrast =
            Self { earlier: earlier.to_vec(), before: 0.0, latest: 0.0, answers: Vec::new() };
        let mut weights = 0.0;
        for PairedValues { group, weight, means } in values {
            let mut present: Vec<(usize, f64)> =
                earlier.iter().filter_map(|&run| Some((run, means[run]?))).collect();
            let Some(latest) = means[last] else { continue };
            if present.is_empty() {
                continue;
            }
            let others = present.len() as f64;
            contrast.before += weight * present.iter().map(|&(_, mean)| mean).sum::<f64>() / others;
            contrast.latest += weight * latest;
            weights += weight;
            present.push((last, latest));
            let mut differences = vec![None; runs];
            for &(run, mean) in &present {
                let rest = present.iter().filter(|&&(other, _)| other != run);
                let rest = rest.map(|&(_, mean)| mean).sum::<f64>() / others;
                let difference = mean - rest;
                let is_rounding = difference.abs() < ROUNDING * mean.abs();
                differences[run] = Some(if is_rounding { 0.0 } else { weight * difference });
            }
            contrast.answers.push(ContrastAnswer { group: *group, differences });
        }
        if contrast.answers.is_empty() {
            return None;
        }
        contrast.before /= weights;
        contrast.latest /= weights;
        for difference in contrast.answers.iter_mut().flat_map(|answer| &mut answer.differences) {
            *difference = difference.map(|difference| difference / weights);
        }
        Some(contrast)
    }

    /// The change if, of each group, the first run of its order stands for the latest.
    fn change(&self, orders: &[Vec<usize>]) -> f64 {
        let one = |answer: &ContrastAnswer| {
            orders[answer.group].iter().find_map(|&run| answer.differences[run]).unwrap_or(0.0)
        };
        self.answers.iter().map(one).sum()
    }

    fn groups(&self) -> usize {
        let mut groups: Vec<usize> = self.answers.iter().map(|answer| answer.group).collect();
        groups.sort_unstable();
        groups.dedup();
        groups.len()
    }
}

/// Tests all contrasts together. `groups` is the number of items and `runs` that of runs.
pub(super) fn changes(
    contrasts: Vec<Contrast>,
    groups: usize,
    runs: usize,
    stream: Stream,
    permutations: u32,
) -> Vec<TrendChange> {
    let mut orders = vec![(0..runs).rev().collect::<Vec<usize>>(); groups];
    let observed: Vec<f64> = contrasts.iter().map(|contrast| contrast.change(&orders)).collect();
    let mut position = 0;
    let mut permuted: Vec<Vec<f64>> = Vec::with_capacity(permutations as usize);
    for _ in 0..permutations {
        for order in &mut orders {
            // Fisher and Yates, in Durstenfeld's form.
            for at in (1..runs).rev() {
                let other = (stream.uniform(position) * (at + 1) as f64) as usize;
                position += 1;
                order.swap(at, other);
            }
        }
        permuted.push(contrasts.iter().map(|contrast| contrast.change(&orders)).collect());
    }
    // The mean over all permutations is 0.
    let deviation = |at: usize| {
        let squares: f64 = permuted.iter().map(|changes| changes[at] * changes[at]).sum();
        (squares / f64::from(permutations.max(1))).sqrt()
    };
    let deviations: Vec<f64> = (0..contrasts.len()).map(deviation).collect();
    let scaled = |change: f64, at: usize| {
        if deviations[at] > 0.0 { change.abs() / deviations[at] } else { 0.0 }
    };
    let greatest = |changes: &Vec<f64>| {
        changes.iter().enumerate().map(|(at, &change)| scaled(change, at)).fold(0.0, f64::max)
    };
    let mut greatest: Vec<f64> = permuted.iter().map(greatest).collect();
    greatest.sort_by(|a, b| b.total_cmp(a));
    // The observed order is one of the permutations (Phipson and Smyth 2010).
    let all = f64::from(permutations) + 1.0;
    let allowed = (ALPHA * all).floor() as usize;
    let critical = match allowed.checked_sub(1) {
        Some(at) => greatest.get(at).copied().unwrap_or(f64::INFINITY),
        None => f64::INFINITY,
    };
    let mut results = Vec::with_capacity(contrasts.len());
    for (at, contrast) in contrasts.into_iter().enumerate() {
        let statistic = scaled(observed[at], at);
        let as_great = greatest.iter().filter(|&&most| most >= statistic - ROUNDING).count();
        results.push(TrendChange {
            change: observed[at],
            bound: (critical + ROUNDING) * deviations[at],
            p: (as_great as f64 + 1.0) / all,
            n: contrast.answers.len(),
            groups: contrast.groups(),
            earlier: contrast.earlier,
            before: contrast.before,
            latest: contrast.latest,
        });
    }
    results
}

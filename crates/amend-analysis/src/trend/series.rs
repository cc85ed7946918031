//! The values of one measure in every run of a series.

use std::collections::{BTreeMap, BTreeSet};

use super::comparable::{other_judge, repeats, same_items};
use super::permutation::{Contrast, PairedValues};
use super::{TrendInput, TrendPoint};
use crate::evaluation::{EvaluatedItem, Measure, Slice, figure, measures};
use amend_core::stats::{Bootstrap, mean};

/// The runs of a series, and what of them is comparable with the latest.
pub(super) struct ComparableRuns<'a> {
    runs: &'a [TrendInput<'a>],
    /// The ids of the items of each run that the latest run has alike.
    items: Vec<BTreeSet<&'a str>>,
    /// For each run, the later runs before the latest whose answers it repeats.
    repeated: Vec<Vec<usize>>,
    /// The number of each item, by id.
    groups: BTreeMap<&'a str, usize>,
}

/// A measure of a series.
pub(super) struct MeasureSeries {
    pub measure: Measure,
    pub slice: Slice,
    pub points: Vec<TrendPoint>,
    /// The latest run against all earlier runs that count.
    pub shift: Option<Contrast>,
    /// The latest run against the first; `None` if there is only one earlier run.
    pub drift: Option<Contrast>,
    /// What differs in the judging of earlier runs, with their numbers.
    pub other_judges: Vec<(usize, &'static str)>,
}

impl<'a> ComparableRuns<'a> {
    /// The runs in the order of time. At least one is needed.
    pub fn new(runs: &'a [TrendInput<'a>]) -> Self {
        let last = runs.len() - 1;
        let latest = runs[last].manifest.input.set.as_ref();
        let items: Vec<BTreeSet<&str>> = runs
            .iter()
            .map(|run| match (latest, &run.manifest.input.set) {
                (Some(latest), Some(set)) => same_items(latest, set),
                _ => BTreeSet::new(),
            })
            .collect();
        let is_repeated = |run: usize| {
            let later = run + 1..last;
            later.filter(|&other| repeats(&runs[run].results, &runs[other].results)).collect()
        };
        let groups = items[last].iter().enumerate().map(|(at, &id)| (id, at)).collect();
        Self { runs, repeated: (0..last).map(is_repeated).collect(), items, groups }
    }

    /// The number of items of the latest run's set.
    pub fn groups(&self) -> usize {
        self.groups.len()
    }

    /// The number of items that the latest run and an earlier one have answers to.
    pub fn common_items(&self) -> usize {
        let last = self.runs.len() - 1;
        let ids = |run: usize| self.answers(run).map(|answer| &*answer.item);
        let earlier: BTreeSet<&str> = (0..last).flat_map(ids).collect();
        ids(last).collect::<BTreeSet<&str>>().intersection(&earlier).count()
    }

    /// The answers of a run to items that the latest run has alike.
    pub fn answers(&self, run: usize) -> impl Iterator<Item = &'a EvaluatedItem> {
        let items = &self.items[run];
        self.runs[run].results.answers.iter().filter(|answer| items.contains(&*answer.item))
    }

    /// A later run whose answers a run repeats.
    pub fn repeated(&self, run: usize) -> Option<usize> {
        self.repeated.get(run)?.last().copied()
    }

    /// The measures that the latest run has.
    pub fn measures(&self) -> Vec<Measure> {
        let manifest = self.runs[self.runs.len() - 1].manifest;
        let dimensions = manifest.constitution.value.dimensions.iter();
        let ids: Vec<String> = dimensions.map(|dimension| dimension.id.clone()).collect();
        measures(&ids).iter().map(|name| Measure::named(name)).collect()
    }

    /// Whether an earlier run has values of a measure and the latest has none.
    pub fn is_missing(&self, measure: &Measure) -> bool {
        let values = self.values(measure, &Slice::default());
        let last = self.runs.len() - 1;
        let has = |run: usize| values.values().any(|answer| answer.means[run].is_some());
        !has(last) && (0..last).any(has)
    }

    /// The series of a measure; `None` if the latest run has no values of it.
    pub fn series(
        &self,
        measure: &Measure,
        slice: &Slice,
        bootstrap: &Bootstrap,
    ) -> Option<MeasureSeries> {
        let last = self.runs.len() - 1;
        let mut other_judges = Vec::new();
        let mut judged_alike = Vec::new();
        for run in 0..last {
            match other_judge(measure, self.runs[run].manifest, self.runs[last].manifest) {
                Some(difference) => other_judges.push((run, difference)),
                None => judged_alike.push(run),
            }
        }
        let values = self.values(measure, slice);
        let in_use = |run: usize| values.values().any(|answer| answer.means[run].is_some());
        if !in_use(last) {
            return None;
        }
        judged_alike.retain(|&run| in_use(run));
        let counted = self.independent(&judged_alike);
        let all: Vec<PairedValues> = values.values().cloned().collect();
        let first = match judged_alike[..] {
            [first, _, ..] => Some(first),
            _ => None,
        };
        let points = self.points(measure, slice, &values, &judged_alike, bootstrap);
        Some(MeasureSeries {
            measure: measure.clone(),
            slice: slice.clone(),
            points,
            shift: Contrast::new(&all, &counted),
            drift: first.and_then(|first| Contrast::new(&all, &[first])),
            other_judges,
        })
    }

    /// Of these runs, in the order of time, those that repeat no later one.
    fn independent(&self, runs: &[usize]) -> Vec<usize> {
        let mut kept: Vec<usize> = Vec::new();
        for &run in runs.iter().rev() {
            if !self.repeated[run].iter().any(|later| kept.contains(later)) {
                kept.insert(0, run);
            }
        }
        kept
    }

    /// The values of each answer in all runs, by the answer's name.
    fn values(&self, measure: &Measure, slice: &Slice) -> BTreeMap<String, PairedValues> {
        let mut values: BTreeMap<String, PairedValues> = BTreeMap::new();
        for (run, input) in self.runs.iter().enumerate() {
            for answer in self.answers(run).filter(|answer| slice.has(answer)) {
                let own = measure.values(answer, input.results.mass_floor);
                let Some(&group) = self.groups.get(&*answer.item) else { continue };
                let Some(own_mean) = mean(own.iter().copied()) else { continue };
                let paired = values.entry(answer.name()).or_insert_with(|| PairedValues {
                    group,
                    weight: 1.0,
                    means: vec![None; self.runs.len()],
                });
                // The latest run comes last, and its weights stay.
                paired.weight = own.len() as f64;
                paired.means[run] = Some(own_mean);
            }
        }
        values
    }

    /// The mean of every run. A run that is compared, and the latest, are measured over
    /// the answers that both have.
    fn points(
        &self,
        measure: &Measure,
        slice: &Slice,
        values: &BTreeMap<String, PairedValues>,
        judged_alike: &[usize],
        bootstrap: &Bootstrap,
    ) -> Vec<TrendPoint> {
        let last = self.runs.len() - 1;
        let is_paired = |answer: &EvaluatedItem| {
            let means = values.get(&answer.name()).map(|paired| &paired.means);
            means.is_some_and(|means| {
                means[last].is_some() && judged_alike.iter().any(|&run| means[run].is_some())
            })
        };
        let mut points = Vec::new();
        for (run, input) in self.runs.iter().enumerate() {
            let is_compared = judged_alike.contains(&run) || run == last;
            let only_paired = is_compared && !judged_alike.is_empty();
            let answers: Vec<EvaluatedItem> = self
                .answers(run)
                .filter(|answer| !only_paired || is_paired(answer))
                .cloned()
                .collect();
            let floor = input.results.mass_floor;
            if let Some(figure) = figure(&answers, slice, measure, floor, bootstrap) {
                points.push(TrendPoint { run, is_compared, mean: figure.mean });
            }
        }
        points
    }
}

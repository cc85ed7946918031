//! A series of evaluations over time: every measure with its intervals, and a finding when
//! the latest run leaves the band of the earlier ones. Pure: it compares manifests and
//! results that the caller has read.
//!
//! `comparable` decides which items, judges and runs can be compared, `series` pairs the
//! values of a measure, `permutation` tests all measures together, and `finding` says what
//! changed.

mod comparable;
mod finding;
mod permutation;
mod series;

use serde::Serialize;

use self::series::{ComparableRuns, MeasureSeries};
use crate::evaluation::{Measure, Results, Slice};
use amend_core::random::Stream;
use amend_core::stats::{Bootstrap, GroupedMean, RESAMPLES};
use amend_core::text::format::{list, plural};
use amend_data::eval_set::{EvalSet, ItemKind};
use amend_data::store::manifest::Manifest;

pub use finding::{TrendFinding, TrendFindingKind, WorseDirection};
pub use permutation::{ALPHA, PERMUTATIONS, TrendChange};

/// The most runs of a series.
pub const MOST_RUNS: usize = 200;

/// The least change that is a finding, unless the options name another: that of the last
/// digit that is printed.
pub const LEAST_CHANGE: f64 = 0.01;

/// The version of the format of `amend trend --json`.
const FORMAT: u32 = 1;

/// A run of a series.
#[derive(Debug, Clone)]
pub struct TrendInput<'a> {
    /// The name for messages: the run's directory as the user gave it.
    pub name: String,
    /// The run's manifest.
    pub manifest: &'a Manifest,
    /// The results of its evaluation.
    pub results: Results,
}

/// What to compare, and what to report.
#[derive(Debug, Clone, Default)]
pub struct TrendOptions {
    /// Whether each measure is also compared over each kind of item.
    pub by_kind: bool,
    /// The least change that is a finding: of all measures (`None`) or of the named one.
    /// The last entry that applies counts; without one, it is [`LEAST_CHANGE`].
    pub min_changes: Vec<(Option<String>, f64)>,
    /// Whether changes for the better are no findings.
    pub only_worse: bool,
}

/// A series of evaluations.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Trend {
    /// The version of this format: 1.
    pub format: u32,
    /// The name of the evaluation set.
    pub set: String,
    /// The runs, the oldest first.
    pub runs: Vec<TrendedRun>,
    /// The measures of the latest run.
    pub measures: Vec<MeasureTrend>,
    /// The measures whose change is a finding.
    pub findings: Vec<TrendFinding>,
    /// The measures that an earlier run has values of and the latest has none of, as when its
    /// judge gave no usable score. Each is a finding too.
    pub missing: Vec<String>,
    /// What limits the comparison, one sentence each.
    pub notes: Vec<String>,
}

/// A run of a series, without its values.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrendedRun {
    /// The name.
    pub name: String,
    /// The version of the evaluation set.
    pub set_version: String,
    /// The name of the model that answered; empty if it has none.
    pub model: String,
    /// The number of answers, including failed items.
    pub answered: usize,
    /// The number of failed items.
    pub failed: usize,
    /// The paths in the manifest that differ from the run before it.
    pub changed: Vec<String>,
}

/// A measure over time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MeasureTrend {
    /// The measure.
    pub measure: String,
    /// The kind of the items; `None` for all items.
    pub kind: Option<ItemKind>,
    /// The direction that is worse, if one is.
    pub worse: Option<WorseDirection>,
    /// The least change that is a finding.
    pub min_change: f64,
    /// The mean of each run that has the measure.
    pub points: Vec<TrendPoint>,
    /// The latest run against all earlier runs; `None` if none can be compared.
    pub shift: Option<TrendChange>,
    /// The latest run against the first that can be compared; `None` if that is the only
    /// one.
    pub drift: Option<TrendChange>,
}

impl MeasureTrend {
    /// The measure's name, with the kind of the items if it is limited to one.
    #[must_use]
    pub fn name(&self) -> String {
        match self.kind {
            Some(kind) => format!("{} of {} items", self.measure, kind.as_str()),
            None => self.measure.clone(),
        }
    }

    /// Whether a change of this measure is a finding: beyond chance, and not too small.
    #[must_use]
    pub fn is_found(&self, change: &TrendChange) -> bool {
        change.is_out() && change.change.abs() >= self.min_change
    }
}

/// The mean of a measure in a run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrendPoint {
    /// The number of the run, from 0.
    pub run: usize,
    /// Whether the value can be compared with that of the latest run.
    pub is_compared: bool,
    /// The mean with its interval, over the answers that are compared.
    #[serde(flatten)]
    pub mean: GroupedMean,
}

/// The reason why runs are no series.
#[derive(Debug, thiserror::Error)]
pub enum TrendError {
    /// There are too few or too many runs.
    #[error("a trend needs 2 to {MOST_RUNS} runs, not {count}")]
    Runs {
        /// Their number.
        count: usize,
    },
    /// A run is no evaluation.
    #[error("{run} is no evaluation")]
    NoEvaluation {
        /// The run's name.
        run: String,
    },
    /// A run is not finished.
    #[error("{run} is not finished: {answered} of {all} items are done")]
    Unfinished {
        /// The run's name.
        run: String,
        /// The number of answers.
        answered: usize,
        /// The number of items.
        all: u64,
    },
    /// Two runs evaluate different sets.
    #[error("{run} evaluates the set {set}, and {latest} evaluates {latest_set}")]
    OtherSet {
        /// The run's name.
        run: String,
        /// Its set.
        set: String,
        /// The latest run's name.
        latest: String,
        /// The latest run's set.
        latest_set: String,
    },
    /// No measure of the latest run can be compared with an earlier run.
    #[error("nothing of {latest} can be compared with an earlier run{}", Reasons(.notes))]
    NothingComparable {
        /// The latest run's name.
        latest: String,
        /// Why not, one sentence each.
        notes: Vec<String>,
    },
}

/// Sentences, each on a line of its own.
struct Reasons<'a>(&'a [String]);

impl std::fmt::Display for Reasons<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|note| write!(f, "\n  {note}"))
    }
}

impl Trend {
    /// Compares the last run with the earlier ones. `runs` are in the order of time.
    ///
    /// # Errors
    /// The runs are no series: see [`TrendError`].
    pub fn new(runs: &[TrendInput<'_>], options: &TrendOptions) -> Result<Self, TrendError> {
        let set = check(runs)?;
        let latest = &runs[runs.len() - 1];
        let stream = Stream::new(latest.manifest.seed).child("trend");
        let bootstrap = Bootstrap::new(stream.child("intervals"), RESAMPLES);
        let comparable = ComparableRuns::new(runs);
        let mut slices = vec![Slice::default()];
        if options.by_kind {
            slices.extend(kinds(&latest.results).map(|kind| Slice { kind, category: None }));
        }
        let mut all: Vec<MeasureSeries> = Vec::new();
        for measure in comparable.measures() {
            all.extend(
                slices.iter().filter_map(|slice| comparable.series(&measure, slice, &bootstrap)),
            );
        }
        let missing: Vec<String> = comparable
            .measures()
            .iter()
            .filter(|measure| comparable.is_missing(measure))
            .map(|measure| measure.name().to_owned())
            .collect();
        let notes = notes(runs, &comparable, &all);
        if all.iter().all(|series| series.shift.is_none()) {
            return Err(TrendError::NothingComparable { latest: latest.name.clone(), notes });
        }
        let stream = stream.child("permutations");
        let measures = tested(all, set, options, &comparable, runs.len(), stream);
        let named: Vec<TrendedRun> = (0..runs.len()).map(|at| trended(runs, at)).collect();
        let mut findings: Vec<TrendFinding> =
            measures.iter().filter_map(|measure| finding::finding(measure, &named)).collect();
        findings.retain(|finding| !options.only_worse || finding.is_worse != Some(false));
        let set = set.name.clone();
        Ok(Self { format: FORMAT, set, runs: named, measures, findings, missing, notes })
    }
}

impl Trend {
    /// The number of findings: changes, and measures that the latest run lacks.
    #[must_use]
    pub fn finding_count(&self) -> usize {
        self.findings.len() + self.missing.len()
    }

    /// Each finding in one sentence.
    pub fn messages(&self) -> impl Iterator<Item = String> {
        let changes = self.findings.iter().map(|finding| finding.message.clone());
        let missing = self
            .missing
            .iter()
            .map(|measure| format!("{measure}: earlier runs have values, and the latest has none"));
        changes.chain(missing)
    }
}

/// Checks that runs are a series, and returns the set of the latest.
fn check<'a>(runs: &[TrendInput<'a>]) -> Result<&'a EvalSet, TrendError> {
    if !(2..=MOST_RUNS).contains(&runs.len()) {
        return Err(TrendError::Runs { count: runs.len() });
    }
    let set = |run: &TrendInput<'a>| match &run.manifest.input.set {
        Some(set) => Ok(set),
        None => Err(TrendError::NoEvaluation { run: run.name.clone() }),
    };
    let latest = &runs[runs.len() - 1];
    let latest_set = set(latest)?;
    for run in runs {
        let (answered, all) = (run.results.answered, run.manifest.input.rows);
        if (answered as u64) < all {
            return Err(TrendError::Unfinished { run: run.name.clone(), answered, all });
        }
        let set = set(run)?;
        if set.name != latest_set.name {
            return Err(TrendError::OtherSet {
                run: run.name.clone(),
                set: set.name.clone(),
                latest: latest.name.clone(),
                latest_set: latest_set.name.clone(),
            });
        }
    }
    Ok(latest_set)
}

/// The kinds of the answers.
fn kinds(results: &Results) -> impl Iterator<Item = Option<ItemKind>> {
    let kinds = results.answers.iter().map(|answer| Some(answer.kind));
    kinds.collect::<std::collections::BTreeSet<_>>().into_iter()
}

/// Tests all contrasts of all measures together.
fn tested(
    all: Vec<MeasureSeries>,
    set: &EvalSet,
    options: &TrendOptions,
    comparable: &ComparableRuns<'_>,
    runs: usize,
    stream: Stream,
) -> Vec<MeasureTrend> {
    let mut contrasts = Vec::new();
    for series in &all {
        contrasts.extend([&series.shift, &series.drift].into_iter().flatten().cloned());
    }
    let changes = permutation::changes(contrasts, comparable.groups(), runs, stream, PERMUTATIONS);
    let mut changes = changes.into_iter();
    let mut measures = Vec::with_capacity(all.len());
    for MeasureSeries { measure, slice, points, shift, drift, .. } in all {
        measures.push(MeasureTrend {
            measure: measure.name().to_owned(),
            kind: slice.kind,
            worse: WorseDirection::of_measure(&measure, set),
            min_change: min_change(&measure, options),
            points,
            shift: shift.and_then(|_| changes.next()),
            drift: drift.and_then(|_| changes.next()),
        });
    }
    measures
}

fn min_change(measure: &Measure, options: &TrendOptions) -> f64 {
    let mut entries = options.min_changes.iter().rev();
    let own = entries.find(|(name, _)| name.as_deref().is_none_or(|name| name == measure.name()));
    own.map_or(LEAST_CHANGE, |&(_, least)| least)
}

fn trended(runs: &[TrendInput<'_>], at: usize) -> TrendedRun {
    let TrendInput { name, manifest, results } = &runs[at];
    TrendedRun {
        name: name.clone(),
        set_version: results.set_version.clone(),
        model: manifest.model["name"].as_str().unwrap_or_default().to_owned(),
        answered: results.answered,
        failed: results.failed,
        changed: match at.checked_sub(1) {
            Some(before) => comparable::changed(&runs[before], &runs[at]),
            None => Vec::new(),
        },
    }
}

/// What limits the comparison.
fn notes(
    runs: &[TrendInput<'_>],
    comparable: &ComparableRuns<'_>,
    all: &[MeasureSeries],
) -> Vec<String> {
    let last = runs.len() - 1;
    let latest = &runs[last];
    let mut notes = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        let name = &run.name;
        let failed = run.results.failed;
        if failed > 0 {
            let items = plural(failed, "item");
            notes.push(format!("{name}: {failed} {items} failed and have no values"));
        }
        let other = run.results.answers.len() - comparable.answers(at).count();
        if other > 0 {
            notes.push(format!(
                "{name}: {other} {} left out, because {} does not have the same items",
                plural(other, "answer"),
                latest.name
            ));
        }
        if let Some(later) = comparable.repeated(at) {
            notes.push(format!(
                "{name}: most answers are those of {}, word for word, so the two count as one run",
                runs[later].name
            ));
        }
        let mut differences: Vec<(&str, Vec<&str>)> = Vec::new();
        for series in all.iter().filter(|series| series.slice == Slice::default()) {
            let own = series.other_judges.iter().filter(|(run, _)| *run == at);
            for (_, difference) in own {
                let measure = series.measure.name();
                match differences.iter_mut().find(|(known, _)| known == difference) {
                    Some((_, measures)) => measures.push(measure),
                    None => differences.push((difference, vec![measure])),
                }
            }
        }
        for (difference, measures) in differences {
            notes.push(format!(
                "{name}: {} not compared, because its {difference} is another than that of {}",
                list(&measures),
                latest.name
            ));
        }
    }
    let overall = all.iter().filter(|series| series.slice == Slice::default());
    let alone = overall.filter(|series| series.shift.is_none() && series.other_judges.is_empty());
    let alone: Vec<&str> = alone.map(|series| series.measure.name()).collect();
    if !alone.is_empty() {
        let measures = list(&alone);
        notes.push(format!("{measures}: no earlier run has values of the same items"));
    }
    if let Some(unable) = too_few(comparable, runs.len()) {
        notes.push(unable);
    }
    notes
}

/// A note if there are so few items that nothing can be a finding: with G items and R runs,
/// the observed order is one of R^G, and with two runs the reverse is as extreme.
fn too_few(comparable: &ComparableRuns<'_>, runs: usize) -> Option<String> {
    let items = comparable.common_items();
    let orders = (runs as f64).powi(i32::try_from(items).unwrap_or(i32::MAX));
    let least = if runs == 2 { 2.0 / orders } else { 1.0 / orders };
    if least <= ALPHA {
        return None;
    }
    let items_are = if items == 1 { "item is" } else { "items are" };
    Some(format!("{items} {items_are} too few for a finding"))
}

#[cfg(test)]
mod tests;

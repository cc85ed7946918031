//! What a trend reports: measures that left their band, and the direction that is worse.

use serde::Serialize;

use super::{MeasureTrend, TrendChange, TrendedRun};
use crate::evaluation::Measure;
use amend_core::text::format::{number, range};
use amend_data::eval_set::{Bound, EvalSet, ItemKind};

/// A measure that changed.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TrendFinding {
    /// Since when it differs.
    pub kind: TrendFindingKind,
    /// The measure.
    pub measure: String,
    /// The kind of the items; `None` for all items.
    pub item_kind: Option<ItemKind>,
    /// Whether the change is for the worse; `None` if no direction is.
    pub is_worse: Option<bool>,
    /// The change.
    #[serde(flatten)]
    pub change: TrendChange,
    /// The finding in one sentence.
    pub message: String,
}

/// What the latest run differs from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TrendFindingKind {
    /// It is outside the band of the earlier runs.
    Shift,
    /// It is within the band, but differs from the first run.
    Drift,
}

/// The direction of a measure that is worse.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum WorseDirection {
    /// Less is worse.
    Lower,
    /// More is worse.
    Higher,
}

impl WorseDirection {
    /// The direction that is worse in a measure: away from the threshold that the set has
    /// for it, or else what the measure means. `None` for the change of scores by an
    /// injection, which is worse in both directions.
    pub(super) fn of_measure(measure: &Measure, set: &EvalSet) -> Option<Self> {
        let mut thresholds = set.thresholds.iter();
        let threshold = thresholds.find(|threshold| threshold.measure == measure.name());
        match (measure, threshold.map(|threshold| threshold.bound)) {
            (_, Some(Bound::AtLeast(_))) => Some(Self::Lower),
            (_, Some(Bound::AtMost(_))) => Some(Self::Higher),
            // The rubric asks for numbers from worst to best.
            (Measure::Dimension(_) | Measure::Checks | Measure::Expected, None) => {
                Some(Self::Lower)
            }
            (Measure::Injection | Measure::JudgeFlip, None) => Some(Self::Higher),
            (Measure::JudgeShift, None) => None,
        }
    }

    fn is_worse(self, change: f64) -> bool {
        match self {
            Self::Lower => change < 0.0,
            Self::Higher => change > 0.0,
        }
    }
}

/// The finding about a measure, if there is one. A measure outside its band has no second
/// finding about the first run.
pub(super) fn finding(trend: &MeasureTrend, runs: &[TrendedRun]) -> Option<TrendFinding> {
    let (kind, change) = match (&trend.shift, &trend.drift) {
        (Some(shift), _) if trend.is_found(shift) => (TrendFindingKind::Shift, shift),
        (_, Some(drift)) if trend.is_found(drift) => (TrendFindingKind::Drift, drift),
        _ => return None,
    };
    let is_worse = trend.worse.map(|worse| worse.is_worse(change.change));
    Some(TrendFinding {
        kind,
        measure: trend.measure.clone(),
        item_kind: trend.kind,
        is_worse,
        change: change.clone(),
        message: message(trend, kind, change, is_worse, runs),
    })
}

fn message(
    trend: &MeasureTrend,
    kind: TrendFindingKind,
    change: &TrendChange,
    is_worse: Option<bool>,
    runs: &[TrendedRun],
) -> String {
    let name = trend.name();
    let verb = if change.change > 0.0 { "rose" } else { "fell" };
    let latest = number(change.latest, 3);
    let effect = match is_worse {
        Some(true) => ", for the worse",
        Some(false) => ", for the better",
        None => "",
    };
    match kind {
        TrendFindingKind::Shift => {
            let [low, high] = change.band();
            let band = range(low, high, 3);
            format!("{name} {verb} to {latest}, out of the band {band} of the earlier runs{effect}")
        }
        TrendFindingKind::Drift => {
            let before = number(change.before, 3);
            let first = change.earlier.first().map_or("", |&first| &runs[first].name);
            format!("{name} {verb} from {before} in {first} to {latest}{effect}")
        }
    }
}

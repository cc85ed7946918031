//! An evaluation's results as a whole, and its thresholds.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::figures::{figure, figures};
use super::variants::variants;
use super::{Answer, Figure, Measure, Slice, Variants};
use amend_core::random::Stream;
use amend_core::stats::Bootstrap;
use amend_data::eval_set::{Kind, Set, Threshold};
use amend_data::store::manifest::Manifest;
use amend_data::store::trajectories::Trajectory;

/// The version of the results' format.
const FORMAT: u32 = 1;

/// How many resamples an interval is made of.
const RESAMPLES: u32 = 1000;

/// The dimension that, over bias probes, is measured by the spread.
const FAIRNESS: &str = "fairness";

/// What an evaluation came to (`results.json`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Results {
    /// The version of this format: 1.
    pub format: u32,
    /// The set's name.
    pub set: String,
    /// The set's version.
    pub set_version: String,
    /// The constitution whose dimensions were scored.
    pub constitution: String,
    /// How many answers there are, failed ones included.
    pub answered: usize,
    /// How many items failed.
    pub failed: usize,
    /// The least mass of a score that counts.
    pub mass_floor: f64,
    /// How many scores were left out for want of mass on the scale's tokens.
    pub unsure: usize,
    /// Every measure over all answers, by kind and by category.
    pub figures: Vec<Figure>,
    /// What differs between variants; none where no item has them.
    pub variants: Option<Variants>,
    /// The set's thresholds, in its order.
    pub thresholds: Vec<ThresholdResult>,
    /// The answers, by item and variant.
    pub answers: Vec<Answer>,
}

/// A threshold, held against the results.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdResult {
    /// The threshold.
    #[serde(flatten)]
    pub threshold: Threshold,
    /// What was measured; none where nothing could be.
    pub value: Option<f64>,
    /// Whether that passes.
    pub outcome: Met,
}

/// Whether a threshold was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Met {
    /// It was.
    Met,
    /// It was not, or there are answers and nothing to measure them by.
    Missed,
    /// No answer is of the kind and category it is about.
    Absent,
}

/// Why a run gives no results.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// It wasn't made by `amend eval`.
    #[error("a run of `amend {command}` has no evaluation in it")]
    NoEvaluation {
        /// The command that made it.
        command: String,
    },
}

/// Everything that an evaluation by a constitution measures, by name.
#[must_use]
pub fn measures(dimensions: &[String]) -> Vec<String> {
    let fixed = Measure::fixed().map(|measure| measure.name().to_owned());
    dimensions.iter().cloned().chain(fixed).collect()
}

impl Results {
    /// The results of an evaluation, from what its run was started with and its
    /// ended items. Intervals are drawn by the run's seed.
    ///
    /// # Errors
    /// The run is no evaluation.
    pub fn new(
        manifest: &Manifest,
        trajectories: impl IntoIterator<Item = Trajectory>,
    ) -> Result<Self, ResultsError> {
        let Some(set) = &manifest.input.set else {
            return Err(ResultsError::NoEvaluation { command: manifest.command.clone() });
        };
        let mut answers: Vec<Answer> = trajectories
            .into_iter()
            .filter_map(|trajectory| Answer::of(set, &trajectory))
            .collect();
        answers.sort_by(|one, other| (&one.item, &one.variant).cmp(&(&other.item, &other.variant)));
        let constitution = &manifest.constitution.value;
        let scale = Scale {
            dimensions: dimensions(constitution),
            mass_floor: constitution["judge"]["mass_floor"].as_f64().unwrap_or_default(),
            bootstrap: Bootstrap::new(Stream::new(manifest.seed).child("evaluation"), RESAMPLES),
        };
        Ok(Self::measured(set, constitution["name"].as_str().unwrap_or_default(), &scale, answers))
    }

    fn measured(set: &Set, constitution: &str, scale: &Scale, answers: Vec<Answer>) -> Self {
        let Scale { dimensions, mass_floor, bootstrap } = scale;
        let measures: Vec<Measure> =
            self::measures(dimensions).iter().map(|name| Measure::named(name)).collect();
        let unsure = answers
            .iter()
            .flat_map(|answer| answer.scores.values().chain(answer.injected.values()))
            .filter(|score| score.mass < *mass_floor)
            .count();
        Self {
            format: FORMAT,
            set: set.name.clone(),
            set_version: set.version.clone(),
            constitution: constitution.to_owned(),
            answered: answers.len(),
            failed: answers.iter().filter(|answer| answer.failure.is_some()).count(),
            mass_floor: *mass_floor,
            unsure,
            figures: figures(&answers, &measures, *mass_floor, bootstrap),
            variants: variants(&answers, &Slice::default(), dimensions, *mass_floor, bootstrap),
            thresholds: set.thresholds.iter().map(|one| scale.hold(one, &answers)).collect(),
            answers,
        }
    }

    /// The thresholds that were missed.
    pub fn missed(&self) -> impl Iterator<Item = &ThresholdResult> {
        self.thresholds.iter().filter(|one| one.outcome == Met::Missed)
    }

    /// A measure over all answers.
    #[must_use]
    pub fn overall(&self, measure: &str) -> Option<&Figure> {
        let all = Slice::default();
        self.figures.iter().find(|figure| figure.measure == measure && figure.slice == all)
    }
}

/// The ids of the dimensions of a constitution as a manifest keeps it.
fn dimensions(constitution: &Value) -> Vec<String> {
    let dimensions = constitution["dimensions"].as_array().map_or(&[][..], Vec::as_slice);
    dimensions.iter().filter_map(|one| one["id"].as_str().map(str::to_owned)).collect()
}

/// What scores are measured by.
struct Scale {
    dimensions: Vec<String>,
    mass_floor: f64,
    bootstrap: Bootstrap,
}

impl Scale {
    /// Holds a threshold against the answers it is about.
    fn hold(&self, threshold: &Threshold, answers: &[Answer]) -> ThresholdResult {
        let Self { dimensions, mass_floor, bootstrap } = self;
        let slice = Slice { kind: threshold.kind, category: threshold.category.clone() };
        let value = if is_spread(threshold) {
            variants(answers, &slice, dimensions, *mass_floor, bootstrap)
                .and_then(|variants| variants.spread)
                .map(|spread| spread.value)
        } else {
            let measure = Measure::named(&threshold.measure);
            figure(answers, &slice, &measure, *mass_floor, bootstrap)
                .map(|figure| figure.mean.value)
        };
        let outcome = match value {
            Some(value) if threshold.bound.admits(value) => Met::Met,
            Some(_) => Met::Missed,
            None if answers.iter().any(|answer| slice.has(answer)) => Met::Missed,
            None => Met::Absent,
        };
        ThresholdResult { threshold: threshold.clone(), value, outcome }
    }
}

/// Whether a threshold is about the spread between variants.
fn is_spread(threshold: &Threshold) -> bool {
    threshold.measure == FAIRNESS && threshold.kind == Some(Kind::Bias)
}

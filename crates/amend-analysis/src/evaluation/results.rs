//! The results of an evaluation, and its thresholds.

use serde::{Deserialize, Serialize};

use super::figures::{figure, figures};
use super::variants::variants;
use super::{EvaluatedItem, Figure, Measure, Slice, Variants};
use amend_core::random::Stream;
use amend_core::stats::{Bootstrap, RESAMPLES};
use amend_data::eval_set::{EvalSet, ItemKind, Threshold};
use amend_data::pairs::judgement::Rules;
use amend_data::store::manifest::Manifest;
use amend_data::store::trajectories::Trajectory;

/// The version of the results' format.
const FORMAT: u32 = 1;

/// The dimension that is measured by the spread between variants over bias probes.
const FAIRNESS: &str = "fairness";

/// The results of an evaluation (`results.json`).
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
    /// The number of answers, including failed items.
    pub answered: usize,
    /// The number of failed items.
    pub failed: usize,
    /// The least probability mass on the scale's tokens with which a score counts.
    pub mass_floor: f64,
    /// The number of scores below the mass floor, which do not count.
    pub unsure: usize,
    /// Every measure over all answers, over each kind and over each category.
    pub figures: Vec<Figure>,
    /// The differences between variants; `None` if no item has variants.
    pub variants: Option<Variants>,
    /// The results of the set's thresholds, in the set's order.
    pub thresholds: Vec<ThresholdResult>,
    /// The answers, sorted by item and variant.
    pub answers: Vec<EvaluatedItem>,
}

/// The result of a threshold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ThresholdResult {
    /// The threshold.
    #[serde(flatten)]
    pub threshold: Threshold,
    /// The measured value; `None` if there is nothing to measure.
    pub value: Option<f64>,
    /// Whether the threshold is met.
    pub outcome: ThresholdOutcome,
}

/// Whether a threshold was met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThresholdOutcome {
    /// The threshold is met.
    Met,
    /// The threshold is missed, or its answers have no values of the measure.
    Missed,
    /// No answer is of the threshold's kind and category.
    Absent,
}

/// The reason why a run has no results.
#[derive(Debug, thiserror::Error)]
pub enum ResultsError {
    /// The run was not made by `amend eval`.
    #[error("a run of `amend {command}` has no evaluation")]
    NoEvaluation {
        /// The command that made the run.
        command: String,
    },
}

/// The names of all measures of an evaluation with these dimensions.
#[must_use]
pub fn measures(dimensions: &[String]) -> Vec<String> {
    let fixed = Measure::fixed().map(|measure| measure.name().to_owned());
    dimensions.iter().cloned().chain(fixed).collect()
}

impl Results {
    /// Computes the results of an evaluation from its run's manifest and ended items.
    /// The run's seed fixes the intervals.
    ///
    /// # Errors
    /// Fails if the run is not an evaluation.
    pub fn new(
        manifest: &Manifest,
        trajectories: impl IntoIterator<Item = Trajectory>,
    ) -> Result<Self, ResultsError> {
        let Some(set) = &manifest.input.set else {
            return Err(ResultsError::NoEvaluation { command: manifest.command.clone() });
        };
        let constitution = &manifest.constitution.value;
        let rules = Rules::from_constitution(constitution);
        let mut answers: Vec<EvaluatedItem> = trajectories
            .into_iter()
            .filter_map(|trajectory| EvaluatedItem::from_trajectory(set, &rules, &trajectory))
            .collect();
        answers.sort_by(|a, b| (&a.item, &a.variant).cmp(&(&b.item, &b.variant)));
        let dimensions = constitution.dimensions.iter();
        let scale = Scale {
            dimensions: dimensions.map(|dimension| dimension.id.clone()).collect(),
            mass_floor: constitution.judge.mass_floor,
            bootstrap: Bootstrap::new(Stream::new(manifest.seed).child("evaluation"), RESAMPLES),
        };
        Ok(Self::measured(set, &constitution.name, &scale, answers))
    }

    fn measured(
        set: &EvalSet,
        constitution: &str,
        scale: &Scale,
        answers: Vec<EvaluatedItem>,
    ) -> Self {
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
            thresholds: set
                .thresholds
                .iter()
                .map(|threshold| scale.check(threshold, &answers))
                .collect(),
            answers,
        }
    }

    /// The thresholds that were missed.
    pub fn missed(&self) -> impl Iterator<Item = &ThresholdResult> {
        self.thresholds.iter().filter(|threshold| threshold.outcome == ThresholdOutcome::Missed)
    }

    /// A measure over all answers.
    #[must_use]
    pub fn overall(&self, measure: &str) -> Option<&Figure> {
        let all = Slice::default();
        self.figures.iter().find(|figure| figure.measure == measure && figure.slice == all)
    }
}

/// The parameters of the measures.
struct Scale {
    dimensions: Vec<String>,
    mass_floor: f64,
    bootstrap: Bootstrap,
}

impl Scale {
    /// Checks a threshold against its answers.
    fn check(&self, threshold: &Threshold, answers: &[EvaluatedItem]) -> ThresholdResult {
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
            Some(value) if threshold.bound.admits(value) => ThresholdOutcome::Met,
            Some(_) => ThresholdOutcome::Missed,
            None if answers.iter().any(|answer| slice.has(answer)) => ThresholdOutcome::Missed,
            None => ThresholdOutcome::Absent,
        };
        ThresholdResult { threshold: threshold.clone(), value, outcome }
    }
}

/// Whether a threshold is about the spread between variants.
fn is_spread(threshold: &Threshold) -> bool {
    threshold.measure == FAIRNESS && threshold.kind == Some(ItemKind::Bias)
}

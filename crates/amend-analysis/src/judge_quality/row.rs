//! One judged comparison: a line of `verdicts.jsonl`.

use serde::Serialize;

use super::category;
use amend_core::constitution::Constitution;
use amend_core::judge::{Combined, Verdict, VerdictSettings, combine};
use amend_core::model::Failure;
use amend_core::record::{ComparisonFacts, Item, Label, Outcome, Step};
use amend_data::store::trajectories::Trajectory;

/// A judged comparison of answers A and B.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JudgedRow {
    /// The id from the input.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The item's key.
    pub key: String,
    /// The row's number in the input, from 1.
    pub row: u64,
    /// The better answer, if the input has a label.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// The row's category, by the column that divides the rows.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub category: Option<String>,
    /// The lengths of the answers, in characters.
    pub lengths: [usize; 2],
    /// The row's prompt injection, if it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub injection: Option<InjectionFacts>,
    /// All verdicts combined; `None` if the item failed.
    #[serde(flatten)]
    pub verdict: Option<Combined>,
    /// How far the judges of a panel disagree: the standard deviation of their
    /// probabilities, from 0 to ½. `None` for a single judge, and if only one judge of the
    /// panel has a vote.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disagreement: Option<f64>,
    /// The verdict under each principle, in the order of the steps.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub principles: Vec<UnderPrinciple>,
    /// Why there is no verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// A prompt injection aimed at the judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct InjectionFacts {
    /// Whether the injection is in the answer; otherwise, this is the clean version of
    /// the row.
    pub present: bool,
    /// The answer that carries the injection.
    pub into: Label,
    /// The kind of attack.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attack: Option<String>,
}

/// A verdict under one principle.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnderPrinciple {
    /// The principle's id.
    pub id: String,
    /// The verdict, with the same calibration as the combined one.
    #[serde(flatten)]
    pub verdict: Combined,
}

impl UnderPrinciple {
    /// The verdict of a step under its principle. `None` for a step without a
    /// verdict or a principle.
    #[must_use]
    pub fn from_step(step: &Step, standing: &VerdictSettings) -> Option<Self> {
        let verdict = combine(&[(step.verdict.as_ref()?, 1.0)], standing)?;
        Some(Self { id: step.principle.clone()?, verdict })
    }
}

/// Combines the verdicts of steps, each by the weight of its principle; an overall
/// verdict has weight 1. `None` without verdicts.
pub fn combined<'a>(
    steps: impl IntoIterator<Item = &'a Step>,
    weight: impl Fn(&str) -> f64,
    standing: &VerdictSettings,
) -> Option<Combined> {
    let mut verdicts: Vec<(&Verdict, f64)> = Vec::new();
    for step in steps {
        if let Some(verdict) = &step.verdict {
            verdicts.push((verdict, step.principle.as_deref().map_or(1.0, &weight)));
        }
    }
    combine(&verdicts, standing)
}

impl JudgedRow {
    /// Reads a judged item. Its verdicts are combined by the weights of their
    /// principles; an overall verdict has weight 1.
    #[must_use]
    pub fn from_trajectory(trajectory: &Trajectory, constitution: &Constitution) -> Self {
        let Trajectory { item, steps, outcome } = trajectory;
        let failure = match outcome {
            Outcome::Done { .. } => None,
            Outcome::Failed { failure } => Some(failure.clone()),
        };
        let length = |text: &Option<String>| text.as_ref().map_or(0, |text| text.chars().count());
        let ComparisonFacts { label, injection } = ComparisonFacts::from_item(item);
        let row = Self {
            id: item.id.clone(),
            key: item.key.clone(),
            row: item.row,
            label,
            category: None,
            lengths: [length(&item.response), length(&item.response_b)],
            injection: injection.map(|injection| InjectionFacts {
                present: injection.present,
                into: injection.into,
                attack: injection.attack.map(str::to_owned),
            }),
            verdict: None,
            disagreement: None,
            principles: Vec::new(),
            failure: None,
        };
        row.judged(steps, failure, constitution)
    }

    /// The same comparison with the verdicts of these steps, or with a failure in place of
    /// the combined verdict.
    pub(super) fn judged(
        self,
        steps: &[Step],
        failure: Option<Failure>,
        constitution: &Constitution,
    ) -> Self {
        let standing = constitution.judge.standing();
        let weight = |id: &str| constitution.principle(id).map_or(1.0, |found| found.weight);
        let principles =
            steps.iter().filter_map(|step| UnderPrinciple::from_step(step, &standing)).collect();
        let verdict = if failure.is_none() { combined(steps, weight, &standing) } else { None };
        Self { verdict, principles, failure, ..self }
    }

    /// The row with its category, by the column `by` of the item's metadata.
    #[must_use]
    pub fn in_category(self, item: &Item, by: Option<&str>) -> Self {
        Self { category: by.and_then(|by| category(&item.metadata, by)), ..self }
    }

    /// Whether its answers contain no prompt injection.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.injection.as_ref().is_none_or(|injection| !injection.present)
    }

    /// The answer that the judge favours: [`Label::Tie`] if the verdict is a tie or
    /// undecided, `None` without a verdict.
    #[must_use]
    pub fn choice(&self) -> Option<Label> {
        let verdict = self.verdict?;
        Some(if verdict.undecided { Label::Tie } else { favoured(verdict.margin) })
    }

    /// The label that the judge gives: `None` if the verdict is undecided for lack of mass,
    /// and without a verdict.
    #[must_use]
    pub fn judged_label(&self) -> Option<Label> {
        let verdict = self.verdict?;
        if verdict.undecided && !verdict.tied { None } else { self.choice() }
    }
}

/// The answer that log-odds of A over B favour.
pub(super) fn favoured(log_odds: f64) -> Label {
    if log_odds > 0.0 {
        Label::A
    } else if log_odds < 0.0 {
        Label::B
    } else {
        Label::Tie
    }
}

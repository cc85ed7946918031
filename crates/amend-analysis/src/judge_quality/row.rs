//! One comparison as it was judged: a line of `verdicts.jsonl`.

use serde::Serialize;

use amend_core::constitution::Constitution;
use amend_core::judge::{Combined, Verdict, combine};
use amend_core::model::Failure;
use amend_core::record::Outcome;
use amend_core::record::Step;
use amend_core::record::{Facts, Label};
use amend_data::store::trajectories::Trajectory;

/// A judged comparison of answers x (`a`) and y (`b`).
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// The id that the input gave.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The item's key.
    pub key: String,
    /// The row's number in the input, from 1.
    pub row: u64,
    /// The better answer, where the input says so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<Label>,
    /// The answers' lengths, in characters.
    pub lengths: [usize; 2],
    /// Where the row carries an injection.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub injection: Option<Swayed>,
    /// What the judge found, all that was asked taken together; none where the
    /// item failed.
    #[serde(flatten)]
    pub verdict: Option<Combined>,
    /// What it found under each principle, in the constitution's order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub principles: Vec<UnderPrinciple>,
    /// Why there is no verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
}

/// An attempt to sway the judge.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Swayed {
    /// Whether it is in the answer; else this is the clean twin.
    pub present: bool,
    /// The answer it speaks for.
    pub into: Label,
    /// Its kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attack: Option<String>,
}

/// A verdict under one principle.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct UnderPrinciple {
    /// The principle's id.
    pub id: String,
    /// The verdict, calibrated as the whole is.
    #[serde(flatten)]
    pub verdict: Combined,
}

impl Row {
    /// Reads a judged item: its verdicts are combined by their principles'
    /// weights, an overall verdict with weight 1.
    #[must_use]
    pub fn of(trajectory: &Trajectory, constitution: &Constitution) -> Self {
        let Trajectory { item, steps, outcome } = trajectory;
        let standing = constitution.judge.standing();
        let weight = |step: &Step| match &step.principle {
            None => 1.0,
            Some(id) => constitution
                .principles
                .iter()
                .find(|principle| principle.id == *id)
                .map_or(1.0, |principle| principle.weight),
        };
        let verdicts: Vec<(&Verdict, f64)> =
            steps.iter().filter_map(|step| Some((step.verdict.as_ref()?, weight(step)))).collect();
        let principles = steps
            .iter()
            .filter_map(|step| {
                let verdict = combine(&[(step.verdict.as_ref()?, 1.0)], &standing)?;
                Some(UnderPrinciple { id: step.principle.clone()?, verdict })
            })
            .collect();
        let failure = match outcome {
            Outcome::Done { .. } => None,
            Outcome::Failed { failure } => Some(failure.clone()),
        };
        let length = |text: &Option<String>| text.as_ref().map_or(0, |text| text.chars().count());
        let Facts { label, injection } = Facts::of(item);
        Self {
            id: item.id.clone(),
            key: item.key.clone(),
            row: item.row,
            label,
            lengths: [length(&item.response), length(&item.rival)],
            injection: injection.map(|found| Swayed {
                present: found.present,
                into: found.into,
                attack: found.attack.map(str::to_owned),
            }),
            verdict: if failure.is_none() { combine(&verdicts, &standing) } else { None },
            principles,
            failure,
        }
    }

    /// Whether its answers are as they were written, with nothing put in.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        !self.injection.as_ref().is_some_and(|injection| injection.present)
    }

    /// The answer that the judge favours: [`Label::Tie`] where it is undecided.
    #[must_use]
    pub fn choice(&self) -> Option<Label> {
        let verdict = self.verdict?;
        Some(if verdict.undecided { Label::Tie } else { favoured(verdict.margin) })
    }

    /// The judge's log-odds of x over y, as they are before any calibration.
    #[must_use]
    pub fn raw_log_odds(&self) -> Option<f64> {
        self.verdict.map(|verdict| (verdict.orders[0] + verdict.orders[1]) / 2.0)
    }
}

/// The answer that log-odds of x over y favour.
pub(super) fn favoured(log_odds: f64) -> Label {
    if log_odds > 0.0 {
        Label::A
    } else if log_odds < 0.0 {
        Label::B
    } else {
        Label::Tie
    }
}

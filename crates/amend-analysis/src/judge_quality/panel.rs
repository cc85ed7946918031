//! Several judges of the same rows: each on its own, and all together as a panel.

use std::collections::HashMap;
use std::iter;

use serde::Serialize;

use super::{JudgeFigures, JudgedRow};
use amend_core::constitution::Constitution;
use amend_core::judge::{Verdict, VerdictSettings, disagreement};
use amend_core::random::Stream;
use amend_core::record::{Step, StepKind};
use amend_core::stats::{Estimate, kappa, mean, share};
use amend_data::store::trajectories::Trajectory;
use amend_data::store::verdicts::{self, JudgeSteps};

/// A judge of a panel, with what it judged. The texts are not in memory.
#[derive(Debug, Clone)]
pub struct PanelJudge {
    /// Its name, unique in the panel.
    pub name: String,
    /// The constitution that it judged by, with its calibration.
    pub constitution: Constitution,
    /// The rows that it judged.
    pub rows: Vec<JudgedRow>,
    /// The judging steps of each row, by its key: see [`judging_steps`].
    pub steps: HashMap<String, Vec<Step>>,
}

/// The steps of an item that have verdicts, without their texts.
#[must_use]
pub fn judging_steps(trajectory: &Trajectory) -> Vec<Step> {
    let judging = trajectory.steps.iter().filter(|step| step.kind == StepKind::Judge);
    judging
        .map(|step| Step { text: String::new(), raw: None, reasoning: None, ..step.clone() })
        .collect()
}

/// The figures of each judge and of the panel.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PanelFigures {
    /// Each judge's own figures.
    pub judges: Vec<JudgeSummary>,
    /// Those of the panel.
    pub panel: JudgeFigures,
    /// How often each two judges agree.
    pub agreement: Vec<JudgeAgreement>,
    /// The mean disagreement over rows: see [`JudgedRow::disagreement`].
    pub disagreement: Option<f64>,
    /// The number of rows that do not count for the panel's figures, because its judges
    /// disagree on them more than allowed.
    pub disputed: usize,
}

/// A judge's name and its own figures.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JudgeSummary {
    /// The judge.
    pub judge: String,
    /// Its figures.
    pub figures: JudgeFigures,
}

/// The agreement of two judges over the rows that both judged. An undecided row counts as
/// a tie.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct JudgeAgreement {
    /// The judges.
    pub judges: [String; 2],
    /// The share of rows for which they choose the same.
    pub same: Option<Estimate>,
    /// Cohen's κ.
    pub kappa: Option<f64>,
}

/// The rows of a panel. A row that a judge lacks, or failed at, has no verdict.
#[must_use]
pub fn panel_rows(judges: &[PanelJudge]) -> Vec<JudgedRow> {
    let Some((first, others)) = judges.split_first() else { return Vec::new() };
    let by_key: Vec<HashMap<&str, &JudgedRow>> = others
        .iter()
        .map(|judge| judge.rows.iter().map(|row| (row.key.as_str(), row)).collect())
        .collect();
    let settings: Vec<VerdictSettings> =
        judges.iter().map(|judge| judge.constitution.judge.standing()).collect();
    // The verdicts of a panel are calibrated already.
    let mut constitution = first.constitution.clone();
    constitution.judge = verdicts::panel_rules(&constitution.judge);
    let mass_floor = constitution.judge.mass_floor;
    let mut rows = Vec::new();
    for row in &first.rows {
        let key = row.key.as_str();
        let others = by_key.iter().filter_map(|rows| rows.get(key).copied());
        let failure = iter::once(row).chain(others).find_map(|row| row.failure.clone());
        // None unless every judge has judged the row.
        let parts: Option<Vec<JudgeSteps<'_>>> = judges
            .iter()
            .zip(&settings)
            .map(|(judge, settings)| {
                let steps = judge.steps.get(key)?;
                Some(JudgeSteps { judge: &judge.name, settings, steps })
            })
            .collect();
        let steps = match parts {
            Some(parts) if failure.is_none() => verdicts::merge(&parts),
            _ => Vec::new(),
        };
        let disagreement = disagreement(&weighted(&steps, &constitution), mass_floor);
        let row = row.clone().judged(&steps, failure, &constitution);
        rows.push(JudgedRow { disagreement, ..row });
    }
    rows
}

/// The rows on which the judges disagree no more than `max_disagreement`.
#[must_use]
pub fn undisputed(rows: &[JudgedRow], max_disagreement: Option<f64>) -> Vec<JudgedRow> {
    let is_disputed = |row: &&JudgedRow| match (row.disagreement, max_disagreement) {
        (Some(disagreement), Some(most)) => disagreement > most,
        _ => false,
    };
    rows.iter().filter(|row| !is_disputed(row)).cloned().collect()
}

/// The verdicts of steps with the weights of their principles.
fn weighted<'a>(steps: &'a [Step], constitution: &Constitution) -> Vec<(&'a Verdict, f64)> {
    let weight = |step: &Step| match step.principle.as_deref() {
        Some(id) => constitution.principle(id).map_or(1.0, |principle| principle.weight),
        None => 1.0,
    };
    steps.iter().filter_map(|step| Some((step.verdict.as_ref()?, weight(step)))).collect()
}

impl PanelFigures {
    /// The figures of a panel whose combined verdicts are `rows`: see [`panel_rows`]. Rows
    /// with a greater disagreement than `max_disagreement` do not count for the figures of
    /// the panel. Categories are in the column `by`.
    #[must_use]
    pub fn new(
        judges: &[PanelJudge],
        rows: &[JudgedRow],
        max_disagreement: Option<f64>,
        by: Option<&str>,
        stream: Stream,
    ) -> Self {
        let mut agreement = Vec::new();
        for (at, one) in judges.iter().enumerate() {
            for other in &judges[at + 1..] {
                agreement.push(JudgeAgreement::new(one, other));
            }
        }
        let counted = undisputed(rows, max_disagreement);
        Self {
            judges: judges
                .iter()
                .map(|judge| JudgeSummary {
                    judge: judge.name.clone(),
                    figures: JudgeFigures::from_rows(&judge.rows, by, stream),
                })
                .collect(),
            panel: JudgeFigures::from_rows(&counted, by, stream),
            agreement,
            disagreement: mean(rows.iter().filter_map(|row| row.disagreement)),
            disputed: rows.len() - counted.len(),
        }
    }
}

impl JudgeAgreement {
    fn new(one: &PanelJudge, other: &PanelJudge) -> Self {
        let choices: HashMap<&str, _> =
            other.rows.iter().map(|row| (row.key.as_str(), row.choice())).collect();
        let both: Vec<_> = one
            .rows
            .iter()
            .filter_map(|row| Some((row.choice()?, (*choices.get(row.key.as_str())?)?)))
            .collect();
        Self {
            judges: [one.name.clone(), other.name.clone()],
            same: share(both.iter().map(|(a, b)| a == b)),
            kappa: kappa(both),
        }
    }
}

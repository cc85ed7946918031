//! Several judges of the same rows: each on its own, and all together as a panel.

use std::collections::HashMap;

use serde::Serialize;

use super::{JudgeFigures, JudgedRow};
use amend_core::constitution::Constitution;
use amend_core::judge::{Verdict, VerdictSettings, disagreement};
use amend_core::record::{Outcome, Step};
use amend_core::stats::{Estimate, kappa, mean, share};
use amend_data::store::trajectories::Trajectory;
use amend_data::store::verdicts::{self, JudgeSteps};

/// A judge of a panel, with what it judged.
#[derive(Debug, Clone)]
pub struct PanelJudge {
    /// Its name, unique in the panel.
    pub name: String,
    /// The constitution that it judged by, with its calibration.
    pub constitution: Constitution,
    /// The items that it judged.
    pub trajectories: Vec<Trajectory>,
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
    let by_key: Vec<HashMap<&str, &Trajectory>> = others
        .iter()
        .map(|judge| {
            let all = judge.trajectories.iter();
            all.map(|trajectory| (trajectory.item.key.as_str(), trajectory)).collect()
        })
        .collect();
    let settings: Vec<VerdictSettings> =
        judges.iter().map(|judge| judge.constitution.judge.standing()).collect();
    // The verdicts of a panel are calibrated already.
    let mut constitution = first.constitution.clone();
    constitution.judge = verdicts::panel_rules(&constitution.judge);
    let mut rows = Vec::new();
    for trajectory in &first.trajectories {
        let mut same = vec![trajectory];
        same.extend(by_key.iter().filter_map(|judge| judge.get(trajectory.item.key.as_str())));
        let failed = same.iter().find(|judged| matches!(judged.outcome, Outcome::Failed { .. }));
        let mut merged = Trajectory { steps: Vec::new(), ..trajectory.clone() };
        if let Some(failed) = failed {
            merged.outcome = failed.outcome.clone();
        } else if same.len() == judges.len() {
            let parts: Vec<JudgeSteps<'_>> = judges
                .iter()
                .zip(&settings)
                .zip(&same)
                .map(|((judge, settings), judged)| JudgeSteps {
                    judge: &judge.name,
                    settings,
                    steps: &judged.steps,
                })
                .collect();
            merged.steps = verdicts::merge(&parts);
        }
        let mut row = JudgedRow::from_trajectory(&merged, &constitution);
        row.disagreement = disagreement(&weighted(&merged.steps, &constitution));
        rows.push(row);
    }
    rows
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
    /// Combines the figures of the judges with those of the panel. `judged` has each
    /// judge's name and rows, and `rows` the rows of the panel.
    #[must_use]
    pub fn new(
        judges: Vec<JudgeSummary>,
        panel: JudgeFigures,
        judged: &[(String, Vec<JudgedRow>)],
        rows: &[JudgedRow],
        disputed: usize,
    ) -> Self {
        let mut agreement = Vec::new();
        for (at, one) in judged.iter().enumerate() {
            for other in &judged[at + 1..] {
                agreement.push(JudgeAgreement::new(one, other));
            }
        }
        let disagreement = mean(rows.iter().filter_map(|row| row.disagreement));
        Self { judges, panel, agreement, disagreement, disputed }
    }
}

impl JudgeAgreement {
    fn new(one: &(String, Vec<JudgedRow>), other: &(String, Vec<JudgedRow>)) -> Self {
        let choices: HashMap<&str, _> =
            other.1.iter().map(|row| (row.key.as_str(), row.choice())).collect();
        let both: Vec<_> = one
            .1
            .iter()
            .filter_map(|row| Some((row.choice()?, (*choices.get(row.key.as_str())?)?)))
            .collect();
        Self {
            judges: [one.0.clone(), other.0.clone()],
            same: share(both.iter().map(|(a, b)| a == b)),
            kappa: kappa(both),
        }
    }
}

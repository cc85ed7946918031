//! The units by which two runs of `amend judge` are compared.

use crate::diff::Unit;
use crate::judge_quality::JudgedRow;
use amend_core::constitution::Constitution;
use amend_core::model::Usage;
use amend_core::record::Label;
use amend_core::stats::log_loss;
use amend_data::store::journal::JournalError;
use amend_data::store::run_dir::RunDir;
use amend_data::store::trajectories::Trajectory;

/// The judged comparisons of a run as units, with their keys.
///
/// The measures are:
/// - `accuracy`: 1 if the label a or b is judged right, ½ for a tie or an undecided verdict;
/// - `accuracy with ties`: 1 if the label is judged right, if some labels are ties;
/// - `right in both orders`: 1 if both orders favour the label a or b;
/// - `log-loss`: −ln p of the label a or b, ½ for a tie or an undecided verdict;
/// - `both orders agree`, `tie`, `undecided`: 1 if that is so;
/// - `prompt`, `prefilled` and `decoded`: the tokens of the prompts, those of them that were
///   computed, and the tokens decoded.
///
/// The check is whether the item is `done`. Comparisons with a prompt injection have only
/// the check and the tokens.
///
/// # Errors
/// The journal can't be read.
pub fn units_of_judge(run: &RunDir) -> Result<Vec<Unit>, JournalError> {
    let trajectories: Vec<Trajectory> = run.trajectories()?.collect::<Result<_, _>>()?;
    Ok(units(&trajectories, &run.manifest().constitution.value))
}

fn units(trajectories: &[Trajectory], constitution: &Constitution) -> Vec<Unit> {
    let judged: Vec<(&Trajectory, JudgedRow)> = trajectories
        .iter()
        .map(|trajectory| (trajectory, JudgedRow::from_trajectory(trajectory, constitution)))
        .collect();
    let has_ties = judged.iter().any(|(_, row)| row.label == Some(Label::Tie));
    judged.iter().map(|(trajectory, row)| unit(trajectory, row, has_ties)).collect()
}

fn unit(trajectory: &Trajectory, row: &JudgedRow, has_ties: bool) -> Unit {
    let mut unit = Unit { key: row.key.clone(), group: row.key.clone(), ..Unit::default() };
    unit.checks.insert("done".to_owned(), row.failure.is_none());
    let mut set = |measure: &str, value: f64| {
        unit.numbers.insert(measure.to_owned(), value);
    };
    let Some(verdict) = row.verdict else { return unit };
    let tokens = |count: fn(Usage) -> u32| {
        trajectory.steps.iter().map(|step| f64::from(count(step.usage))).sum::<f64>()
    };
    set("prompt", tokens(|usage| usage.prompt));
    set("prefilled", tokens(Usage::prefilled));
    set("decoded", tokens(|usage| usage.decoded));
    if !row.is_clean() {
        return unit;
    }
    let one = |is_so: bool| f64::from(u8::from(is_so));
    let [first, second] = verdict.orders;
    set("both orders agree", one(first * second > 0.0));
    set("tie", one(verdict.tied));
    set("undecided", one(verdict.undecided && !verdict.tied));
    let Some(label) = row.label else { return unit };
    if has_ties {
        set("accuracy with ties", one(row.judged_label() == Some(label)));
    }
    let sign = match label {
        Label::A => 1.0,
        Label::B => -1.0,
        Label::Tie => return unit,
    };
    let right = sign * verdict.margin > 0.0;
    set("accuracy", if verdict.undecided { 0.5 } else { one(right) });
    set("right in both orders", one(sign * first > 0.0 && sign * second > 0.0));
    let p = if verdict.undecided { 0.5 } else { verdict.p };
    if let Some(loss) = log_loss([(p, label == Label::A)]) {
        set("log-loss", loss);
    }
    unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use amend_core::constitution::parse;
    use amend_core::record::{Item, Outcome, Step, StepKind, Stop};
    use amend_core::stats::sigmoid;
    use amend_data::testing::verdict;
    use serde_json::json;

    /// The unit of an item with this label, whose verdict has these log-odds of a and this
    /// mass.
    fn units_of(rows: &[(&str, f64, f64)]) -> Vec<Unit> {
        let text = "constitution.name = 'c'\n[judge]\nmin_margin = 0.5\n\
                    [[principle]]\nid = 'p'\nprinciple = 'Be kind.'";
        let constitution = parse("c.toml", text).unwrap();
        let trajectory = |(at, (label, log_odds, mass)): (usize, &(&str, f64, f64))| {
            let mut item = Item::of_prompt(format!("why {at}"));
            item.response = Some("x".to_owned());
            item.response_b = Some("y".to_owned());
            item.metadata.insert("label".to_owned(), json!(label));
            let usage = Usage { prompt: 9, cached: 4, decoded: 3, ..Usage::default() };
            let step = Step { usage, ..verdict(None, [0, 1], *log_odds, *mass) };
            let outcome = Outcome::Done { stop: Stop::Judged };
            Trajectory { item, steps: vec![Step::new(StepKind::Generate, 0), step], outcome }
        };
        units(&rows.iter().enumerate().map(trajectory).collect::<Vec<_>>(), &constitution)
    }

    #[test]
    fn units_of_verdicts_by_hand() {
        let units = units_of(&[("a", 2.0, 0.9), ("b", 2.0, 0.9), ("a", 0.1, 0.9), ("b", 2.0, 0.1)]);
        let values = |measure: &str| -> Vec<f64> {
            units.iter().map(|unit| unit.numbers.get(measure).copied().unwrap_or(-1.0)).collect()
        };
        assert_eq!(values("accuracy"), [1.0, 0.0, 0.5, 0.5]);
        assert_eq!(values("right in both orders"), [1.0, 0.0, 1.0, 0.0]);
        assert_eq!(values("tie"), [0.0, 0.0, 1.0, 0.0]);
        assert_eq!(values("undecided"), [0.0, 0.0, 0.0, 1.0]);
        assert_eq!(values("both orders agree"), [1.0; 4]);
        assert_eq!(values("accuracy with ties"), [-1.0; 4]);
        for (loss, p) in values("log-loss").iter().zip([sigmoid(2.0), sigmoid(-2.0), 0.5, 0.5]) {
            assert!((loss + p.ln()).abs() < 1e-9, "{loss}");
        }
        assert_eq!(
            (values("prompt")[0], values("prefilled")[0], values("decoded")[0]),
            (9.0, 5.0, 3.0)
        );
    }

    #[test]
    fn labels_that_are_ties_count_for_the_accuracy_with_ties_alone() {
        let units = units_of(&[("tie", 0.1, 0.9), ("tie", 0.1, 0.1), ("a", 2.0, 0.9)]);
        let values = |measure: &str| -> Vec<Option<f64>> {
            units.iter().map(|unit| unit.numbers.get(measure).copied()).collect()
        };
        assert_eq!(values("accuracy with ties"), [Some(1.0), Some(0.0), Some(1.0)]);
        assert_eq!(values("accuracy"), [None, None, Some(1.0)]);
    }
}

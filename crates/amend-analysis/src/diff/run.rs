//! The units by which two runs of the loop are compared.

use crate::diff::Unit;
use amend_core::model::Usage;
use amend_core::record::{Outcome, answer};
use amend_core::text::word_diff as words;
use amend_data::pairs::judgement::Rules;
use amend_data::store::journal::JournalError;
use amend_data::store::manifest::Manifest;
use amend_data::store::run_dir::RunDir;
use amend_data::store::trajectories::Trajectory;

/// A run of the loop, for a comparison.
#[derive(Debug, Clone)]
pub struct LoopRun<'a> {
    /// The run's manifest.
    pub manifest: &'a Manifest,
    /// The run's ended items.
    pub trajectories: Vec<Trajectory>,
    rules: Rules,
}

impl<'a> LoopRun<'a> {
    /// Reads a run. If other verdicts stand for its own, they are compared.
    ///
    /// # Errors
    /// The journal can't be read.
    pub fn read(run: &'a RunDir) -> Result<Self, JournalError> {
        let trajectories: Result<Vec<_>, _> = run.trajectories()?.collect();
        let rules = Rules::from_run(run);
        Ok(Self { manifest: run.manifest(), trajectories: trajectories?, rules })
    }

    /// The run with this manifest and these trajectories, which has its own verdicts.
    #[cfg(test)]
    pub(super) fn new(manifest: &'a Manifest, trajectories: Vec<Trajectory>) -> Self {
        let rules = Rules::from_constitution(&manifest.constitution.value);
        Self { manifest, trajectories, rules }
    }

    /// The items as units, with their keys.
    ///
    /// The measures are:
    /// - `words`: the number of words of the last answer;
    /// - `change`: the word distance between the first and the last answer;
    /// - `decoded` and `prefilled`: the tokens computed for the item;
    /// - `p_chosen`: the probability that the last answer is better, if it was judged.
    ///
    /// The checks are whether the item is `done`, whether it was `revised`, and whether
    /// the revision was `preferred`.
    #[must_use]
    pub fn units(&self) -> Vec<Unit> {
        self.trajectories.iter().map(|trajectory| unit(trajectory, &self.rules)).collect()
    }

    /// The rules by which the run's verdicts count.
    pub(super) fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The gate: the least violation at which a principle is applied, if there is one.
    pub(super) fn gate(&self) -> Option<f64> {
        self.manifest.constitution.value.plan.gate
    }
}

fn unit(trajectory: &Trajectory, rules: &Rules) -> Unit {
    let key = trajectory.item.key.clone();
    let steps = &trajectory.steps;
    let done = matches!(trajectory.outcome, Outcome::Done { .. });
    let mut unit = Unit { group: key.clone(), key, ..Unit::default() };
    unit.checks.insert("done".to_owned(), done);
    let (first, last) = (rules.first(steps), rules.last(steps));
    let texts = (answer(steps, first), answer(steps, last), done);
    let (Some(before), Some(after), true) = texts else { return unit };
    let change = words::distance(before, after);
    let tokens = |count: fn(Usage) -> u32| {
        steps.iter().map(|step| f64::from(count(step.usage))).sum::<f64>()
    };
    for (measure, value) in [
        ("words", after.split_whitespace().count() as f64),
        ("change", change),
        ("decoded", tokens(|usage| usage.decoded)),
        ("prefilled", tokens(Usage::prefilled)),
    ] {
        unit.numbers.insert(measure.to_owned(), value);
    }
    unit.checks.insert("revised".to_owned(), change > 0.0);
    if let Some(judgement) = rules.on(steps, [last, first]) {
        let verdict = judgement.decisive;
        unit.numbers.insert("p_chosen".to_owned(), verdict.p);
        unit.checks.insert("preferred".to_owned(), verdict.is_for_first());
    }
    unit.text = Some(after.to_owned());
    unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use amend_core::constitution::Judge;
    use amend_core::model::Failure;
    use amend_core::record::{Step, StepKind, Stop};
    use amend_core::stats::sigmoid;
    use amend_data::testing::{self, judged};

    fn answer(kind: StepKind, text: &str) -> Step {
        let usage = Usage { prompt: 9, cached: 4, decoded: 3, ..Usage::default() };
        Step { text: text.to_owned(), usage, ..Step::new(kind, 0) }
    }

    fn units_of(steps: Vec<Step>, outcome: Outcome) -> Unit {
        let mut manifest = testing::manifest();
        manifest.constitution.value.judge = Judge { mass_floor: 0.0, ..Judge::default() };
        let item = amend_core::record::Item::of_prompt("why");
        let trajectories = vec![Trajectory { item, steps, outcome }];
        LoopRun::new(&manifest, trajectories).units().remove(0)
    }

    const DONE: Outcome = Outcome::Done { stop: Stop::Rounds };

    #[test]
    fn units_of_a_judged_revision_by_hand() {
        let steps = vec![
            answer(StepKind::Generate, "a b"),
            answer(StepKind::Generate, "a x"),
            judged([0, 1], None, -1.0),
            answer(StepKind::Revise, "a x y"),
            judged([2, 1], None, 2.0),
        ];
        let unit = units_of(steps, DONE);
        assert_eq!(unit.numbers["words"], 3.0);
        // Three texts, each with 3 decoded and 9 − 4 prefilled tokens.
        assert_eq!((unit.numbers["decoded"], unit.numbers["prefilled"]), (9.0, 15.0));
        // The distance from the second candidate, with two words in common.
        assert!((unit.numbers["change"] - (1.0 - 4.0 / 5.0)).abs() < 1e-12);
        assert!((unit.numbers["p_chosen"] - sigmoid(2.0)).abs() < 1e-12);
        let checks: Vec<(&str, bool)> =
            unit.checks.iter().map(|(check, &passed)| (check.as_str(), passed)).collect();
        assert_eq!(checks, [("done", true), ("preferred", true), ("revised", true)]);
        assert_eq!(unit.text.as_deref(), Some("a x y"));
    }

    #[test]
    fn unrevised_and_failed_items_have_fewer_measures() {
        let unit = units_of(vec![answer(StepKind::Generate, " a b\n")], DONE);
        assert_eq!((unit.numbers["words"], unit.numbers["change"]), (2.0, 0.0));
        assert_eq!(unit.checks, [("done".to_owned(), true), ("revised".to_owned(), false)].into());
        let failed = Outcome::Failed { failure: Failure::NotFinite };
        let unit = units_of(vec![answer(StepKind::Generate, "a")], failed);
        assert_eq!((unit.numbers.len(), unit.text), (0, None));
        assert_eq!(unit.checks, [("done".to_owned(), false)].into());
    }
}

//! What is compared of two runs of the loop.

use super::{Unit, words};
use crate::dataset::journal::Outcome;
use crate::dataset::judgement::Rules;
use crate::dataset::manifest::Manifest;
use crate::dataset::trajectories::Trajectory;
use crate::trajectory::{StepKind, answers};

/// The items of a run, recognised by their keys. Measured are the `words` of the
/// last answer, its `change` from the first (a distance, word by word), and
/// `p_chosen`, the probability that the last is the better one, where that was
/// judged. Checked is whether an item is `done`, was `revised`, and whether the
/// revision was `preferred`.
#[must_use]
pub fn units(manifest: &Manifest, trajectories: &[Trajectory]) -> Vec<Unit> {
    let rules = Rules::of(&manifest.constitution.value);
    trajectories.iter().map(|trajectory| unit(trajectory, &rules)).collect()
}

fn unit(trajectory: &Trajectory, rules: &Rules) -> Unit {
    let key = trajectory.item.key.clone();
    let steps = &trajectory.steps;
    let done = matches!(trajectory.outcome, Outcome::Done { .. });
    let mut unit = Unit { group: key.clone(), key, ..Unit::default() };
    unit.checks.insert("done".to_owned(), done);
    let first = rules.first(steps);
    let revised = answers(steps)
        .enumerate()
        .filter(|(_, step)| step.kind == StepKind::Revise)
        .last()
        .map(|(number, _)| number);
    let last = revised.unwrap_or(first);
    let text = |number| answers(steps).nth(number).map(|step| step.text.trim());
    let (Some(before), Some(after), true) = (text(first), text(last), done) else { return unit };
    let change = words::distance(before, after);
    unit.numbers.insert("words".to_owned(), after.split_whitespace().count() as f64);
    unit.numbers.insert("change".to_owned(), change);
    unit.checks.insert("revised".to_owned(), change > 0.0);
    if let Some(judgement) = rules.on(steps, [last, first]) {
        let verdict = judgement.decisive;
        unit.numbers.insert("p_chosen".to_owned(), verdict.p);
        unit.checks.insert("preferred".to_owned(), !verdict.undecided && verdict.margin > 0.0);
    }
    unit.text = Some(after.to_owned());
    unit
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constitution::Judge;
    use crate::dataset::testing;
    use crate::engine::Failure;
    use crate::judge::{Poll, Reading, Verdict};
    use crate::trajectory::{Step, Stop};

    fn answer(kind: StepKind, text: &str) -> Step {
        Step { text: text.to_owned(), ..Step::new(kind, 0) }
    }

    /// A verdict of these log-odds for the answer named first, in both orders.
    fn judged(about: [usize; 2], forward: f64) -> Step {
        let reading =
            |odds: f64| Reading { first: (odds / 2.0).exp().ln() - 2.0, second: -odds / 2.0 - 2.0 };
        let poll = Poll {
            template: "judge".to_owned(),
            forward: vec![reading(forward)],
            backward: vec![reading(-forward)],
        };
        let verdict = Some(Verdict { polls: vec![poll] });
        Step { about: about.to_vec(), verdict, ..Step::new(StepKind::Judge, 0) }
    }

    fn units_of(steps: Vec<Step>, outcome: Outcome) -> Unit {
        let mut manifest = testing::manifest();
        let judge = Judge { mass_floor: 0.0, ..Judge::default() };
        manifest.constitution.value["judge"] = serde_json::to_value(judge).unwrap();
        let item = crate::dataset::item::Item::of_prompt("why");
        units(&manifest, &[Trajectory { item, steps, outcome }]).remove(0)
    }

    const DONE: Outcome = Outcome::Done { stop: Stop::Rounds };

    #[test]
    fn a_judged_revision_by_hand() {
        let steps = vec![
            answer(StepKind::Generate, "a b"),
            answer(StepKind::Generate, "a x"),
            judged([0, 1], -1.0),
            answer(StepKind::Revise, "a x y"),
            judged([2, 1], 2.0),
        ];
        let unit = units_of(steps, DONE);
        assert_eq!(unit.numbers["words"], 3.0);
        // Against the second candidate, two of its words in common.
        assert!((unit.numbers["change"] - (1.0 - 4.0 / 5.0)).abs() < 1e-12);
        assert!((unit.numbers["p_chosen"] - 1.0 / (1.0 + (-2.0_f64).exp())).abs() < 1e-12);
        let checks: Vec<(&str, bool)> =
            unit.checks.iter().map(|(check, &passed)| (check.as_str(), passed)).collect();
        assert_eq!(checks, [("done", true), ("preferred", true), ("revised", true)]);
        assert_eq!(unit.text.as_deref(), Some("a x y"));
    }

    #[test]
    fn what_was_not_revised_or_failed_has_less_to_tell() {
        let unit = units_of(vec![answer(StepKind::Generate, " a b\n")], DONE);
        assert_eq!((unit.numbers["words"], unit.numbers["change"]), (2.0, 0.0));
        assert_eq!(unit.checks, [("done".to_owned(), true), ("revised".to_owned(), false)].into());
        let failed = Outcome::Failed { failure: Failure::NotFinite };
        let unit = units_of(vec![answer(StepKind::Generate, "a")], failed);
        assert_eq!((unit.numbers.len(), unit.text), (0, None));
        assert_eq!(unit.checks, [("done".to_owned(), false)].into());
    }
}

//! What is compared of two runs of the loop.

use std::collections::BTreeMap;

use super::{Unit, words};
use crate::constitution::Judge;
use crate::dataset::journal::Outcome;
use crate::dataset::manifest::Manifest;
use crate::dataset::trajectories::Trajectory;
use crate::judge::{Combined, combine};
use crate::trajectory::{Step, StepKind, answers};

/// The items of a run, recognised by their keys. Measured are the `words` of the
/// last answer, its `change` from the first (a distance, word by word), and
/// `p_chosen`, the probability that the last is the better one, where that was
/// judged. Checked is whether an item is `done`, was `revised`, and whether the
/// revision was `preferred`.
#[must_use]
pub fn units(manifest: &Manifest, trajectories: &[Trajectory]) -> Vec<Unit> {
    let judge = manifest.constitution.value.get("judge").cloned();
    let judge = judge.and_then(|judge| serde_json::from_value(judge).ok());
    trajectories.iter().map(|trajectory| unit(trajectory, judge.as_ref())).collect()
}

fn unit(trajectory: &Trajectory, judge: Option<&Judge>) -> Unit {
    let key = trajectory.item.key.clone();
    let done = matches!(trajectory.outcome, Outcome::Done { .. });
    let mut checks = BTreeMap::from([("done".to_owned(), done)]);
    let mut numbers = BTreeMap::new();
    let pair = if done { ends(&trajectory.steps) } else { None };
    if let Some((first, last)) = pair {
        let change = words::distance(first, last);
        numbers.insert("words".to_owned(), last.split_whitespace().count() as f64);
        numbers.insert("change".to_owned(), change);
        checks.insert("revised".to_owned(), change > 0.0);
        if let Some(verdict) = judge.and_then(|judge| verdict(&trajectory.steps, judge)) {
            numbers.insert("p_chosen".to_owned(), verdict.p);
            checks.insert("preferred".to_owned(), !verdict.undecided && verdict.margin > 0.0);
        }
    }
    let text = pair.map(|(_, last)| last.to_owned());
    Unit { group: key.clone(), key, kind: None, numbers, checks, text }
}

/// The overall verdict on the last revision.
fn verdict(steps: &[Step], judge: &Judge) -> Option<Combined> {
    let step = overall(steps)?;
    combine(&[(step.verdict.as_ref()?, 1.0)], &judge.standing())
}

/// The step that judged the last revision as a whole.
fn overall(steps: &[Step]) -> Option<&Step> {
    let revised = steps.iter().rposition(|step| step.kind == StepKind::Revise)?;
    let judged = |step: &&Step| step.kind == StepKind::Judge && step.principle.is_none();
    steps[revised..].iter().find(judged)
}

/// The first answer and the last. Of several candidates the first is the one that
/// the last was judged against; where it was not judged, that of the least number.
fn ends(steps: &[Step]) -> Option<(&str, &str)> {
    let number = overall(steps).and_then(|step| step.about.get(1).copied()).unwrap_or_default();
    let first = answers(steps).nth(number)?;
    let last = answers(steps).rfind(|step| step.kind == StepKind::Revise).unwrap_or(first);
    Some((first.text.trim(), last.text.trim()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::testing;
    use crate::engine::Failure;
    use crate::judge::{Poll, Reading, Verdict};
    use crate::trajectory::Stop;

    fn answer(kind: StepKind, text: &str) -> Step {
        Step { text: text.to_owned(), ..Step::new(kind, 0) }
    }

    /// A verdict of log-odds ±2 in both orders, for the revision or against it.
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

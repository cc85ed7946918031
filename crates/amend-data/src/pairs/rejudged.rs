//! The comparisons of a run's answers for another judge: those that an export can need.

use crate::pairs::judgement::Rules;
use crate::store::run_dir::{RunDir, RunError};
use crate::store::trajectories::Trajectory;
use crate::store::verdicts;
use amend_core::procedure::improved;
use amend_core::record::{Item, Outcome, StepKind, answer, answers};

/// The comparisons of a run for another judge.
#[derive(Debug, Default)]
pub struct Rejudged {
    /// An item for each comparison, in the order of the input.
    pub items: Vec<Item>,
    /// Whether there are candidates among them, which only an overall verdict can rank.
    pub has_candidates: bool,
}

/// Makes the comparisons of a run's ended items. All are in memory.
///
/// # Errors
/// The run can't be read.
pub fn comparisons(run: &RunDir) -> Result<Rejudged, RunError> {
    let rules = Rules::from_constitution(&run.manifest().constitution.value);
    let mut rejudged = Rejudged::default();
    for trajectory in run.trajectories()? {
        let trajectory = trajectory?;
        for numbers in compared(&trajectory, &rules) {
            let texts = texts(&trajectory, numbers);
            rejudged.items.push(verdicts::comparison(&trajectory.item, numbers, texts));
            rejudged.has_candidates |= numbers[0] < numbers[1];
        }
    }
    // Stable, so that the comparisons of an item keep their order.
    rejudged.items.sort_by_key(|item| item.row);
    Ok(rejudged)
}

/// The number of comparisons of a run, and how many of them have no verdict among those
/// that stand for its own: all have one if no others do.
///
/// # Errors
/// The run can't be read.
pub fn missing(run: &RunDir) -> Result<(u64, u64), RunError> {
    let Some(verdicts) = run.verdicts() else { return Ok((0, 0)) };
    let recorded = RunDir::open(run.path())?;
    let rules = Rules::from_constitution(&run.manifest().constitution.value);
    let (mut all, mut missing) = (0, 0);
    for trajectory in recorded.trajectories()? {
        let trajectory = trajectory?;
        for numbers in compared(&trajectory, &rules) {
            all += 1;
            let texts = texts(&trajectory, numbers);
            let has = verdicts.has(&trajectory.item.key, numbers, texts);
            missing += u64::from(!has);
        }
    }
    Ok((all, missing))
}

/// The texts of two answers.
fn texts(trajectory: &Trajectory, numbers: [usize; 2]) -> [&str; 2] {
    numbers
        .map(|number| answers(&trajectory.steps).nth(number).map_or("", |step| step.text.as_str()))
}

/// The numbers of the answers to compare: each two candidates, in their order, and the last
/// revision and the guided answer with the first answer. Answers that are blank or the same
/// are not compared.
fn compared(trajectory: &Trajectory, rules: &Rules) -> Vec<[usize; 2]> {
    let steps = &trajectory.steps;
    if matches!(trajectory.outcome, Outcome::Failed { .. }) {
        return Vec::new();
    }
    let candidates = steps.iter().take_while(|step| step.kind == StepKind::Generate).count();
    let mut pairs: Vec<[usize; 2]> =
        (0..candidates).flat_map(|a| (a + 1..candidates).map(move |b| [a, b])).collect();
    let first = rules.first(steps);
    pairs.extend(improved(steps).into_iter().map(|number| [number, first]));
    pairs.retain(|numbers| {
        let texts = numbers.map(|number| answer(steps, number).unwrap_or_default());
        texts[0] != texts[1] && !texts[0].is_empty() && !texts[1].is_empty()
    });
    pairs
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{item, judged, manifest, step};
    use amend_core::record::{Step, Stop};

    fn numbers(steps: Vec<Step>) -> Vec<[usize; 2]> {
        let rules = Rules::from_constitution(&manifest().constitution.value);
        let outcome = Outcome::Done { stop: Stop::Rounds };
        compared(&Trajectory { item: item("a"), steps, outcome }, &rules)
    }

    #[test]
    fn a_guided_answer_is_compared_with_the_first_one() {
        let generate = || step(StepKind::Generate, None, "a");
        let guided =
            || Step { principles: vec!["kind".into()], ..step(StepKind::Guide, None, "g") };
        assert_eq!(numbers(vec![generate(), guided()]), [[1, 0]]);
        let revised = step(StepKind::Revise, Some("kind"), "b");
        assert_eq!(numbers(vec![generate(), revised, guided()]), [[1, 0], [2, 0]]);
    }

    #[test]
    fn the_last_revision_is_compared_with_the_answer_it_began_from() {
        let generate = |text| step(StepKind::Generate, None, text);
        let revise = |text| step(StepKind::Revise, Some("kind"), text);
        assert_eq!(numbers(vec![generate("a"), revise("b"), revise("c")]), [[2, 0]]);
        assert_eq!(numbers(vec![generate("a")]), Vec::<[usize; 2]>::new());
        // The same text, or none, is not compared.
        assert_eq!(numbers(vec![generate("a"), revise(" a\n")]), Vec::<[usize; 2]>::new());
        // The second candidate is the better one, so it was revised.
        let steps = vec![generate("a"), generate("b"), judged([0, 1], None, -1.0), revise("c")];
        assert_eq!(numbers(steps), [[0, 1], [2, 1]]);
    }
}

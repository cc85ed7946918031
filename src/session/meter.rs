//! Measures how far a session is, and shows it.

use crate::cli::output::progress::{Progress, ProgressFacts, VerdictCounts};
use amend_core::driver::Job;
use amend_core::model::Usage;
use amend_core::procedure::{ItemLoop, Procedure, improved};
use amend_core::record::{Outcome, Step, StepKind};
use amend_data::pairs::judgement::Rules;

/// Counts what happens in a session, and shows the progress from time to time.
pub(super) struct Meter {
    progress: Progress,
    facts: ProgressFacts,
    /// How verdicts compare last answers with first ones, if the procedure asks for them.
    rules: Option<Rules>,
    /// The steps of an item before any has ended, if they are known.
    planned_steps: Option<f64>,
    /// The items that ended in this session, and their steps.
    ended: Ended,
    /// The tokens of the steps that are done.
    decoded: u64,
    /// The pieces of text that arrived. Each has a token at least.
    pieces: u64,
}

#[derive(Default)]
struct Ended {
    items: u64,
    steps: u64,
}

impl Meter {
    /// Measures a job over a number of items, some of which ended in earlier sessions.
    pub(super) fn new(job: &Job, items: u64, ended_before: u64) -> Self {
        let constitution = &job.constitution;
        let (planned_steps, judges) = match job.procedure {
            Procedure::Revise { judging } => {
                (Some(job.procedure.most_steps(constitution) as f64), judging)
            }
            Procedure::Rubric { .. } => {
                (Some(job.procedure.most_steps(constitution) as f64), false)
            }
            // The answers may be given, and these items end soon.
            Procedure::Compare { .. } | Procedure::Likelihood { .. } => (None, false),
        };
        let facts = ProgressFacts { items, ended: ended_before, ..ProgressFacts::default() };
        Self {
            progress: Progress::new(&facts),
            facts,
            rules: judges.then(|| Rules::from_constitution(constitution)),
            planned_steps,
            ended: Ended::default(),
            decoded: 0,
            pieces: 0,
        }
    }

    /// A piece of text arrived.
    pub(super) fn text(&mut self) {
        self.pieces += 1;
        self.show();
    }

    /// A step is done.
    pub(super) fn step(&mut self, step: &Step) {
        self.decoded += u64::from(step.usage.decoded);
        self.facts.steps += u64::from(is_computed(step));
    }

    /// An item has ended.
    pub(super) fn end(&mut self, trajectory: &ItemLoop, outcome: &Outcome) {
        let steps = trajectory.steps();
        self.facts.ended += 1;
        self.ended.items += 1;
        self.ended.steps += steps.iter().filter(|step| is_computed(step)).count() as u64;
        if matches!(outcome, Outcome::Failed { .. }) {
            self.facts.failed += 1;
            return;
        }
        let Some(rules) = &self.rules else { return };
        let first = rules.first(steps);
        let better = improved(steps).into_iter();
        for judgement in better.filter_map(|number| rules.on(steps, [number, first])) {
            let VerdictCounts { better, not_better, undecided } = &mut self.facts.verdicts;
            let count = match judgement.decisive {
                decisive if decisive.undecided => undecided,
                decisive if decisive.is_for_first() => better,
                _ => not_better,
            };
            *count += 1;
        }
    }

    /// Shows the progress if it is time to.
    pub(super) fn show(&mut self) {
        let Self { progress, facts, planned_steps, ended, decoded, pieces, .. } = self;
        progress.update(|| ProgressFacts {
            // Texts of steps that are not done count by their pieces.
            tokens: (*decoded).max(*pieces),
            steps_left: steps_left(facts, ended, *planned_steps),
            ..facts.clone()
        });
    }

    /// The tokens of the steps that are done.
    pub(super) fn decoded(&self) -> u64 {
        self.decoded
    }
}

/// Whether a model took the step, which is then not an answer that was given.
fn is_computed(step: &Step) -> bool {
    step.kind != StepKind::Generate || step.usage != Usage::default()
}

/// How many steps the items that have not ended need, if each takes as many as those that
/// ended or, before that, as many as planned.
fn steps_left(facts: &ProgressFacts, ended: &Ended, planned: Option<f64>) -> Option<f64> {
    let of_an_item = match ended.items {
        0 => planned?,
        items => ended.steps as f64 / items as f64,
    };
    let in_flight = facts.steps.saturating_sub(ended.steps);
    // Fewer steps than an item has say little about the time of a step.
    if (facts.steps as f64) < of_an_item {
        return None;
    }
    let left = of_an_item * (facts.items - facts.ended) as f64;
    Some((left - in_flight as f64).max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_left_follow_from_the_plan_until_an_item_ends() {
        let facts =
            |ended, steps| ProgressFacts { items: 8, ended, steps, ..ProgressFacts::default() };
        let none = Ended::default();
        assert_eq!(steps_left(&facts(0, 9), &none, Some(10.0)), None);
        assert_eq!(steps_left(&facts(0, 12), &none, Some(10.0)), Some(68.0));
        assert_eq!(steps_left(&facts(0, 12), &none, None), None);
        // Two items took six steps each, and others have taken eight.
        let two = Ended { items: 2, steps: 12 };
        assert_eq!(steps_left(&facts(2, 20), &two, Some(10.0)), Some(28.0));
        assert_eq!(steps_left(&facts(8, 48), &Ended { items: 8, steps: 48 }, None), Some(0.0));
        // Two more ended in an earlier session.
        assert_eq!(steps_left(&facts(4, 20), &two, None), Some(16.0));
    }
}

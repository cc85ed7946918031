//! The first answers of a run, for another run that starts from them.

use super::journal::JournalError;
use serde_json::Value;

use super::manifest::{Manifest, SourceRun};
use super::run_dir::RunDir;
use amend_core::record::{Item, Outcome, Step, StepKind};

/// The items of a run with their first answers. All are in memory.
#[derive(Debug)]
pub struct FirstAnswers {
    /// The run.
    pub run: SourceRun,
    /// The items, in the order of the input.
    pub items: Vec<Item>,
    /// The steps that wrote their first answers, by the item's key: one for each candidate.
    pub steps: Vec<(String, Vec<Step>)>,
    /// The number of items of the run that have no first answers, because they failed or
    /// have not ended.
    pub without: u64,
}

/// Reads the first answers of the items that are done.
///
/// # Errors
/// The journal can't be read.
pub fn read(run: &RunDir) -> Result<FirstAnswers, JournalError> {
    let mut done: Vec<(Item, Vec<Step>)> = Vec::new();
    for trajectory in run.trajectories()? {
        let trajectory = trajectory?;
        let mut steps = trajectory.steps;
        let candidates = steps.iter().take_while(|step| step.kind == StepKind::Generate).count();
        steps.truncate(candidates);
        if candidates > 0 && matches!(trajectory.outcome, Outcome::Done { .. }) {
            done.push((trajectory.item, steps));
        }
    }
    done.sort_by_key(|(item, _)| item.row);
    let without = run.manifest().input.rows.saturating_sub(done.len() as u64);
    let run = SourceRun { sha256: run.hash().to_owned(), model: author(run.manifest()).clone() };
    let mut answers = FirstAnswers { run, items: Vec::new(), steps: Vec::new(), without };
    for (item, steps) in done {
        answers.steps.push((item.key.clone(), steps));
        answers.items.push(item);
    }
    Ok(answers)
}

/// The model that wrote the first answers of a run.
fn author(manifest: &Manifest) -> &Value {
    let earlier = manifest.input.run.as_ref().map(|run| &run.model);
    earlier.or(manifest.student_model.as_ref()).unwrap_or(&manifest.model)
}

impl FirstAnswers {
    /// The number of first answers of an item that has another number of them than
    /// `candidates`, if there is one.
    #[must_use]
    pub fn other_than(&self, candidates: usize) -> Option<usize> {
        let mut counts = self.steps.iter().map(|(_, steps)| steps.len());
        counts.find(|&count| count != candidates)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::Record;
    use crate::testing::{failed, item, judged, manifest, step};
    use amend_core::record::Stop;

    #[test]
    fn first_answers_of_done_items_are_read_in_the_order_of_the_input() {
        let place = tempfile::tempdir().unwrap();
        let mut run = RunDir::create(place.path(), &manifest()).unwrap();
        let steps = [
            step(StepKind::Generate, None, "one"),
            step(StepKind::Generate, None, "two"),
            judged([0, 1], None, 1.0),
            step(StepKind::Revise, Some("kind"), "three"),
        ];
        for (key, row) in [("b", 2), ("a", 1)] {
            for step in &steps {
                let step = step.clone();
                run.append(&Record::Step { item: key.to_owned(), step }).unwrap();
            }
            let outcome = Outcome::Done { stop: Stop::Rounds };
            run.append(&Record::End { item: Item { row, ..item(key) }, outcome }).unwrap();
        }
        run.append(&failed("c")).unwrap();
        let answers = read(run.dir()).unwrap();
        let keys: Vec<_> = answers.steps.iter().map(|(key, _)| key.as_str()).collect();
        assert_eq!(keys, ["a", "b"]);
        assert_eq!(answers.items[0].key, "a");
        assert_eq!(answers.steps[0].1, steps[..2]);
        assert_eq!(answers.run.sha256, run.dir().hash());
        assert_eq!((answers.other_than(2), answers.other_than(1)), (None, Some(2)));
    }
}

//! Reviews as labelled comparisons, to evaluate and calibrate a judge.

use serde_json::Map;

use super::judgement::Rules;
use crate::pairs::reviewable;
use crate::store::reviews::{Opinion, Reviews};
use crate::store::run_dir::{RunDir, RunError};
use amend_core::random::Stream;
use amend_core::record::{Item, Keys, Label};

/// Makes a labelled comparison of each reviewed item, in the order of the input. `stream`
/// draws which response becomes response A. Items that reviewers judge both bad, or
/// disagree on, are left out.
///
/// # Errors
/// The run or its reviews can't be read.
pub fn comparisons(run: &RunDir, stream: Stream) -> Result<Vec<Item>, RunError> {
    let reviews = Reviews::read(run)?;
    let rules = Rules::from_constitution(&run.manifest().constitution.value);
    let mut items = Vec::new();
    for trajectory in run.trajectories()? {
        let trajectory = trajectory?;
        let Ok((answers, pair)) = reviewable(&trajectory, &rules) else { continue };
        let item = &trajectory.item;
        let Some(decision) = reviews.decision(&item.key, answers) else { continue };
        let better_first = stream.bits(item.row).is_multiple_of(2);
        let label = match decision.opinion {
            Some(Opinion::Answer(number)) if (number == answers[0]) == better_first => Label::A,
            Some(Opinion::Answer(_)) => Label::B,
            Some(Opinion::Tie) => Label::Tie,
            Some(Opinion::BothBad) | None => continue,
        };
        let [better, other] = [pair.chosen.text.clone(), pair.rejected.text.clone()];
        let (response, response_b) = if better_first { (better, other) } else { (other, better) };
        items.push(Item {
            key: String::new(),
            row: item.row,
            id: item.id.clone(),
            messages: item.messages.clone(),
            response: Some(response),
            response_b: Some(response_b),
            // Drop the metadata of the row: its label may be about other responses.
            metadata: Map::from_iter([("label".to_owned(), label.as_str().into())]),
        });
    }
    items.sort_by_key(|item| item.row);
    let mut keys = Keys::default();
    for item in &mut items {
        item.key = keys.next(&item.messages, item.response.as_deref(), item.response_b.as_deref());
    }
    Ok(items)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::Record;
    use crate::store::reviews::{Choice, Review, ReviewsWriter};
    use crate::testing::{item, manifest, review, step};
    use amend_core::record::{ComparisonFacts, Outcome, StepKind, Stop};

    #[test]
    fn reviews_become_labels_of_the_compared_responses() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunDir::create(folder.path(), &manifest()).unwrap();
        for (key, row) in [("d", 4), ("a", 1), ("b", 2), ("c", 3), ("e", 5), ("f", 6)] {
            for (kind, text) in [(StepKind::Generate, "old"), (StepKind::Revise, "new")] {
                let step = step(kind, Some("kind"), text);
                run.append(&Record::Step { item: key.to_owned(), step }).unwrap();
            }
            let outcome = Outcome::Done { stop: Stop::Rounds };
            run.append(&Record::End { item: Item { row, ..item(key) }, outcome }).unwrap();
        }
        let mut writer = ReviewsWriter::open(run.dir()).unwrap();
        let mirrored = Review { left: 0, right: 1, ..review("b", "ada", Choice::Left) };
        for review in [
            review("a", "ada", Choice::Left),
            mirrored,
            review("c", "ada", Choice::Tie),
            review("d", "ada", Choice::BothBad),
            review("e", "ada", Choice::Left),
            review("e", "bob", Choice::Right),
        ] {
            writer.add(review).unwrap();
        }
        let preferred = |seed| -> Vec<String> {
            let items = comparisons(run.dir(), Stream::new(seed)).unwrap();
            let better = |item: &Item| match ComparisonFacts::from_item(item).label.unwrap() {
                Label::A => item.response.clone().unwrap(),
                Label::B => item.response_b.clone().unwrap(),
                Label::Tie => "tie".to_owned(),
            };
            items.iter().map(|item| format!("{} {}", item.row, better(item))).collect()
        };
        // The label does not depend on the order.
        for seed in 0..8 {
            assert_eq!(preferred(seed), ["1 new", "2 old", "3 tie"]);
        }
        let first = |seed| comparisons(run.dir(), Stream::new(seed)).unwrap()[0].response.clone();
        assert!((0..8).any(|seed| first(seed) != first(0)));
    }
}

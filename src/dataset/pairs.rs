//! From trajectories to preference pairs: the last revision over the first
//! answer.

use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use super::journal::Outcome;
use super::trajectories::Trajectory;
use crate::engine::Finish;
use crate::trajectory::{Step, StepKind};

/// A preference, and where it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair<'a> {
    /// The better answer: the last revision.
    pub chosen: &'a str,
    /// The worse answer: the first one.
    pub rejected: &'a str,
    /// What the last critique found; none where the loop has no critiques.
    pub reason: Option<&'a str>,
    /// The ids of the principles revised by, each once, in order of first use.
    pub principles: Vec<&'a str>,
}

/// Why a trajectory gives no pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// The item failed.
    Failed,
    /// Nothing was revised.
    NoRevision,
    /// One of the answers is blank.
    Empty,
    /// One of the answers was cut off at its greatest length.
    Cut,
    /// Both answers are the same, blank ends aside.
    Same,
}

impl DropReason {
    /// Its name, for counts and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::NoRevision => "no_revision",
            Self::Empty => "empty",
            Self::Cut => "cut",
            Self::Same => "same",
        }
    }

    /// The reason in words, for people.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::Failed => "the item failed",
            Self::NoRevision => "no revision",
            Self::Empty => "a side is empty",
            Self::Cut => "a side was cut off by max_tokens",
            Self::Same => "both sides say the same",
        }
    }
}

/// The pair a trajectory gives.
///
/// # Errors
/// Why it gives none: the first reason that holds, in the order of
/// [`DropReason`].
pub fn pair(trajectory: &Trajectory) -> Result<Pair<'_>, DropReason> {
    if matches!(trajectory.outcome, Outcome::Failed { .. }) {
        return Err(DropReason::Failed);
    }
    let steps = &trajectory.steps;
    let last = |kind| steps.iter().rev().find(|step| step.kind == kind);
    let first = steps.iter().find(|step| step.kind == StepKind::Generate);
    let (Some(rejected), Some(chosen)) = (first, last(StepKind::Revise)) else {
        return Err(DropReason::NoRevision);
    };
    let answers = [chosen, rejected];
    if answers.iter().any(|answer| answer.text.trim().is_empty()) {
        return Err(DropReason::Empty);
    }
    if answers.iter().any(|answer| answer.finish == Some(Finish::Length)) {
        return Err(DropReason::Cut);
    }
    if chosen.text.trim() == rejected.text.trim() {
        return Err(DropReason::Same);
    }
    Ok(Pair {
        chosen: &chosen.text,
        rejected: &rejected.text,
        reason: last(StepKind::Critique).map(|critique| critique.text.as_str()),
        principles: principles(steps),
    })
}

fn principles(steps: &[Step]) -> Vec<&str> {
    let mut ids = Vec::new();
    for step in steps.iter().filter(|step| step.kind == StepKind::Revise) {
        if let Some(id) = step.principle.as_deref()
            && !ids.contains(&id)
        {
            ids.push(id);
        }
    }
    ids
}

/// The category of each principle of a constitution.
#[derive(Debug, Clone, Default)]
pub struct Categories(HashMap<String, String>);

impl Categories {
    /// Reads them from a constitution as manifests keep it. Principles without
    /// a category are left out.
    #[must_use]
    pub fn new(constitution: &Value) -> Self {
        let principles = constitution["principles"].as_array().map_or(&[][..], Vec::as_slice);
        let entry = |principle: &Value| {
            let category =
                principle["category"].as_str().filter(|category| !category.is_empty())?;
            Some((principle["id"].as_str()?.to_owned(), category.to_owned()))
        };
        Self(principles.iter().filter_map(entry).collect())
    }

    /// The categories of some principles, each once, in order.
    #[must_use]
    pub fn of(&self, principles: &[&str]) -> Vec<&str> {
        let mut categories = Vec::new();
        for category in principles.iter().filter_map(|&id| self.0.get(id)) {
            if !categories.contains(&category.as_str()) {
                categories.push(category.as_str());
            }
        }
        categories
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dataset::testing::{item, step};
    use crate::engine::Failure;
    use crate::trajectory::Stop;

    fn trajectory(steps: &[Step]) -> Trajectory {
        let outcome = Outcome::Done { stop: Stop::Rounds };
        Trajectory { item: item("a"), steps: steps.to_vec(), outcome }
    }

    fn generate(text: &str) -> Step {
        step(StepKind::Generate, None, text)
    }

    fn critique(principle: &str, text: &str) -> Step {
        step(StepKind::Critique, Some(principle), text)
    }

    fn revise(principle: &str, text: &str) -> Step {
        step(StepKind::Revise, Some(principle), text)
    }

    #[test]
    fn the_last_revision_is_chosen_over_the_first_answer() {
        let trajectory = trajectory(&[
            generate("bad"),
            critique("kind", "rude"),
            revise("kind", "better"),
            critique("true", "wrong"),
            revise("true", "good"),
            critique("kind", "still rude"),
            revise("kind", "best"),
        ]);
        let expected = Pair {
            chosen: "best",
            rejected: "bad",
            reason: Some("still rude"),
            principles: vec!["kind", "true"],
        };
        assert_eq!(pair(&trajectory), Ok(expected));
    }

    #[test]
    fn without_critiques_there_is_no_reason() {
        let trajectory = trajectory(&[generate("bad"), revise("kind", "good")]);
        let expected =
            Pair { chosen: "good", rejected: "bad", reason: None, principles: vec!["kind"] };
        assert_eq!(pair(&trajectory), Ok(expected));
    }

    #[test]
    fn what_makes_no_pair_is_dropped_by_the_first_reason_that_holds() {
        let cut = |step: Step| Step { finish: Some(Finish::Length), ..step };
        let given = |step: Step| Step { finish: None, ..step };
        for (steps, expected) in [
            (vec![], Err(DropReason::NoRevision)),
            (vec![generate("x"), critique("k", "c")], Err(DropReason::NoRevision)),
            (vec![generate(" \n"), revise("k", "x")], Err(DropReason::Empty)),
            (vec![cut(generate("x")), revise("k", "")], Err(DropReason::Empty)),
            (vec![cut(generate("x")), revise("k", "y")], Err(DropReason::Cut)),
            (vec![generate("x"), cut(revise("k", "x"))], Err(DropReason::Cut)),
            (vec![generate("x"), revise("k", "x \n")], Err(DropReason::Same)),
            (vec![generate("x"), revise("k", "y"), revise("l", "x")], Err(DropReason::Same)),
            // Cut on the way, or in the critique: what is compared is whole.
            (vec![generate("x"), cut(revise("k", "y")), revise("l", "z")], Ok("z")),
            (vec![generate("x"), cut(critique("k", "c")), revise("k", "y")], Ok("y")),
            (vec![given(generate("x")), revise("k", "y")], Ok("y")),
        ] {
            let trajectory = trajectory(&steps);
            assert_eq!(pair(&trajectory).map(|pair| pair.chosen), expected, "{steps:?}");
            let outcome = Outcome::Failed { failure: Failure::NotFinite };
            let failed = Trajectory { outcome, ..trajectory };
            assert_eq!(pair(&failed), Err(DropReason::Failed));
        }
    }

    #[test]
    fn reasons_have_one_name_everywhere() {
        use DropReason::{Cut, Empty, Failed, NoRevision, Same};
        let names = ["failed", "no_revision", "empty", "cut", "same"];
        for (reason, name) in [Failed, NoRevision, Empty, Cut, Same].into_iter().zip(names) {
            assert_eq!(reason.as_str(), name);
            assert_eq!(serde_json::to_value(reason).unwrap(), name);
        }
    }

    #[test]
    fn categories_come_once_in_order() {
        let categories = Categories::new(&json!({"principles": [
            {"id": "a", "category": "x"},
            {"id": "b", "category": ""},
            {"id": "c", "category": "y"},
            {"id": "d", "category": "x"},
        ]}));
        assert_eq!(categories.of(&["c", "a", "b", "d", "unknown"]), ["y", "x"]);
        assert_eq!(Categories::new(&json!({})).of(&["a"]), Vec::<&str>::new());
    }
}

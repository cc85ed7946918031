//! The pairwise test data of Auto-J, whose labels count from 0. Its responses are recognised by
//! their spelling, with a space: elsewhere, labels of two numbered responses count from 1.

use super::comparison;
use super::example::{Example, Object};
use super::fault::RowFault;
use super::labels::Numbers;
use super::read::{RowKind, Shape, ShapeFacts};

/// `prompt`, two responses, `scenario` and `label`.
#[derive(Debug)]
pub(super) struct AutoJ;

static FACTS: ShapeFacts = ShapeFacts {
    name: "Auto-J pairwise",
    about: "`prompt`, `response 1`, `response 2`, `scenario`, `label`",
    columns: &["scenario"],
    used_by: "Auto-J",
    labels: "`label`: 0 for response 1, 1 for response 2, 2 for a tie",
    kind: RowKind::Pair,
    exports: &[],
};

impl Shape for AutoJ {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let keys = ["prompt", "response 1", "response 2", "scenario", "label"];
        keys.iter().all(|key| row.contains_key(*key)).then_some("Auto-J pairwise")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut example =
            comparison::read(row, ["response 1", "response 2"], "label", Numbers::TwoIsTie)?;
        // The scenario is the category, and stays metadata.
        example.used.retain(|key| key != "scenario");
        Ok(example)
    }
}

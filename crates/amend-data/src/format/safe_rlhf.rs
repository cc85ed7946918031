//! PKU-SafeRLHF: two numbered responses, and the number of the more helpful one.

use super::comparison;
use super::example::{Example, Object};
use super::fault::RowFault;
use super::labels::Numbers;
use super::read::{RowKind, Shape, ShapeFacts};

/// `response_0`, `response_1` and `better_response_id`.
#[derive(Debug)]
pub(super) struct SafeRlhf;

static FACTS: ShapeFacts = ShapeFacts {
    name: "PKU-SafeRLHF",
    about: "`prompt`, `response_0`, `response_1`, `better_response_id`",
    columns: &["response_0", "better_response_id"],
    used_by: "PKU-SafeRLHF",
    labels: "`better_response_id`: 0 or 1",
    kind: RowKind::Pair,
    exports: &[],
};

impl Shape for SafeRlhf {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let keys = ["prompt", "response_0", "response_1", "better_response_id"];
        keys.iter().all(|key| row.contains_key(*key)).then_some("PKU-SafeRLHF")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        comparison::read(row, ["response_0", "response_1"], "better_response_id", Numbers::Index)
    }
}

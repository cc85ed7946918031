//! SHP: a post and two comments, of which one is preferred.

use super::example::{Answers, Example, Object};
use super::fault::RowFault;
use super::fields::Fields;
use super::labels::{Numbers, label};
use super::read::{RowKind, Shape, ShapeFacts};

/// `history` and two comments.
#[derive(Debug)]
pub(super) struct Shp;

static FACTS: ShapeFacts = ShapeFacts {
    name: "SHP",
    about: "`history`, `human_ref_A`, `human_ref_B`, `labels`",
    columns: &["human_ref_a", "human_ref_b", "labels"],
    used_by: "Stanford Human Preferences",
    labels: "`labels`: 1 for A, 0 for B",
    kind: RowKind::Pair,
    exports: &[],
};

impl Shape for Shp {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let keys = ["history", "human_ref_a", "human_ref_b"];
        keys.iter().all(|key| row.contains_key(*key)).then_some("SHP")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut fields = Fields::new(row);
        let prompt = vec![fields.text("history", "user")?];
        let a = vec![fields.text("human_ref_a", "assistant")?];
        let b = vec![fields.text("human_ref_b", "assistant")?];
        let label = label(&mut fields, "labels", Numbers::FirstIsOne)?;
        fields.example(prompt, Answers::Comparison { a, b, label }, false)
    }
}

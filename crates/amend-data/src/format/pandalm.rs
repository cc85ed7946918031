//! The test data of PandaLM: two responses, and the labels of three annotators. The label is
//! the one that two of them gave.

use super::example::{Answers, Example, Object};
use super::fault::RowFault;
use super::fields::Fields;
use super::labels::{Numbers, label};
use super::read::{RowKind, Shape, ShapeFacts};
use amend_core::record::Label;

/// `instruction`, `input`, two responses and the labels of annotators.
#[derive(Debug)]
pub(super) struct PandaLm;

static FACTS: ShapeFacts = ShapeFacts {
    name: "PandaLM",
    about: "`instruction`, `input`, `response1`, `response2`, `annotator1`, `annotator2`, `annotator3`",
    columns: &["annotator1", "annotator2", "annotator3"],
    used_by: "PandaLM",
    labels: "the majority of `annotator1` to `annotator3`: 1, 2 or 0 for a tie; annotators without a label do not count, and without a majority there is no label",
    kind: RowKind::Pair,
    exports: &[],
};

impl Shape for PandaLm {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let keys = ["instruction", "response1", "response2", "annotator1"];
        keys.iter().all(|key| row.contains_key(*key)).then_some("PandaLM")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut fields = Fields::new(row);
        let prompt = fields.prompt("instruction")?;
        let a = fields.text_or_turns("response1", "assistant")?;
        let b = fields.text_or_turns("response2", "assistant")?;
        let mut votes = Vec::new();
        for key in ["annotator1", "annotator2", "annotator3"] {
            votes.extend(label(&mut fields, key, Numbers::ZeroIsTie)?);
        }
        let label = [Label::A, Label::B, Label::Tie].into_iter().find(|label| {
            let count = votes.iter().filter(|vote| *vote == label).count();
            2 * count > votes.len()
        });
        fields.example(prompt, Answers::Comparison { a, b, label }, true)
    }
}

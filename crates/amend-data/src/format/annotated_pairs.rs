//! Annotated pairs as in Inverse Constitutional AI: `text_a`, `text_b` and which of them is
//! preferred. The export adds a column for each principle of the constitution: the text that
//! it prefers, `not_applicable` if the judge is undecided under it, and null if it was not
//! asked about. Which answer is `text_a` follows from the item's key, so that the position
//! says nothing about the label.

use serde_json::json;

use super::cells::{optional_text, row, text};
use super::comparison;
use super::example::{Answers, Example, Object};
use super::fault::RowFault;
use super::fields::{Fields, prompt_key};
use super::labels::{Numbers, label};
use super::origin::Provenance;
use super::read::{RowKind, Shape, ShapeFacts};
use super::thoughts::{Sides, ThoughtPlace};
use super::write::{ExportFormat, ExportRow, Rows, lone_prompt};
use crate::pairs::{DropReason, Pair};

/// `text_a`, `text_b` and `preferred_text`.
#[derive(Debug)]
pub(super) struct AnnotatedPairs;

static FACTS: ShapeFacts = ShapeFacts {
    name: "annotated pairs",
    about: "`text_a`, `text_b`, `preferred_text`; a prompt (see prompts), which only `lint` can do without",
    columns: &["text_a", "text_b", "preferred_text"],
    used_by: "Inverse Constitutional AI",
    labels: "`preferred_text`: `text_a`, `text_b`, `tie`, `not_applicable`",
    kind: RowKind::Pair,
    exports: &["annotated-pairs"],
};

/// The columns of the two texts, and what a label calls them.
const SIDES: [&str; 2] = ["text_a", "text_b"];

impl Shape for AnnotatedPairs {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let both = row.contains_key("text_a") && row.contains_key("text_b");
        both.then_some("annotated pairs")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        if prompt_key(row).is_some() {
            return comparison::read(row, SIDES, "preferred_text", Numbers::None);
        }
        let mut fields = Fields::new(row);
        let [a, b] = SIDES;
        let [a, b] = [fields.text(a, "assistant")?, fields.text(b, "assistant")?];
        let label = label(&mut fields, "preferred_text", Numbers::None)?;
        let answers = Answers::Comparison { a: vec![a], b: vec![b], label };
        fields.example(Vec::new(), answers, false)
    }
}

pub(super) const ANNOTATED_PAIRS: ExportFormat = ExportFormat {
    name: "annotated-pairs",
    about: "Inverse Constitutional AI, a column for each principle",
    columns: |run| {
        let own = ["prompt", "text_a", "text_b", "preferred_text"].map(text);
        own.into_iter().chain(run.principles().map(|id| optional_text(&column(id)))).collect()
    },
    rows: Rows::Pairs(annotated),
    thoughts: ThoughtPlace::Nowhere,
    dataset_info: None,
};

/// The name of a principle's column.
fn column(principle: &str) -> String {
    format!("preferred_by_{principle}")
}

fn annotated(
    pair: &Pair<'_>,
    sides: &Sides<'_>,
    run: &Provenance<'_>,
) -> Result<ExportRow, DropReason> {
    let prompt = lone_prompt(pair.item)?;
    // The key is a hash in hexadecimal.
    let chosen_first = pair.item.key.bytes().next().is_some_and(|byte| byte % 2 == 0);
    let (a, b, chosen, rejected) = match chosen_first {
        true => (&sides.chosen, &sides.rejected, SIDES[0], SIDES[1]),
        false => (&sides.rejected, &sides.chosen, SIDES[1], SIDES[0]),
    };
    let mut row = row([
        ("prompt", json!(prompt)),
        ("text_a", json!(a.text)),
        ("text_b", json!(b.text)),
        ("preferred_text", json!(chosen)),
    ]);
    let verdicts = pair.judgement.as_ref().map_or(&[][..], |judgement| &judgement.principles);
    for id in run.principles() {
        let verdict = verdicts.iter().find(|(principle, _)| principle == id);
        let preferred = verdict.map(|(_, verdict)| match verdict {
            verdict if verdict.undecided => "not_applicable",
            verdict if verdict.margin >= 0.0 => chosen,
            _ => rejected,
        });
        row.insert(column(id), json!(preferred));
    }
    Ok(row)
}

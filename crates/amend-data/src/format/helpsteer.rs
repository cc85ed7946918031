//! The preferences of HelpSteer2 and HelpSteer3: two responses, and how much better one is.
//! Below 0, the first response is better; above 0, the second.

use super::example::{Answers, Example, Object};
use super::fault::RowFault;
use super::fields::{Fields, has, has_list};
use super::labels::{Numbers, label};
use super::read::{RowKind, Shape, ShapeFacts};

/// A prompt or a context, two responses and a strength.
#[derive(Debug)]
pub(super) struct HelpSteer;

static FACTS: ShapeFacts = ShapeFacts {
    name: "HelpSteer preference",
    about: "`prompt`, or `context`: turns; `response_1`, `response_2` (or `response1`, `response2`); `preference_strength` or `overall_preference`",
    columns: &["context", "preference_strength", "overall_preference"],
    used_by: "HelpSteer2 preference, HelpSteer3 preference",
    labels: "-3 (the first is much better) to 3 (the second is much better); 0 for a tie",
    kind: RowKind::Pair,
    exports: &[],
};

const STRENGTHS: [&str; 2] = ["preference_strength", "overall_preference"];

fn strength(row: &Object) -> Option<&'static str> {
    STRENGTHS.into_iter().find(|key| row.contains_key(*key))
}

fn sides(row: &Object) -> [&'static str; 2] {
    let is_spaced = row.contains_key("response_1");
    if is_spaced { ["response_1", "response_2"] } else { ["response1", "response2"] }
}

impl Shape for HelpSteer {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let asked = row.contains_key("prompt") || row.contains_key("context");
        let [a, b] = sides(row);
        let both = row.contains_key(a) && row.contains_key(b);
        (asked && both && strength(row).is_some()).then_some("HelpSteer preference")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut fields = Fields::new(row);
        let is_context = has_list(row, "context") || !has(row, "prompt");
        let asked = if is_context { "context" } else { "prompt" };
        let prompt = fields.text_or_turns(asked, "user")?;
        let [a, b] = sides(row);
        let [a, b] = [fields.text_or_turns(a, "assistant")?, fields.text_or_turns(b, "assistant")?];
        let key = strength(row).unwrap_or(STRENGTHS[0]);
        let label = label(&mut fields, key, Numbers::Strength)?;
        fields.example(prompt, Answers::Comparison { a, b, label }, true)
    }
}

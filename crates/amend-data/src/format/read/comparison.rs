//! Two answers in the order of the row: `a` and `b`, and which is better, if it is known.

use serde_json::Value;

use super::fields::{example, first, text_or_turns, wrong};
use super::{RowFault, RowFormat};
use crate::format::example::{Answers, Example, Object};
use amend_core::record::Label;

/// `prompt`, `a` and `b`.
#[derive(Debug)]
pub(super) struct Comparison;

const PROMPTS: [&str; 4] = ["messages", "prompt", "instruction", "question"];

impl RowFormat for Comparison {
    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let both = row.contains_key("a") && row.contains_key("b");
        (both && first(row, &PROMPTS).is_some()).then_some("comparisons")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let key = first(row, &PROMPTS).unwrap_or("prompt");
        let prompt = text_or_turns(row, key, "user")?;
        let [a, b] = [text_or_turns(row, "a", "assistant")?, text_or_turns(row, "b", "assistant")?];
        let label = match row.get("label") {
            None | Some(Value::Null) => None,
            Some(Value::String(label)) if Label::from_name(label).is_some() => {
                Label::from_name(label)
            }
            Some(other) => return Err(wrong("/label", "\"a\", \"b\" or \"tie\"", other)),
        };
        let used = [key, "a", "b", "label"].map(str::to_owned).into();
        Ok(Example { used, ..example(row, prompt, Answers::Comparison { a, b, label }, false) })
    }
}

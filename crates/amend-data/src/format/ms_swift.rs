//! Preferences for ms-swift: `messages` end with the chosen answer, and the rejected one is
//! `rejected_response`, or ends `rejected_messages`. Older rows have `query` and `response`.

use serde_json::json;

use super::cells::{conversation, row, text, turns};
use super::example::{Answers, Example, Object};
use super::fault::RowFault;
use super::fields::{Fields, has_list, prompt_key, shared_prompt, split_answer};
use super::read::{RowKind, Shape, ShapeFacts};
use super::thoughts::ThoughtPlace;
use super::write::{ExportFormat, Rows};

/// A conversation with its answer, and a rejected answer.
#[derive(Debug)]
pub(super) struct MsSwift;

static FACTS: ShapeFacts = ShapeFacts {
    name: "ms-swift preference",
    about: "`messages`: turns, the last one chosen; or `query`, `response`, `system`, `history`; with `rejected_response`: a text, or `rejected_messages`: turns",
    columns: &["rejected_response", "rejected_messages"],
    used_by: "ms-swift",
    labels: "",
    kind: RowKind::Pair,
    exports: &["ms-swift"],
};

impl Shape for MsSwift {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let rejected = ["rejected_response", "rejected_messages"];
        if !rejected.iter().any(|key| row.contains_key(*key)) {
            return None;
        }
        let answered = prompt_key(row).is_some() && row.contains_key("response");
        (has_list(row, "messages") || answered).then_some("ms-swift preference")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut fields = Fields::new(row);
        let (prompt, chosen) = if has_list(row, "messages") {
            let all = fields.prompt("messages")?;
            if row.contains_key("rejected_messages") {
                let rejected = fields.turns("rejected_messages")?;
                let (prompt, answers, mismatch) = shared_prompt(all, rejected);
                return Ok(Example { mismatch, ..fields.example(prompt, answers, true)? });
            }
            split_answer(all)
        } else {
            let prompt = fields.prompt(prompt_key(row).unwrap_or("query"))?;
            (prompt, fields.text_or_turns("response", "assistant")?)
        };
        let rejected = fields.text_or_turns("rejected_response", "assistant")?;
        fields.example(prompt, Answers::Pair { chosen, rejected }, true)
    }
}

pub(super) const MS_SWIFT: ExportFormat = ExportFormat {
    name: "ms-swift",
    about: "ms-swift preferences, messages and rejected_response",
    columns: |_| vec![turns("messages"), text("rejected_response")],
    rows: Rows::Pairs(|pair, sides, _| {
        Ok(row([
            ("messages", conversation(&pair.item.messages, [sides.chosen.turn()])),
            ("rejected_response", json!(sides.rejected.text)),
        ]))
    }),
    thoughts: ThoughtPlace::Text,
    dataset_info: None,
};

//! Plain texts: a prompt and a response (`plain-sft`), and preferences with their
//! policy and reviewer (`plain-preference`).

use serde_json::json;

use super::trl::texts_apart;
use super::{ExportFormat, Rows, lone_prompt};
use crate::format::cells::{record, row, text};
use crate::format::thoughts::ThoughtPlace;

pub(super) const SFT: ExportFormat = ExportFormat {
    name: "plain-sft",
    about: "prompt and response, last answers",
    columns: |_| vec![text("prompt"), text("response")],
    rows: Rows::Answers(|item, response| {
        Ok(row([("prompt", json!(lone_prompt(item)?)), ("response", json!(response.text))]))
    }),
    thoughts: ThoughtPlace::Nowhere,
    dataset_info: None,
};

/// The reason is one of the columns of the origin.
pub(super) const PREFERENCE: ExportFormat = ExportFormat {
    name: "plain-preference",
    about: "prompt, two answers, reason, policy, reviewer",
    columns: |_| {
        let reviewer = record("reviewer", vec![text("kind"), text("name")]);
        vec![text("prompt"), text("chosen"), text("rejected"), text("policy"), reviewer]
    },
    rows: Rows::Pairs(|pair, sides, run| {
        let mut row = texts_apart(pair, sides)?;
        row.insert("policy".to_owned(), json!(run.policy()));
        // The model is its own reviewer: its critique is the reason.
        row.insert("reviewer".to_owned(), json!({"kind": "model", "name": run.model()}));
        Ok(row)
    }),
    thoughts: ThoughtPlace::Nowhere,
    dataset_info: None,
};

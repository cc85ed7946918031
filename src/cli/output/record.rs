//! The JSON record of one item: what `--json` and `--jsonl` print.

use std::io;

use serde::Serialize;
use serde_json::{Map, Value};

use super::terminal::Output;
use amend_core::chat::Message;
use amend_core::procedure::ItemLoop;
use amend_core::record::{Outcome, Step};
use amend_data::items::BadRow;
use amend_data::rows::json_lines;

/// An item, its steps and its outcome; or a row that is at fault, which has neither item nor
/// steps.
#[derive(Debug, Serialize)]
pub struct ItemRecord<'a> {
    /// The number of the row in the input, from 1.
    row: u64,
    /// `None` if the row is at fault.
    key: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    messages: &'a [Message],
    /// The final response. `None` if the item failed before it had one.
    response: Option<&'a str>,
    outcome: RowOutcome<'a>,
    steps: &'a [Step],
    #[serde(skip_serializing_if = "Option::is_none")]
    metadata: Option<&'a Map<String, Value>>,
    constitution: &'a str,
}

/// What became of a row.
#[derive(Debug, Serialize)]
#[serde(untagged)]
enum RowOutcome<'a> {
    Ended(&'a Outcome),
    Invalid { kind: &'static str, message: String },
}

impl<'a> ItemRecord<'a> {
    /// The record of a finished loop.
    #[must_use]
    pub fn new(trajectory: &'a ItemLoop, outcome: &'a Outcome) -> Self {
        let item = trajectory.item();
        Self {
            row: item.row,
            key: Some(&item.key),
            id: item.id.as_deref(),
            messages: &item.messages,
            response: trajectory.answer(),
            outcome: RowOutcome::Ended(outcome),
            steps: trajectory.steps(),
            metadata: Some(&item.metadata).filter(|metadata| !metadata.is_empty()),
            constitution: &trajectory.constitution().name,
        }
    }

    /// The record of a row that is at fault, in a call with a constitution of this name.
    #[must_use]
    pub fn of_bad_row(bad: &'a BadRow, constitution: &'a str) -> Self {
        Self {
            row: bad.row,
            key: None,
            id: bad.id.as_deref(),
            messages: &[],
            response: None,
            outcome: RowOutcome::Invalid { kind: "invalid", message: bad.fault.to_string() },
            steps: &[],
            metadata: None,
            constitution,
        }
    }

    /// The record as one line of JSON, with its line break.
    ///
    /// # Errors
    /// A value has no JSON form.
    pub fn line(&self, output: Output) -> io::Result<String> {
        let json = serde_json::to_string(self)?;
        Ok(format!("{}\n", output.text(&json_lines::escaped(&json))))
    }
}

//! The JSON record of one item: what `--json` and `--jsonl` print.

use serde::Serialize;
use serde_json::{Map, Value};

use amend_core::chat::Message;
use amend_core::procedure::ItemLoop;
use amend_core::record::{Outcome, Step};

/// An item, its steps and its outcome.
#[derive(Debug, Serialize)]
pub struct ItemRecord<'a> {
    key: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    messages: &'a [Message],
    /// The final response. `None` if the item failed before it had one.
    response: Option<&'a str>,
    outcome: &'a Outcome,
    steps: &'a [Step],
    #[serde(skip_serializing_if = "Map::is_empty")]
    metadata: &'a Map<String, Value>,
    constitution: &'a str,
}

impl<'a> ItemRecord<'a> {
    /// The record of a finished loop.
    #[must_use]
    pub fn new(trajectory: &'a ItemLoop, outcome: &'a Outcome) -> Self {
        let item = trajectory.item();
        Self {
            key: &item.key,
            id: item.id.as_deref(),
            messages: &item.messages,
            response: trajectory.answer(),
            outcome,
            steps: trajectory.steps(),
            metadata: &item.metadata,
            constitution: &trajectory.constitution().name,
        }
    }
}

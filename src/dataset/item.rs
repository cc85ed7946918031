//! Items: the input rows of a run.

use serde::{Deserialize, Serialize};

use crate::chat::Message;

/// One input row.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Item {
    /// A hash of the row's content; rows of the same content are told apart by
    /// a counter (`-2`, `-3`, …).
    pub key: String,
    /// The row's number in the input, from 1.
    pub row: u64,
    /// The id the input gave, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub id: Option<String>,
    /// The conversation that asks for an answer; the last turn is the user's.
    pub messages: Vec<Message>,
    /// The answer that came with the input, if any: the loop starts from it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub response: Option<String>,
    /// Everything else the row carried.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub metadata: serde_json::Map<String, serde_json::Value>,
}

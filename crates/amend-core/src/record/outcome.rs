//! How an item's loop ended.

use serde::{Deserialize, Serialize};

use super::Stop;
use crate::model::Failure;

/// The outcome of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// The loop ended.
    Done {
        /// Why it ended.
        stop: Stop,
    },
    /// A step failed.
    Failed {
        /// The failure.
        failure: Failure,
    },
}

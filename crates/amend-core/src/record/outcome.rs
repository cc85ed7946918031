//! How an item's loop ended.

use serde::{Deserialize, Serialize};

use super::Stop;
use crate::model::Failure;

/// What an item came to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Outcome {
    /// Its loop ended.
    Done {
        /// How.
        stop: Stop,
    },
    /// A step failed.
    Failed {
        /// Why.
        failure: Failure,
    },
}

//! Preferences for TRL's `DPOTrainer`, `RewardTrainer` and similar trainers, with an
//! explicit prompt: turns (`trl`) or plain texts (`trl-standard`).

use serde_json::json;

use super::{ExportFormat, ExportRow, Rows, lone_prompt};
use crate::format::cells::{answer, conversation, row, text, turns};
use crate::pairs::{DropReason, Pair};

pub(super) const CONVERSATIONAL: ExportFormat = ExportFormat {
    name: "trl",
    about: "TRL preferences, conversational",
    columns: || vec![turns("prompt"), turns("chosen"), turns("rejected")],
    rows: Rows::Pairs(|pair, _| Ok(turns_apart(pair))),
    dataset_info: None,
};

pub(super) const STANDARD: ExportFormat = ExportFormat {
    name: "trl-standard",
    about: "TRL preferences, plain texts",
    columns: || vec![text("prompt"), text("chosen"), text("rejected")],
    rows: Rows::Pairs(|pair, _| texts_apart(pair)),
    dataset_info: None,
};

/// The conversation, and each response as one turn.
pub(super) fn turns_apart(pair: &Pair<'_>) -> ExportRow {
    row([
        ("prompt", conversation(&pair.item.messages, [])),
        ("chosen", json!([answer(&pair.chosen.text)])),
        ("rejected", json!([answer(&pair.rejected.text)])),
    ])
}

/// The prompt of a conversation with one turn, and the two responses.
pub(super) fn texts_apart(pair: &Pair<'_>) -> Result<ExportRow, DropReason> {
    Ok(row([
        ("prompt", json!(lone_prompt(pair.item)?)),
        ("chosen", json!(pair.chosen.text)),
        ("rejected", json!(pair.rejected.text)),
    ]))
}

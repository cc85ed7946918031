//! Preferences for TRL's `DPOTrainer`, `RewardTrainer` and similar trainers, with an
//! explicit prompt: turns (`trl`) or plain texts (`trl-standard`).

use arrow_schema::Field;
use serde_json::json;

use super::{ExportFormat, ExportRow, Rows, lone_prompt};
use crate::format::cells::{answered_turns, conversation, row, text, turns};
use crate::format::thoughts::{Sides, ThoughtPlace};
use crate::pairs::{DropReason, Pair};

pub(super) const CONVERSATIONAL: ExportFormat = ExportFormat {
    name: "trl",
    about: "TRL preferences, conversational",
    columns: |key| preference_columns(key).into(),
    rows: Rows::Pairs(|pair, sides, _| Ok(turns_apart(pair, sides))),
    thoughts: ThoughtPlace::KeyAndKwargs,
    dataset_info: None,
};

pub(super) const STANDARD: ExportFormat = ExportFormat {
    name: "trl-standard",
    about: "TRL preferences, plain texts",
    columns: |_| vec![text("prompt"), text("chosen"), text("rejected")],
    rows: Rows::Pairs(|pair, sides, _| texts_apart(pair, sides)),
    thoughts: ThoughtPlace::Nowhere,
    dataset_info: None,
};

/// The columns of the conversation and of the two responses.
pub(super) fn preference_columns(thought_key: Option<&str>) -> [Field; 3] {
    let side = |name| answered_turns(name, thought_key);
    [turns("prompt"), side("chosen"), side("rejected")]
}

/// The conversation, and each response as one turn.
pub(super) fn turns_apart(pair: &Pair<'_>, sides: &Sides<'_>) -> ExportRow {
    row([
        ("prompt", conversation(&pair.item.messages, [])),
        ("chosen", json!([sides.chosen.turn()])),
        ("rejected", json!([sides.rejected.turn()])),
    ])
}

/// The prompt of a conversation with one turn, and the two responses.
pub(super) fn texts_apart(pair: &Pair<'_>, sides: &Sides<'_>) -> Result<ExportRow, DropReason> {
    Ok(row([
        ("prompt", json!(lone_prompt(pair.item)?)),
        ("chosen", json!(sides.chosen.text)),
        ("rejected", json!(sides.rejected.text)),
    ]))
}

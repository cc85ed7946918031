//! Preferences for OpenRLHF: whole conversations in the columns `chosen` and
//! `rejected`. Pass `--data.chosen_key`, `--data.rejected_key` and
//! `--data.apply_chat_template`.

use super::{ExportFormat, Rows};
use crate::format::cells::{answered_turns, conversation, row};
use crate::format::thoughts::{Response, ThoughtPlace};

pub(super) const OPENRLHF: ExportFormat = ExportFormat {
    name: "openrlhf",
    about: "OpenRLHF preferences, whole conversations",
    columns: |key| vec![answered_turns("chosen", key), answered_turns("rejected", key)],
    rows: Rows::Pairs(|pair, sides, _| {
        let side = |side: &Response<'_>| conversation(&pair.item.messages, [side.turn()]);
        Ok(row([("chosen", side(&sides.chosen)), ("rejected", side(&sides.rejected))]))
    }),
    thoughts: ThoughtPlace::Key,
    dataset_info: None,
};

//! Unpaired preferences for TRL's `KTOTrainer`: two rows for each pair, the chosen
//! response with the label true and the rejected one with false.

use serde_json::json;

use super::{ExportFormat, Rows};
use crate::format::cells::{answered_turns, conversation, flag, row, turns};
use crate::format::thoughts::ThoughtPlace;

pub(super) const KTO: ExportFormat = ExportFormat {
    name: "kto",
    about: "TRL unpaired preferences with labels",
    columns: |key| vec![turns("prompt"), answered_turns("completion", key), flag("label")],
    rows: Rows::Labels(|item, response, label| {
        Ok(row([
            ("prompt", conversation(&item.messages, [])),
            ("completion", json!([response.turn()])),
            ("label", json!(label)),
        ]))
    }),
    thoughts: ThoughtPlace::KeyAndKwargs,
    dataset_info: None,
};

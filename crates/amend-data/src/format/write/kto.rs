//! Unpaired preferences for TRL's `KTOTrainer`: two rows for each pair, the chosen
//! response with the label true and the rejected one with false.

use serde_json::json;

use super::{ExportFormat, Rows};
use crate::format::cells::{answer, conversation, flag, row, turns};

pub(super) const KTO: ExportFormat = ExportFormat {
    name: "kto",
    about: "TRL unpaired preferences with labels",
    columns: || vec![turns("prompt"), turns("completion"), flag("label")],
    rows: Rows::Labels(|item, text, label| {
        Ok(row([
            ("prompt", conversation(&item.messages, [])),
            ("completion", json!([answer(text)])),
            ("label", json!(label)),
        ]))
    }),
    dataset_info: None,
};

//! Preferences for OpenRLHF: whole conversations in the columns `chosen` and
//! `rejected`. Pass `--data.chosen_key`, `--data.rejected_key` and
//! `--data.apply_chat_template`.

use super::{ExportFormat, Rows};
use crate::format::cells::{answer, conversation, row, turns};

pub(super) const OPENRLHF: ExportFormat = ExportFormat {
    name: "openrlhf",
    about: "OpenRLHF preferences, whole conversations",
    columns: || vec![turns("chosen"), turns("rejected")],
    rows: Rows::Pairs(|pair, _| {
        let side = |text| conversation(&pair.item.messages, [answer(text)]);
        Ok(row([("chosen", side(&pair.chosen.text)), ("rejected", side(&pair.rejected.text))]))
    }),
    dataset_info: None,
};

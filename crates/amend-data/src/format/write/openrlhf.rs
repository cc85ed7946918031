//! Preferences for OpenRLHF: whole conversations under `chosen` and `rejected`,
//! to be named by `--data.chosen_key` and `--data.rejected_key` together with
//! `--data.apply_chat_template`. It reads a `margin` where there is one.

use super::{Format, Rows};
use crate::format::cells::{answer, conversation, row, turns};

pub(super) const OPENRLHF: Format = Format {
    name: "openrlhf",
    about: "OpenRLHF preferences, whole conversations",
    columns: || vec![turns("chosen"), turns("rejected")],
    rows: Rows::Pairs(|pair, _| {
        let side = |text| conversation(&pair.item.messages, [answer(text)]);
        Ok(row([("chosen", side(&pair.chosen.text)), ("rejected", side(&pair.rejected.text))]))
    }),
    dataset_info: None,
};

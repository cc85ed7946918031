//! Transcripts as those of Anthropic's hh-rlhf data: each turn after a blank
//! line and `Human:` or `Assistant:`. There is no place for a system turn.

use std::fmt::Write;

use serde_json::json;

use super::{Format, Rows};
use crate::format::cells::{row, text};
use crate::pairs::DropReason;
use amend_core::chat::{Message, Role};

pub(super) const HH_RLHF: Format = Format {
    name: "hh-rlhf",
    about: "Anthropic hh-rlhf transcripts",
    columns: || vec![text("chosen"), text("rejected")],
    rows: Rows::Pairs(|pair, _| {
        let side = |text| transcript(&pair.item.messages, text);
        Ok(row([
            ("chosen", json!(side(&pair.chosen.text)?)),
            ("rejected", json!(side(&pair.rejected.text)?)),
        ]))
    }),
    dataset_info: None,
};

fn transcript(messages: &[Message], answer: &str) -> Result<String, DropReason> {
    let mut text = String::new();
    let mut say = |who, what: &str| {
        let _ = write!(text, "\n\n{who}: {what}"); // writing to a String can't fail
    };
    for turn in messages {
        match turn.role {
            Role::User => say("Human", &turn.content),
            Role::Assistant => say("Assistant", &turn.content),
            Role::System => return Err(DropReason::Conversation),
        }
    }
    say("Assistant", answer);
    Ok(text)
}

//! Transcripts in the format of Anthropic's hh-rlhf data: a blank line and `Human:` or
//! `Assistant:` precede each turn. The format has no system turns.

use std::fmt::Write;

use serde_json::json;

use super::{ExportFormat, Rows};
use crate::format::cells::{row, text};
use crate::format::thoughts::ThoughtPlace;
use crate::pairs::DropReason;
use amend_core::chat::{Message, Role};

pub(super) const HH_RLHF: ExportFormat = ExportFormat {
    name: "hh-rlhf",
    about: "Anthropic hh-rlhf transcripts",
    columns: |_| vec![text("chosen"), text("rejected")],
    rows: Rows::Pairs(|pair, sides, _| {
        let side = |text: &str| transcript(&pair.item.messages, text);
        Ok(row([
            ("chosen", json!(side(&sides.chosen.text)?)),
            ("rejected", json!(side(&sides.rejected.text)?)),
        ]))
    }),
    thoughts: ThoughtPlace::Nowhere,
    dataset_info: None,
};

fn transcript(messages: &[Message], answer: &str) -> Result<String, DropReason> {
    let mut text = String::new();
    let mut add = |speaker, content: &str| {
        let _ = write!(text, "\n\n{speaker}: {content}"); // writing to a String can't fail
    };
    for turn in messages {
        match turn.role {
            Role::User => add("Human", &turn.content),
            Role::Assistant => add("Assistant", &turn.content),
            Role::System | Role::Developer | Role::Tool => {
                return Err(DropReason::Conversation);
            }
        }
    }
    add("Assistant", answer);
    Ok(text)
}

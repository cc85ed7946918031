//! Preferences for Axolotl's DPO. Each format has the name of an Axolotl `type:`
//! (see `axolotl.prompt_strategies.dpo`). All of them read only the role and the content
//! of a turn.

use serde_json::json;

use super::{ExportFormat, Rows, system_and_prompt};
use crate::format::cells::{conversation, message, optional_text, row, text, turn, turns};
use crate::format::thoughts::{Response, ThoughtPlace};
use amend_core::chat::Role;

/// `chatml.intel`: a system text, a question, two responses.
pub(super) const INTEL: ExportFormat = ExportFormat {
    name: "axolotl-chatml-intel",
    about: "Axolotl DPO, type: chatml.intel",
    columns: |_| vec![optional_text("system"), text("question"), text("chosen"), text("rejected")],
    rows: Rows::Pairs(|pair, sides, _| {
        let (system, question) = system_and_prompt(pair.item)?;
        Ok(row([
            ("system", json!(system)),
            ("question", json!(question)),
            ("chosen", json!(sides.chosen.text)),
            ("rejected", json!(sides.rejected.text)),
        ]))
    }),
    thoughts: ThoughtPlace::Nowhere,
    dataset_info: None,
};

/// `chatml.ultra`: a system text, a question, and for each response the question and
/// the response as two turns.
pub(super) const ULTRA: ExportFormat = ExportFormat {
    name: "axolotl-chatml-ultra",
    about: "Axolotl DPO, type: chatml.ultra",
    columns: |_| vec![optional_text("system"), text("prompt"), turns("chosen"), turns("rejected")],
    rows: Rows::Pairs(|pair, sides, _| {
        let (system, prompt) = system_and_prompt(pair.item)?;
        let side = |side: &Response<'_>| json!([message(Role::User, prompt), side.turn()]);
        Ok(row([
            ("system", json!(system)),
            ("prompt", json!(prompt)),
            ("chosen", side(&sides.chosen)),
            ("rejected", side(&sides.rejected)),
        ]))
    }),
    thoughts: ThoughtPlace::Nowhere,
    dataset_info: None,
};

/// `chat_template.default`: a conversation, and each response as a turn.
pub(super) const CHAT_TEMPLATE: ExportFormat = ExportFormat {
    name: "axolotl-chat-template",
    about: "Axolotl DPO, type: chat_template.default",
    columns: |_| vec![turns("messages"), turn("chosen"), turn("rejected")],
    rows: Rows::Pairs(|pair, sides, _| {
        Ok(row([
            ("messages", conversation(&pair.item.messages, [])),
            ("chosen", sides.chosen.turn()),
            ("rejected", sides.rejected.turn()),
        ]))
    }),
    thoughts: ThoughtPlace::Nowhere,
    dataset_info: None,
};

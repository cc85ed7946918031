//! Preferences for Axolotl's DPO. Each format has the name of an Axolotl `type:`
//! (see `axolotl.prompt_strategies.dpo`).

use serde_json::json;

use super::{ExportFormat, Rows, system_and_prompt};
use crate::format::cells::{answer, conversation, message, optional_text, row, text, turn, turns};
use amend_core::chat::Role;

/// `chatml.intel`: a system text, a question, two responses.
pub(super) const INTEL: ExportFormat = ExportFormat {
    name: "axolotl-chatml-intel",
    about: "Axolotl DPO, type: chatml.intel",
    columns: || vec![optional_text("system"), text("question"), text("chosen"), text("rejected")],
    rows: Rows::Pairs(|pair, _| {
        let (system, question) = system_and_prompt(pair.item)?;
        Ok(row([
            ("system", json!(system)),
            ("question", json!(question)),
            ("chosen", json!(pair.chosen.text)),
            ("rejected", json!(pair.rejected.text)),
        ]))
    }),
    dataset_info: None,
};

/// `chatml.ultra`: a system text, a question, and for each response the question and
/// the response as two turns.
pub(super) const ULTRA: ExportFormat = ExportFormat {
    name: "axolotl-chatml-ultra",
    about: "Axolotl DPO, type: chatml.ultra",
    columns: || vec![optional_text("system"), text("prompt"), turns("chosen"), turns("rejected")],
    rows: Rows::Pairs(|pair, _| {
        let (system, prompt) = system_and_prompt(pair.item)?;
        let side = |text| json!([message(Role::User, prompt), answer(text)]);
        Ok(row([
            ("system", json!(system)),
            ("prompt", json!(prompt)),
            ("chosen", side(&pair.chosen.text)),
            ("rejected", side(&pair.rejected.text)),
        ]))
    }),
    dataset_info: None,
};

/// `chat_template.default`: a conversation, and each response as a turn.
pub(super) const CHAT_TEMPLATE: ExportFormat = ExportFormat {
    name: "axolotl-chat-template",
    about: "Axolotl DPO, type: chat_template.default",
    columns: || vec![turns("messages"), turn("chosen"), turn("rejected")],
    rows: Rows::Pairs(|pair, _| {
        Ok(row([
            ("messages", conversation(&pair.item.messages, [])),
            ("chosen", answer(&pair.chosen.text)),
            ("rejected", answer(&pair.rejected.text)),
        ]))
    }),
    dataset_info: None,
};

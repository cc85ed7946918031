//! Preferences for Axolotl's DPO. Each format has the name of an Axolotl `type:`
//! (see `axolotl.prompt_strategies.dpo`). All of them read only the role and the content
//! of a turn.

use serde_json::json;

use super::cells::{conversation, message, optional_text, row, text, turn, turns};
use super::conversation::read_list;
use super::example::{Example, Object};
use super::fault::RowFault;
use super::fields::has_list;
use super::preference;
use super::read::{RowKind, Shape, ShapeFacts};
use super::thoughts::{Response, ThoughtPlace};
use super::write::{ExportFormat, Rows, system_and_prompt};
use amend_core::chat::Role;

/// `messages` or `question`, `chosen` and `rejected`.
#[derive(Debug)]
pub(super) struct Axolotl;

static FACTS: ShapeFacts = ShapeFacts {
    name: "Axolotl DPO",
    about: "`messages`: turns, with `chosen` and `rejected`: the turn that follows; or \
            `system`, `question`, `chosen`, `rejected`: texts",
    columns: &[],
    used_by: "Axolotl (`chat_template.default`, `chatml.intel`, `chatml.ultra`); Orca DPO pairs",
    labels: "",
    kind: RowKind::Pair,
    exports: &["axolotl-chatml-intel", "axolotl-chatml-ultra", "axolotl-chat-template"],
};

impl Shape for Axolotl {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        if !row.contains_key("chosen") {
            return None;
        }
        // If there is a prompt, the list repeats the chosen conversation.
        if has_list(row, "messages") && !row.contains_key("prompt") {
            return Some("Axolotl chat_template.default");
        }
        let asks = row.contains_key("question") && !row.contains_key("prompt");
        (asks && row.contains_key("rejected")).then_some("Axolotl chatml.intel")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        match has_list(row, "messages") {
            true => read_list(row, "messages"),
            false => preference::read(row, "question"),
        }
    }
}

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

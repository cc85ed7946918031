//! ShareGPT: `conversations` with turns of `from` and `value`, and a `system` text. The last
//! turn is the answer, which a `kto_tag` may mark as chosen or rejected; a ranking has
//! `chosen` and `rejected`.

use serde_json::{Value, json};

use super::cells::{flag, record, records, row, text};
use super::conversation::read_list;
use super::example::{Example, Object};
use super::fault::RowFault;
use super::fields::{has_label, has_list};
use super::read::{RowKind, Shape, ShapeFacts};
use super::thoughts::{Response, ThoughtPlace};
use super::write::{ExportFormat, ExportRow, Rows};
use amend_core::chat::{Message, Role};
use amend_core::record::Item;

/// `conversations`, and answers in or beside it.
#[derive(Debug)]
pub(super) struct ShareGpt;

static FACTS: ShapeFacts = ShapeFacts {
    name: "ShareGPT",
    about: "`conversations`: turns with `from` and `value`, or texts of the user and the \
            assistant in turn; `system`; with `chosen` and `rejected`, turns that follow",
    columns: &[],
    used_by: "LLaMA-Factory, Axolotl, ms-swift; ShareGPT, OpenHermes",
    labels: "`kto_tag` or `label`: true, false, 1, 0",
    kind: RowKind::AnswerOrPair,
    exports: &["llamafactory-sharegpt", "llamafactory-kto"],
};

impl Shape for ShareGpt {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        if !has_list(row, "conversations") {
            return None;
        }
        Some(match (row.contains_key("chosen"), has_label(row)) {
            (true, _) => "LLaMA-Factory sharegpt ranking",
            (false, true) => "LLaMA-Factory sharegpt KTO",
            (false, false) => "sharegpt SFT",
        })
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        read_list(row, "conversations")
    }
}

/// ShareGPT: turns with `from` and `value`.
pub(super) const SHAREGPT: ExportFormat = ExportFormat {
    name: "llamafactory-sharegpt",
    about: "LLaMA-Factory ranking, sharegpt",
    columns: |_| {
        let sides = ["chosen", "rejected"].map(|side| record(side, sharegpt_columns()));
        [records("conversations", sharegpt_columns())]
            .into_iter()
            .chain(sides)
            .chain([text("system")])
            .collect()
    },
    rows: Rows::Pairs(|pair, sides, _| {
        Ok(row([
            ("conversations", sharegpt_turns(turns(pair.item))),
            ("chosen", answer(&sides.chosen)),
            ("rejected", answer(&sides.rejected)),
            ("system", json!(system(pair.item))),
        ]))
    }),
    thoughts: ThoughtPlace::Text,
    dataset_info: Some(|| {
        let mut info = sharegpt_info(json!({"chosen": "chosen", "rejected": "rejected"}));
        info.insert("ranking".to_owned(), json!(true));
        info
    }),
};

/// ShareGPT turns with a label for the last one.
pub(super) const KTO: ExportFormat = ExportFormat {
    name: "llamafactory-kto",
    about: "LLaMA-Factory KTO, sharegpt with kto_tag",
    columns: |_| {
        vec![records("conversations", sharegpt_columns()), flag("kto_tag"), text("system")]
    },
    rows: Rows::Labels(|item, response, label| {
        let last = Message::new(Role::Assistant, &*response.text);
        Ok(row([
            ("conversations", sharegpt_turns(turns(item).iter().chain([&last]))),
            ("kto_tag", json!(label)),
            ("system", json!(system(item))),
        ]))
    }),
    thoughts: ThoughtPlace::Text,
    dataset_info: Some(|| sharegpt_info(json!({"kto_tag": "kto_tag"}))),
};

/// The entry of a ShareGPT dataset, with further columns.
fn sharegpt_info(further: Value) -> ExportRow {
    let mut columns = row([("messages", json!("conversations")), ("system", json!("system"))]);
    if let Value::Object(further) = further {
        columns.extend(further);
    }
    row([("formatting", json!("sharegpt")), ("columns", Value::Object(columns))])
}

/// The text of the system turn; empty without one.
pub(super) fn system(item: &Item) -> &str {
    match item.messages.first() {
        Some(first) if first.role.is_instruction() => &first.content,
        _ => "",
    }
}

/// The turns after the system turn.
pub(super) fn turns(item: &Item) -> &[Message] {
    let skipped = item.messages.iter().take_while(|turn| turn.role.is_instruction()).count();
    &item.messages[skipped..]
}

fn sharegpt_columns() -> Vec<arrow_schema::Field> {
    vec![text("from"), text("value")]
}

fn sharegpt_turns<'a>(turns: impl IntoIterator<Item = &'a Message>) -> Value {
    turns.into_iter().map(sharegpt_turn).collect()
}

fn answer(response: &Response<'_>) -> Value {
    sharegpt_turn(&Message::new(Role::Assistant, &*response.text))
}

fn sharegpt_turn(turn: &Message) -> Value {
    let from = match turn.role {
        Role::System | Role::Developer => "system",
        Role::User => "human",
        Role::Assistant => "gpt",
        Role::Tool => "observation",
    };
    json!({"from": from, "value": turn.content})
}

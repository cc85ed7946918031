//! Preferences for LLaMA-Factory, each with its entry in `dataset_info.json`: alpaca
//! and sharegpt rankings, and labelled responses for KTO.

use serde_json::{Value, json};

use super::{ExportFormat, ExportRow, Rows};
use crate::format::cells::{flag, record, records, row, text, text_lists};
use crate::format::thoughts::{Response, Sides, ThoughtPlace};
use crate::pairs::{DropReason, Pair};
use amend_core::chat::{Message, Role};
use amend_core::record::Item;

/// Alpaca: an instruction, a system text and the turns before the instruction.
pub(super) const ALPACA: ExportFormat = ExportFormat {
    name: "llamafactory-alpaca",
    about: "LLaMA-Factory ranking, alpaca",
    columns: |_| {
        let own = [text("instruction"), text("input"), text("chosen"), text("rejected")];
        own.into_iter().chain([text("system"), text_lists("history")]).collect()
    },
    rows: Rows::Pairs(|pair, sides, _| alpaca(pair, sides)),
    thoughts: ThoughtPlace::Text,
    dataset_info: Some(|| {
        row([
            ("formatting", json!("alpaca")),
            ("ranking", json!(true)),
            (
                "columns",
                json!({
                    "prompt": "instruction", "query": "input", "chosen": "chosen",
                    "rejected": "rejected", "system": "system", "history": "history",
                }),
            ),
        ])
    }),
};

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

fn alpaca(pair: &Pair<'_>, sides: &Sides<'_>) -> Result<ExportRow, DropReason> {
    let turns = turns(pair.item);
    let (last, before) = turns.split_last().ok_or(DropReason::Conversation)?;
    let history: Vec<[&str; 2]> = before
        .chunks_exact(2)
        .map(|exchange| [exchange[0].content.as_str(), exchange[1].content.as_str()])
        .collect();
    Ok(row([
        ("instruction", json!(last.content)),
        ("input", json!("")),
        ("chosen", json!(sides.chosen.text)),
        ("rejected", json!(sides.rejected.text)),
        ("system", json!(system(pair.item))),
        ("history", json!(history)),
    ]))
}

/// The text of the system turn; empty without one.
fn system(item: &Item) -> &str {
    match item.messages.first() {
        Some(first) if first.role.is_instruction() => &first.content,
        _ => "",
    }
}

/// The turns after the system turn.
fn turns(item: &Item) -> &[Message] {
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

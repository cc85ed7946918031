//! Alpaca: the prompt is `instruction` and `input`, after `system` and `history`. The
//! answer is `output`, with or without a `kto_tag`; a ranking has `chosen` and `rejected`,
//! as LLaMA-Factory reads them.

use serde_json::{Value, json};

use super::cells::{row, text, text_lists};
use super::example::{Answers, Example, ExampleTurn, Object};
use super::fault::RowFault;
use super::fields::{ANSWERS, Fields, first, has, has_label};
use super::read::{RowKind, Shape, ShapeFacts};
use super::sharegpt::{system, turns};
use super::thoughts::{Sides, ThoughtPlace};
use super::write::{ExportFormat, ExportRow, Rows};
use crate::pairs::{DropReason, Pair};

/// `instruction`, and answers.
#[derive(Debug)]
pub(super) struct Alpaca;

static FACTS: ShapeFacts = ShapeFacts {
    name: "Alpaca",
    about: "`instruction`, `input` (or `context`), `system`, `history` (pairs of texts), with \
            `output`, or `chosen` and `rejected`, or two texts in `output`",
    columns: &["context"],
    used_by: "LLaMA-Factory, Axolotl, ms-swift; Alpaca, Dolly, distilabel",
    labels: "`kto_tag` or `label`: true, false, 1, 0",
    kind: RowKind::AnswerOrPair,
    exports: &["llamafactory-alpaca"],
};

impl Shape for Alpaca {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        if !has(row, "instruction") {
            return None;
        }
        if row.contains_key("chosen") {
            return Some("LLaMA-Factory alpaca ranking");
        }
        let answer = first(row, &ANSWERS).or(row.contains_key("output").then_some("output"))?;
        match row.get(answer) {
            Some(Value::Array(_)) => Some("LLaMA-Factory alpaca ranking, both in output"),
            _ if has_label(row) => Some("LLaMA-Factory alpaca KTO"),
            _ => Some("alpaca SFT"),
        }
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut fields = Fields::new(row);
        let prompt = fields.prompt("instruction")?;
        if row.contains_key("chosen") {
            let chosen = fields.text_or_turns("chosen", "assistant")?;
            let rejected = fields.text_or_turns("rejected", "assistant")?;
            return fields.example(prompt, Answers::Pair { chosen, rejected }, true);
        }
        let key = first(row, &ANSWERS).unwrap_or("output");
        if let Some(Value::Array(outputs)) = row.get(key) {
            let [Value::String(chosen), Value::String(rejected)] = outputs.as_slice() else {
                let at = format!("/{key}");
                return Err(RowFault::wrong(&at, "a list of two texts", &row[key]));
            };
            fields.mark(key);
            let answers = Answers::Pair {
                chosen: vec![ExampleTurn::new("assistant", chosen, format!("/{key}/0"))],
                rejected: vec![ExampleTurn::new("assistant", rejected, format!("/{key}/1"))],
            };
            return fields.example(prompt, answers, true);
        }
        let answer = vec![fields.text(key, "assistant")?];
        let label = fields.label()?;
        fields.example(prompt, Answers::Single { answer, label }, true)
    }
}

/// An instruction, a system text and the turns before the instruction.
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

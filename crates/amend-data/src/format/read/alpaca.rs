//! Alpaca's keys, as LLaMA-Factory reads them. The prompt is `instruction` and
//! `input`, after `system` and `history`. The answer is `output`, with or without a
//! `kto_tag`; a ranking has `chosen` and `rejected`.

use serde_json::Value;

use super::fields::{example, has, has_label, label, some_text, text, wrong};
use super::{RowFault, RowFormat};
use crate::format::example::{Answers, Example, ExampleTurn, Object};

/// `instruction`, and answers.
#[derive(Debug)]
pub(super) struct Alpaca;

impl RowFormat for Alpaca {
    fn recognise(&self, row: &Object) -> Option<&'static str> {
        if !has(row, "instruction") {
            return None;
        }
        match row.get("output") {
            _ if row.contains_key("chosen") => Some("LLaMA-Factory alpaca ranking"),
            Some(Value::Array(_)) => Some("LLaMA-Factory alpaca ranking, both in output"),
            Some(_) if has_label(row) => Some("LLaMA-Factory alpaca KTO"),
            Some(_) => Some("alpaca SFT"),
            None => None,
        }
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut prompt: Vec<ExampleTurn> =
            some_text(row, "system", "system")?.into_iter().collect();
        prompt.extend(history(row)?);
        prompt.push(text(row, "instruction", "user")?);
        let input = some_text(row, "input", "user")?;
        prompt.extend(input.map(|input| ExampleTurn { continues: true, ..input }));
        let answers = if row.contains_key("chosen") {
            Answers::Pair {
                chosen: vec![text(row, "chosen", "assistant")?],
                rejected: vec![text(row, "rejected", "assistant")?],
            }
        } else if let Some(Value::Array(outputs)) = row.get("output") {
            let [Value::String(chosen), Value::String(rejected)] = outputs.as_slice() else {
                return Err(wrong("/output", "a list of two texts", &row["output"]));
            };
            Answers::Pair {
                chosen: vec![ExampleTurn::new("assistant", chosen, "/output/0")],
                rejected: vec![ExampleTurn::new("assistant", rejected, "/output/1")],
            }
        } else {
            let answer = vec![text(row, "output", "assistant")?];
            Answers::Single { answer, label: label(row)? }
        };
        Ok(example(row, prompt, answers, true))
    }
}

/// The turns of `history`: a list of pairs of texts.
fn history(row: &Object) -> Result<Vec<ExampleTurn>, RowFault> {
    let values = match row.get("history") {
        None | Some(Value::Null) => return Ok(Vec::new()),
        Some(Value::Array(values)) => values,
        Some(other) => return Err(wrong("/history", "a list of pairs of texts", other)),
    };
    let mut turns = Vec::new();
    for (at, value) in values.iter().enumerate() {
        let pair = value.as_array().map(Vec::as_slice);
        let Some([Value::String(asked), Value::String(answered)]) = pair else {
            return Err(wrong(&format!("/history/{at}"), "a pair of texts", value));
        };
        turns.push(ExampleTurn::new("user", asked, format!("/history/{at}/0")));
        turns.push(ExampleTurn::new("assistant", answered, format!("/history/{at}/1")));
    }
    Ok(turns)
}

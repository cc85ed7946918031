//! Battles of two models: `conversation_a` and `conversation_b` with a `winner`, as in
//! Chatbot Arena and MT-bench's human judgements, or `response_a` and `response_b` with three
//! columns of 0 and 1 for the winner, where texts may be JSON lists with a text per turn.

use serde_json::Value;

use super::example::{Answers, Example, ExampleTurn, Object};
use super::fault::RowFault;
use super::fields::{Fields, has};
use super::labels::{Numbers, label};
use super::ranking::number;
use super::read::{RowKind, Shape, ShapeFacts};
use amend_core::record::Label;

/// Two conversations or answers, and the winner.
#[derive(Debug)]
pub(super) struct Arena;

static FACTS: ShapeFacts = ShapeFacts {
    name: "arena battles",
    about: "`conversation_a`, `conversation_b`: turns; `winner`; or `prompt`, `response_a`, `response_b` with `winner_model_a`, `winner_model_b`, `winner_tie`",
    columns: &[
        "conversation_a",
        "conversation_b",
        "turn",
        "winner_model_a",
        "winner_model_b",
        "winner_tie",
        "model_a",
        "model_b",
    ],
    used_by: "LMSYS Chatbot Arena, MT-bench human judgements",
    labels: "`winner`: `model_a`, `model_b`, `tie`, `tie (bothbad)`, `both_bad`, or the name in `model_a`; 1 in one of `winner_model_a`, `winner_model_b`, `winner_tie`",
    kind: RowKind::Pair,
    exports: &[],
};

impl Shape for Arena {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        if row.contains_key("conversation_a") && row.contains_key("conversation_b") {
            return Some("arena conversations");
        }
        let keys = ["prompt", "response_a", "response_b", "winner_model_a", "winner_model_b"];
        keys.iter().all(|key| row.contains_key(*key)).then_some("arena answers")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut fields = Fields::new(row);
        let (mut a, mut b, label) = if row.contains_key("conversation_a") {
            let [a, b] = [fields.turns("conversation_a")?, fields.turns("conversation_b")?];
            (a, b, label(&mut fields, "winner", Numbers::None)?)
        } else {
            let label = winner(&mut fields)?;
            if !is_list(row, "prompt") {
                let prompt = fields.prompt("prompt")?;
                let a = fields.text_or_turns("response_a", "assistant")?;
                let b = fields.text_or_turns("response_b", "assistant")?;
                return fields.example(prompt, Answers::Comparison { a, b, label }, true);
            }
            let asked = texts(&mut fields, "prompt")?;
            let mut side = |key| interleaved(&asked, texts(&mut fields, key)?, key);
            let (a, b) = (side("response_a")?, side("response_b")?);
            (a, b, label)
        };
        // MT-bench's judgements of the first turn come with both turns.
        if number(row.get("turn")) == Some(1.0) {
            fields.mark("turn");
            let first = |turns: &[ExampleTurn]| {
                turns
                    .iter()
                    .position(|turn| turn.role == "assistant")
                    .map_or(turns.len(), |at| at + 1)
            };
            a.truncate(first(&a));
            b.truncate(first(&b));
        }
        let shared = a.iter().zip(&b).take_while(|(a, b)| a.role == b.role && a.text == b.text);
        let shared = shared.count().min(a.len().saturating_sub(1)).min(b.len().saturating_sub(1));
        let b_answer = b.split_off(shared);
        let a_answer = a.split_off(shared);
        for (turn, same) in a.iter_mut().zip(b) {
            turn.places.extend(same.places);
        }
        let answers = Answers::Comparison { a: a_answer, b: b_answer, label };
        fields.example(a, answers, true)
    }
}

/// Whether a column is a list of texts, also as JSON within a text.
fn is_list(row: &Object, key: &str) -> bool {
    row.get(key).is_some_and(|value| list(value).is_some())
}

/// The list of texts in a value, or in its JSON.
fn list(value: &Value) -> Option<Vec<String>> {
    let parsed = match value {
        Value::String(text) if text.starts_with("[") => serde_json::from_str(text).ok()?,
        other => other.clone(),
    };
    let text = |value: &Value| match value {
        Value::Null => Some(String::new()),
        value => value.as_str().map(str::to_owned),
    };
    parsed.as_array()?.iter().map(text).collect()
}

fn texts(fields: &mut Fields<'_>, key: &str) -> Result<Vec<String>, RowFault> {
    let value = fields.value(key)?;
    list(value).ok_or_else(|| RowFault::wrong(&format!("/{key}"), "a list of texts", value))
}

/// A conversation of questions and the answers in the column `key`, of which there are as
/// many. Its texts have no place of their own.
fn interleaved(
    asked: &[String],
    answered: Vec<String>,
    key: &str,
) -> Result<Vec<ExampleTurn>, RowFault> {
    if asked.len() != answered.len() {
        return Err(RowFault::Type {
            pointer: format!("/{key}"),
            expected: "a list with a text for each text in prompt",
            found: "a list of another length",
        });
    }
    let turn = |role: &str, text: &str| ExampleTurn {
        places: Vec::new(),
        ..ExampleTurn::new(role, text, "")
    };
    let exchange =
        |(asked, answered): (&String, String)| [turn("user", asked), turn("assistant", &answered)];
    Ok(asked.iter().zip(answered).flat_map(exchange).collect())
}

/// The winner by the columns of 0 and 1. `None` if no column has a 1.
fn winner(fields: &mut Fields<'_>) -> Result<Option<Label>, RowFault> {
    let mut winner = None;
    for (key, label) in
        [("winner_model_a", Label::A), ("winner_model_b", Label::B), ("winner_tie", Label::Tie)]
    {
        fields.mark(key);
        if !has(fields.row(), key) {
            continue;
        }
        let value = fields.value(key)?;
        let is_set = match value {
            Value::Bool(is_set) => Some(*is_set),
            value => number(Some(value)).map(|number| number == 1.0),
        };
        let fault = || RowFault::Label {
            pointer: format!("/{key}"),
            found: value.to_string(),
            expected: "1 in one of winner_model_a, winner_model_b and winner_tie, and 0 in the others",
        };
        if is_set.ok_or_else(fault)? && winner.replace(label).is_some() {
            return Err(fault());
        }
    }
    Ok(winner)
}

//! Shared helpers of the formats' readers: texts, lists of turns, labels, verdicts, and
//! the faults of a row.

use serde_json::Value;

use crate::format::example::{Answers, Contradiction, Example, ExampleTurn, Object};
use amend_core::chat::THOUGHT_KEYS;
use amend_core::text::format::first_of;

/// How many keys an error lists.
const LISTED: usize = 12;

/// The fault of a row that is in no known format, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// No format has such keys.
    #[error(
        "no known format has the keys {}: rename them to prompt, chosen and rejected, to prompt \
         and completion (and label), or to messages", listed(.keys)
    )]
    Unknown {
        /// The row's keys.
        keys: Vec<String>,
    },
    /// The row is a trajectory, which `amend export --format trajectories` wrote.
    #[error(
        "this is a trajectory in amend's own format, which no trainer reads: lint the run \
         directory, or an export in a trainer's format"
    )]
    Trajectory,
    /// A key is missing.
    #[error("the key {key:?} is missing, which earlier rows have: add it, or remove the row")]
    Missing {
        /// The key.
        key: String,
    },
    /// A value of the wrong type.
    #[error("{pointer} must be {expected}, not {found}: change it, or remove the row")]
    Type {
        /// The value's JSON pointer.
        pointer: String,
        /// The expected type.
        expected: &'static str,
        /// The actual type.
        found: &'static str,
    },
}

fn listed(keys: &[String]) -> String {
    let names: Vec<String> = keys.iter().take(LISTED).map(|key| format!("{key:?}")).collect();
    if names.is_empty() { "(none)".to_owned() } else { first_of(&names, keys.len()) }
}

/// The error of a value with the wrong type.
pub(super) fn wrong(pointer: &str, expected: &'static str, found: &Value) -> RowFault {
    let found = match found {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    };
    RowFault::Type { pointer: pointer.to_owned(), expected, found }
}

/// The value of a key, which may be null.
pub(super) fn value<'a>(row: &'a Object, key: &str) -> Result<&'a Value, RowFault> {
    row.get(key).ok_or_else(|| RowFault::Missing { key: key.to_owned() })
}

/// Whether a key has a value other than null.
pub(super) fn has(row: &Object, key: &str) -> bool {
    row.get(key).is_some_and(|value| !value.is_null())
}

/// Whether the value of a key is a list.
pub(super) fn has_list(row: &Object, key: &str) -> bool {
    row.get(key).is_some_and(Value::is_array)
}

/// Whether the value of a key is a text.
pub(super) fn has_text(row: &Object, key: &str) -> bool {
    row.get(key).is_some_and(Value::is_string)
}

/// The first of several keys that has a value other than null.
pub(super) fn first<'k>(row: &Object, keys: &[&'k str]) -> Option<&'k str> {
    keys.iter().copied().find(|key| has(row, key))
}

/// The text of a key as a turn. Null becomes an empty text, which the check for empty
/// answers reports.
pub(super) fn text(row: &Object, key: &str, role: &str) -> Result<ExampleTurn, RowFault> {
    let pointer = format!("/{key}");
    match value(row, key)? {
        Value::String(text) => Ok(ExampleTurn::new(role, text, pointer)),
        Value::Null => Ok(ExampleTurn::new(role, "", pointer)),
        other => Err(wrong(&pointer, "a text", other)),
    }
}

/// The text of a key as a turn; `None` if it is missing, null or blank.
pub(super) fn some_text(
    row: &Object,
    key: &str,
    role: &str,
) -> Result<Option<ExampleTurn>, RowFault> {
    if !has(row, key) {
        return Ok(None);
    }
    let turn = text(row, key, role)?;
    Ok(if turn.text.trim().is_empty() { None } else { Some(turn) })
}

/// Reads a turn: `{"role", "content"}`, or ShareGPT's `{"from", "value"}`, and its thought,
/// if it has one. The content may be one typed part with a text, with thoughts before it.
/// Null, as in tool calls, is an empty text.
fn turn(value: &Value, pointer: &str) -> Result<ExampleTurn, RowFault> {
    let Value::Object(object) = value else {
        return Err(wrong(pointer, "a turn: an object with \"role\" and \"content\"", value));
    };
    let (role_key, text_key) =
        if object.contains_key("from") { ("from", "value") } else { ("role", "content") };
    let role = match object.get(role_key) {
        Some(Value::String(role)) => known_role(role),
        Some(other) => return Err(wrong(&format!("{pointer}/{role_key}"), "a text", other)),
        None => "",
    };
    let pointer = format!("{pointer}/{text_key}");
    let thought = thought(object);
    match object.get(text_key) {
        Some(Value::String(text)) => {
            Ok(ExampleTurn { thought, ..ExampleTurn::new(role, text, pointer) })
        }
        None | Some(Value::Null) => {
            Ok(ExampleTurn { thought, ..ExampleTurn::new(role, "", pointer) })
        }
        Some(Value::Array(parts)) => parts_turn(role, parts, thought, &pointer)
            .ok_or_else(|| wrong(&pointer, "a text", &object[text_key])),
        Some(other) => Err(wrong(&pointer, "a text", other)),
    }
}

/// The thought of an object under the first of [`THOUGHT_KEYS`] that has one: a text that is
/// not blank, or the texts of a list of parts.
fn thought(object: &Object) -> Option<String> {
    THOUGHT_KEYS.iter().find_map(|key| {
        let text = match object.get(*key)? {
            Value::String(text) => text.clone(),
            Value::Array(parts) => parts.iter().filter_map(|part| part["text"].as_str()).collect(),
            _ => return None,
        };
        if text.trim().is_empty() { None } else { Some(text) }
    })
}

/// The turn of typed parts: thoughts, and a single text, so that the text has one place.
/// `None` for other parts.
fn parts_turn(
    role: &str,
    parts: &[Value],
    mut before: Option<String>,
    pointer: &str,
) -> Option<ExampleTurn> {
    let mut turn = None;
    for (at, part) in parts.iter().enumerate() {
        let part = part.as_object()?;
        match part.get("text").and_then(Value::as_str) {
            Some(_) if turn.is_some() => return None,
            Some(text) => turn = Some(ExampleTurn::new(role, text, format!("{pointer}/{at}/text"))),
            None => before = before.or(Some(thought(part)?)),
        }
    }
    Some(ExampleTurn { thought: before, ..turn? })
}

/// Translates ShareGPT's role names into those of chat templates.
fn known_role(role: &str) -> &str {
    match role {
        "human" => "user",
        "gpt" | "chatgpt" => "assistant",
        "observation" => "tool",
        other => other,
    }
}

/// The turns of a key: a list of turns, or a single one.
pub(super) fn turns(row: &Object, key: &str) -> Result<Vec<ExampleTurn>, RowFault> {
    let pointer = format!("/{key}");
    match value(row, key)? {
        Value::Array(values) => {
            let each = |(at, value)| turn(value, &format!("{pointer}/{at}"));
            values.iter().enumerate().map(each).collect()
        }
        Value::Null => Ok(Vec::new()),
        Value::Object(_) => Ok(vec![turn(&row[key], &pointer)?]),
        other => Err(wrong(&pointer, "a list of turns", other)),
    }
}

/// The text of a key as a turn, or its turns.
pub(super) fn text_or_turns(
    row: &Object,
    key: &str,
    role: &str,
) -> Result<Vec<ExampleTurn>, RowFault> {
    match value(row, key)? {
        Value::Array(_) | Value::Object(_) => turns(row, key),
        _ => Ok(vec![text(row, key, role)?]),
    }
}

/// Splits the answer off a conversation: its last turn, unless that is a turn of the
/// user or the system.
pub(super) fn split_answer(mut turns: Vec<ExampleTurn>) -> (Vec<ExampleTurn>, Vec<ExampleTurn>) {
    let answer = turns.pop_if(|last| last.role != "user" && last.role != "system");
    (turns, answer.into_iter().collect())
}

/// Splits two whole conversations into their shared prompt and the two answers. If the
/// prompts differ, the chosen side's is returned, with a description of the mismatch.
pub(super) fn shared_prompt(
    chosen: Vec<ExampleTurn>,
    rejected: Vec<ExampleTurn>,
) -> (Vec<ExampleTurn>, Answers, Option<&'static str>) {
    let (mut prompt, chosen) = split_answer(chosen);
    let (rejected_prompt, rejected) = split_answer(rejected);
    let key = |turns: &[ExampleTurn]| -> Vec<(String, String)> {
        turns.iter().map(|turn| (turn.role.clone(), turn.text.clone())).collect()
    };
    let mut mismatch = None;
    if key(&prompt) == key(&rejected_prompt) {
        for (turn, same) in prompt.iter_mut().zip(rejected_prompt) {
            turn.places.extend(same.places);
        }
    } else {
        mismatch = Some("chosen and rejected differ before the last turn");
    }
    (prompt, Answers::Pair { chosen, rejected }, mismatch)
}

/// The label of a row's only answer: whether it is chosen. `None` without a label.
pub(super) fn label(row: &Object) -> Result<Option<bool>, RowFault> {
    let Some(key) = first(row, &["label", "kto_tag"]) else { return Ok(None) };
    match &row[key] {
        Value::Bool(label) => Ok(Some(*label)),
        Value::Number(number) if number.as_u64() == Some(0) => Ok(Some(false)),
        Value::Number(number) if number.as_u64() == Some(1) => Ok(Some(true)),
        other => Err(wrong(&format!("/{key}"), "true or false", other)),
    }
}

/// Whether a row has a label for its only answer.
pub(super) fn has_label(row: &Object) -> bool {
    first(row, &["label", "kto_tag"]).is_some()
}

/// Creates an example whose sides match. A pair's verdict is looked up in the row.
pub(super) fn example(
    row: &Object,
    prompt: Vec<ExampleTurn>,
    answers: Answers,
    chat: bool,
) -> Example {
    let contradiction = match answers {
        Answers::Pair { .. } => contradiction(row),
        Answers::None | Answers::Single { .. } | Answers::Comparison { .. } => None,
    };
    Example {
        prompt,
        answers,
        chat,
        mismatch: None,
        contradiction,
        tokens: None,
        critique: row.get("reason").and_then(Value::as_str).map(str::to_owned),
        before: None,
        used: Vec::new(),
    }
}

/// The first verdict in the row, its `verdict` or its `metadata` that prefers the
/// rejected side. Ties and undecided verdicts do not count. If reviewers decided which
/// side is chosen, no verdict counts.
fn contradiction(row: &Object) -> Option<Contradiction> {
    let named = |reviewers: &Value| reviewers.as_array().is_some_and(|names| !names.is_empty());
    if row.get("reviewers").is_some_and(named)
        || row.get("verdict").is_some_and(|verdict| verdict == "undecided")
    {
        return None;
    }
    let nested = ["verdict", "metadata"].into_iter().filter_map(|key| row.get(key)?.as_object());
    std::iter::once(row).chain(nested).find_map(|object| {
        let number = |key: &str| object.get(key).and_then(Value::as_f64);
        if let Some(p) = number("p_chosen").filter(|&p| p < 0.5) {
            return Some(Contradiction(format!("p_chosen is {p:.3}")));
        }
        if let Some(margin) = number("margin").filter(|&margin| margin < 0.0) {
            return Some(Contradiction(format!("margin is {margin}")));
        }
        let (chosen, rejected) = (number("score_chosen")?, number("score_rejected")?);
        (chosen < rejected)
            .then(|| Contradiction(format!("score_chosen is {chosen}, score_rejected {rejected}")))
    })
}

//! Reads the columns of a row: texts, lists of turns, prompts. It remembers which columns
//! were read.

use std::borrow::Cow;

use serde_json::{Value, json};

use super::example::{Answers, Contradiction, Example, ExampleTurn, Object};
use super::fault::RowFault;
use amend_core::chat::THOUGHT_KEYS;

/// The columns that may hold the prompt, in the order in which they are tried.
pub(super) const PROMPTS: [&str; 19] = [
    "messages",
    "conversations",
    "conversation",
    "prompt",
    "instruction",
    "question",
    "query",
    "input",
    "text",
    "content",
    "goal",
    "behavior",
    "forbidden_prompt",
    "adversarial",
    "vanilla",
    "problem",
    "user_input",
    "user_prompt",
    "request",
];

/// The columns that may hold a system text, in the order in which they are tried.
pub(super) const SYSTEMS: [&str; 2] = ["system", "system_prompt"];

/// The columns that may hold a single answer, in the order in which they are tried.
pub(super) const ANSWERS: [&str; 5] = ["completion", "response", "answer", "output", "generation"];

/// The columns of earlier turns and of two answers with a better one.
const HISTORY_AND_PAIR: [&str; 3] = ["history", "chosen", "rejected"];

/// The columns that many shapes read, besides those of two answers to compare.
pub(super) const SHARED: [&[&str]; 5] = [&PROMPTS, &SYSTEMS, &HISTORY_AND_PAIR, &ANSWERS, &LABELS];

/// The columns that may hold what kind of prompt a row has, in any case, in the order in
/// which they are tried.
pub const CATEGORIES: [&str; 13] = [
    "category",
    "subset",
    "dimension",
    "bias_type",
    "bias",
    "scenario",
    "domain",
    "source",
    "dataset",
    "task",
    "harm_category",
    "semanticcategory",
    "group",
];

/// The JSON pointer of a column.
pub(super) fn pointer(key: &str) -> String {
    format!("/{}", key.replace('~', "~0").replace('/', "~1"))
}

/// Whether a column has a value other than null.
pub(super) fn has(row: &Object, key: &str) -> bool {
    row.get(key).is_some_and(|value| !value.is_null())
}

/// Whether the value of a column is a list of turns.
pub(super) fn has_list(row: &Object, key: &str) -> bool {
    row.get(key).is_some_and(|value| decoded(key, value).is_array())
}

/// Whether the value of a column is a text.
pub(super) fn has_text(row: &Object, key: &str) -> bool {
    row.get(key).is_some_and(|value| decoded(key, value).is_string())
}

/// The first of several columns that has a value other than null.
pub(super) fn first<'k>(row: &Object, keys: &[&'k str]) -> Option<&'k str> {
    keys.iter().copied().find(|key| has(row, key))
}

/// The column of the prompt. WildJailbreak has blank adversarial prompts beside plain ones.
pub(super) fn prompt_key(row: &Object) -> Option<&'static str> {
    let is_blank = |key| row.get(key).and_then(Value::as_str).is_some_and(|t| t.trim().is_empty());
    PROMPTS
        .into_iter()
        .find(|key| has(row, key) && !(*key == "adversarial" && is_blank("adversarial")))
}

/// The columns of a row, and which of them were read.
pub(super) struct Fields<'a> {
    row: &'a Object,
    used: Vec<String>,
}

impl<'a> Fields<'a> {
    /// The columns of a row, of which none was read.
    pub fn new(row: &'a Object) -> Self {
        Self { row, used: Vec::new() }
    }

    /// The row.
    pub fn row(&self) -> &'a Object {
        self.row
    }

    /// Counts a column as read, if the row has it.
    pub fn mark(&mut self, key: &str) {
        if self.row.contains_key(key) && !self.used.iter().any(|used| used == key) {
            self.used.push(key.to_owned());
        }
    }

    /// The value of a column, which may be null.
    pub fn value(&mut self, key: &str) -> Result<&'a Value, RowFault> {
        self.mark(key);
        self.row.get(key).ok_or_else(|| RowFault::Missing { key: key.to_owned() })
    }

    /// The list in a column.
    pub fn list(&mut self, key: &str) -> Result<&'a [Value], RowFault> {
        match self.value(key)? {
            Value::Array(values) => Ok(values),
            other => Err(RowFault::wrong(&pointer(key), "a list", other)),
        }
    }

    /// The text of a column as a turn. Null becomes an empty text, which the check for
    /// empty answers reports.
    pub fn text(&mut self, key: &str, role: &str) -> Result<ExampleTurn, RowFault> {
        text(self.value(key)?, role, &pointer(key))
    }

    /// The text of a column as a turn; `None` if it is missing, null or blank.
    pub fn some_text(&mut self, key: &str, role: &str) -> Result<Option<ExampleTurn>, RowFault> {
        self.mark(key);
        if !has(self.row, key) {
            return Ok(None);
        }
        let turn = self.text(key, role)?;
        Ok(if turn.text.trim().is_empty() { None } else { Some(turn) })
    }

    /// The turns of a column: a list of turns, or a single one. In `conversations`, texts are
    /// those of the user and the assistant in turn.
    pub fn turns(&mut self, key: &str) -> Result<Vec<ExampleTurn>, RowFault> {
        let value = self.value(key)?;
        let list = decoded(key, value);
        if key == "conversations"
            && let Some(texts) = list.as_array().and_then(|values| texts(values))
        {
            let turn = |(at, text): (usize, &&str)| {
                let role = if at % 2 == 0 { "user" } else { "assistant" };
                ExampleTurn::new(role, text, format!("/conversations/{at}"))
            };
            return Ok(texts.iter().enumerate().map(turn).collect());
        }
        let mut turns = turns(&list, &pointer(key))?;
        if matches!(list, Cow::Owned(_)) {
            // The texts have no place of their own in the row.
            turns.iter_mut().for_each(|turn| turn.places.clear());
        }
        Ok(turns)
    }

    /// The text of a column as a turn, or its turns.
    pub fn text_or_turns(&mut self, key: &str, role: &str) -> Result<Vec<ExampleTurn>, RowFault> {
        let value = self.value(key)?;
        match *decoded(key, value) {
            Value::Array(_) | Value::Object(_) => self.turns(key),
            _ => Ok(vec![self.text(key, role)?]),
        }
    }

    /// The prompt in a column: its text or turns, after the turns of `history`. An
    /// `instruction` is continued by `input` or `context`.
    pub fn prompt(&mut self, key: &str) -> Result<Vec<ExampleTurn>, RowFault> {
        let turns = self.text_or_turns(key, "user")?;
        let mut prompt = Vec::new();
        if self.row.get("history").is_some_and(|history| history.is_array() || history.is_null()) {
            prompt.extend(self.history()?);
        }
        prompt.extend(turns);
        if key == "instruction" {
            for more in ["input", "context"] {
                if more == "context" && self.row.get(more).is_some_and(|value| !value.is_string()) {
                    continue;
                }
                let turn = match self.row.get(more) {
                    Some(Value::Number(number)) => {
                        self.mark(more);
                        let turn = ExampleTurn::new("user", &number.to_string(), "");
                        Some(ExampleTurn { places: Vec::new(), ..turn })
                    }
                    _ => self.some_text(more, "user")?,
                };
                prompt.extend(turn.map(|turn| ExampleTurn { continues: true, ..turn }));
            }
        }
        Ok(prompt)
    }

    /// The turns of `history`: a list of pairs of texts, or of turns.
    fn history(&mut self) -> Result<Vec<ExampleTurn>, RowFault> {
        let Value::Array(values) = self.value("history")? else { return Ok(Vec::new()) };
        if values.iter().all(Value::is_object) {
            return self.turns("history");
        }
        let mut turns = Vec::new();
        for (at, value) in values.iter().enumerate() {
            let pair = value.as_array().map(Vec::as_slice);
            let Some([Value::String(asked), Value::String(answered)]) = pair else {
                let at = format!("/history/{at}");
                return Err(RowFault::wrong(&at, "a pair of texts", value));
            };
            turns.push(ExampleTurn::new("user", asked, format!("/history/{at}/0")));
            turns.push(ExampleTurn::new("assistant", answered, format!("/history/{at}/1")));
        }
        Ok(turns)
    }

    /// The label of a row's only answer: whether it is chosen. `None` without a label.
    pub fn label(&mut self) -> Result<Option<bool>, RowFault> {
        let Some(key) = first(self.row, &LABELS) else { return Ok(None) };
        let value = self.value(key)?;
        let text = match value {
            Value::String(text) => text.trim().to_ascii_lowercase(),
            Value::Bool(_) | Value::Number(_) => value.to_string(),
            other => return Err(RowFault::wrong(&pointer(key), "true or false", other)),
        };
        match text.as_str() {
            "true" | "1" | "1.0" => Ok(Some(true)),
            "false" | "0" | "0.0" => Ok(Some(false)),
            _ => Err(RowFault::wrong(&pointer(key), "true or false", value)),
        }
    }

    /// A prompt after the turn of `system` or `system_prompt`, unless it begins with
    /// instructions of its own.
    fn after_system(&mut self, mut prompt: Vec<ExampleTurn>) -> Result<Vec<ExampleTurn>, RowFault> {
        let own = prompt.first().filter(|turn| is_instruction(&turn.role));
        if own.is_some_and(|turn| !turn.text.trim().is_empty()) {
            return Ok(prompt);
        }
        for key in SYSTEMS {
            if let Some(system) = self.some_text(key, "system")? {
                let blank = usize::from(own.is_some());
                prompt.splice(..blank, [system]);
                break;
            }
        }
        Ok(prompt)
    }

    /// Creates an example whose sides match. A system text in a column of its own comes
    /// before the prompt. A pair's verdict, the critique and the category are looked up in
    /// the row; they also stay metadata.
    ///
    /// # Errors
    /// The column of the system text has something else.
    pub fn example(
        mut self,
        prompt: Vec<ExampleTurn>,
        answers: Answers,
        chat: bool,
    ) -> Result<Example, RowFault> {
        let prompt = self.after_system(prompt)?;
        let contradiction = match answers {
            Answers::Pair { .. } => contradiction(self.row),
            Answers::None | Answers::Single { .. } | Answers::Comparison { .. } => None,
        };
        let filled = |value: &Value| {
            let text = value.as_str()?;
            if text.trim().is_empty() { None } else { Some(text.to_owned()) }
        };
        let category = CATEGORIES.into_iter().find_map(|name| {
            let column = self.row.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            filled(column?.1)
        });
        Ok(Example {
            prompt,
            answers,
            chat,
            mismatch: None,
            contradiction,
            tokens: None,
            critique: self.row.get("reason").and_then(filled),
            category,
            before: None,
            used: self.used,
        })
    }
}

/// The columns of the label of a single answer.
pub(crate) const LABELS: [&str; 2] = ["label", "kto_tag"];

/// Whether a row has a label for its only answer: true or false.
pub(super) fn has_label(row: &Object) -> bool {
    first(row, &LABELS).is_some()
}

/// The columns that hold lists of turns and nothing else.
const LISTS: [&str; 6] =
    ["messages", "conversations", "conversation", "context", "conversation_a", "conversation_b"];

/// The value of a column. In a column of [`LISTS`], the list may be JSON within a text, as in
/// CSV files.
fn decoded<'a>(key: &str, value: &'a Value) -> Cow<'a, Value> {
    if let Value::String(text) = value
        && LISTS.contains(&key)
        && text.trim_start().starts_with("[{")
        && let Ok(list @ Value::Array(_)) = serde_json::from_str::<Value>(text)
        && list.as_array().is_some_and(|turns| turns.iter().all(is_turn))
    {
        return Cow::Owned(list);
    }
    Cow::Borrowed(value)
}

fn is_turn(value: &Value) -> bool {
    ["role", "from"].into_iter().any(|key| value.get(key).is_some_and(Value::is_string))
}

/// A text as a turn. Null becomes an empty text.
pub(super) fn text(value: &Value, role: &str, pointer: &str) -> Result<ExampleTurn, RowFault> {
    match value {
        Value::String(text) => Ok(ExampleTurn::new(role, text, pointer)),
        Value::Null => Ok(ExampleTurn::new(role, "", pointer)),
        other => Err(RowFault::wrong(pointer, "a text", other)),
    }
}

/// The texts of a list that has texts and nothing else.
fn texts(values: &[Value]) -> Option<Vec<&str>> {
    if values.is_empty() { None } else { values.iter().map(Value::as_str).collect() }
}

/// The turns of a value: a list of turns, or a single one. A list of texts is not a
/// conversation: it may as well be several prompts.
pub(super) fn turns(value: &Value, pointer: &str) -> Result<Vec<ExampleTurn>, RowFault> {
    match value {
        Value::Array(values) if texts(values).is_some() => Err(RowFault::Type {
            pointer: pointer.to_owned(),
            expected: "one text or a list of turns with \"role\" and \"content\"",
            found: "a list of texts",
        }),
        Value::Array(values) => {
            let mut turns = Vec::with_capacity(values.len());
            for (at, value) in values.iter().enumerate() {
                let pointer = format!("{pointer}/{at}");
                match value {
                    Value::Object(exchange) if is_exchange(exchange) => {
                        for (key, role) in [("input", "user"), ("output", "assistant")] {
                            turns.push(text(&exchange[key], role, &format!("{pointer}/{key}"))?);
                        }
                    }
                    value => turns.push(turn(value, &pointer)?),
                }
            }
            Ok(turns)
        }
        Value::Null => Ok(Vec::new()),
        Value::Object(_) => Ok(vec![turn(value, pointer)?]),
        other => Err(RowFault::wrong(pointer, "a list of turns", other)),
    }
}

/// Whether an object is a turn of the user and one of the assistant.
fn is_exchange(object: &Object) -> bool {
    object.contains_key("input") && object.contains_key("output") && !object.contains_key("role")
}

/// A text as one turn of this role, or turns.
pub(super) fn text_or_turns(
    value: &Value,
    role: &str,
    pointer: &str,
) -> Result<Vec<ExampleTurn>, RowFault> {
    match value {
        Value::Array(_) | Value::Object(_) => turns(value, pointer),
        _ => Ok(vec![text(value, role, pointer)?]),
    }
}

/// Reads a turn: `{"role", "content"}`, or ShareGPT's `{"from", "value"}`, its thought and
/// its tool calls, if it has them. The content may be a list of typed parts. Null, as in
/// tool calls, is an empty text.
fn turn(value: &Value, pointer: &str) -> Result<ExampleTurn, RowFault> {
    let Value::Object(object) = value else {
        return Err(RowFault::wrong(
            pointer,
            "a turn: an object with \"role\" and \"content\"",
            value,
        ));
    };
    let is_sharegpt = object.contains_key("from") && !object.contains_key("role");
    let (role_key, text_key) = if is_sharegpt { ("from", "value") } else { ("role", "content") };
    if !object.contains_key(role_key) && !object.contains_key(text_key) {
        let expected = "a turn: an object with \"role\" and \"content\"";
        return Err(RowFault::Type { pointer: pointer.to_owned(), expected, found: "another one" });
    }
    let named = match object.get(role_key) {
        Some(Value::String(role)) => role.as_str(),
        Some(Value::Null) | None => "",
        Some(other) => {
            return Err(RowFault::wrong(&format!("{pointer}/{role_key}"), "a text", other));
        }
    };
    let pointer = format!("{pointer}/{text_key}");
    let mut turn = match object.get(text_key) {
        Some(Value::String(text)) => ExampleTurn::new(known_role(named), text, pointer),
        None | Some(Value::Null) => ExampleTurn::new(known_role(named), "", pointer),
        Some(Value::Array(parts)) => parts_turn(known_role(named), parts, &pointer)?,
        Some(other) => return Err(RowFault::wrong(&pointer, "a text", other)),
    };
    turn.thought = thought(object).or(turn.thought);
    let text_of = |key: &str| object.get(key).and_then(Value::as_str).map(str::to_owned);
    if turn.role == "tool" {
        turn.name = text_of("name");
        turn.tool_call_id = text_of("tool_call_id");
    }
    match object.get("tool_calls") {
        Some(calls @ Value::Array(list)) if !list.is_empty() => {
            turn.tool_calls = Some(calls.clone());
        }
        _ if matches!(named, "function_call" | "tool_call") => {
            if let Some(calls) = function_calls(&turn.text) {
                turn.text.clear();
                turn.tool_calls = Some(calls);
            }
        }
        _ => {}
    }
    Ok(turn)
}

/// The tool calls that a text contains as JSON: a call with a name and arguments, or a list
/// of calls.
fn function_calls(text: &str) -> Option<Value> {
    let calls = match serde_json::from_str(text).ok()? {
        Value::Array(calls) => calls,
        call => vec![call],
    };
    let call = |call: &Value| {
        call.get("name")?.as_str()?;
        Some(json!({"type": "function", "function": call}))
    };
    calls.iter().map(call).collect::<Option<Vec<Value>>>().map(Value::Array)
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

/// The turn of typed parts: texts, joined by line breaks, and thoughts, apart. A single text
/// has its place in the row; joined texts have none.
fn parts_turn(role: &str, parts: &[Value], pointer: &str) -> Result<ExampleTurn, RowFault> {
    let mut texts: Vec<(&str, String)> = Vec::new();
    let mut before = None;
    for (at, part) in parts.iter().enumerate() {
        let pointer = format!("{pointer}/{at}");
        let text_of = |key: &str| part.get(key).and_then(Value::as_str);
        if let Some(text) = part.as_str() {
            texts.push((text, pointer));
        } else if let Some(text) = text_of("text") {
            texts.push((text, format!("{pointer}/text")));
        } else if let Some(text) = text_of("value").filter(|_| part["type"] == "text") {
            texts.push((text, format!("{pointer}/value")));
        } else if let Some(text) = text_of("refusal") {
            texts.push((text, format!("{pointer}/refusal")));
        } else if let Some(thought) = part.as_object().and_then(thought) {
            before = before.or(Some(thought));
        } else {
            let kind = text_of("type").unwrap_or("unknown").to_owned();
            return Err(RowFault::Part { pointer, kind });
        }
    }
    let turn = match texts.as_slice() {
        [(text, pointer)] => ExampleTurn::new(role, text, pointer.as_str()),
        texts => {
            let joined: Vec<&str> = texts.iter().map(|(text, _)| *text).collect();
            ExampleTurn { places: Vec::new(), ..ExampleTurn::new(role, &joined.join("\n"), "") }
        }
    };
    Ok(ExampleTurn { thought: before, ..turn })
}

/// Translates the role names of datasets into those of chat templates.
fn known_role(role: &str) -> &str {
    match role {
        "human" | "prompter" | "User" | "Human" => "user",
        "gpt" | "chatgpt" | "bing" | "bard" | "model" | "function_call" | "tool_call"
        | "Assistant" => "assistant",
        "observation" | "function" | "tool_response" => "tool",
        other => other,
    }
}

/// Whether a role gives instructions for the conversation.
fn is_instruction(role: &str) -> bool {
    role == "system" || role == "developer"
}

/// Splits the answer off a conversation: its last turn, unless that is a turn of the
/// user, the system or a tool.
pub(super) fn split_answer(mut turns: Vec<ExampleTurn>) -> (Vec<ExampleTurn>, Vec<ExampleTurn>) {
    let answer = turns
        .pop_if(|last| last.role != "user" && last.role != "tool" && !is_instruction(&last.role));
    (turns, answer.into_iter().collect())
}

/// Splits the answers off two conversations. Texts that both repeat have two places. If the
/// conversations differ before the answers, the third value says so.
pub(super) fn shared_prompt(
    chosen: Vec<ExampleTurn>,
    rejected: Vec<ExampleTurn>,
) -> (Vec<ExampleTurn>, Answers, Option<&'static str>) {
    let (mut prompt, chosen) = split_answer(chosen);
    let (rejected_prompt, rejected) = split_answer(rejected);
    let mut mismatch = None;
    if same(&prompt, &rejected_prompt) {
        for (turn, same) in prompt.iter_mut().zip(rejected_prompt) {
            turn.places.extend(same.places);
        }
    } else {
        mismatch = Some("chosen and rejected differ before the last turn");
    }
    (prompt, Answers::Pair { chosen, rejected }, mismatch)
}

/// Whether two conversations have the same roles and texts.
pub(super) fn same(a: &[ExampleTurn], b: &[ExampleTurn]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.role == b.role && a.text == b.text)
}

/// The first verdict in the row, its `verdict` or its `metadata` that prefers the
/// rejected side. Ties and undecided verdicts do not count. If reviewers decided which
/// side is chosen, no verdict counts.
fn contradiction(row: &Object) -> Option<Contradiction> {
    let named = |reviewers: &Value| reviewers.as_array().is_some_and(|names| !names.is_empty());
    if row.get("reviewers").is_some_and(named)
        || row.get("verdict").is_some_and(|verdict| verdict == "undecided" || verdict == "tie")
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

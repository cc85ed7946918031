//! Parses one input row, a JSON value or a line of text.

use std::{fmt, io};

use serde_json::{Map, Value};

use amend_core::chat::{Message, Role, THOUGHT_KEYS};

/// The keys that may hold the prompt, in the order in which they are tried if no key is
/// named. Each may hold a string or a list of messages. If the key is `instruction` and
/// there is also a string in `input`, the prompt is the instruction, a blank line, and the
/// input.
pub const PROMPTS: &[&str] =
    &["messages", "prompt", "instruction", "question", "query", "input", "text", "content"];

/// The keys that may hold a response, in the order in which they are tried. They are
/// ignored if the messages end with an assistant's turn. A blank or null value counts as
/// absent.
pub const RESPONSES: &[&str] = &["response", "answer", "completion"];

/// The deepest nesting of metadata: well below the limit of the journal's reader.
pub const MAX_DEPTH: usize = 64;

/// The most keys that an error lists.
const LISTED: usize = 12;

/// A parsed row.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct InputRow {
    pub messages: Vec<Message>,
    pub response: Option<String>,
    /// Response B, for comparisons.
    pub response_b: Option<String>,
    pub id: Option<String>,
    pub metadata: Map<String, Value>,
}

/// What is wrong with an input, and how to fix it.
#[derive(Debug, thiserror::Error)]
pub enum RowProblem {
    /// The file can't be opened.
    #[error("failed to open: {0}")]
    Open(io::Error),
    /// The file can't be read to its end.
    #[error("failed to read: {0}")]
    Read(io::Error),
    /// The file is empty.
    #[error("the file has no rows: write one prompt per line")]
    NoRows,
    /// There are too many rows.
    #[error("the input has more than {limit} rows: split it into several runs")]
    TooManyRows {
        /// The most rows.
        limit: usize,
    },
    /// A line is too long.
    #[error("the line is longer than {limit} bytes: shorten the row, and write one row per line")]
    LineTooLong {
        /// The most bytes.
        limit: usize,
    },
    /// The bytes are not UTF-8.
    #[error("invalid UTF-8 at byte {byte} of the row: convert the file with iconv -t UTF-8")]
    NotUtf8 {
        /// The first invalid byte, from 1.
        byte: usize,
    },
    /// The line is not valid JSON.
    #[error("invalid JSON at column {column}: {message}{}", guess_note(*.guessed))]
    Json {
        /// The column in bytes, from 1.
        column: usize,
        /// The message of the parser.
        message: String,
        /// Whether the format was guessed from the first row.
        guessed: bool,
    },
    /// The row is a JSON array.
    #[error("a row can't be an array: write each value on its own line (jq -c '.[]' FILE)")]
    Array,
    /// The row is a JSON value of another type.
    #[error("a row must be a JSON string or object, not {found}")]
    NotARow {
        /// The type found.
        found: &'static str,
    },
    /// No known key holds a prompt.
    #[error("no prompt among the keys {}: name its key with --field KEY", List(.keys))]
    NoPrompt {
        /// The keys of the row.
        keys: Vec<String>,
    },
    /// The row does not have the key named by `--field`.
    #[error("no key {field:?} among the keys {}: name another key with --field KEY", List(.keys))]
    NoField {
        /// The key named by `--field`.
        field: String,
        /// The keys of the row.
        keys: Vec<String>,
    },
    /// A value has the wrong type.
    #[error("{key:?} must be {expected}, not {found}")]
    Type {
        /// The key of the value.
        key: String,
        /// The expected type.
        expected: &'static str,
        /// The type found.
        found: &'static str,
    },
    /// The row is a blank string.
    #[error("the string is blank: fill it in, or remove the row")]
    BlankText,
    /// A value is a blank string.
    #[error("{key:?} is blank: fill it in, or remove the row")]
    Blank {
        /// The key of the value.
        key: String,
    },
    /// A turn has the wrong form.
    #[error("turn {turn} must be an object with the strings \"role\" and \"content\"")]
    Turn {
        /// The number of the turn, from 1.
        turn: usize,
    },
    /// A turn has an unknown role.
    #[error(
        "turn {turn} has the role {role:?}: use \"system\", \"developer\", \"user\", \
         \"assistant\" or \"tool\""
    )]
    Role {
        /// The number of the turn, from 1.
        turn: usize,
        /// The role found.
        role: String,
    },
    /// A key of a turn has the wrong form.
    #[error("{key:?} of turn {turn} must be {expected}")]
    TurnKey {
        /// The number of the turn, from 1.
        turn: usize,
        /// The key.
        key: &'static str,
        /// What it must be.
        expected: &'static str,
    },
    /// A turn is blank.
    #[error("turn {turn} is blank: fill it in, or remove it")]
    BlankTurn {
        /// The number of the turn, from 1.
        turn: usize,
    },
    /// The turns are out of order.
    #[error(
        "turn {turn} has the role \"{}\", expected \"{}\": after an optional system turn, \
         user and assistant must alternate, starting with the user, and tool turns must follow \
         the assistant's tool calls",
        .found.as_str(), .due.as_str()
    )]
    Order {
        /// The number of the turn, from 1.
        turn: usize,
        /// The role found.
        found: Role,
        /// The expected role.
        due: Role,
    },
    /// The last turn calls a tool.
    #[error("the conversation ends with a tool call: add the tool's turn, or remove the call")]
    OpenCall,
    /// There is no user turn.
    #[error("the conversation has no user turn: add one to respond to")]
    NoUser,
    /// A comparison has fewer than two responses.
    #[error(
        "no two responses among the keys {}: name them \"a\" and \"b\", or \"chosen\" and \
         \"rejected\"",
        List(.keys)
    )]
    NoAnswers {
        /// The keys of the row.
        keys: Vec<String>,
    },
    /// The conversation of a comparison already ends with a response.
    #[error("the conversation ends with a response: remove the last turn, or move it to \"a\"")]
    Answered,
    /// The two responses belong to different conversations.
    #[error(
        "\"chosen\" and \"rejected\" are not responses to the same conversation, or it does \
         not end with the prompt"
    )]
    Parted,
    /// A value is not one of the allowed words.
    #[error("{key:?} is {found:?}: it must be {expected}")]
    Word {
        /// The key of the value.
        key: String,
        /// The value found.
        found: String,
        /// The allowed values.
        expected: &'static str,
    },
    /// The row has two labels.
    #[error("the row has both \"label\" and \"chosen\": remove \"label\"")]
    LabelTwice,
    /// Metadata is nested too deeply.
    #[error("{key:?} is nested more than {limit} levels deep: flatten it, or remove it")]
    TooDeep {
        /// The key of the value.
        key: String,
        /// The most levels.
        limit: usize,
    },
}

fn guess_note(guessed: bool) -> &'static str {
    if guessed {
        " (the first row looks like JSON lines; for plain text, name the file .txt)"
    } else {
        ""
    }
}

/// Formats the first few keys in quotes.
struct List<'a>(&'a [String]);

impl fmt::Display for List<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("(none)");
        }
        for (at, key) in self.0.iter().take(LISTED).enumerate() {
            write!(f, "{}{key:?}", if at == 0 { "" } else { ", " })?;
        }
        if self.0.len() > LISTED { f.write_str(", …") } else { Ok(()) }
    }
}

/// Parses a line of plain text, which is the prompt.
pub(crate) fn plain(text: &str) -> InputRow {
    InputRow { messages: vec![Message::new(Role::User, text)], ..InputRow::default() }
}

/// Parses a line of JSON. `guessed` goes into errors: the format was guessed from the
/// first row.
pub(crate) fn json(text: &str, field: Option<&str>, guessed: bool) -> Result<InputRow, RowProblem> {
    match value(text, guessed)? {
        Value::String(prompt) if prompt.trim().is_empty() => Err(RowProblem::BlankText),
        Value::String(prompt) => Ok(plain(&prompt)),
        Value::Object(map) => object(map, field),
        other => Err(RowProblem::NotARow { found: type_name(&other) }),
    }
}

/// Parses the JSON value of a line. Arrays are errors.
pub(crate) fn value(text: &str, guessed: bool) -> Result<Value, RowProblem> {
    let bad = |error: serde_json::Error| {
        // Remove the position in the message: a row is always on line 1.
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = error.to_string();
        let message = message.strip_suffix(&place).unwrap_or(&message).to_owned();
        RowProblem::Json { column: error.column(), message, guessed }
    };
    match serde_json::from_str(text) {
        Ok(Value::Array(_)) => Err(RowProblem::Array),
        Ok(value) => Ok(value),
        // The first line of a pretty-printed array.
        Err(_) if text == "[" => Err(RowProblem::Array),
        Err(error) => Err(bad(error)),
    }
}

fn object(mut map: Map<String, Value>, field: Option<&str>) -> Result<InputRow, RowProblem> {
    let (messages, answer) = take_messages(&mut map, field)?;
    let response = match answer {
        Some(answer) => Some(answer),
        None => take_response(&mut map)?,
    };
    let (id, metadata) = rest(map)?;
    Ok(InputRow { messages, response, response_b: None, id, metadata })
}

/// Takes the conversation out of the row, and the response that may end it.
pub(crate) fn take_messages(
    map: &mut Map<String, Value>,
    field: Option<&str>,
) -> Result<(Vec<Message>, Option<String>), RowProblem> {
    let (key, prompt) = take_prompt(map, field)?;
    match prompt {
        Value::String(text) => {
            let text = match (field, key, map.get("input")) {
                (None, "instruction", Some(Value::String(input))) if !input.trim().is_empty() => {
                    let text = format!("{text}\n\n{input}");
                    map.shift_remove("input");
                    text
                }
                _ => text,
            };
            if text.trim().is_empty() {
                return Err(RowProblem::Blank { key: key.to_owned() });
            }
            Ok((vec![Message::new(Role::User, text)], None))
        }
        Value::Array(turns) => conversation(turns),
        other => Err(wrong(key, "a string or a list of messages", &other)),
    }
}

/// Splits the rest of a row into its id and its metadata.
pub(crate) fn rest(
    mut map: Map<String, Value>,
) -> Result<(Option<String>, Map<String, Value>), RowProblem> {
    let id = match map.shift_remove("id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id),
        Some(Value::Number(id)) => Some(id.to_string()),
        Some(other) => return Err(wrong("id", "a string or a number", &other)),
    };
    if let Some((key, _)) = map.iter().find(|(_, value)| !shallow(value, MAX_DEPTH)) {
        return Err(RowProblem::TooDeep { key: key.clone(), limit: MAX_DEPTH });
    }
    Ok((id, map))
}

/// Takes the key and the value of the prompt out of the row.
fn take_prompt<'a>(
    map: &mut Map<String, Value>,
    field: Option<&'a str>,
) -> Result<(&'a str, Value), RowProblem> {
    let candidates = match &field {
        Some(field) => std::slice::from_ref(field),
        None => PROMPTS,
    };
    for &key in candidates {
        if map.get(key).is_some_and(|value| !value.is_null())
            && let Some(value) = map.shift_remove(key)
        {
            return Ok((key, value));
        }
    }
    let keys = map.keys().cloned().collect();
    Err(match field {
        Some(field) => RowProblem::NoField { field: field.to_owned(), keys },
        None => RowProblem::NoPrompt { keys },
    })
}

/// Takes the first response out of the row.
fn take_response(map: &mut Map<String, Value>) -> Result<Option<String>, RowProblem> {
    for &key in RESPONSES {
        if let Some(value) = map.get(key)
            && let Some(text) = answer(key, value)?
        {
            map.shift_remove(key);
            return Ok(Some(text));
        }
    }
    Ok(None)
}

/// The response in a value: a string or a single assistant's turn. `None` if it is
/// blank.
pub(crate) fn answer(key: &str, value: &Value) -> Result<Option<String>, RowProblem> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text,
        Value::Array(turns) if turns.len() == 1 && turns[0]["role"] == "assistant" => {
            turns[0]["content"].as_str().ok_or(RowProblem::Turn { turn: 1 })?
        }
        other => return Err(wrong(key, "a string or one assistant's turn", other)),
    };
    if text.trim().is_empty() { Ok(None) } else { Ok(Some(text.to_owned())) }
}

/// Checks a list of turns, and splits off the last turn if it is the assistant's. Its thought
/// is dropped.
pub(crate) fn conversation(
    turns: Vec<Value>,
) -> Result<(Vec<Message>, Option<String>), RowProblem> {
    let mut messages: Vec<Message> = Vec::with_capacity(turns.len());
    for (turn, value) in (1..).zip(turns) {
        let message = message(turn, value)?;
        let found = message.role;
        let due = match messages.last() {
            None if found.is_instruction() => found,
            None => Role::User,
            Some(last) => match last.role {
                Role::System | Role::Developer => Role::User,
                Role::User => Role::Assistant,
                Role::Assistant if last.tool_calls.is_some() => Role::Tool,
                Role::Assistant => Role::User,
                Role::Tool if found == Role::Tool => Role::Tool,
                Role::Tool => Role::Assistant,
            },
        };
        if found != due {
            return Err(RowProblem::Order { turn, found, due });
        }
        messages.push(message);
    }
    if messages.last().is_some_and(|last| last.tool_calls.is_some()) {
        return Err(RowProblem::OpenCall);
    }
    let answer = messages.pop_if(|last| last.role == Role::Assistant).map(|last| last.content);
    if messages.iter().all(|message| message.role.is_instruction()) {
        return Err(RowProblem::NoUser);
    }
    Ok((messages, answer))
}

/// Parses a turn. Keys that a turn of its role does not have are dropped.
fn message(turn: usize, value: Value) -> Result<Message, RowProblem> {
    let Value::Object(mut value) = value else { return Err(RowProblem::Turn { turn }) };
    let Some(Value::String(role)) = value.remove("role") else {
        return Err(RowProblem::Turn { turn });
    };
    let Some(role) = Role::ALL.into_iter().find(|known| known.as_str() == role) else {
        return Err(RowProblem::Role { turn, role });
    };
    let mut message = Message::new(role, "");
    match role {
        Role::Assistant => {
            for &key in THOUGHT_KEYS {
                match value.remove(key) {
                    None | Some(Value::Null) => {}
                    Some(Value::String(thought)) if thought.trim().is_empty() => {}
                    Some(Value::String(thought)) => {
                        message.reasoning.get_or_insert(thought);
                    }
                    Some(_) => {
                        return Err(RowProblem::TurnKey { turn, key, expected: "a string" });
                    }
                }
            }
            message.tool_calls = tool_calls(turn, value.remove("tool_calls"))?;
        }
        Role::Tool => {
            let mut text = |key| match value.remove(key) {
                None | Some(Value::Null) => Ok(None),
                Some(Value::String(text)) => Ok(Some(text)),
                Some(_) => Err(RowProblem::TurnKey { turn, key, expected: "a string" }),
            };
            message.name = text("name")?;
            message.tool_call_id = text("tool_call_id")?;
        }
        Role::System | Role::Developer | Role::User => {}
    }
    let may_be_blank = message.tool_calls.is_some() || role == Role::Tool;
    message.content = match value.remove("content") {
        Some(Value::String(content)) => content,
        None | Some(Value::Null) if may_be_blank => String::new(),
        _ => return Err(RowProblem::Turn { turn }),
    };
    if message.content.trim().is_empty() && !may_be_blank {
        return Err(RowProblem::BlankTurn { turn });
    }
    Ok(message)
}

/// Checks the tool calls of a turn. An empty list counts as absent.
fn tool_calls(turn: usize, calls: Option<Value>) -> Result<Option<Value>, RowProblem> {
    let key = "tool_calls";
    match calls {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Array(calls)) if calls.is_empty() => Ok(None),
        Some(calls @ Value::Array(_)) if !shallow(&calls, MAX_DEPTH) => {
            Err(RowProblem::TooDeep { key: key.to_owned(), limit: MAX_DEPTH })
        }
        Some(Value::Array(calls)) if calls.iter().all(Value::is_object) => {
            Ok(Some(Value::Array(calls)))
        }
        Some(_) => Err(RowProblem::TurnKey { turn, key, expected: "a list of objects" }),
    }
}

pub(crate) fn wrong(key: &str, expected: &'static str, found: &Value) -> RowProblem {
    RowProblem::Type { key: key.to_owned(), expected, found: type_name(found) }
}

pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Returns whether a value is nested at most `levels` deep. The parser bounds the
/// recursion.
fn shallow(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(values) => levels > 0 && values.iter().all(|value| shallow(value, levels - 1)),
        Value::Object(map) => levels > 0 && map.values().all(|value| shallow(value, levels - 1)),
        _ => true,
    }
}

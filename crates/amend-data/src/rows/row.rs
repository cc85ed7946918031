//! One input row: what a JSON value or a line of text says, or what is wrong
//! with it.

use std::fmt;
use std::io;

use serde_json::{Map, Value};

use amend_core::chat::{Message, Role};

/// The keys tried for the prompt when none is named, in this order. Each may
/// hold a text or a list of messages. Found this way, `instruction` with a text
/// in `input` beside it is one prompt: the instruction, a blank line, the input.
pub const PROMPTS: &[&str] =
    &["messages", "prompt", "instruction", "question", "query", "input", "text", "content"];

/// The keys tried for an answer that comes with the row, in this order; used
/// unless the messages already end with an assistant's turn. Blank or null
/// counts as absent.
pub const RESPONSES: &[&str] = &["response", "answer", "completion"];

/// How deep a row's metadata may be nested: well inside what the journal's
/// reader takes.
pub const MAX_DEPTH: usize = 64;

/// How many of a row's keys an error lists.
const LISTED: usize = 12;

/// A row, understood.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Row {
    pub messages: Vec<Message>,
    pub response: Option<String>,
    /// A second answer, to compare the first with.
    pub rival: Option<String>,
    pub id: Option<String>,
    pub metadata: Map<String, Value>,
}

/// What is wrong with an input, and how to mend it.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file can't be opened.
    #[error("failed to open: {0}")]
    Open(io::Error),
    /// Reading stopped short.
    #[error("failed to read: {0}")]
    Read(io::Error),
    /// There is nothing in the file.
    #[error("holds no rows: write one prompt a line")]
    NoRows,
    /// More rows than a run takes.
    #[error("more than {limit} rows: split the input over several runs")]
    TooManyRows {
        /// The most rows.
        limit: usize,
    },
    /// More bytes than a line may have.
    #[error("longer than {limit} bytes: shorten the row, and write one row a line")]
    LineTooLong {
        /// The most bytes.
        limit: usize,
    },
    /// Bytes that aren't text.
    #[error("not UTF-8 at byte {byte} of the row: convert the file with iconv -t UTF-8")]
    NotUtf8 {
        /// The first bad byte, from 1.
        byte: usize,
    },
    /// Not JSON.
    #[error("invalid JSON at column {column}: {message}{}", guess_note(*.guessed))]
    Json {
        /// Where, in bytes from 1.
        column: usize,
        /// The parser's words.
        message: String,
        /// The format was guessed from the first row.
        guessed: bool,
    },
    /// A JSON array where a row should be.
    #[error("an array is no row: write each of its values on a line (jq -c '.[]' FILE)")]
    Array,
    /// A JSON number, true, false or null where a row should be.
    #[error("a row is a JSON string or object, not {found}")]
    NotARow {
        /// What it is.
        found: &'static str,
    },
    /// No known key holds a prompt.
    #[error("no prompt under the keys {}: name the right one with --field KEY", List(.keys))]
    NoPrompt {
        /// The row's keys.
        keys: Vec<String>,
    },
    /// The key named by `--field` is not there.
    #[error("no key {field:?} among {}: name another with --field KEY", List(.keys))]
    NoField {
        /// The key looked for.
        field: String,
        /// The row's keys.
        keys: Vec<String>,
    },
    /// A value of the wrong type.
    #[error("{key:?} must be {expected}, not {found}")]
    Type {
        /// Whose value.
        key: String,
        /// What it should be.
        expected: &'static str,
        /// What it is.
        found: &'static str,
    },
    /// A text without a word.
    #[error("a blank text: fill it in, or leave the row out")]
    BlankText,
    /// A prompt without a word.
    #[error("{key:?} is blank: fill it in, or leave the row out")]
    Blank {
        /// The key that holds the prompt.
        key: String,
    },
    /// A turn that isn't one.
    #[error("turn {turn} must be an object with the texts \"role\" and \"content\"")]
    Turn {
        /// Its number, from 1.
        turn: usize,
    },
    /// A role nobody has.
    #[error("turn {turn} has the role {role:?}: use \"system\", \"user\" or \"assistant\"")]
    Role {
        /// Its number, from 1.
        turn: usize,
        /// The role it has.
        role: String,
    },
    /// A turn without a word.
    #[error("turn {turn} is blank: fill it in, or leave it out")]
    BlankTurn {
        /// Its number, from 1.
        turn: usize,
    },
    /// Turns out of order.
    #[error(
        "turn {turn} is the {}'s where the {}'s is due: after a system turn, if any, \
         user and assistant alternate, the user first",
        .found.as_str(), .due.as_str()
    )]
    Order {
        /// Its number, from 1.
        turn: usize,
        /// Whose it is.
        found: Role,
        /// Whose it should be.
        due: Role,
    },
    /// Nobody asks anything.
    #[error("no turn is the user's: there is nothing to answer")]
    NoUser,
    /// Two answers are asked for, and there aren't two.
    #[error(
        "no two answers among {}: give them as \"a\" and \"b\", or as \"chosen\" and \"rejected\"",
        List(.keys)
    )]
    NoAnswers {
        /// The row's keys.
        keys: Vec<String>,
    },
    /// Two answers are asked for, and the conversation has one already.
    #[error("the conversation ends with an answer: leave the last turn out, or move it to \"a\"")]
    Answered,
    /// Two answers to different conversations.
    #[error("\"chosen\" and \"rejected\" must answer the same conversation, and it the prompt's")]
    Parted,
    /// A word that is none of a few.
    #[error("{key:?} is {found:?}: write {expected}")]
    Word {
        /// Whose value.
        key: String,
        /// What it is.
        found: String,
        /// What it may be.
        expected: &'static str,
    },
    /// Who is better is said twice.
    #[error("\"label\" stands beside \"chosen\", which says it already: leave it out")]
    LabelTwice,
    /// Metadata nested without end.
    #[error("{key:?} is nested more than {limit} levels deep: flatten it, or leave it out")]
    TooDeep {
        /// Whose value.
        key: String,
        /// The most levels.
        limit: usize,
    },
}

fn guess_note(guessed: bool) -> &'static str {
    if guessed {
        " (taken for JSON lines by its first row; name the file .txt if it is plain text)"
    } else {
        ""
    }
}

/// Keys in quotes, the first few.
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

/// A line of plain text: the prompt itself.
pub(crate) fn plain(text: &str) -> Row {
    Row { messages: vec![Message::new(Role::User, text)], ..Row::default() }
}

/// A line of JSON. `guessed` tells how the format is known, for the error.
pub(crate) fn json(text: &str, field: Option<&str>, guessed: bool) -> Result<Row, Problem> {
    match value(text, guessed)? {
        Value::String(prompt) if prompt.trim().is_empty() => Err(Problem::BlankText),
        Value::String(prompt) => Ok(plain(&prompt)),
        Value::Object(map) => object(map, field),
        other => Err(Problem::NotARow { found: type_name(&other) }),
    }
}

/// The JSON value of a line, unless it is an array.
pub(crate) fn value(text: &str, guessed: bool) -> Result<Value, Problem> {
    let bad = |error: serde_json::Error| {
        // The row is one line, so the parser's own "line 1" says nothing.
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = error.to_string();
        let message = message.strip_suffix(&place).unwrap_or(&message).to_owned();
        Problem::Json { column: error.column(), message, guessed }
    };
    match serde_json::from_str(text) {
        Ok(Value::Array(_)) => Err(Problem::Array),
        Ok(value) => Ok(value),
        // A pretty-printed array: its first line is no value by itself.
        Err(_) if text == "[" => Err(Problem::Array),
        Err(error) => Err(bad(error)),
    }
}

fn object(mut map: Map<String, Value>, field: Option<&str>) -> Result<Row, Problem> {
    let (messages, answer) = take_messages(&mut map, field)?;
    let response = match answer {
        Some(answer) => Some(answer),
        None => take_response(&mut map)?,
    };
    let (id, metadata) = rest(map)?;
    Ok(Row { messages, response, rival: None, id, metadata })
}

/// Takes the conversation out of the row, and the answer that may end it.
pub(crate) fn take_messages(
    map: &mut Map<String, Value>,
    field: Option<&str>,
) -> Result<(Vec<Message>, Option<String>), Problem> {
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
                return Err(Problem::Blank { key: key.to_owned() });
            }
            Ok((vec![Message::new(Role::User, text)], None))
        }
        Value::Array(turns) => conversation(turns),
        other => Err(wrong(key, "a text or a list of messages", &other)),
    }
}

/// The id of a row, and its metadata: what is left when all else was taken.
pub(crate) fn rest(
    mut map: Map<String, Value>,
) -> Result<(Option<String>, Map<String, Value>), Problem> {
    let id = match map.shift_remove("id") {
        None | Some(Value::Null) => None,
        Some(Value::String(id)) => Some(id),
        Some(Value::Number(id)) => Some(id.to_string()),
        Some(other) => return Err(wrong("id", "a text or a number", &other)),
    };
    if let Some((key, _)) = map.iter().find(|(_, value)| !shallow(value, MAX_DEPTH)) {
        return Err(Problem::TooDeep { key: key.clone(), limit: MAX_DEPTH });
    }
    Ok((id, map))
}

/// Takes the prompt's key and value out of the row.
fn take_prompt<'a>(
    map: &mut Map<String, Value>,
    field: Option<&'a str>,
) -> Result<(&'a str, Value), Problem> {
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
        Some(field) => Problem::NoField { field: field.to_owned(), keys },
        None => Problem::NoPrompt { keys },
    })
}

/// Takes the first answer the row carries.
fn take_response(map: &mut Map<String, Value>) -> Result<Option<String>, Problem> {
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

/// The answer that a value holds, a text or a single assistant's turn; none if
/// it is blank.
pub(crate) fn answer(key: &str, value: &Value) -> Result<Option<String>, Problem> {
    let text = match value {
        Value::Null => return Ok(None),
        Value::String(text) => text,
        Value::Array(turns) if turns.len() == 1 && turns[0]["role"] == "assistant" => {
            turns[0]["content"].as_str().ok_or(Problem::Turn { turn: 1 })?
        }
        other => return Err(wrong(key, "a text or one assistant's turn", other)),
    };
    Ok((!text.trim().is_empty()).then(|| text.to_owned()))
}

/// Checks a list of turns; a last turn of the assistant's is split off.
pub(crate) fn conversation(turns: Vec<Value>) -> Result<(Vec<Message>, Option<String>), Problem> {
    let mut messages: Vec<Message> = Vec::with_capacity(turns.len());
    for (turn, value) in (1..).zip(turns) {
        let Value::Object(mut value) = value else { return Err(Problem::Turn { turn }) };
        let (Some(Value::String(role)), Some(Value::String(content))) =
            (value.remove("role"), value.remove("content"))
        else {
            return Err(Problem::Turn { turn });
        };
        let found = match role.as_str() {
            "system" => Role::System,
            "user" => Role::User,
            "assistant" => Role::Assistant,
            _ => return Err(Problem::Role { turn, role }),
        };
        let due = match messages.last().map(|message| message.role) {
            None if found == Role::System => Role::System,
            Some(Role::User) => Role::Assistant,
            None | Some(Role::System | Role::Assistant) => Role::User,
        };
        if found != due {
            return Err(Problem::Order { turn, found, due });
        }
        if content.trim().is_empty() {
            return Err(Problem::BlankTurn { turn });
        }
        messages.push(Message::new(found, content));
    }
    let answer = messages.pop_if(|last| last.role == Role::Assistant).map(|last| last.content);
    if messages.iter().all(|message| message.role == Role::System) {
        return Err(Problem::NoUser);
    }
    Ok((messages, answer))
}

pub(crate) fn wrong(key: &str, expected: &'static str, found: &Value) -> Problem {
    Problem::Type { key: key.to_owned(), expected, found: type_name(found) }
}

pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

/// Whether a value has at most `levels` levels. The parser bounds the recursion.
fn shallow(value: &Value, levels: usize) -> bool {
    match value {
        Value::Array(values) => levels > 0 && values.iter().all(|value| shallow(value, levels - 1)),
        Value::Object(map) => levels > 0 && map.values().all(|value| shallow(value, levels - 1)),
        _ => true,
    }
}

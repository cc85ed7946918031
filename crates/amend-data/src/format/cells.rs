//! Constructors of columns (Arrow fields) and of their values, for formats.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields};
use serde::Serialize;
use serde_json::{Value, json};

use crate::format::write::ExportRow;
use amend_core::chat::{Message, Role};

/// Makes a row of named values, in order.
pub(crate) fn row<const N: usize>(cells: [(&str, Value); N]) -> ExportRow {
    cells.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A column of texts.
pub(crate) fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

/// A column of texts or nulls.
pub(crate) fn optional_text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

/// A column of any JSON values. Typed outputs hold the JSON text of a value.
pub(crate) fn free_form(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

/// A column of lists of texts.
pub(crate) fn texts(name: &str) -> Field {
    list(name, DataType::Utf8)
}

/// A column of integers.
pub(crate) fn integer(name: &str) -> Field {
    Field::new(name, DataType::Int64, false)
}

/// A column of integers or nulls.
pub(crate) fn optional_integer(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

/// A column of numbers.
pub(crate) fn number(name: &str) -> Field {
    Field::new(name, DataType::Float64, false)
}

/// A column of numbers or nulls.
pub(crate) fn optional_number(name: &str) -> Field {
    Field::new(name, DataType::Float64, true)
}

/// A column of booleans.
pub(crate) fn flag(name: &str) -> Field {
    Field::new(name, DataType::Boolean, false)
}

/// A column of records with these columns.
pub(crate) fn record(name: &str, columns: Vec<Field>) -> Field {
    Field::new(name, DataType::Struct(columns.into()), false)
}

/// A column of lists of records.
pub(crate) fn records(name: &str, columns: Vec<Field>) -> Field {
    list(name, DataType::Struct(columns.into()))
}

/// A column of lists of lists of texts.
pub(crate) fn text_lists(name: &str) -> Field {
    list(name, list("", DataType::Utf8).data_type().clone())
}

fn list(name: &str, item: DataType) -> Field {
    Field::new(name, DataType::List(Arc::new(Field::new("item", item, true))), false)
}

/// A column of lists of turns, `{role, content}`.
pub(crate) fn turns(name: &str) -> Field {
    records(name, turn_columns())
}

/// A column of lists of turns that end with an answer: `{role, content}`, and the key of
/// its thought, if there is one.
pub(crate) fn answered_turns(name: &str, thought_key: Option<&str>) -> Field {
    let thought = thought_key.map(optional_text);
    records(name, turn_columns().into_iter().chain(thought).collect())
}

/// A column of turns, `{role, content}`.
pub(crate) fn turn(name: &str) -> Field {
    record(name, turn_columns())
}

fn turn_columns() -> Vec<Field> {
    vec![text("role"), text("content")]
}

/// Makes the assistant's turn with a response.
pub(crate) fn answer(text: &str) -> Value {
    message(Role::Assistant, text)
}

/// Makes a turn.
pub(crate) fn message(role: Role, text: &str) -> Value {
    json!({"role": role, "content": text})
}

/// Makes the list of turns of a conversation, followed by `next`.
pub(crate) fn conversation(messages: &[Message], next: impl IntoIterator<Item = Value>) -> Value {
    messages.iter().map(|turn| message(turn.role, &turn.content)).chain(next).collect()
}

/// Serializes a value whose map keys are all texts.
pub(crate) fn value(value: &impl Serialize) -> Value {
    serde_json::to_value(value).unwrap_or_default()
}

/// The fields of a record type or of a list of records. `None` for other types.
pub(crate) fn fields(data_type: &DataType) -> Option<&Fields> {
    match data_type {
        DataType::Struct(fields) => Some(fields),
        DataType::List(item) => fields(item.data_type()),
        _ => None,
    }
}

/// The total bytes of the texts in a row.
pub(crate) fn size(row: &ExportRow) -> usize {
    fn value_size(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(value_size).sum(),
            Value::Object(values) => size(values),
            _ => 0,
        }
    }
    row.values().map(value_size).sum()
}

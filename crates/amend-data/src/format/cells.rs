//! Columns and what stands in them, as formats name them.

use std::sync::Arc;

use arrow_schema::{DataType, Field, Fields};
use serde::Serialize;
use serde_json::{Value, json};

use crate::format::write::Row;
use amend_core::chat::{Message, Role};

/// A row of these columns, in order.
pub(crate) fn row<const N: usize>(cells: [(&str, Value); N]) -> Row {
    cells.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
}

/// A text.
pub(crate) fn text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, false)
}

/// A text or null.
pub(crate) fn optional_text(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

/// Free-form data: any JSON value in JSON lines, its text where columns are typed.
pub(crate) fn free_form(name: &str) -> Field {
    Field::new(name, DataType::Utf8, true)
}

/// A list of texts.
pub(crate) fn texts(name: &str) -> Field {
    list(name, DataType::Utf8)
}

/// A whole number.
pub(crate) fn integer(name: &str) -> Field {
    Field::new(name, DataType::Int64, false)
}

/// A whole number or null.
pub(crate) fn optional_integer(name: &str) -> Field {
    Field::new(name, DataType::Int64, true)
}

/// A number.
pub(crate) fn number(name: &str) -> Field {
    Field::new(name, DataType::Float64, false)
}

/// A number or null.
pub(crate) fn optional_number(name: &str) -> Field {
    Field::new(name, DataType::Float64, true)
}

/// True or false.
pub(crate) fn flag(name: &str) -> Field {
    Field::new(name, DataType::Boolean, false)
}

/// A record with columns of its own.
pub(crate) fn record(name: &str, columns: Vec<Field>) -> Field {
    Field::new(name, DataType::Struct(columns.into()), false)
}

/// A list of records.
pub(crate) fn records(name: &str, columns: Vec<Field>) -> Field {
    list(name, DataType::Struct(columns.into()))
}

/// A list of lists of texts.
pub(crate) fn text_lists(name: &str) -> Field {
    list(name, list("", DataType::Utf8).data_type().clone())
}

fn list(name: &str, of: DataType) -> Field {
    Field::new(name, DataType::List(Arc::new(Field::new("item", of, true))), false)
}

/// A list of turns, `{role, content}`.
pub(crate) fn turns(name: &str) -> Field {
    records(name, turn_columns())
}

/// A turn, `{role, content}`.
pub(crate) fn turn(name: &str) -> Field {
    record(name, turn_columns())
}

fn turn_columns() -> Vec<Field> {
    vec![text("role"), text("content")]
}

/// The turn of an answer.
pub(crate) fn answer(text: &str) -> Value {
    said(Role::Assistant, text)
}

/// A turn.
pub(crate) fn said(role: Role, text: &str) -> Value {
    json!({"role": role, "content": text})
}

/// A conversation and what is said next in it.
pub(crate) fn conversation(messages: &[Message], next: impl IntoIterator<Item = Value>) -> Value {
    messages.iter().map(|message| said(message.role, &message.content)).chain(next).collect()
}

/// What serde makes of a value that has no keys but texts.
pub(crate) fn value(of: &impl Serialize) -> Value {
    serde_json::to_value(of).unwrap_or_default()
}

/// The fields of a record or of a list's records; none of anything else.
pub(crate) fn fields(of: &DataType) -> Option<&Fields> {
    match of {
        DataType::Struct(fields) => Some(fields),
        DataType::List(item) => fields(item.data_type()),
        _ => None,
    }
}

/// The bytes of a row's texts.
pub(crate) fn size(row: &Row) -> usize {
    fn of(value: &Value) -> usize {
        match value {
            Value::String(text) => text.len(),
            Value::Array(values) => values.iter().map(of).sum(),
            Value::Object(values) => size(values),
            _ => 0,
        }
    }
    row.values().map(of).sum()
}

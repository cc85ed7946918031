//! A table's columns as the `datasets` library writes them in YAML, and as
//! people read them.

use arrow_schema::{DataType, Field};

use super::cells;

/// The lines of `features:`, indented by `indent` blanks.
pub(crate) fn yaml<'a>(columns: impl IntoIterator<Item = &'a Field>, indent: usize) -> String {
    let mut lines = String::new();
    for column in columns {
        let name = column.name();
        lines.push_str(&format!("{:indent$}- name: {name}\n", ""));
        lines.push_str(&of_type(column.data_type(), "dtype", indent + 2));
    }
    lines
}

/// A type's lines; `key` is what a scalar stands under.
fn of_type(data_type: &DataType, key: &str, indent: usize) -> String {
    match data_type {
        DataType::Struct(fields) => {
            // Directly in a list, a record is a list of its columns.
            let key = if key == "dtype" { "struct" } else { key };
            let fields = fields.iter().map(AsRef::as_ref);
            format!("{:indent$}{key}:\n{}", "", yaml(fields, indent))
        }
        DataType::List(item) => match item.data_type() {
            inner @ DataType::List(_) => {
                format!("{:indent$}{}:\n{}", "", list_key(key), of_type(inner, "list", indent + 2))
            }
            inner => of_type(inner, list_key(key), indent),
        },
        scalar => format!("{:indent$}{key}: {}\n", "", name(scalar)),
    }
}

fn list_key(key: &str) -> &str {
    if key == "dtype" { "list" } else { key }
}

/// A type in a word or two, for tables.
pub(crate) fn in_words(column: &Field) -> String {
    let of = |data_type: &DataType| match cells::fields(data_type) {
        Some(fields) => {
            let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            format!("{{{}}}", names.join(", "))
        }
        None => name(data_type).to_owned(),
    };
    match column.data_type() {
        DataType::List(item) => match item.data_type() {
            DataType::List(inner) => format!("list of lists of {}", of(inner.data_type())),
            item => format!("list of {}", of(item)),
        },
        scalar if column.is_nullable() => format!("{} or null", of(scalar)),
        scalar => of(scalar),
    }
}

/// The library's name of a scalar type.
fn name(scalar: &DataType) -> &'static str {
    match scalar {
        DataType::Boolean => "bool",
        DataType::Int64 => "int64",
        DataType::Float64 => "float64",
        _ => "string",
    }
}

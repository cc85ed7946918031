//! Descriptions of columns: YAML for the `datasets` library, and words for people.

use arrow_schema::{DataType, Field};

use super::cells;

/// Renders the entries of the YAML key `features:`, indented by `indent` spaces.
pub(crate) fn yaml<'a>(columns: impl IntoIterator<Item = &'a Field>, indent: usize) -> String {
    let mut lines = String::new();
    for column in columns {
        let name = column.name();
        lines.push_str(&format!("{:indent$}- name: {name}\n", ""));
        lines.push_str(&type_lines(column.data_type(), "dtype", indent + 2));
    }
    lines
}

/// Renders the lines of a type. A scalar is written under `key`.
fn type_lines(data_type: &DataType, key: &str, indent: usize) -> String {
    match data_type {
        DataType::Struct(fields) => {
            // A list of records is written as a list of its columns.
            let key = if key == "dtype" { "struct" } else { key };
            let fields = fields.iter().map(AsRef::as_ref);
            format!("{:indent$}{key}:\n{}", "", yaml(fields, indent))
        }
        DataType::List(item) => match item.data_type() {
            inner @ DataType::List(_) => {
                format!(
                    "{:indent$}{}:\n{}",
                    "",
                    list_key(key),
                    type_lines(inner, "list", indent + 2)
                )
            }
            inner => type_lines(inner, list_key(key), indent),
        },
        scalar => format!("{:indent$}{key}: {}\n", "", name(scalar)),
    }
}

fn list_key(key: &str) -> &str {
    if key == "dtype" { "list" } else { key }
}

/// Describes the type of a column in a few words, for tables.
pub(crate) fn in_words(column: &Field) -> String {
    let describe = |data_type: &DataType| match cells::fields(data_type) {
        Some(fields) => {
            let names: Vec<&str> = fields.iter().map(|field| field.name().as_str()).collect();
            format!("{{{}}}", names.join(", "))
        }
        None => name(data_type).to_owned(),
    };
    match column.data_type() {
        DataType::List(item) => match item.data_type() {
            DataType::List(inner) => format!("list of lists of {}", describe(inner.data_type())),
            item => format!("list of {}", describe(item)),
        },
        scalar if column.is_nullable() => format!("{} or null", describe(scalar)),
        scalar => describe(scalar),
    }
}

/// The name of a scalar type in the `datasets` library.
fn name(scalar: &DataType) -> &'static str {
    match scalar {
        DataType::Boolean => "bool",
        DataType::Int64 => "int64",
        DataType::Float64 => "float64",
        _ => "string",
    }
}

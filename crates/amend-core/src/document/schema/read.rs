//! Parses the text of one file into its form and collects all errors: those of the
//! syntax, those against the schema, and those that a schema can't express.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde::de::DeserializeOwned;
use serde_json::Value;
use toml::de::DeTable;

use super::source::SourceText;
use super::walk::walk;
use crate::document::diagnostic::{Diagnostic, line_at};

/// The maximum number of errors reported for one file. A file of another kind can have
/// an error in every byte.
const MAX_ERRORS: usize = 100;

/// The parser's message for a duplicate key or table.
const DUPLICATE_KEY: &str = "duplicate key";
/// The parser's message that it repeats after an unclosed array.
const MISSING_COMMA: &str = "missing comma between array elements";

/// Hints for syntax errors, by the start of the parser's message.
const HINTS: [(&str, &str); 6] = [
    (
        "invalid basic string, expected `\"`",
        "close the string on its line, or begin it with `\"\"\"`",
    ),
    (
        "invalid literal string, expected `'`",
        "close the string on its line, or begin it with `'''`",
    ),
    ("invalid multi-line basic string, expected `\"`", "close the string with `\"\"\"`"),
    ("missing escaped value", "write the backslash twice, or put the string in single quotes"),
    ("string values must be quoted", "write a value after the `=`, with strings in double quotes"),
    (MISSING_COMMA, "check that the array before it is closed with `]`"),
];

/// Parses a file. `schema` is the one generated from the form `T`, and `more` returns
/// the errors that a schema can't express.
///
/// # Errors
/// All errors in the file, in the order of the text, up to a limit.
pub fn read<T: DeserializeOwned>(
    schema: &Value,
    source: &SourceText,
    more: impl FnOnce(&DeTable<'_>) -> Vec<Diagnostic>,
) -> Result<T, Vec<Diagnostic>> {
    let (tree, errors) = DeTable::parse_recoverable(&source.text);
    let (mut diagnostics, trusted) = syntax(source, &errors);
    diagnostics.extend(walk(schema, source, tree.get_ref(), trusted));
    diagnostics.extend(more(tree.get_ref()));
    if diagnostics.is_empty() {
        // The schema is generated from the form, so whatever passes it deserialises.
        match T::deserialize(toml::Deserializer::from(tree)) {
            Ok(file) => return Ok(file),
            Err(error) => {
                diagnostics.push(source.error(error.span().unwrap_or_default(), error.message()));
            }
        }
    }
    diagnostics.sort_by_key(|diagnostic| diagnostic.span.start);
    if let Some(next) = diagnostics.get(MAX_ERRORS) {
        let rest = source.error(next.span.clone(), "further errors start here");
        diagnostics.truncate(MAX_ERRORS);
        diagnostics.push(rest);
    }
    Err(diagnostics)
}

/// Reports the syntax errors. The second value is the number of bytes at the start of
/// the text that were certainly parsed as intended, or `None` if all were.
fn syntax(source: &SourceText, errors: &[toml::de::Error]) -> (Vec<Diagnostic>, Option<usize>) {
    let mut diagnostics: Vec<Diagnostic> = Vec::new();
    let mut trusted: Option<usize> = None;
    let mut lines = HashSet::new();
    let mut left_open = false;
    for error in errors.iter().take(MAX_ERRORS + 1) {
        let span = error.span().unwrap_or_default();
        if error.message() == DUPLICATE_KEY {
            let key = source.text.get(span.clone()).unwrap_or_default();
            diagnostics.push(
                source
                    .error(span, format!("duplicate key `{key}`"))
                    .with_hint("remove one of the two"),
            );
            continue;
        }
        let line_start = source.text.get(..span.start).and_then(|text| text.rfind('\n'));
        let line_start = line_start.map_or(0, |newline| newline + 1);
        trusted = Some(trusted.map_or(line_start, |before| before.min(line_start)));
        let is_missing_comma = error.message().starts_with(MISSING_COMMA);
        // One mistake often causes several errors on its line; the first is the most useful.
        if lines.insert(line_start) && !(is_missing_comma && left_open) {
            diagnostics.push(syntax_error(source, error.message(), span));
        }
        left_open |= is_missing_comma;
    }
    (diagnostics, trusted)
}

fn syntax_error(source: &SourceText, message: &str, span: Range<usize>) -> Diagnostic {
    let character = source.text.get(span.start..).and_then(|rest| rest.chars().next());
    if let Some(control) = character
        && control.is_control()
        && !control.is_whitespace()
    {
        let code = u32::from(control);
        return source
            .error(span, format!("invalid TOML: control character U+{code:04X}"))
            .with_hint(format!("remove it, or write it as `\\u{code:04X}` in a string"));
    }
    let mut diagnostic = source.error(span, format!("invalid TOML: {message}"));
    let hint = HINTS.iter().find(|(start, _)| message.starts_with(start));
    diagnostic.hint = hint.map(|(_, hint)| (*hint).to_owned());
    diagnostic
}

/// Reports duplicate ids in the array of tables `key`.
pub fn twice(source: &SourceText, tree: &DeTable<'_>, key: &str) -> Vec<Diagnostic> {
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut errors = Vec::new();
    for table in tables(tree, key) {
        if errors.len() > MAX_ERRORS {
            break;
        }
        let Some(id) = table.get("id") else { continue };
        let Some(text) = id.get_ref().as_str() else { continue };
        match first.get(text) {
            Some(&start) => {
                let line = line_at(&source.text, start);
                errors.push(
                    source
                        .error(id.span(), format!("duplicate {key} id {text:?}"))
                        .with_label(format!("first used on line {line}"))
                        .with_hint("change one of the two ids, or remove one of the tables"),
                );
            }
            None => {
                first.insert(text, id.span().start);
            }
        }
    }
    errors
}

/// Iterates over the tables of the array `key`.
pub fn tables<'t, 'i>(tree: &'t DeTable<'i>, key: &str) -> impl Iterator<Item = &'t DeTable<'i>> {
    tree.get(key)
        .and_then(|value| value.get_ref().as_array())
        .into_iter()
        .flat_map(|array| array.iter())
        .filter_map(|item| item.get_ref().as_table())
}

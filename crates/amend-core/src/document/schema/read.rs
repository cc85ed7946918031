//! One file's text to its form, with everything wrong in it at once: syntax,
//! what the schema forbids, and what it can't say.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

use serde::de::DeserializeOwned;
use serde_json::Value;
use toml::de::DeTable;

use super::source::Source;
use super::walk::walk;
use crate::document::diagnostic::{Diagnostic, line_at};

/// How many mistakes of one file are told: what is no such file at all may
/// be wrong in every byte.
const MAX_TOLD: usize = 100;

/// What the parser calls a key or table that is there already.
const DUPLICATE_KEY: &str = "duplicate key";
/// What the parser says over and over after an array that was left open.
const MISSING_COMMA: &str = "missing comma between array elements";

/// How to mend what the parser stumbled on, by the start of its words.
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
    ("missing escaped value", "write the backslash twice, or the string in single quotes"),
    ("string values must be quoted", "a value stands after the `=`, text in double quotes"),
    (MISSING_COMMA, "or is the array before it not closed with `]`?"),
];

/// The form of a file, or everything wrong in it, in the order of the text.
/// `schema` is the one made of the form; `more` tells what no schema can say.
pub fn read<T: DeserializeOwned>(
    schema: &Value,
    source: &Source,
    more: impl FnOnce(&DeTable<'_>) -> Vec<Diagnostic>,
) -> Result<T, Vec<Diagnostic>> {
    let (tree, errors) = DeTable::parse_recoverable(&source.text);
    let (mut found, trusted) = syntax(source, &errors);
    found.extend(walk(schema, source, tree.get_ref(), trusted));
    found.extend(more(tree.get_ref()));
    if found.is_empty() {
        // The schema comes from the form, so that what passed it can be read.
        match T::deserialize(toml::Deserializer::from(tree)) {
            Ok(file) => return Ok(file),
            Err(error) => {
                found.push(source.error(error.span().unwrap_or_default(), error.message()));
            }
        }
    }
    found.sort_by_key(|diagnostic| diagnostic.span.start);
    if let Some(next) = found.get(MAX_TOLD) {
        let rest = source.error(next.span.clone(), "more is wrong from here on");
        found.truncate(MAX_TOLD);
        found.push(rest);
    }
    Err(found)
}

/// The syntax errors, and how many bytes at the start of the text can be
/// trusted to have been read as they were meant, if not all.
fn syntax(source: &Source, errors: &[toml::de::Error]) -> (Vec<Diagnostic>, Option<usize>) {
    let mut found: Vec<Diagnostic> = Vec::new();
    let mut trusted: Option<usize> = None;
    let mut lines = HashSet::new();
    let mut left_open = false;
    for error in errors.iter().take(MAX_TOLD + 1) {
        let span = error.span().unwrap_or_default();
        if error.message() == DUPLICATE_KEY {
            let key = source.text.get(span.clone()).unwrap_or_default();
            found.push(
                source
                    .error(span, format!("`{key}` is given twice"))
                    .with_hint("keep one of the two"),
            );
            continue;
        }
        let line_start = source.text.get(..span.start).and_then(|text| text.rfind('\n'));
        let line_start = line_start.map_or(0, |newline| newline + 1);
        trusted = Some(trusted.map_or(line_start, |before| before.min(line_start)));
        let is_missing_comma = error.message().starts_with(MISSING_COMMA);
        // One slip often makes several errors on its line; the first tells most.
        if lines.insert(line_start) && !(is_missing_comma && left_open) {
            found.push(syntax_error(source, error.message(), span));
        }
        left_open |= is_missing_comma;
    }
    (found, trusted)
}

fn syntax_error(source: &Source, words: &str, span: Range<usize>) -> Diagnostic {
    let at = source.text.get(span.start..).and_then(|rest| rest.chars().next());
    if let Some(control) = at.filter(|c| c.is_control() && !c.is_whitespace()) {
        let code = u32::from(control);
        return source
            .error(span, format!("this is not TOML: the control character U+{code:04X}"))
            .with_hint(format!("take it out, or write it as `\\u{code:04X}` in a string"));
    }
    let mut diagnostic = source.error(span, format!("this is not TOML: {words}"));
    let hint = HINTS.iter().find(|(start, _)| words.starts_with(start));
    diagnostic.hint = hint.map(|(_, hint)| (*hint).to_owned());
    diagnostic
}

/// Ids given more than once in the array of tables `key`.
pub fn twice(source: &Source, tree: &DeTable<'_>, key: &str) -> Vec<Diagnostic> {
    let mut first: HashMap<&str, usize> = HashMap::new();
    let mut found = Vec::new();
    for table in tables(tree, key) {
        if found.len() > MAX_TOLD {
            break;
        }
        let Some(id) = table.get("id") else { continue };
        let Some(text) = id.get_ref().as_str() else { continue };
        match first.get(text) {
            Some(&start) => {
                let line = line_at(&source.text, start);
                found.push(
                    source
                        .error(id.span(), format!("the {key} {text:?} is there already"))
                        .with_label(format!("first on line {line}"))
                        .with_hint("give one of the two another id, or take it out"),
                );
            }
            None => {
                first.insert(text, id.span().start);
            }
        }
    }
    found
}

/// The tables of the array `key`.
pub fn tables<'t, 'i>(tree: &'t DeTable<'i>, key: &str) -> impl Iterator<Item = &'t DeTable<'i>> {
    tree.get(key)
        .and_then(|value| value.get_ref().as_array())
        .into_iter()
        .flat_map(|array| array.iter())
        .filter_map(|item| item.get_ref().as_table())
}

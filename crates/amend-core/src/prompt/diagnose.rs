//! Converts template errors to diagnostics with file, place and hint.

use std::collections::BTreeMap;
use std::error::Error as _;
use std::ops::Range;
use std::sync::Arc;

use minijinja::{Error, ErrorKind};

use super::context::NAMES;
use super::{FUEL, TemplateSource};
use crate::document::diagnostic::{Diagnostic, closest};

/// Converts an error of the template engine. `entry` is the template that was being
/// loaded or rendered.
pub(super) fn diagnose(
    error: &Error,
    sources: &BTreeMap<String, TemplateSource>,
    entry: &str,
) -> Diagnostic {
    let error = innermost(error);
    let name = error.name().unwrap_or(entry);
    let Some(source) = sources.get(name) else {
        return about(name, Arc::from(""), 0..0, message(error, ""));
    };
    let span = error
        .range()
        .filter(|span| source.text.get(span.clone()).is_some())
        .or_else(|| error.line().map(|line| line_span(&source.text, line)))
        .unwrap_or(0..0);
    let snippet = &source.text[span.clone()];
    let hint = hint(error, snippet, sources);
    let message = message(error, snippet);
    Diagnostic { hint, ..about(&source.shown, source.text.clone(), span, message) }
}

/// Creates a diagnostic without label or hint.
pub(super) fn about(
    file: &str,
    source: Arc<str>,
    span: Range<usize>,
    message: String,
) -> Diagnostic {
    Diagnostic { file: file.to_owned(), source, span, message, label: String::new(), hint: None }
}

/// The innermost error that names a template: for an include, that of the included
/// template.
fn innermost(error: &Error) -> &Error {
    let mut innermost = error;
    let mut next = error.source();
    while let Some(source) = next {
        if let Some(inner) = source.downcast_ref::<Error>()
            && inner.name().is_some()
        {
            innermost = inner;
        }
        next = source.source();
    }
    innermost
}

fn message(error: &Error, snippet: &str) -> String {
    match (error.kind(), error.detail()) {
        (ErrorKind::UndefinedError, None) if !snippet.is_empty() => {
            format!("`{snippet}` is undefined")
        }
        (ErrorKind::OutOfFuel, _) => format!("the template exceeds the limit of {FUEL} steps"),
        (ErrorKind::InvalidOperation | ErrorKind::UndefinedError, Some(detail)) => {
            detail.to_owned()
        }
        (kind, Some(detail)) => format!("{kind}: {detail}"),
        (kind, None) => kind.to_string(),
    }
}

fn hint(
    error: &Error,
    snippet: &str,
    sources: &BTreeMap<String, TemplateSource>,
) -> Option<String> {
    match error.kind() {
        ErrorKind::UndefinedError => {
            let word = snippet.rsplit(|c: char| !(c.is_alphanumeric() || c == '_')).next()?;
            if NAMES.contains(&word) {
                return Some(format!("`{word}` is not defined in this step or on this object"));
            }
            did_you_mean(word, NAMES.iter().copied())
        }
        ErrorKind::UnknownFunction => {
            let word = snippet.split('(').next()?.trim();
            did_you_mean(word, ["turn", "fence", "range"].into_iter())
        }
        ErrorKind::TemplateNotFound => {
            let word = error.detail()?.split(['"', '\'']).nth(1)?;
            did_you_mean(word, sources.keys().map(String::as_str))
        }
        _ => None,
    }
}

/// A hint with the most similar name, if one is similar enough.
pub(super) fn did_you_mean<'a>(word: &str, names: impl Iterator<Item = &'a str>) -> Option<String> {
    closest(word, names).map(|name| format!("did you mean `{name}`?"))
}

/// The bytes of line `line`, counted from 1, without trailing whitespace.
fn line_span(text: &str, line: usize) -> Range<usize> {
    let mut start = 0;
    for (number, content) in (1..).zip(text.split_inclusive('\n')) {
        if number == line {
            return start..start + content.trim_end().len();
        }
        start += content.len();
    }
    text.len()..text.len()
}

//! Printing: text and JSON documents to standard output, messages to standard error.
//!
//! Control characters are escaped where the stream is a terminal: see
//! [`super::terminal`].

use std::io::{self, Write};

use amend_core::text::format::json_document;
use amend_data::rows::json_lines;
use serde::Serialize;

use super::error::CommandError;
use super::terminal::{self, Output};

/// Prints text without colour to stdout.
///
/// # Errors
/// Stdout can't be written to.
pub fn text(text: &str) -> Result<(), CommandError> {
    terminal::stdout().write_all(text.as_bytes()).map_err(CommandError::output)
}

/// Prints text with colour to stdout. Its parts from a model or a file must have
/// passed [`Output::text`].
///
/// # Errors
/// Stdout can't be written to.
pub fn styled(text: &str) -> Result<(), CommandError> {
    io::stdout().lock().write_all(text.as_bytes()).map_err(CommandError::output)
}

/// A value as a JSON document: indented, with a newline at the end.
///
/// # Errors
/// The value can't be serialised.
pub fn json_text(value: &impl Serialize) -> io::Result<String> {
    Ok(json_document(value)?)
}

/// Prints a value as a JSON document.
///
/// # Errors
/// Stdout can't be written to.
pub fn json(value: &impl Serialize) -> Result<(), CommandError> {
    text(&json_text(value).map_err(CommandError::output)?)
}

/// Prints each value as one line of JSON.
///
/// # Errors
/// Stdout can't be written to.
pub fn json_lines<T: Serialize>(values: &[T]) -> Result<(), CommandError> {
    let mut out = io::BufWriter::new(terminal::stdout());
    write_json_lines(&mut out, values).and_then(|()| out.flush()).map_err(CommandError::output)
}

/// Writes each value as one line of JSON.
///
/// # Errors
/// `out` can't be written to.
pub fn write_json_lines<T: Serialize>(out: &mut dyn Write, values: &[T]) -> io::Result<()> {
    for value in values {
        json_lines::write(out, value)?;
    }
    Ok(())
}

/// Prints a message without colour to stderr. If stderr is closed, the message is
/// lost.
pub fn message(text: &str) {
    styled_error(&Output::stderr().text(text));
}

/// Prints a message with colour to stderr. Its parts from a model or a file must
/// have passed [`Output::text`].
pub fn styled_error(text: &str) {
    // There is nowhere to report that stderr is closed.
    let _ = io::stderr().write_all(text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_lines_have_one_value_each() {
        let mut out = Vec::new();
        write_json_lines(&mut out, &["a\nb", "c\u{2028}"]).unwrap();
        assert_eq!(out, b"\"a\\nb\"\n\"c\\u2028\"\n");
    }
}

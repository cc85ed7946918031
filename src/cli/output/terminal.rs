//! What standard output and standard error can show.
//!
//! Text from a model or a file may hold control characters, and a terminal obeys
//! them: an escape sequence in an answer can hide text or change the clipboard.
//! Everything that prints such text passes it through [`visible`] when the stream
//! is a terminal. Elsewhere the bytes are unchanged.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Stdout, Write};

/// How text is written to a standard stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Output {
    /// Whether colour is used: on a terminal, unless `NO_COLOR` is set.
    pub color: bool,
    /// Whether control characters are escaped: on a terminal.
    pub escapes: bool,
}

impl Output {
    /// Standard output.
    #[must_use]
    pub fn stdout() -> Self {
        Self::of_stream(io::stdout().is_terminal())
    }

    /// Standard error.
    #[must_use]
    pub fn stderr() -> Self {
        Self::of_stream(io::stderr().is_terminal())
    }

    /// A file or a pipe: no colour, and text is unchanged.
    #[must_use]
    pub const fn plain() -> Self {
        Self { color: false, escapes: false }
    }

    fn of_stream(is_terminal: bool) -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Self { color: is_terminal && !no_color, escapes: is_terminal }
    }

    /// Text from a model or a file, as this stream can show it.
    #[must_use]
    pub fn text(self, text: &str) -> Cow<'_, str> {
        if self.escapes { visible(text) } else { Cow::Borrowed(text) }
    }

    /// The text in the style of an ANSI code such as `1;31`, if colour is used. The
    /// text is not escaped.
    #[must_use]
    pub fn paint<'t>(self, code: &str, text: &'t str) -> Cow<'t, str> {
        if self.color { format!("\x1b[{code}m{text}\x1b[0m").into() } else { text.into() }
    }
}

/// Whether stderr can show a bar.
#[must_use]
pub fn shows_bars() -> bool {
    Output::stderr().color
}

/// Whether the user wants to see errors only (`--quiet`).
#[must_use]
pub fn is_quiet() -> bool {
    !tracing::enabled!(target: "amend", tracing::Level::WARN)
}

/// Replaces control characters other than newline and tab, and marks that change the
/// direction of a line, by visible escapes such as `\u{1b}`.
#[must_use]
pub fn visible(text: &str) -> Cow<'_, str> {
    let is_hidden = |character: char| match character {
        '\n' | '\t' => false,
        '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => true,
        _ => character.is_control(),
    };
    if !text.contains(is_hidden) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for character in text.chars() {
        if is_hidden(character) {
            escaped.extend(character.escape_unicode());
        } else {
            escaped.push(character);
        }
    }
    Cow::Owned(escaped)
}

/// Standard output for text without colour, escaped on a terminal.
#[must_use]
pub fn stdout() -> Escaping<Stdout> {
    Escaping::new(io::stdout(), Output::stdout())
}

/// A writer that escapes control characters if its stream is a terminal.
#[derive(Debug)]
pub struct Escaping<W: Write> {
    inner: W,
    output: Output,
    /// The start of a character whose remaining bytes are not written yet.
    partial: Vec<u8>,
}

impl<W: Write> Escaping<W> {
    /// Writes to `inner`, a stream of the kind that `output` describes.
    pub fn new(inner: W, output: Output) -> Self {
        Self { inner, output, partial: Vec::new() }
    }
}

impl<W: Write> Write for Escaping<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.output.escapes {
            return self.inner.write(bytes);
        }
        self.partial.extend_from_slice(bytes);
        let mut rest = self.partial.as_slice();
        let mut text = String::new();
        while !rest.is_empty() {
            match std::str::from_utf8(rest) {
                Ok(valid) => {
                    text.push_str(valid);
                    rest = &[];
                }
                Err(error) => {
                    let (valid, after) = rest.split_at(error.valid_up_to());
                    text.push_str(&String::from_utf8_lossy(valid));
                    rest = after;
                    // Without a length, the character may be completed by the next write.
                    let Some(length) = error.error_len() else { break };
                    text.push(char::REPLACEMENT_CHARACTER);
                    rest = &after[length..];
                }
            }
        }
        self.partial = rest.to_vec();
        self.inner.write_all(visible(&text).as_bytes())?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn visible_escapes_control_characters() {
        for (text, expected) in [
            ("plain text", "plain text"),
            ("", ""),
            ("line\n\tindented\n", "line\n\tindented\n"),
            ("\u{1b}[2J\u{1b}]0;title\u{7}", "\\u{1b}[2J\\u{1b}]0;title\\u{7}"),
            ("a\rb\u{8}", "a\\u{d}b\\u{8}"),
            // The one-character form of ESC [, and delete.
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("naïve 日本 κ 👩\u{200d}🚀", "naïve 日本 κ 👩\u{200d}🚀"),
            ("a\u{202e}b", "a\\u{202e}b"),
        ] {
            assert_eq!(visible(text), expected);
        }
        assert!(matches!(visible("plain"), Cow::Borrowed(_)));
    }

    #[test]
    fn only_terminals_escape() {
        let text = "\u{1b}[31mred";
        assert_eq!(Output::plain().text(text), text);
        assert_eq!(Output { color: false, escapes: true }.text(text), "\\u{1b}[31mred");
    }

    fn written(output: Output, parts: &[&[u8]]) -> String {
        let mut writer = Escaping::new(Vec::new(), output);
        for part in parts {
            writer.write_all(part).unwrap();
        }
        String::from_utf8(writer.inner).unwrap()
    }

    #[test]
    fn writer_escapes_across_writes() {
        let terminal = Output { color: true, escapes: true };
        assert_eq!(written(terminal, &[b"a\x1b", b"[0m\n"]), "a\\u{1b}[0m\n");
        // U+009B and an umlaut, each in two writes.
        assert_eq!(written(terminal, &[b"\xc2", b"\x9b\xc3", b"\xbc"]), "\\u{9b}ü");
        assert_eq!(written(terminal, &[b"a\xffb"]), "a\u{fffd}b");
        assert_eq!(written(Output::plain(), &[b"a\x1b[0m"]), "a\u{1b}[0m");
    }
}

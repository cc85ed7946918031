//! Errors in files that people write, with file, line, underlined source and hint.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// The maximum length in bytes of a word that gets a suggestion. Comparing longer words
/// costs more than it helps.
const MAX_WORD_BYTES: usize = 64;

/// One error in a text file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file's name as the user gave it.
    pub file: String,
    /// The file's whole text.
    pub source: Arc<str>,
    /// The bytes to underline.
    pub span: Range<usize>,
    /// The error, in one sentence.
    pub message: String,
    /// A few words under the span. May be empty.
    pub label: String,
    /// How to fix the error.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// Creates a diagnostic about the bytes `span` of a file, without label or hint.
    #[must_use]
    pub fn new(
        file: impl Into<String>,
        source: &Arc<str>,
        span: Range<usize>,
        message: impl Into<String>,
    ) -> Self {
        Self {
            file: file.into(),
            source: Arc::clone(source),
            span,
            message: message.into(),
            label: String::new(),
            hint: None,
        }
    }

    /// Sets the words under the span.
    #[must_use]
    pub fn with_label(mut self, label: impl Into<String>) -> Self {
        self.label = label.into();
        self
    }

    /// Sets the hint.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The line the span starts on, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        line_at(&self.source, self.span.start)
    }

    /// Renders the diagnostic with the line on which its span starts, without a
    /// trailing newline. `color` adds ANSI escapes.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        // The renderer gets only this line, so that it can't fail on a span over several
        // lines or beyond the end of the text.
        let start = char_floor(&self.source, self.span.start);
        let line_start = self.source[..start].rfind('\n').map_or(0, |newline| newline + 1);
        let line = self.source[line_start..].split('\n').next().unwrap_or_default();
        let line = line.strip_suffix('\r').unwrap_or(line);
        let from = char_floor(line, start - line_start);
        let to = char_ceil(line, self.span.end.saturating_sub(line_start)).max(from);

        let label = Some(self.label.as_str()).filter(|label| !label.is_empty());
        let mut group = Level::ERROR.primary_title(&self.message).element(
            Snippet::source(line)
                .path(&self.file)
                .line_start(self.line())
                .annotation(AnnotationKind::Primary.span(from..to).label(label)),
        );
        if let Some(hint) = &self.hint {
            group = group.element(Level::HELP.message(hint));
        }
        let renderer = if color { Renderer::styled() } else { Renderer::plain() };
        renderer.render(&[group])
    }
}

/// All errors in a set of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// Renders all diagnostics, separated by empty lines, with a trailing newline.
    /// `color` adds ANSI escapes.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        let mut text = String::new();
        for (i, diagnostic) in self.0.iter().enumerate() {
            if i > 0 {
                text.push('\n');
            }
            text.push_str(&diagnostic.render(color));
            text.push('\n');
        }
        text
    }
}

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.0 {
            writeln!(f, "{}:{}: {}", diagnostic.file, diagnostic.line(), diagnostic.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// The line number, from 1, of byte `offset` of `text`.
#[must_use]
pub fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

/// Returns the candidate that `word` most likely misspells, if one is similar enough.
#[must_use]
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > MAX_WORD_BYTES {
        return None;
    }
    let word = word.to_lowercase();
    let distance = |candidate: &str| strsim::damerau_levenshtein(&word, &candidate.to_lowercase());
    candidates
        .into_iter()
        .map(|candidate| (distance(candidate), candidate))
        .filter(|&(distance, candidate)| distance <= (candidate.chars().count() / 3).max(1))
        .min_by_key(|&(distance, _)| distance)
        .map(|(_, candidate)| candidate)
}

/// The last char boundary at or before `offset`.
fn char_floor(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset -= 1;
    }
    offset
}

/// The first char boundary at or after `offset`, or the end.
fn char_ceil(text: &str, offset: usize) -> usize {
    let mut offset = offset.min(text.len());
    while !text.is_char_boundary(offset) {
        offset += 1;
    }
    offset
}

#[cfg(test)]
mod tests {
    use super::*;

    fn diagnostic(source: &str, span: Range<usize>) -> Diagnostic {
        Diagnostic::new("a.toml", &Arc::from(source), span, "it is wrong")
    }

    fn check(source: &str, span: Range<usize>, expect: &str) {
        let rendered = diagnostic(source, span).with_label("this").render(false);
        assert_eq!(rendered, expect, "{source:?}");
    }

    #[test]
    fn underlines_the_span_in_its_line() {
        check(
            "one\ntwo three\nfour\n",
            8..13,
            "\
error: it is wrong
 --> a.toml:2:5
  |
2 | two three
  |     ^^^^^ this",
        );
        check(
            "x = 1\r\ny = 2\r\n",
            11..12,
            "\
error: it is wrong
 --> a.toml:2:5
  |
2 | y = 2
  |     ^ this",
        );
        // Columns count characters; the underline follows their width.
        check(
            "\té = \"日本\" + x",
            17..18,
            "\
error: it is wrong
 --> a.toml:1:13
  |
1 |     é = \"日本\" + x
  |                  ^ this",
        );
    }

    #[test]
    fn a_span_over_several_lines_shows_the_first() {
        check(
            "a = '''\nb\n'''\n",
            4..13,
            "\
error: it is wrong
 --> a.toml:1:5
  |
1 | a = '''
  |     ^^^ this",
        );
    }

    #[test]
    fn spans_at_the_end_of_the_text_are_rendered() {
        check(
            "",
            0..0,
            "\
error: it is wrong
 --> a.toml:1:1
  |
1 |
  | ^ this",
        );
        check(
            "a = [",
            5..5,
            "\
error: it is wrong
 --> a.toml:1:6
  |
1 | a = [
  |      ^ this",
        );
        check(
            "a = 1\n",
            6..9,
            "\
error: it is wrong
 --> a.toml:2:1
  |
2 |
  | ^ this",
        );
    }

    #[test]
    fn rendering_never_panics() {
        for source in ["", "\n", "é", "a\r\nb\r", "\u{feff}日\t\0\u{200d}\n\nx", "\r\n\r\n"] {
            for start in 0..source.len() + 4 {
                for end in 0..source.len() + 4 {
                    let rendered = diagnostic(source, start..end).with_hint("h").render(true);
                    assert!(rendered.contains("a.toml"), "{source:?} {start}..{end}");
                }
            }
        }
    }

    #[test]
    fn diagnostics_are_separated_and_hints_follow() {
        let first = diagnostic("x = 1\n", 0..1).with_hint("leave it out");
        let second = diagnostic("x = 1\n", 4..5);
        let all = Diagnostics(vec![first, second]);
        assert_eq!(
            all.render(false),
            "\
error: it is wrong
 --> a.toml:1:1
  |
1 | x = 1
  | ^
  |
  = help: leave it out

error: it is wrong
 --> a.toml:1:5
  |
1 | x = 1
  |     ^
"
        );
        assert!(all.render(true).contains("\u{1b}["));
        assert_eq!(all.to_string(), "a.toml:1: it is wrong\na.toml:1: it is wrong\n");
    }

    #[test]
    fn only_similar_words_are_suggested() {
        let known = ["rounds", "select", "critique", "id"];
        for (word, expect) in [
            ("round", Some("rounds")),
            ("slect", Some("select")),
            ("Critique", Some("critique")),
            ("cirtique", Some("critique")),
            ("di", Some("id")),
            ("temperature", None),
            ("", None),
        ] {
            assert_eq!(closest(word, known), expect, "{word:?}");
        }
        assert_eq!(closest(&"rounds".repeat(100), known), None);
    }
}

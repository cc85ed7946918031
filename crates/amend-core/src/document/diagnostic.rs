//! Errors in files people write: file, line, the source underlined, a hint.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

/// Longer words get no suggestion: comparing them costs more than it helps.
const LONGEST_SUGGESTED: usize = 64;

/// One thing wrong in a text file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file's name as the user gave it.
    pub file: String,
    /// The file's whole text.
    pub source: Arc<str>,
    /// The bytes to underline.
    pub span: Range<usize>,
    /// What is wrong, in a sentence.
    pub message: String,
    /// A few words under the span; may be empty.
    pub label: String,
    /// How to mend it.
    pub hint: Option<String>,
}

impl Diagnostic {
    /// Says `message` of the bytes `span` of a file, without label or hint.
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

    /// Sets how to mend it.
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

    /// The diagnostic for people, with the line its span starts on; no newline
    /// at the end. `color` adds ANSI escapes.
    #[must_use]
    pub fn render(&self, color: bool) -> String {
        // Only the one line goes to the renderer: a span over many lines, or
        // beyond the text, can then do no harm.
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

/// Everything wrong in a set of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl Diagnostics {
    /// All diagnostics for people, an empty line between two, a newline at the
    /// end. `color` adds ANSI escapes.
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

/// The line, from 1, that byte `offset` of `text` is on.
#[must_use]
pub fn line_at(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|&byte| byte == b'\n').count()
}

/// The candidate that `word` is most likely a slip of, if one is near enough.
#[must_use]
pub fn closest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    if word.len() > LONGEST_SUGGESTED {
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
    fn a_span_over_many_lines_shows_the_first() {
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
    fn points_past_the_end_and_into_nothing() {
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
    fn no_span_panics() {
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
    fn several_are_set_apart_and_hints_follow() {
        let one = diagnostic("x = 1\n", 0..1).with_hint("leave it out");
        let two = diagnostic("x = 1\n", 4..5);
        let all = Diagnostics(vec![one, two]);
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
    fn suggests_near_words_only() {
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

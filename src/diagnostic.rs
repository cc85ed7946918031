//! Errors in files people write: file, line, the source underlined, a hint.

use std::fmt;
use std::ops::Range;

/// One thing wrong in a text file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostic {
    /// The file's name as the user gave it.
    pub file: String,
    /// The file's whole text.
    pub source: std::sync::Arc<str>,
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
    /// The line the span starts on, from 1.
    #[must_use]
    pub fn line(&self) -> usize {
        1 + self.source[..self.span.start.min(self.source.len())].matches('\n').count()
    }
}

/// Everything wrong in a set of files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Diagnostics(pub Vec<Diagnostic>);

impl fmt::Display for Diagnostics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for diagnostic in &self.0 {
            writeln!(f, "{}:{}: {}", diagnostic.file, diagnostic.line(), diagnostic.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

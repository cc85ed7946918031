//! The name and text of one file.

use std::ops::Range;
use std::sync::Arc;

use crate::document::diagnostic::Diagnostic;

/// The name and text of one file.
#[derive(Debug, Clone)]
pub struct SourceText {
    /// The name to use in messages.
    pub name: String,
    /// The text.
    pub text: Arc<str>,
}

impl SourceText {
    /// Creates a diagnostic about the bytes `span` of the file.
    pub fn error(&self, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(&self.name, &self.text, span, message)
    }
}

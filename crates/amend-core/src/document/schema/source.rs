//! One file's name and text.

use std::ops::Range;
use std::sync::Arc;

use crate::document::diagnostic::Diagnostic;

/// A file's name, as messages give it, and its text.
#[derive(Debug, Clone)]
pub struct Source {
    /// The name.
    pub name: String,
    /// The text.
    pub text: Arc<str>,
}

impl Source {
    /// Says what is wrong with some bytes of it.
    pub fn error(&self, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(&self.name, &self.text, span, message)
    }
}

//! One constitution file's name and text.

use std::ops::Range;
use std::sync::Arc;

use crate::diagnostic::Diagnostic;

/// A file's name, as messages give it, and its text.
#[derive(Debug, Clone)]
pub(super) struct Source {
    pub(super) name: String,
    pub(super) text: Arc<str>,
}

impl Source {
    pub(super) fn error(&self, span: Range<usize>, message: impl Into<String>) -> Diagnostic {
        Diagnostic::new(&self.name, &self.text, span, message)
    }
}

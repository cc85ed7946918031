//! The request to write prompts for a principle, from the template `write-prompts.j2`. It is no
//! step of the loop: runs don't use it, and their manifests don't record it.

use minijinja::value::{Serde, Value};
use serde::{Deserialize, Serialize};

use super::context::{ConstitutionView, PrincipleView};
use super::{RenderError, Rendered, Templates};
use crate::constitution::{Constitution, Principle};

/// The file name of the template.
pub(super) const TEMPLATE: &str = "write-prompts.j2";

/// What a written prompt does for its principle.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PromptKind {
    /// A careless answer to it breaks the principle.
    Tests,
    /// It resembles such a prompt, and a plain, complete answer is fine.
    Contrast,
}

impl PromptKind {
    /// Every kind.
    pub const ALL: [Self; 2] = [Self::Tests, Self::Contrast];

    /// The name in rows and templates.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Tests => "tests",
            Self::Contrast => "contrast",
        }
    }
}

/// A request for prompts.
#[derive(Debug, Clone, Copy)]
pub struct PromptRequest<'a> {
    /// The constitution of the principle.
    pub constitution: &'a Constitution,
    /// The principle.
    pub principle: &'a Principle,
    /// What the prompts do for it.
    pub kind: PromptKind,
    /// How many prompts to write.
    pub count: usize,
    /// Prompts of the same kind that exist already.
    pub earlier: &'a [&'a str],
}

/// The variables of the template.
#[derive(Debug, Serialize)]
struct WritingContext<'a> {
    constitution: ConstitutionView<'a>,
    principle: PrincipleView<'a>,
    kind: PromptKind,
    count: usize,
    earlier: &'a [&'a str],
}

impl Templates {
    /// Whether the set can render requests for prompts.
    pub(super) fn has_writing(&self) -> bool {
        self.sources.contains_key(TEMPLATE)
    }

    /// Renders a request for prompts. The set must have been loaded for it: see
    /// [`Templates::for_writing`].
    ///
    /// # Errors
    /// As [`Templates::render`].
    pub fn render_writing(&self, request: PromptRequest<'_>) -> Result<Rendered, RenderError> {
        let PromptRequest { constitution, principle, kind, count, earlier } = request;
        let context = WritingContext {
            constitution: constitution.into(),
            principle: principle.into(),
            kind,
            count,
            earlier,
        };
        self.render_file(TEMPLATE, true, Value::from(Serde(context)))
    }
}

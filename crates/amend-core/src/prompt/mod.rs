//! Jinja template sets: render data to chat turns.
//!
//! A step's template builds a conversation with call blocks:
//!
//! ```jinja
//! {% call turn("system", shared=true) %}You check answers …{% endcall %}
//! {% call turn("user") %}{{ fence(response, "answer") }}{% endcall %}
//! ```
//!
//! - `turn(role, shared=false, trim=true)` adds a turn. Its content is trimmed
//!   unless `trim=false`. `shared=true` promises that the turn is the same for every
//!   item of the run, so that the engine keeps it in the prefix cache; shared turns
//!   come first. Only whitespace may appear outside turns, and there is at least one
//!   turn. In the steps that ask for a label (gate, judge, rubric), the last turn may
//!   be the assistant's: the reply then continues it.
//! - `fence(text, label)` separates data from the prompt ([`Delimiter`]). `fencing` is the
//!   style (`none`, `delimiter`, `datamarking`); `delimiter` and `marker` are those of
//!   the run, so that the prompt can explain them.
//! - [`PromptContext`] holds the variables. Undefined names and printing none are errors.
//!   Nothing is escaped, and data is never compiled.
//!
//! [`FUEL`] and [`MAX_OUTPUT_BYTES`] limit each render.

mod check;
mod context;
mod delimiter;
mod diagnose;
mod set;
mod turns;
mod writing;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, OutputSpanKind, UndefinedBehavior};

use crate::chat::{Message, Role};
use crate::constitution::Layout;
use crate::document::diagnostic::{Diagnostic, Diagnostics};
use crate::model::Failure;
use crate::record::StepKind;

pub use check::check;
pub use context::{ComparedAnswers, EarlierReview, PromptContext, Reasons};
pub use delimiter::{Delimiter, DelimiterError, DelimiterStyle};
pub use set::built_in_texts;
pub use writing::{PromptKind, PromptRequest};

use diagnose::{about, diagnose};
use set::TemplateSource;
use turns::Collected;

/// The maximum work of one render: about one unit per instruction, and one per 64 bytes
/// written or computed.
pub const FUEL: u64 = 4_000_000;

/// The maximum total size of the turns of one render, in bytes. It also limits the
/// total that the render's expressions write.
pub const MAX_OUTPUT_BYTES: usize = 16 << 20;

/// A loaded set of templates.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    sources: BTreeMap<String, TemplateSource>,
}

/// The result of rendering a template.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The conversation to continue with an assistant turn.
    pub turns: Vec<Message>,
    /// The number of leading turns that are the same for every item.
    pub shared_turns: usize,
}

/// An error loading a set of templates.
#[derive(Debug, thiserror::Error)]
pub enum TemplatesError {
    /// The folder can't be listed.
    #[error("failed to list the prompt templates in {}", folder.display())]
    Folder {
        /// The folder of the overlay.
        folder: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file can't be read, or isn't UTF-8.
    #[error("failed to read the prompt template {}", path.display())]
    File {
        /// The template.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Templates contain errors; all of them are reported.
    #[error(transparent)]
    Invalid(#[from] Diagnostics),
}

/// An error rendering a template with its data.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}: {}", .0.file, .0.line(), .0.message)]
pub struct RenderError(pub Box<Diagnostic>);

impl From<RenderError> for Failure {
    fn from(error: RenderError) -> Self {
        Failure::Template { message: error.to_string() }
    }
}

impl Templates {
    /// Loads the built-in set of a layout, in which files of the folder `overlay` replace
    /// those with the same name.
    ///
    /// # Errors
    /// The folder or a file can't be read, a file has a syntax error, or no template of
    /// the set uses it.
    pub fn load(
        overlay: Option<&Path>,
        fence: &Delimiter,
        layout: Layout,
    ) -> Result<Self, TemplatesError> {
        Self::compile(set::read(overlay, set::built_in(layout))?, fence)
    }

    /// As [`Templates::load`], with the template of [`Templates::render_writing`] too.
    ///
    /// # Errors
    /// As [`Templates::load`].
    pub fn for_writing(
        overlay: Option<&Path>,
        fence: &Delimiter,
        layout: Layout,
    ) -> Result<Self, TemplatesError> {
        let built_in = set::built_in(layout).chain(set::WRITING);
        Self::compile(set::read(overlay, built_in)?, fence)
    }

    /// The set with these texts by file name: those of [`Templates::sources`].
    ///
    /// # Errors
    /// A text has a syntax error.
    pub fn from_texts<'a>(
        texts: impl IntoIterator<Item = (&'a str, &'a str)>,
        fence: &Delimiter,
    ) -> Result<Self, TemplatesError> {
        let source = |(name, text): (&str, &str)| {
            (name.to_owned(), TemplateSource { text: text.into(), shown: name.to_owned() })
        };
        Self::compile(texts.into_iter().map(source).collect(), fence)
    }

    fn compile(
        sources: BTreeMap<String, TemplateSource>,
        fence: &Delimiter,
    ) -> Result<Self, TemplatesError> {
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the standard delimiters are valid"));
        // Makes errors name the undefined value.
        environment.set_debug(true);
        turns::install(&mut environment, fence);
        let mut errors = Vec::new();
        for (name, source) in &sources {
            if let Err(error) =
                environment.add_template_owned(name.clone(), source.text.to_string())
            {
                errors.push(diagnose(&error, &sources, name));
            }
        }
        if errors.is_empty() {
            Ok(Self { environment, sources })
        } else {
            Err(TemplatesError::Invalid(Diagnostics(errors)))
        }
    }

    /// Renders a step's template.
    ///
    /// # Errors
    /// The template fails on this data, exceeds a limit, or doesn't build a
    /// conversation that an assistant turn can continue.
    pub fn render(
        &self,
        kind: StepKind,
        context: &PromptContext<'_>,
    ) -> Result<Rendered, RenderError> {
        self.render_file(kind.template(), kind.is_text(), Value::from(Serde(context)))
    }

    /// Renders the judge template `name`, given without `.j2`. If the reply continues
    /// with a digit, the prompt ends with the space before it, because most
    /// vocabularies have separate tokens for the two.
    ///
    /// # Errors
    /// As [`Templates::render`], or there is no template with that name.
    pub fn render_judge(
        &self,
        name: &str,
        context: &PromptContext<'_>,
    ) -> Result<Rendered, RenderError> {
        let file = format!("{name}.j2");
        let mut rendered = self.render_file(&file, false, Value::from(Serde(context)))?;
        if let Some(Message { role: Role::Assistant, content, .. }) = rendered.turns.last_mut()
            && content.ends_with(char::is_alphanumeric)
            && context.has_numbers_for_labels()
        {
            content.push(' ');
        }
        Ok(rendered)
    }

    /// The names of the judge templates, without `.j2`.
    pub fn judges(&self) -> impl Iterator<Item = &str> {
        let names = self.sources.keys().filter_map(|name| name.strip_suffix(".j2"));
        names.filter(|name| *name == "judge" || name.starts_with(set::JUDGES))
    }

    /// Whether there is a judge template `name`, given without `.j2`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.judges().any(|judge| judge == name)
    }

    /// Renders a file. If the reply is a text, it can't continue an assistant turn.
    fn render_file(
        &self,
        name: &str,
        is_text: bool,
        variables: Value,
    ) -> Result<Rendered, RenderError> {
        let render_error =
            |error: minijinja::Error| RenderError(Box::new(diagnose(&error, &self.sources, name)));
        let template = self.environment.get_template(name).map_err(render_error)?;
        let mut captured = template.render_captured(variables.clone()).map_err(render_error)?;
        if !captured.output().trim().is_empty() {
            let (output, spans) = template.render_with_spans(variables).map_err(render_error)?;
            return Err(self.stray_text(name, &output, &spans));
        }
        let rendered = captured
            .with_state_mut(|state| state.get_extension_mut::<Collected>().map(std::mem::take))
            .map(|collected| collected.rendered)
            .unwrap_or_default();
        match rendered.turns.last().map(|turn| turn.role) {
            None => Err(self.refuse(name, 0..0, "the template adds no turn")),
            Some(Role::Assistant) if is_text => Err(self.refuse(
                name,
                0..0,
                "the last turn is the assistant's, but this step needs a turn to reply to",
            )),
            Some(_) => Ok(rendered),
        }
    }

    /// The text of each template of the set, by file name.
    #[must_use]
    pub fn sources(&self) -> BTreeMap<String, String> {
        self.sources.iter().map(|(name, source)| (name.clone(), source.text.to_string())).collect()
    }

    /// Creates the error for text that a render wrote outside turns.
    fn stray_text(&self, name: &str, output: &str, spans: &[minijinja::OutputSpan]) -> RenderError {
        const MESSAGE: &str = "text outside a turn: wrap it in {% call turn(…) %}…{% endcall %}";
        let Some((span, written)) = spans
            .iter()
            .map(|span| (span, &output[span.output_range()]))
            .find(|(_, written)| !written.trim().is_empty())
        else {
            return self.refuse(name, 0..0, MESSAGE);
        };
        let mut range = span.source_range();
        if span.kind() == OutputSpanKind::Raw {
            // Raw text is part of the source: exclude the whitespace around it.
            range.start += written.len() - written.trim_start().len();
            range.end = range.start + written.trim().len();
        }
        self.refuse(span.name(), range, MESSAGE)
    }

    fn refuse(&self, name: &str, span: std::ops::Range<usize>, message: &str) -> RenderError {
        RenderError(Box::new(match self.sources.get(name) {
            Some(source) => about(&source.shown, source.text.clone(), span, message.to_owned()),
            None => about(name, "".into(), 0..0, message.to_owned()),
        }))
    }
}

#[cfg(test)]
mod tests;

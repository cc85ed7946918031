//! Jinja sets: data in, chat turns out.
//!
//! A step's template builds a conversation with call blocks:
//!
//! ```jinja
//! {% call turn("system", shared=true) %}You check answers …{% endcall %}
//! {% call turn("user") %}{{ fence(response, "answer") }}{% endcall %}
//! ```
//!
//! - `turn(role, shared=false, trim=true)` adds a turn, its content trimmed
//!   unless told otherwise. `shared=true` promises that the turn is the same for
//!   every item of the run, so that its place in the prefix cache is worth
//!   keeping; shared turns come first. Outside turns only whitespace may stand.
//!   There is at least one turn. Where a label is asked for (gate, judge,
//!   rubric), the last may be the assistant's: its reply begins with that.
//! - `fence(text, label)` sets data off from the prompt ([`Fence`]); `fencing` is
//!   how (`none`, `delimiter`, `datamarking`), `delimiter` and `marker` are the
//!   run's, to speak of the fences.
//! - [`Context`] holds the variables. Undefined names are errors, and so is
//!   printing none. Nothing is escaped, and data is never compiled.
//!
//! A render is bounded by [`FUEL`] and [`MAX_OUTPUT_BYTES`].

mod check;
mod context;
mod diagnose;
mod fence;
mod set;
mod turns;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, OutputSpanKind, UndefinedBehavior};

use crate::chat::{Message, Role};
use crate::document::diagnostic::{Diagnostic, Diagnostics};
use crate::model::Failure;
use crate::record::StepKind;

pub use check::check;
pub use context::{Comparison, Context, Reasons};
pub use fence::{Fence, FenceError, FenceStyle};

use diagnose::{about, diagnose};
use set::Source;
use turns::Collected;

/// The work one render may do: about one unit an instruction, and one for each
/// 64 bytes that are written or computed.
pub const FUEL: u64 = 4_000_000;

/// The most bytes the turns of one render may hold together; also the most its
/// expressions may write, counted each time they do.
pub const MAX_OUTPUT_BYTES: usize = 16 << 20;

/// A loaded set of templates.
#[derive(Debug)]
pub struct Templates {
    environment: Environment<'static>,
    sources: BTreeMap<String, Source>,
}

/// What a template came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rendered {
    /// The conversation to continue with an assistant turn.
    pub turns: Vec<Message>,
    /// How many leading turns are the same for every item.
    pub shared_turns: usize,
}

/// A set of templates that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The folder can't be listed.
    #[error("failed to list the prompt templates in {}", folder.display())]
    Folder {
        /// The overlay's folder.
        folder: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file can't be read, or isn't UTF-8.
    #[error("failed to read the prompt template {}", path.display())]
    File {
        /// The template.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Templates are wrong: everything found, at once.
    #[error(transparent)]
    Invalid(#[from] Diagnostics),
}

/// A template that failed on the data it was given.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}:{}: {}", .0.file, .0.line(), .0.message)]
pub struct RenderError(pub Box<Diagnostic>);

impl From<RenderError> for Failure {
    fn from(error: RenderError) -> Self {
        Failure::Template { message: error.to_string() }
    }
}

/// The template that a step renders.
fn template_name(kind: StepKind) -> &'static str {
    match kind {
        // A likelihood is that of an answer to the conversation as it came.
        StepKind::Generate | StepKind::Likelihood | StepKind::Reference => "generate.j2",
        StepKind::Critique => "critique.j2",
        StepKind::Revise => "revise.j2",
        StepKind::Gate => "gate.j2",
        StepKind::Judge => "judge.j2",
        StepKind::Rubric => "rubric.j2",
    }
}

impl Templates {
    /// Loads the built-in set, overlaid file by file by a folder's.
    ///
    /// # Errors
    /// The folder or a file can't be read, a file has a syntax error, or it is
    /// one that no template of the set reaches.
    pub fn load(overlay: Option<&Path>, fence: &Fence) -> Result<Self, LoadError> {
        let sources = set::read(overlay)?;
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_auto_escape_callback(|_| AutoEscape::None);
        let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
        environment.set_syntax(syntax.expect("the standard delimiters are valid"));
        // Names the undefined value in an error.
        environment.set_debug(true);
        turns::install(&mut environment, fence);
        let mut wrong = Vec::new();
        for (name, source) in &sources {
            if let Err(error) =
                environment.add_template_owned(name.clone(), source.text.to_string())
            {
                wrong.push(diagnose(&error, &sources, name));
            }
        }
        if wrong.is_empty() {
            Ok(Self { environment, sources })
        } else {
            Err(LoadError::Invalid(Diagnostics(wrong)))
        }
    }

    /// Renders a step's template.
    ///
    /// # Errors
    /// The template fails on this data, breaks a limit, or doesn't build a
    /// conversation that an assistant turn could continue.
    pub fn render(&self, kind: StepKind, context: &Context<'_>) -> Result<Rendered, RenderError> {
        self.render_file(template_name(kind), kind, context)
    }

    /// Renders a judge template by its name without `.j2`. Where the reply is to go
    /// on with a digit, the space before it is given too: most vocabularies keep the
    /// two apart.
    ///
    /// # Errors
    /// As [`Templates::render`]; there is none of that name.
    pub fn render_judge(&self, name: &str, context: &Context<'_>) -> Result<Rendered, RenderError> {
        let mut rendered = self.render_file(&format!("{name}.j2"), StepKind::Judge, context)?;
        if let Some(Message { role: Role::Assistant, content }) = rendered.turns.last_mut()
            && content.ends_with(char::is_alphanumeric)
            && context.has_numbers_for_labels()
        {
            content.push(' ');
        }
        Ok(rendered)
    }

    /// The judge templates, by name without `.j2`.
    pub fn judges(&self) -> impl Iterator<Item = &str> {
        let names = self.sources.keys().filter_map(|name| name.strip_suffix(".j2"));
        names.filter(|name| *name == "judge" || name.starts_with(set::JUDGES))
    }

    /// Whether there is a judge template of a name without `.j2`.
    #[must_use]
    pub fn has(&self, name: &str) -> bool {
        self.judges().any(|judge| judge == name)
    }

    fn render_file(
        &self,
        name: &str,
        kind: StepKind,
        context: &Context<'_>,
    ) -> Result<Rendered, RenderError> {
        let failed =
            |error: minijinja::Error| RenderError(Box::new(diagnose(&error, &self.sources, name)));
        let template = self.environment.get_template(name).map_err(failed)?;
        let variables = Value::from(Serde(context));
        let mut captured = template.render_captured(variables.clone()).map_err(failed)?;
        if !captured.output().trim().is_empty() {
            let (output, spans) = template.render_with_spans(variables).map_err(failed)?;
            return Err(self.stray_text(name, &output, &spans));
        }
        let rendered = captured
            .with_state_mut(|state| state.get_extension_mut::<Collected>().map(std::mem::take))
            .map(|collected| collected.rendered)
            .unwrap_or_default();
        match rendered.turns.last().map(|turn| turn.role) {
            None => Err(self.refuse(name, 0..0, "the template makes no turn")),
            Some(Role::Assistant) if kind.is_text() => Err(self.refuse(
                name,
                0..0,
                "the last turn is the assistant's: there is nothing left to answer",
            )),
            Some(_) => Ok(rendered),
        }
    }

    /// The text of every template of the set, by name.
    #[must_use]
    pub fn sources(&self) -> BTreeMap<String, String> {
        self.sources.iter().map(|(name, source)| (name.clone(), source.text.to_string())).collect()
    }

    /// Where a render wrote text outside its turns.
    fn stray_text(&self, name: &str, output: &str, spans: &[minijinja::OutputSpan]) -> RenderError {
        const MESSAGE: &str = "text stands outside a turn: write {% call turn(…) %} around it";
        let Some((span, written)) = spans
            .iter()
            .map(|span| (span, &output[span.output_range()]))
            .find(|(_, written)| !written.trim().is_empty())
        else {
            return self.refuse(name, 0..0, MESSAGE);
        };
        let mut range = span.source_range();
        if span.kind() == OutputSpanKind::Raw {
            // The raw text is the source's own: leave out the blanks around it.
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

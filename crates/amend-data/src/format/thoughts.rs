//! What a model thought before an answer, in rows: which thoughts are written, where, and
//! in what form.
//!
//! A revision's thought speaks of the critique and of the answer before it, which a reader
//! of the row never sees, so only thoughts of first answers are written. A model that is
//! trained on a pair with a thought on one side only learns whether to think instead of
//! what to answer, so a pair has both thoughts or none.

use std::borrow::Cow;
use std::fmt;

use arrow_schema::{DataType, Field};
use serde::Deserialize;
use serde_json::{Value, json};

use super::cells::record;
use crate::format::write::ExportRow;
use amend_core::chat::{ReasoningFormat, ReasoningSwitch, Role, THOUGHT_KEYS};
use amend_core::record::{Step, StepOutput};

/// The column that TRL passes to the chat template.
const KWARGS: &str = "chat_template_kwargs";

/// What an export does with thoughts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReasoningPolicy {
    /// Rows have answers only.
    #[default]
    Drop,
    /// A thought is written where the trainer reads it.
    Field,
    /// A thought is written before the text of its answer, between the model's own marks.
    Inline,
}

impl ReasoningPolicy {
    /// All policies.
    pub const ALL: [Self; 3] = [Self::Drop, Self::Field, Self::Inline];

    /// The name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Drop => "drop",
            Self::Field => "field",
            Self::Inline => "inline",
        }
    }

    /// Finds a policy by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == name)
    }
}

impl fmt::Display for ReasoningPolicy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Where the trainer of a format reads thoughts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ThoughtPlace {
    /// Under a key of a turn, which is passed to the chat template.
    Key,
    /// As [`ThoughtPlace::Key`], and the row may have variables for the chat template.
    KeyAndKwargs,
    /// In the text, between the marks of the model's template.
    Text,
    /// Nowhere, but a text may begin with one.
    Nowhere,
    /// Its answers are revisions, whose thoughts are not written.
    Never,
}

impl ThoughtPlace {
    /// Whether the policy can be applied.
    pub fn takes(self, policy: ReasoningPolicy) -> bool {
        match policy {
            ReasoningPolicy::Drop => true,
            ReasoningPolicy::Field => {
                matches!(self, Self::Key | Self::KeyAndKwargs | Self::Text)
            }
            ReasoningPolicy::Inline => self != Self::Never,
        }
    }
}

/// Whether a row has the thoughts of its answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum RowThoughts {
    /// The export adds no thoughts.
    None,
    /// Each answer of the row has its thought.
    Written,
    /// No answer has one: there is an answer whose thought can't be written.
    Missing,
}

/// How an export writes thoughts.
#[derive(Debug)]
pub(crate) struct ThoughtWriter {
    style: ThoughtStyle,
    /// The variable of the model's chat template that switches thoughts on and off, if the
    /// rows have a column for it.
    switch: Option<ReasoningSwitch>,
}

#[derive(Debug)]
enum ThoughtStyle {
    Dropped,
    /// A key of the turn.
    Key(String),
    /// Within the text, between two marks.
    Inline {
        open: String,
        close: String,
    },
}

impl ThoughtWriter {
    /// How an export with this policy writes the thoughts of a model, which `model`
    /// describes as the manifest does, for a trainer that reads them at `place`.
    pub fn new(policy: ReasoningPolicy, place: ThoughtPlace, model: &Value) -> Self {
        let format = ReasoningFormat::deserialize(&model["reasoning"]).ok();
        let key = || format.as_ref().and_then(|format| format.key.clone());
        let style = match (policy, place) {
            (ReasoningPolicy::Drop, _) => ThoughtStyle::Dropped,
            (ReasoningPolicy::Field, ThoughtPlace::Key | ThoughtPlace::KeyAndKwargs) => {
                ThoughtStyle::Key(key().unwrap_or_else(|| THOUGHT_KEYS[0].to_owned()))
            }
            (ReasoningPolicy::Field | ReasoningPolicy::Inline, _) => {
                let ReasoningFormat { open, close, .. } =
                    format.clone().unwrap_or_else(ReasoningFormat::think);
                ThoughtStyle::Inline { open, close }
            }
        };
        let switch = match format {
            Some(format)
                if place == ThoughtPlace::KeyAndKwargs
                    && (policy != ReasoningPolicy::Drop || format.thinks_by_default) =>
            {
                format.switch
            }
            _ => None,
        };
        Self { style, switch }
    }

    /// The key of thoughts in turns, if turns have one.
    pub fn key(&self) -> Option<&str> {
        match &self.style {
            ThoughtStyle::Key(key) => Some(key),
            ThoughtStyle::Dropped | ThoughtStyle::Inline { .. } => None,
        }
    }

    /// Which thoughts rows have, and where. `None` if they have none.
    pub fn in_words(&self) -> Option<String> {
        match &self.style {
            ThoughtStyle::Dropped => None,
            ThoughtStyle::Key(key) => {
                Some(format!("of answers to the prompt, under the key `{key}` of their turns"))
            }
            ThoughtStyle::Inline { .. } => {
                Some("of answers to the prompt, in their texts".to_owned())
            }
        }
    }

    /// Decides whether a row with these answers has their thoughts.
    pub fn decide(&self, answers: &[&Step]) -> RowThoughts {
        if matches!(self.style, ThoughtStyle::Dropped) {
            RowThoughts::None
        } else if answers.iter().all(|step| self.writable(step).is_some()) {
            RowThoughts::Written
        } else {
            RowThoughts::Missing
        }
    }

    /// The thought of a first answer or a guided one. `None` if it has none, or if the template's marks could
    /// not enclose it.
    fn writable<'s>(&self, step: &'s Step) -> Option<&'s str> {
        let thought = thought(step)?;
        let encloses = match &self.style {
            ThoughtStyle::Inline { close, .. } => !thought.contains(close.trim()),
            ThoughtStyle::Dropped | ThoughtStyle::Key(_) => true,
        };
        if step.kind.output() == StepOutput::Answer && encloses { Some(thought) } else { None }
    }

    /// The answer of a step as rows contain it, with its thought if `thoughts` says so.
    pub fn response<'s>(&'s self, step: &'s Step, thoughts: RowThoughts) -> Response<'s> {
        let thought = match thoughts {
            RowThoughts::Written => self.writable(step),
            RowThoughts::None | RowThoughts::Missing => None,
        };
        let text = step.text.as_str();
        match (&self.style, thought) {
            (ThoughtStyle::Inline { open, close }, Some(thought)) => {
                let text = format!("{open}{thought}{close}{text}").into();
                Response { text, thought: None }
            }
            (ThoughtStyle::Key(key), thought) => {
                Response { text: text.into(), thought: Some((key, thought)) }
            }
            _ => Response { text: text.into(), thought: None },
        }
    }

    /// The column of variables for the chat template, if there is one.
    pub fn column(&self) -> Option<Field> {
        let switch = self.switch.as_ref()?;
        let data_type = match &switch.on {
            Value::Bool(_) => DataType::Boolean,
            Value::Number(_) => DataType::Int64,
            _ => DataType::Utf8,
        };
        Some(record(KWARGS, vec![Field::new(&switch.name, data_type, false)]))
    }

    /// Adds the variables for the chat template to a row: thoughts are on if the row has
    /// them.
    pub fn add_kwargs(&self, row: &mut ExportRow, thoughts: RowThoughts) {
        if let Some(switch) = &self.switch {
            let is_on = thoughts == RowThoughts::Written;
            let value = if is_on { &switch.on } else { &switch.off };
            row.insert(KWARGS.to_owned(), json!({&switch.name: value}));
        }
    }
}

/// The thought of a step, if it has one, without surrounding white space.
fn thought(step: &Step) -> Option<&str> {
    let thought = step.reasoning.as_deref()?.trim();
    if thought.is_empty() { None } else { Some(thought) }
}

/// An answer as a row contains it.
#[derive(Debug)]
pub(crate) struct Response<'a> {
    /// The text.
    pub text: Cow<'a, str>,
    /// The key of thoughts, if turns have one, and the thought.
    thought: Option<(&'a str, Option<&'a str>)>,
}

impl Response<'_> {
    /// The assistant's turn with this answer.
    pub fn turn(&self) -> Value {
        let mut turn = json!({"role": Role::Assistant, "content": self.text});
        if let Some((key, thought)) = self.thought {
            turn[key] = json!(thought);
        }
        turn
    }
}

/// The two answers of a pair as its row contains them.
#[derive(Debug)]
pub(crate) struct Sides<'a> {
    pub chosen: Response<'a>,
    pub rejected: Response<'a>,
}

//! Conversations as the model sees them: turns, and the chat template that renders
//! them to a prompt.
//!
//! In names, *reasoning* is for settings and for keys of files (`Reasoning`, `reasoning_content`),
//! and *thought* for the text that a model writes before its answer (`ThoughtSplitter`).

mod conversation;
mod detect;
mod families;
mod inline;
mod jinja;
mod marks;
mod opening;
mod placeholder;
mod reasoning;
mod template;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use inline::{LoneEnd, has_lost_channels, split_inline, without_turn_end};
pub use opening::{NextTurn, TurnStart};
pub use reasoning::{
    RESERVED_VARIABLES, Reasoning, ReasoningContradiction, ReasoningFormat, ReasoningMode,
    ReasoningSwitch, ReplyPart, ThoughtSplitter,
};
pub use template::{ChatError, ChatTemplate, RenderedChat, Segment};

/// The keys under which a turn may have its thought beside its content, in rows and in what
/// chat templates read. Where a turn has several, the first that is not blank counts.
pub const THOUGHT_KEYS: &[&str; 3] = &["reasoning_content", "thinking", "reasoning"];

/// The role of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions for the conversation.
    System,
    /// Instructions of an application's developer, for models that distinguish them.
    Developer,
    /// The user.
    User,
    /// The model.
    Assistant,
    /// What a tool returned to the model.
    Tool,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 5] =
        [Self::System, Self::Developer, Self::User, Self::Assistant, Self::Tool];

    /// The name that chat templates and datasets use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::Developer => "developer",
            Role::User => "user",
            Role::Assistant => "assistant",
            Role::Tool => "tool",
        }
    }

    /// Whether a turn of this role has instructions for the conversation.
    #[must_use]
    pub fn is_instruction(self) -> bool {
        matches!(self, Role::System | Role::Developer)
    }
}

/// One turn of a conversation. The content is data and never becomes control tokens.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Message {
    /// The role.
    pub role: Role,
    /// The text.
    pub content: String,
    /// What the model thought before it wrote the text.
    #[serde(rename = "reasoning_content", default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// The tool calls of the model, a JSON array in the form of the OpenAI API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_calls: Option<Value>,
    /// The name of the tool whose result the text is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The id of the tool call whose result the text is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool_call_id: Option<String>,
}

impl Message {
    /// Creates a turn.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self {
            role,
            content: content.into(),
            reasoning: None,
            tool_calls: None,
            name: None,
            tool_call_id: None,
        }
    }
}

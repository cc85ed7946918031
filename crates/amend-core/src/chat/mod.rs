//! Conversations as the model sees them: turns, and the chat template that renders
//! them to a prompt.

mod inline;
mod reasoning;
mod template;

use serde::{Deserialize, Serialize};

pub use inline::{has_lost_channels, split_inline};
pub use reasoning::{Part, Reasoning, ReasoningFormat, ReasoningMode, ThoughtSplitter, TurnStart};
pub use template::{ChatError, ChatTemplate, NextTurn, RenderedChat, Segment};

/// The role of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Instructions for the conversation.
    System,
    /// The user.
    User,
    /// The model.
    Assistant,
}

impl Role {
    /// The name that chat templates and datasets use.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Role::System => "system",
            Role::User => "user",
            Role::Assistant => "assistant",
        }
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
}

impl Message {
    /// Creates a turn.
    pub fn new(role: Role, content: impl Into<String>) -> Self {
        Self { role, content: content.into(), reasoning: None }
    }
}

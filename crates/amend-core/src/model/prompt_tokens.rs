//! The prompts of a model in tokens, for which no engine has to be started.

use super::{Failure, Prepared};
use crate::chat::{Message, NextTurn, Reasoning, ReasoningFormat};

/// Knows how a model is prompted: its chat template and, if possible, its vocabulary.
pub trait PromptTokens {
    /// Renders and tokenises a conversation as an engine of the model would.
    ///
    /// # Errors
    /// Fails as the request would: on the chat template or on a forged token.
    /// [`Failure::TokensUnknown`] if the tokens of the model are not known.
    fn prepare(
        &self,
        _turns: &[Message],
        _shared_turns: usize,
        _reasoning: &Reasoning,
        _next: NextTurn,
    ) -> Result<Prepared, Failure> {
        Err(Failure::TokensUnknown)
    }

    /// How the model marks its thoughts. `None` if it does not think, or if its chat template
    /// is not known.
    fn reasoning_format(&self) -> Option<&ReasoningFormat> {
        None
    }
}

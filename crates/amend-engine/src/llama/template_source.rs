//! Where the chat template of a model comes from: a file that the user names, or the model.

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::token::LlamaToken;

use super::LlamaSettings;
use amend_core::chat::{ChatError, ChatTemplate};
use amend_core::model::EngineError;

/// The text of a chat template.
pub(super) struct TemplateSource(pub String);

impl TemplateSource {
    /// The template that the settings name, if they do.
    ///
    /// # Errors
    /// Its file can't be read.
    pub fn named(settings: &LlamaSettings) -> Result<Option<Self>, EngineError> {
        let Some(file) = &settings.chat_template else { return Ok(None) };
        let text = std::fs::read_to_string(file).map_err(|error| {
            EngineError::new(format!("failed to read chat template {}", file.display()))
                .caused_by(error)
        })?;
        Ok(Some(Self(text)))
    }

    /// The template in the model's file, if it has one.
    pub fn in_model(model: &LlamaModel) -> Option<Self> {
        Some(Self(model.chat_template(None).ok()?.to_string().ok()?))
    }

    /// The template for a model.
    ///
    /// # Errors
    /// It does not compile.
    pub fn compile(&self, model: &LlamaModel) -> Result<ChatTemplate, ChatError> {
        let vocab = model.vocab();
        let text = |token: LlamaToken| match token.0 {
            0.. => String::from_utf8_lossy(&vocab.token_to_piece(token, true, None)).into_owned(),
            _ => String::new(),
        };
        ChatTemplate::new(&self.0, &text(vocab.bos()), &text(vocab.eos()))
    }
}

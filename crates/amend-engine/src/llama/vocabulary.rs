//! The vocabulary of a GGUF file without its weights, to count the tokens that a
//! trainer gets from a text.

use std::path::Path;

use llama_cpp_2::model::LlamaModel;
use llama_cpp_2::model::params::LlamaModelParams;
use llama_cpp_2::token::LlamaToken;

use super::model::{check_files, load_file};
use amend_core::model::EngineError;

/// A vocabulary loaded from a GGUF file.
pub struct GgufVocabulary {
    inner: LlamaModel,
}

impl GgufVocabulary {
    /// Loads the vocabulary of the GGUF file at `path`.
    ///
    /// # Errors
    /// The file is missing, unreadable or not a GGUF file, or llama.cpp does not support
    /// it.
    pub fn load(path: &Path) -> Result<Self, EngineError> {
        let fail = |message: &str, hint: &str| {
            let path = path.display();
            EngineError::new(format!("failed to load the vocabulary of {path}: {message}"))
                .hinted(hint)
        };
        check_files(path).map_err(|(message, hint)| fail(&message, &hint))?;
        let params = LlamaModelParams::default().with_vocab_only(true);
        let inner = load_file(path, &params, |error| {
            let hint = "to see the log of llama.cpp, run with -vv";
            fail("llama.cpp rejected it", hint).caused_by(error)
        })?;
        Ok(Self { inner })
    }

    fn text(&self, token: LlamaToken) -> String {
        let piece = self.inner.vocab().token_to_piece(token, true, None);
        String::from_utf8_lossy(&piece).into_owned()
    }
}

impl amend_core::model::Vocabulary for GgufVocabulary {
    fn encode(&self, text: &str) -> Vec<i32> {
        let tokens = self.inner.vocab().tokenize(text.as_bytes(), false, true);
        tokens.into_iter().map(|token| token.0).collect()
    }

    fn control_tokens(&self) -> Vec<String> {
        let vocab = self.inner.vocab();
        let tokens = (0..vocab.n_tokens()).map(LlamaToken);
        tokens.filter(|&token| vocab.is_control(token)).map(|token| self.text(token)).collect()
    }

    fn chat_template(&self) -> Option<(String, String, String)> {
        let template = self.inner.chat_template(None).ok()?.to_string().ok()?;
        let known = |token: LlamaToken| match token.0 {
            0.. => self.text(token),
            _ => String::new(),
        };
        let vocab = self.inner.vocab();
        Some((template, known(vocab.bos()), known(vocab.eos())))
    }
}

//! A LoRA adapter, which changes a model's weights while it runs.

use std::cell::{OnceCell, RefCell};
use std::path::{Path, PathBuf};
use std::str::FromStr;

use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::model::{LlamaLoraAdapter, LlamaModel};
use serde_json::{Value, json};

use super::log;
use super::model::{check_header, hash_of};
use amend_core::model::EngineError;

/// The file of an adapter, and how strongly it is applied.
#[derive(Debug, Clone, PartialEq)]
pub struct Lora {
    /// The GGUF file.
    pub file: PathBuf,
    /// The factor of the adapter's change to the weights; 1 as it was trained.
    pub scale: f32,
}

/// Why a text does not name an adapter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not of the form FILE or FILE:SCALE, such as adapter.gguf:0.5")]
pub struct LoraError(String);

impl FromStr for Lora {
    type Err = LoraError;

    /// Parses `FILE` or `FILE:SCALE`.
    fn from_str(text: &str) -> Result<Self, LoraError> {
        let (file, scale) = match text.rsplit_once(':') {
            Some((file, scale)) => match scale.parse::<f32>() {
                Ok(scale) => (file, scale),
                // The colon belongs to the name.
                Err(_) => (text, 1.0),
            },
            None => (text, 1.0),
        };
        if file.is_empty() || !scale.is_finite() {
            return Err(LoraError(text.to_owned()));
        }
        Ok(Self { file: PathBuf::from(file), scale })
    }
}

impl Lora {
    /// The text after the last colon, if it is no number and the text before it is a file.
    fn mistaken_scale(&self) -> Option<&str> {
        let (file, scale) = self.file.to_str()?.rsplit_once(':')?;
        if !self.file.exists() && Path::new(file).is_file() { Some(scale) } else { None }
    }
}

/// An adapter that is loaded for a model.
pub(super) struct Adapter {
    lora: Lora,
    /// llama.cpp takes a mutable pointer when it applies the adapter.
    inner: RefCell<LlamaLoraAdapter>,
    sha256: OnceCell<String>,
}

impl Adapter {
    /// Loads the adapter for `model`, which owns its memory.
    ///
    /// # Errors
    /// The file is missing or not a GGUF file, or it is not an adapter of this model.
    pub fn load(model: &mut LlamaModel, lora: &Lora) -> Result<Self, EngineError> {
        let fail = |message: &str, hint: &str| {
            let file = lora.file.display();
            EngineError::new(format!("failed to load the LoRA adapter {file}: {message}"))
                .hinted(hint)
        };
        const HINT: &str = "pass a LoRA adapter as a GGUF file: --lora FILE[:SCALE]";
        check_header(&lora.file).map_err(|message| match lora.mistaken_scale() {
            Some(scale) => fail(
                &format!("{scale:?} is not a scale"),
                "pass a number after the colon, such as --lora adapter.gguf:0.5",
            ),
            None => fail(&message, HINT),
        })?;
        let inner = log::with_cause(|| model.lora_adapter_init(&lora.file)).map_err(|cause| {
            let hint = "use an adapter that was trained on this model and converted to GGUF with \
                        llama.cpp's convert_lora_to_gguf.py";
            fail("llama.cpp rejected it", hint).caused_by(cause)
        })?;
        Ok(Self { lora: lora.clone(), inner: RefCell::new(inner), sha256: OnceCell::new() })
    }

    /// Applies the adapter to a context of its model.
    ///
    /// # Errors
    /// llama.cpp refuses it.
    pub fn apply(&self, context: &mut LlamaContext<'_>) -> Result<(), EngineError> {
        let mut adapter = self.inner.borrow_mut();
        log::with_cause(|| context.lora_adapter_set(&mut adapter, self.lora.scale)).map_err(
            |cause| {
                let file = self.lora.file.display();
                EngineError::new(format!("failed to apply the LoRA adapter {file}"))
                    .caused_by(cause)
            },
        )
    }

    /// Identifies the adapter by the hash of its file, and its scale.
    ///
    /// # Errors
    /// The file can no longer be read.
    pub fn describe(&self) -> Result<Value, EngineError> {
        let sha256 = hash_of(&self.lora.file, &self.sha256)?;
        Ok(json!({"sha256": sha256, "scale": self.lora.scale}))
    }

    /// Identifies the adapter without reading its file.
    pub fn fingerprint(&self) -> Value {
        json!({"file": self.lora.file, "scale": self.lora.scale})
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_scales_are_parsed() {
        for (text, file, scale) in [
            ("a.gguf", "a.gguf", 1.0),
            ("a.gguf:0.5", "a.gguf", 0.5),
            ("a.gguf:-1", "a.gguf", -1.0),
            (r"C:\a.gguf", r"C:\a.gguf", 1.0),
            (r"C:\a.gguf:2", r"C:\a.gguf", 2.0),
        ] {
            let lora = Lora { file: PathBuf::from(file), scale };
            assert_eq!(text.parse(), Ok(lora), "{text}");
        }
        for text in ["", ":1", "a.gguf:inf", "a.gguf:nan"] {
            assert_eq!(text.parse::<Lora>(), Err(LoraError(text.to_owned())));
        }
    }
}

//! The trainer's tokenizer: a `tokenizer.json`, or a GGUF's vocabulary. With its
//! chat template it says how long a conversation is to the trainer.

use std::path::{Path, PathBuf};

use serde_json::Value;

use super::example::{Turn, joined};
use crate::chat::{ChatTemplate, Message, Role, Segment};
use crate::engine::EngineError;
use crate::engine::llama::Vocabulary;

/// Why a tokenizer can't be had.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizerError {
    /// The GGUF's vocabulary can't be loaded.
    #[error(transparent)]
    Vocabulary(#[from] EngineError),
    /// The `tokenizer.json` can't be read.
    #[error("failed to load tokenizer {path}: {message}")]
    Json {
        /// The file.
        path: PathBuf,
        /// Why, in the tokenizer library's words.
        message: String,
    },
}

/// A tokenizer, and the chat template that goes with it if there is one.
pub struct Tokenizer {
    kind: Kind,
    template: Option<ChatTemplate>,
    name: String,
}

enum Kind {
    Json(Box<tokenizers::Tokenizer>),
    Gguf(Vocabulary),
}

impl Tokenizer {
    /// Loads a `tokenizer.json`. The chat template is read from
    /// `chat_template.jinja` or `tokenizer_config.json` beside it.
    ///
    /// # Errors
    /// The file can't be read or is no tokenizer.
    pub fn json(path: &Path) -> Result<Self, TokenizerError> {
        let fail = |error: tokenizers::Error| TokenizerError::Json {
            path: path.to_owned(),
            message: error.to_string(),
        };
        let mut inner = tokenizers::Tokenizer::from_file(path).map_err(fail)?;
        // Whole texts are counted, whatever the file says about batches.
        inner.with_truncation(None).map_err(fail)?;
        inner.with_padding(None);
        Ok(Self {
            kind: Kind::Json(Box::new(inner)),
            template: template_beside(path),
            name: path.display().to_string(),
        })
    }

    /// Loads a GGUF's vocabulary and chat template.
    ///
    /// # Errors
    /// The file can't be read, or llama.cpp doesn't know its kind.
    pub fn gguf(path: &Path) -> Result<Self, TokenizerError> {
        let vocabulary = Vocabulary::load(path)?;
        let template = vocabulary
            .chat_template()
            .and_then(|(source, bos, eos)| ChatTemplate::new(&source, &bos, &eos).ok());
        Ok(Self { kind: Kind::Gguf(vocabulary), template, name: path.display().to_string() })
    }

    /// The name of its file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether conversations are rendered by a chat template; else their texts
    /// are joined, which is a little shorter.
    #[must_use]
    pub fn has_template(&self) -> bool {
        self.template.is_some()
    }

    /// The texts of the control tokens.
    #[must_use]
    pub fn control_tokens(&self) -> Vec<String> {
        match &self.kind {
            Kind::Json(inner) => {
                let added = inner.get_added_tokens_decoder();
                let special = added.into_values().filter(|token| token.special);
                special.map(|token| token.content).collect()
            }
            Kind::Gguf(vocabulary) => vocabulary.control_tokens(),
        }
    }

    /// The tokens of a text, control tokens in it parsed, none added.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<i64> {
        match &self.kind {
            // It fails on no text: what it does not know becomes an unknown token.
            Kind::Json(inner) => inner
                .encode_fast(text, false)
                .map(|encoding| encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
                .unwrap_or_default(),
            Kind::Gguf(vocabulary) => vocabulary.encode(text).into_iter().map(i64::from).collect(),
        }
    }

    /// The tokens of a prompt and an answer, without the one that ends the
    /// answer. `chat` renders the prompt by the chat template.
    #[must_use]
    pub fn sequence(&self, prompt: &[Turn], answer: &str, chat: bool) -> Vec<i64> {
        let rendered = if chat { self.render(prompt) } else { None };
        let before = rendered.unwrap_or_else(|| match joined(prompt) {
            text if text.is_empty() => text,
            text => text + "\n",
        });
        self.encode(&(before + answer))
    }

    /// A prompt up to where the answer begins; none without a template, or where
    /// it refuses the turns.
    fn render(&self, prompt: &[Turn]) -> Option<String> {
        let mut messages: Vec<Message> = Vec::new();
        for turn in prompt {
            match messages.last_mut() {
                Some(last) if turn.continues => {
                    last.content.push('\n');
                    last.content.push_str(&turn.text);
                }
                _ => messages.push(Message::new(role(&turn.role)?, turn.text.as_str())),
            }
        }
        let segments = self.template.as_ref()?.render(&messages).ok()?;
        let text = |segment: Segment| match segment {
            Segment::Scaffold(text) | Segment::Content(_, text) => text,
        };
        Some(segments.into_iter().map(text).collect())
    }
}

fn role(name: &str) -> Option<Role> {
    [Role::System, Role::User, Role::Assistant].into_iter().find(|role| role.as_str() == name)
}

/// The chat template in the files beside a `tokenizer.json`. One that doesn't
/// compile is none: lengths are then those of the texts.
fn template_beside(path: &Path) -> Option<ChatTemplate> {
    let config = std::fs::read_to_string(path.with_file_name("tokenizer_config.json")).ok();
    let config: Value =
        config.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let source = std::fs::read_to_string(path.with_file_name("chat_template.jinja")).ok();
    let source = source.or_else(|| match &config["chat_template"] {
        Value::String(source) => Some(source.clone()),
        // Several by name.
        Value::Array(named) => {
            let default = named.iter().find(|template| template["name"] == "default")?;
            default["template"].as_str().map(str::to_owned)
        }
        _ => None,
    })?;
    // A token is a text, or an object with the text as its content.
    let token = |key: &str| {
        let value = &config[key];
        value.as_str().or_else(|| value["content"].as_str()).unwrap_or_default().to_owned()
    };
    ChatTemplate::new(&source, &token("bos_token"), &token("eos_token")).ok()
}

#[cfg(test)]
pub(super) mod tests {
    use std::fs;

    use super::*;

    /// A tokenizer of words, with a chat template that writes `<role>`.
    pub(in crate::lint) fn words(folder: &Path, template: bool) -> Tokenizer {
        let vocabulary =
            r#"{"[UNK]": 0, "<user>": 1, "<assistant>": 2, "yes": 3, "no": 4, "a": 5, "b": 6}"#;
        let token = |id: u32, text: &str| {
            format!(
                r#"{{"id": {id}, "content": "{text}", "single_word": false, "lstrip": false,
                "rstrip": false, "normalized": false, "special": true}}"#
            )
        };
        let json = format!(
            r#"{{"version": "1.0",
            "truncation": {{"direction": "Right", "max_length": 2, "strategy": "LongestFirst", "stride": 0}},
            "padding": null, "added_tokens": [{}, {}], "normalizer": null,
            "pre_tokenizer": {{"type": "WhitespaceSplit"}}, "post_processor": null, "decoder": null,
            "model": {{"type": "WordLevel", "vocab": {vocabulary}, "unk_token": "[UNK]"}}}}"#,
            token(1, "<user>"),
            token(2, "<assistant>"),
        );
        let path = folder.join("tokenizer.json");
        fs::write(&path, json).unwrap();
        if template {
            let config = r#"{"chat_template": "{% for m in messages %}<{{ m.role }}>{{ m.content }}{% endfor %}{% if add_generation_prompt %}<assistant>{% endif %}", "eos_token": {"content": "e"}}"#;
            fs::write(folder.join("tokenizer_config.json"), config).unwrap();
        }
        Tokenizer::json(&path).unwrap()
    }

    #[test]
    fn sequences_are_rendered_by_the_template_beside_the_tokenizer() {
        let folder = tempfile::tempdir().unwrap();
        let plain = words(folder.path(), false);
        let prompt = [Turn::new("user", "a b", "/prompt")];
        assert_eq!(plain.sequence(&prompt, "yes yes", true), [5, 6, 3, 3]);
        assert_eq!(plain.sequence(&[], "no", false), [4]);
        assert_eq!(plain.encode("a zebra"), [5, 0]);
        let chat = words(folder.path(), true);
        assert!(chat.has_template() && !plain.has_template());
        assert_eq!(chat.sequence(&prompt, "yes", true), [1, 5, 6, 2, 3]);
        assert_eq!(chat.sequence(&prompt, "yes", false), [5, 6, 3]);
        // Turns that no template takes are joined.
        let odd = [Turn::new("wizard", "a", "/prompt")];
        assert_eq!(chat.sequence(&odd, "yes", true).last(), Some(&3));
        let mut control = chat.control_tokens();
        control.sort();
        assert_eq!(control, ["<assistant>", "<user>"]);
    }

    #[test]
    fn what_is_no_tokenizer_is_refused_by_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let error = |path: &Path| Tokenizer::json(path).err().map(|error| error.to_string());
        assert!(error(&path).unwrap().starts_with("failed to load tokenizer /"));
        fs::write(&path, "{}").unwrap();
        assert!(error(&path).is_some());
    }
}

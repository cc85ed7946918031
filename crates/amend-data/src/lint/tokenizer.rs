//! The trainer's tokenizer: a `tokenizer.json`, or a GGUF's vocabulary. With its
//! chat template it says how long a conversation is to the trainer.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::format::example::{Example, Tokens, Turn, joined};
use amend_core::chat::{ChatTemplate, Message, Role, Segment};
use amend_core::model::Vocabulary;

/// Why a tokenizer can't be had.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
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
    Gguf(Box<dyn Vocabulary>),
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

    /// The vocabulary of a model, with its chat template. `name` is the model's file.
    #[must_use]
    pub fn from_vocabulary(vocabulary: Box<dyn Vocabulary>, name: String) -> Self {
        let template = vocabulary
            .chat_template()
            .and_then(|(source, bos, eos)| ChatTemplate::new(&source, &bos, &eos).ok());
        Self { kind: Kind::Gguf(vocabulary), template, name }
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

    /// The tokens of an example: of the prompt up to where the answer begins, by
    /// the chat template where the example is a conversation, and of each answer
    /// by itself, as trainers concatenate them.
    #[must_use]
    pub fn tokens(&self, example: &Example) -> Tokens {
        let rendered = if example.chat { self.render(&example.prompt) } else { None };
        let prompt = rendered.unwrap_or_else(|| joined(&example.prompt));
        Tokens {
            prompt: self.encode(&prompt).len(),
            answers: example.answers().map(|(_, turns)| self.encode(&joined(turns))).collect(),
        }
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

    use serde_json::json;

    use super::*;
    use crate::lint::check::tests::example;

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
        let chat = words(folder.path(), true);
        assert!(chat.has_template() && !plain.has_template());
        assert_eq!(plain.encode("a zebra"), [5, 0]);
        let turns = |role: &str| {
            let row = json!({
                "prompt": [{"role": role, "content": "a b"}],
                "completion": [{"role": "assistant", "content": "yes yes no"}],
            });
            example(row)
        };
        let texts = example(json!({"prompt": "a b", "chosen": "yes", "rejected": "no a"}));
        // With the template: <user> a b <assistant>. No template takes a wizard.
        for (tokenizer, example, prompt, answers) in [
            (&plain, turns("user"), 2, vec![vec![3, 3, 4]]),
            (&chat, turns("user"), 4, vec![vec![3, 3, 4]]),
            (&chat, turns("wizard"), 2, vec![vec![3, 3, 4]]),
            (&chat, texts, 2, vec![vec![3], vec![4, 5]]),
        ] {
            assert_eq!(tokenizer.tokens(&example), Tokens { prompt, answers });
        }
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

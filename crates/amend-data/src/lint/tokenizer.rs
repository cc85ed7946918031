//! The trainer's tokenizer: a `tokenizer.json`, or the vocabulary of a GGUF file. With
//! its chat template it gives the length of a conversation in the trainer.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::format::example::{Example, ExampleTurn, Tokens, joined, joined_answers};
use amend_core::chat::{ChatTemplate, Message, NextTurn, Reasoning, Role};
use amend_core::model::Vocabulary;

/// The reason why a tokenizer cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum TokenizerError {
    /// The `tokenizer.json` cannot be read.
    #[error("failed to load tokenizer {path}: {message}")]
    Json {
        /// The file.
        path: PathBuf,
        /// The tokenizer library's error message.
        message: String,
    },
}

/// A tokenizer, and its chat template if it has one.
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
    /// `chat_template.jinja` or `tokenizer_config.json` in the same folder.
    ///
    /// # Errors
    /// Fails if the file cannot be read or is not a tokenizer.
    pub fn json(path: &Path) -> Result<Self, TokenizerError> {
        let fail = |error: tokenizers::Error| TokenizerError::Json {
            path: path.to_owned(),
            message: error.to_string(),
        };
        let mut inner = tokenizers::Tokenizer::from_file(path).map_err(fail)?;
        // The file may ask for truncation and padding of batches; lengths are of whole
        // texts.
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

    /// The path of the tokenizer's file.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether there is a chat template to render conversations with. Otherwise the
    /// texts are joined, which is a little shorter.
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

    /// The tokens of a text. Control tokens in the text are parsed; none are added.
    #[must_use]
    pub fn encode(&self, text: &str) -> Vec<i64> {
        match &self.kind {
            // Encoding never fails: unknown text becomes the unknown token.
            Kind::Json(inner) => inner
                .encode_fast(text, false)
                .map(|encoding| encoding.get_ids().iter().map(|&id| i64::from(id)).collect())
                .unwrap_or_default(),
            Kind::Gguf(vocabulary) => vocabulary.encode(text).into_iter().map(i64::from).collect(),
        }
    }

    /// The tokens of an example. A conversation's prompt is rendered with the chat
    /// template up to the beginning of the answer. Prompt and answers are tokenized
    /// separately, as trainers do before they concatenate them. The marks that the chat
    /// template writes around a thought are not counted.
    #[must_use]
    pub fn tokens(&self, example: &Example) -> Tokens {
        let rendered = if example.chat { self.render(&example.prompt) } else { None };
        let prompt = rendered.unwrap_or_else(|| joined(&example.prompt));
        let mut tokens =
            Tokens { prompt: self.encode(&prompt).len(), answers: Vec::new(), lengths: Vec::new() };
        for (_, turns) in example.answers() {
            let mut whole: String =
                turns.iter().filter_map(|turn| turn.thought.as_deref()).collect();
            whole.push_str(&joined(turns));
            let whole_tokens = self.encode(&whole);
            let answer = joined_answers(turns);
            let length =
                if answer == whole { whole_tokens.len() } else { self.encode(&answer).len() };
            tokens.answers.push(whole_tokens);
            tokens.lengths.push(length);
        }
        tokens
    }

    /// Renders a prompt up to the beginning of the answer. `None` if there is no
    /// template or it rejects the turns.
    fn render(&self, prompt: &[ExampleTurn]) -> Option<String> {
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
        let reasoning = Reasoning::default();
        let rendered =
            self.template.as_ref()?.render(&messages, &reasoning, NextTurn::Reply).ok()?;
        Some(rendered.text())
    }
}

fn role(name: &str) -> Option<Role> {
    Role::ALL.into_iter().find(|role| role.as_str() == name)
}

/// The chat template in the folder of a `tokenizer.json`. `None` if it does not
/// compile: lengths are then those of the texts.
fn template_beside(path: &Path) -> Option<ChatTemplate> {
    let config = std::fs::read_to_string(path.with_file_name("tokenizer_config.json")).ok();
    let config: Value =
        config.and_then(|text| serde_json::from_str(&text).ok()).unwrap_or_default();
    let source = std::fs::read_to_string(path.with_file_name("chat_template.jinja")).ok();
    let source = source.or_else(|| match &config["chat_template"] {
        Value::String(source) => Some(source.clone()),
        // Several named templates.
        Value::Array(named) => {
            let default = named.iter().find(|template| template["name"] == "default")?;
            default["template"].as_str().map(str::to_owned)
        }
        _ => None,
    })?;
    // A token is a string, or an object with the string as its content.
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

    /// A tokenizer that splits text into words, with a chat template that writes
    /// `<role>`.
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
    fn the_chat_template_next_to_the_tokenizer_renders_prompts() {
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
        // With the template: <user> a b <assistant>. A wizard is an unknown role.
        for (tokenizer, example, prompt, answers) in [
            (&plain, turns("user"), 2, vec![vec![3, 3, 4]]),
            (&chat, turns("user"), 4, vec![vec![3, 3, 4]]),
            (&chat, turns("wizard"), 2, vec![vec![3, 3, 4]]),
            (&chat, texts, 2, vec![vec![3], vec![4, 5]]),
        ] {
            let lengths = answers.iter().map(Vec::len).collect();
            assert_eq!(tokenizer.tokens(&example), Tokens { prompt, answers, lengths });
        }
        // A thought is a part of the sequence, but not of the answer's length.
        for thinking in [
            json!({"role": "assistant", "reasoning_content": "a b ", "content": "yes"}),
            json!({"role": "assistant", "content": "<think>a b</think> yes"}),
        ] {
            let tokens = chat.tokens(&example(json!({"prompt": "a", "completion": [thinking]})));
            assert!(tokens.answers[0].len() > 2, "{thinking}");
            assert_eq!(tokens.lengths, [1], "{thinking}");
        }
        let mut control = chat.control_tokens();
        control.sort();
        assert_eq!(control, ["<assistant>", "<user>"]);
    }

    #[test]
    fn an_invalid_tokenizer_is_reported_with_its_path() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("tokenizer.json");
        let error = |path: &Path| Tokenizer::json(path).err().map(|error| error.to_string());
        assert!(error(&path).unwrap().starts_with("failed to load tokenizer /"));
        fs::write(&path, "{}").unwrap();
        assert!(error(&path).is_some());
    }
}

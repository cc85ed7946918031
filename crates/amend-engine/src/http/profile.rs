//! What is known about a server: from its dialect, and from what it answered and refused.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::dialect::{Dialect, SwitchField, is_budget};
use super::wire::{Position, ServerReply};
use amend_core::chat::{Reasoning, ReasoningMode};

/// How many of the most likely tokens to request: the maximum that the API allows.
const TOP_LOGPROBS: u64 = 20;

/// How a choice is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChoiceWay {
    /// The last turn begins the reply, as the server continues it by default.
    Begun,
    /// The request says that the last turn is to be continued.
    Continued,
    /// As `Begun`, with thoughts switched off in every known way.
    Unthinking,
    /// The reply is the label alone: it is not begun, and a thought may come first.
    Label,
}

impl ChoiceWay {
    /// Every way, in the order in which they are tried.
    pub const ALL: [Self; 4] = [Self::Begun, Self::Continued, Self::Unthinking, Self::Label];

    /// The name of the way in manifests.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Begun => "begun",
            Self::Continued => "continued",
            Self::Unthinking => "unthinking",
            Self::Label => "label",
        }
    }

    /// The place in a reply where the label stands. `None` if there are no probabilities.
    pub fn position(self, reply: &ServerReply) -> Option<&Position> {
        match self {
            Self::Begun | Self::Continued | Self::Unthinking => reply.first_position(),
            Self::Label => reply.answer_position(),
        }
    }
}

/// What is known about a server.
#[derive(Debug, Clone, PartialEq)]
pub struct Profile {
    /// The switch for thoughts.
    pub switch: SwitchField,
    /// Whether the model thinks although it was asked not to.
    pub thinks_anyway: bool,
    /// Whether the model returned a thought that it was asked for.
    pub is_known_to_think: bool,
    /// Whether thoughts begin in the prompt, so that the reply lacks the mark of it.
    pub opens_thoughts: bool,
    /// How choices are asked for.
    pub way: ChoiceWay,
    /// What the server refuses.
    pub refused: Refused,
}

impl Profile {
    /// What is known before the first request.
    pub fn new(dialect: Dialect) -> Self {
        Self {
            switch: dialect.switch(),
            thinks_anyway: false,
            is_known_to_think: false,
            opens_thoughts: false,
            way: ChoiceWay::Begun,
            refused: Refused::default(),
        }
    }

    /// Whether the model will think before an answer.
    pub fn thinks(&self, reasoning: &Reasoning) -> bool {
        reasoning.mode == ReasoningMode::On || self.thinks_anyway
    }

    /// The profile for manifests.
    pub fn to_json(&self) -> Value {
        json!({
            "thinks_anyway": self.thinks_anyway,
            "choices": self.way.as_str(),
            "refused": self.refused.names().collect::<Vec<_>>(),
        })
    }
}

/// The fields of requests that a server refuses or calls by another name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Refused {
    fields: BTreeSet<&'static str>,
    /// `max_tokens` is called `max_completion_tokens`.
    renames_max_tokens: bool,
    top_logprobs: Option<u64>,
}

/// The fields that a request can do without.
const DISPENSABLE: [&str; 16] = [
    "temperature",
    "top_p",
    "top_k",
    "min_p",
    "seed",
    "repeat_penalty",
    "repeat_last_n",
    "repetition_penalty",
    "cache_prompt",
    "thinking_token_budget",
    "reasoning_budget_tokens",
    "custom_params",
    "reasoning_effort",
    "reasoning",
    "chat_template_kwargs",
    "ignore_eos",
];

/// How servers say that they do not take a field.
const REFUSALS: [&str; 12] = [
    "unsupported",
    "not support",
    "n't support",
    "unrecognized",
    "unknown",
    "unexpected",
    "not permitted",
    "not allowed",
    "extra inputs",
    "requires",
    "mandatory",
    "not configured",
];

impl Refused {
    /// Learns from the error with which the server refused a request. Returns what is
    /// different from now on; `None` if the error concerns something else.
    pub fn learn(&mut self, error: &str, body: &Map<String, Value>) -> Option<String> {
        let error = error.to_lowercase();
        let asked = body.get("top_logprobs").and_then(Value::as_u64);
        if let Some(asked) = asked
            && error.contains("logprobs")
            && let Some(allowed) = numbers(&error).filter(|&number| number < asked).max()
            && allowed > 0
        {
            self.top_logprobs = Some(allowed);
            return Some(format!("the {allowed} most likely tokens are requested"));
        }
        let is_refusal = REFUSALS.iter().any(|words| error.contains(words));
        if is_refusal
            && body.contains_key("max_tokens")
            && has_word(&error, "max_completion_tokens")
        {
            self.renames_max_tokens = true;
            return Some("max_completion_tokens is sent in place of max_tokens".to_owned());
        }
        let field = DISPENSABLE.into_iter().find(|field| {
            let mut names = names(field).iter().chain(std::iter::once(field));
            body.contains_key(*field) && names.any(|name| has_word(&error, name))
        })?;
        // A value may also be refused without these words ("temperature must be 1").
        if !(is_refusal || field == "temperature") {
            return None;
        }
        self.fields.insert(field);
        Some(format!("{field} is no longer sent"))
    }

    /// Changes a request to what the server takes.
    pub fn apply(&self, body: &mut Map<String, Value>) {
        body.retain(|field, _| !self.fields.contains(field.as_str()));
        if self.renames_max_tokens
            && let Some(tokens) = body.shift_remove("max_tokens")
        {
            body.insert("max_completion_tokens".to_owned(), tokens);
        }
        if body.contains_key("logprobs") {
            body.insert(
                "top_logprobs".to_owned(),
                self.top_logprobs.unwrap_or(TOP_LOGPROBS).into(),
            );
        }
    }

    /// Adds what a server refuses, by the name of the field. `max_tokens` is sent under its
    /// other name, and `top_logprobs=N` limits the likely tokens.
    ///
    /// # Errors
    /// No request can do without the field. The error lists the names that are known.
    pub fn add(&mut self, name: &str) -> Result<(), String> {
        if let Some(limit) = name.strip_prefix("top_logprobs=")
            && let Ok(limit @ 1..TOP_LOGPROBS) = limit.parse()
        {
            self.top_logprobs = Some(limit);
        } else if name == "max_tokens" {
            self.renames_max_tokens = true;
        } else if let Some(field) = DISPENSABLE.iter().find(|field| **field == name) {
            self.fields.insert(field);
        } else {
            let known = DISPENSABLE.join(", ");
            return Err(format!(
                "no request can do without {name:?}: the names are max_tokens, top_logprobs=N, {known}"
            ));
        }
        Ok(())
    }

    /// What it refuses, as [`Refused::add`] takes it.
    pub fn as_added(&self) -> Vec<String> {
        let top_logprobs = self.top_logprobs.map(|limit| format!("top_logprobs={limit}"));
        let others = self.names().filter(|name| *name != "top_logprobs").map(str::to_owned);
        others.chain(top_logprobs).collect()
    }

    /// Whether the server refuses a budget of thoughts.
    pub fn has_budget(&self) -> bool {
        self.fields.iter().any(|field| is_budget(field))
    }

    /// The names of what it refuses.
    pub fn names(&self) -> impl Iterator<Item = &'static str> {
        let max_tokens = self.renames_max_tokens.then_some("max_tokens");
        let top_logprobs = self.top_logprobs.map(|_| "top_logprobs");
        self.fields.iter().copied().chain(max_tokens).chain(top_logprobs)
    }
}

/// What else errors call a field.
fn names(field: &str) -> &'static [&'static str] {
    match field {
        "chat_template_kwargs" => &["chat_template"],
        "reasoning_effort" => &["think", "thinking"],
        "thinking_token_budget" => &["reasoning_config"],
        _ => &[],
    }
}

fn has_word(text: &str, word: &str) -> bool {
    let is_part = |character: char| character.is_alphanumeric() || character == '_';
    text.match_indices(word).any(|(at, _)| {
        let before = text[..at].chars().next_back();
        let after = text[at + word.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

fn numbers(text: &str) -> impl Iterator<Item = u64> {
    text.split(|character: char| !character.is_ascii_digit()).filter_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is left of a request after the server refused it with these errors.
    fn after(errors: &[&str], body: Value) -> Value {
        let mut fields = body.as_object().unwrap().clone();
        let mut refused = Refused::default();
        for error in errors {
            refused.apply(&mut fields);
            assert!(refused.learn(error, &fields).is_some(), "{error}");
        }
        refused.apply(&mut fields);
        fields.into()
    }

    #[test]
    fn a_refused_field_is_sent_another_way() {
        let body = json!({"max_tokens": 7, "temperature": 0.5, "top_k": 40, "seed": 1});
        for (error, changed) in [
            (
                "Unsupported parameter: 'max_tokens' is not supported with this model. Use \
                 'max_completion_tokens' instead.",
                json!({"temperature": 0.5, "top_k": 40, "seed": 1, "max_completion_tokens": 7}),
            ),
            (
                "Unsupported value: 'temperature' does not support 0.5 with this model. Only the \
                 default (1) value is supported.",
                json!({"max_tokens": 7, "top_k": 40, "seed": 1}),
            ),
            ("temperature must be 1", json!({"max_tokens": 7, "top_k": 40, "seed": 1})),
            (
                "Unrecognized request argument supplied: top_k",
                json!({"max_tokens": 7, "temperature": 0.5, "seed": 1}),
            ),
            (
                "body.seed: Extra inputs are not permitted",
                json!({"max_tokens": 7, "temperature": 0.5, "top_k": 40}),
            ),
        ] {
            assert_eq!(after(&[error], body.clone()), changed, "{error}");
        }
        let thinking = json!({"reasoning_effort": "none", "chat_template_kwargs": {},
                              "thinking_token_budget": 9, "reasoning": {}});
        let errors = [
            "think value \"none\" is not supported for this model",
            "chat_template is not supported for Mistral tokenizers.",
            "thinking_token_budget is set but reasoning_config is not configured. Please set \
             --reasoning-parser and/or --reasoning-config to use thinking_token_budget.",
            "Reasoning is mandatory for this endpoint and cannot be disabled.",
        ];
        assert_eq!(after(&errors, thinking), json!({}));
    }

    #[test]
    fn fewer_likely_tokens_are_requested() {
        let body = json!({"logprobs": true});
        for (error, top) in [
            ("top_logprobs must be <= 5", 5),
            ("Requested sample logprobs of 20, which is greater than max allowed: 10", 10),
            ("top_logprobs: Input should be between 0 and 8", 8),
        ] {
            assert_eq!(
                after(&[error], body.clone()),
                json!({"logprobs": true, "top_logprobs": top})
            );
        }
    }

    #[test]
    fn what_is_refused_can_be_written_down() {
        let mut refused = Refused::default();
        for name in ["seed", "max_tokens", "top_logprobs=5"] {
            refused.add(name).unwrap();
        }
        let mut again = Refused::default();
        for name in refused.as_added() {
            again.add(&name).unwrap();
        }
        assert_eq!(again, refused);
        let mut body = json!({"max_tokens": 7, "seed": 1, "logprobs": true});
        refused.apply(body.as_object_mut().unwrap());
        assert_eq!(body, json!({"max_completion_tokens": 7, "logprobs": true, "top_logprobs": 5}));
        for name in ["messages", "top_logprobs=0", "top_logprobs=20", "top_logprobs"] {
            let error = refused.add(name).unwrap_err();
            assert!(error.contains(&format!("without {name:?}")), "{error}");
        }
    }

    #[test]
    fn other_errors_change_nothing() {
        let body = json!({"max_tokens": 7, "temperature": 0.5, "top_logprobs": 20,
                          "continue_final_message": true});
        let mut refused = Refused::default();
        for error in [
            "This model's maximum context length is 4096 tokens",
            "'max_tokens' or 'max_completion_tokens' is too large: 512",
            "Assistant response prefill is incompatible with enable_thinking.",
            "continue_final_message is set but the final message does not appear in the chat",
            "logprobs are not supported",
        ] {
            assert_eq!(refused.learn(error, body.as_object().unwrap()), None, "{error}");
        }
        assert_eq!(refused, Refused::default());
    }
}

//! What a server replied. Servers differ in how they report thoughts, the end of a text,
//! counts and errors, so that every field is read as leniently as its meaning allows.

use serde_json::Value;

use super::logprobs::{Position, ReportedTokens};
use amend_core::chat::{LoneEnd, has_lost_channels, split_inline, without_turn_end};
use amend_core::model::{Completion, Failure, Finish, Usage};

/// An error that a server reports in the body of a response.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReplyError {
    /// The status that it names.
    pub status: Option<u16>,
    /// Its name for the kind of error.
    pub kind: Option<String>,
    /// Its words.
    pub message: String,
}

/// The error in a body, if it has one: as `error`, in the first choice, or as the body
/// itself.
pub fn error_in(body: &Value) -> Option<ReplyError> {
    let places = [&body["error"], &body["choices"][0]["error"]];
    let error = match places.into_iter().find(|error| !is_blank(error)) {
        Some(error) => error,
        None if body["object"] == "error" => body,
        None => return None,
    };
    let text = |keys: &[&str]| keys.iter().find_map(|key| error[*key].as_str()).map(str::to_owned);
    let message = match error {
        Value::String(message) => message.clone(),
        _ => text(&["message", "detail", "msg"]).unwrap_or_else(|| error.to_string()),
    };
    let kind = text(&["type", "code"]);
    let status = ["code", "status", "status_code"].iter().find_map(|key| status(&error[*key]));
    Some(ReplyError { status, kind, message })
}

fn is_blank(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) => false,
    }
}

/// The status that an error code stands for.
fn status(code: &Value) -> Option<u16> {
    let number = match code {
        Value::Number(number) => number.as_u64()?,
        Value::String(name) if name.contains("rate_limit") => 429,
        Value::String(digits) => digits.parse().ok()?,
        _ => return None,
    };
    u16::try_from(number).ok().filter(|status| (400..600).contains(status))
}

/// The first choice of a reply.
#[derive(Debug, Clone, PartialEq)]
pub struct ServerReply {
    /// The answer. Empty if there is none.
    pub answer: String,
    /// What the model thought before it.
    pub thought: Option<String>,
    /// Its token counts; 0 where the server does not report them.
    pub usage: Usage,
    is_refusal: bool,
    /// Whether the content begins with a thought without the mark of its beginning.
    lacks_start: bool,
    /// The server's name for why the text ended.
    finish: String,
    log_probs: ReportedTokens,
}

impl ServerReply {
    /// Reads a reply that has a choice. `thinks` is whether the model is known to think before
    /// this answer.
    pub fn read(body: &Value, thinks: bool) -> Self {
        let choice = &body["choices"][0];
        let message = &choice["message"];
        let mut parts = Parts::default();
        // The form of completions has its text beside the message.
        let content =
            if message["content"].is_null() { &choice["text"] } else { &message["content"] };
        parts.add(content);
        let refusal = message["refusal"].as_str().unwrap_or_default();
        parts.refusal.push_str(refusal);
        let separate = separate_thought(message);
        // NUL is no text, but JSON has an escape for it.
        let content = parts.answer.replace('\0', "\u{fffd}");
        let lone_end = match (&separate, thinks) {
            (Some(_), _) => LoneEnd::Never,
            (None, true) => LoneEnd::Always,
            (None, false) => LoneEnd::AtLineEnd,
        };
        let (inline, answer) = split_inline(without_turn_end(&content), lone_end);
        let begins_with = |thought: &str| content.trim_start().starts_with(thought);
        let lacks_start = inline.as_deref().is_some_and(begins_with);
        let mut thoughts = Vec::new();
        for thought in [separate.as_deref(), Some(&*parts.thought), inline.as_deref()] {
            let thought = thought.unwrap_or_default().trim();
            if !thought.is_empty() {
                thoughts.push(thought);
            }
        }
        let is_refusal = answer.trim().is_empty() && !parts.refusal.is_empty();
        Self {
            answer: if is_refusal { parts.refusal } else { answer },
            thought: if thoughts.is_empty() { None } else { Some(thoughts.join("\n")) },
            usage: usage(&body["usage"]),
            is_refusal,
            lacks_start,
            finish: match &choice["finish_reason"] {
                // Some servers leave it out. None of them writes null when a text is whole.
                Value::Null if choice.get("finish_reason").is_none() => "stop".to_owned(),
                Value::String(reason) => reason.to_lowercase(),
                other => other.to_string(),
            },
            log_probs: ReportedTokens::read(&choice["logprobs"]),
        }
    }

    /// Whether the content begins with a thought whose beginning the chat template wrote into
    /// the prompt.
    pub fn lacks_start(&self) -> bool {
        self.lacks_start
    }

    /// Takes a text that was cut off, and has no thought, for the thought: its beginning is
    /// known to stand in the prompt, and its end is missing.
    pub fn take_cut_thought(&mut self) {
        if self.thought.is_none() && self.finish() == Ok(Finish::Length) {
            self.thought = Some(std::mem::take(&mut self.answer).trim().to_owned());
        }
    }

    /// How many characters of the answer stand in place of what is no text.
    pub fn replaced(&self) -> u64 {
        self.answer.chars().filter(|&character| character == char::REPLACEMENT_CHARACTER).count()
            as u64
    }

    /// Removes the beginning of the reply that the request had, if the server repeats it.
    pub fn strip_beginning(&mut self, begun: &str) {
        if let Some(rest) = self.answer.strip_prefix(begun) {
            self.answer = rest.to_owned();
        }
    }

    /// Whether the model thought, as far as the reply shows it: servers that hide thoughts
    /// report their tokens, or an empty answer that reached its limit.
    pub fn has_thought(&self) -> bool {
        self.thought.is_some() || self.usage.reasoning > 0 || self.is_all_thought()
    }

    /// Whether the thought took all tokens, and left none for an answer.
    pub fn is_all_thought(&self) -> bool {
        self.finish() == Ok(Finish::Length) && self.answer.trim().is_empty()
    }

    /// The reply as a completion.
    ///
    /// # Errors
    /// It has a thought and no answer, or it ended for a reason that makes it unusable.
    pub fn completion(self) -> Result<Completion, Failure> {
        let finish = self.finish()?;
        if self.answer.trim().is_empty() && self.has_thought() {
            return Err(Failure::NoAnswer { tokens: self.thought_tokens() });
        }
        let Self { answer, thought, usage, .. } = self;
        Ok(Completion { text: answer, reasoning: thought, finish, usage })
    }

    /// The thought alone. A model that is known to think may leave it out.
    ///
    /// # Errors
    /// There is none, or it ended for a reason that makes it unusable.
    pub fn only_thought(self, is_known_to_think: bool) -> Result<Completion, Failure> {
        let finish = self.finish()?;
        let thought = match self.thought {
            Some(thought) => thought,
            None if is_known_to_think => String::new(),
            None => return Err(Failure::CannotThink),
        };
        let Usage { reasoning, decoded, .. } = self.usage;
        let usage = Usage { reasoning: reasoning.max(decoded), ..self.usage };
        Ok(Completion { text: String::new(), reasoning: Some(thought), finish, usage })
    }

    /// Whether the answer is gpt-oss's channels without the marks between them.
    pub fn has_lost_channels(&self) -> bool {
        self.thought.is_none() && has_lost_channels(&self.answer)
    }

    /// The most likely tokens at the beginning of the reply.
    pub fn first_position(&self) -> Option<&Position> {
        self.log_probs.first()
    }

    /// The most likely tokens at the beginning of the answer.
    pub fn answer_position(&self) -> Option<&Position> {
        self.log_probs.at_answer(&self.answer)
    }

    /// Why the reply has no probabilities of choices.
    pub fn why_no_log_probs(&self) -> Failure {
        match self.finish() {
            Err(failure) => failure,
            Ok(_) if self.answer.trim().is_empty() && self.has_thought() => {
                Failure::NoAnswer { tokens: self.thought_tokens() }
            }
            Ok(_) => Failure::NoLogProbs,
        }
    }

    /// The tokens of the thought in a reply without an answer.
    fn thought_tokens(&self) -> u32 {
        match self.usage.reasoning {
            0 => self.usage.decoded,
            tokens => tokens,
        }
    }

    fn finish(&self) -> Result<Finish, Failure> {
        match self.finish.as_str() {
            "stop" | "eos" | "eos_token" | "stop_sequence" | "end_turn" if self.is_refusal => {
                Ok(Finish::Refusal)
            }
            "stop" | "eos" | "eos_token" | "stop_sequence" | "end_turn" => Ok(Finish::Stop),
            "length" | "max_tokens" => Ok(Finish::Length),
            "refusal" => Ok(Finish::Refusal),
            reason => Err(Failure::Incomplete { reason: reason.to_owned() }),
        }
    }
}

/// The parts of a message's content.
#[derive(Default)]
struct Parts {
    answer: String,
    thought: String,
    refusal: String,
}

impl Parts {
    /// Adds a content: a text, a block, or a list of them.
    fn add(&mut self, content: &Value) {
        match content {
            Value::String(text) => self.answer.push_str(text),
            Value::Array(blocks) => {
                for block in blocks {
                    self.add(block);
                }
            }
            Value::Object(block) => {
                let kind = block.get("type").and_then(Value::as_str).unwrap_or("text");
                match kind {
                    "text" | "output_text" => self.answer.push_str(&text_in(content)),
                    "thinking" | "reasoning" | "reasoning_text" => {
                        self.thought.push_str(&text_in(content));
                    }
                    "refusal" => self.refusal.push_str(&text_in(content)),
                    _ => {}
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }
}

/// The text of a block: a string, or further blocks.
fn text_in(value: &Value) -> String {
    const KEYS: [&str; 7] =
        ["text", "thinking", "reasoning", "content", "summary", "refusal", "value"];
    match value {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks.iter().map(text_in).collect(),
        Value::Object(block) => KEYS
            .iter()
            .find_map(|key| block.get(*key).filter(|part| !part.is_null()))
            .map(text_in)
            .unwrap_or_default(),
        Value::Null | Value::Bool(_) | Value::Number(_) => String::new(),
    }
}

/// The thought that a server reports beside the content.
fn separate_thought(message: &Value) -> Option<String> {
    let keys = ["reasoning_content", "reasoning", "thinking", "reasoning_details"];
    keys.iter().map(|key| text_in(&message[*key])).find(|text| !text.trim().is_empty())
}

fn usage(value: &Value) -> Usage {
    let prompt = count(&value["prompt_tokens"]);
    let reasoning = match count(&value["completion_tokens_details"]["reasoning_tokens"]) {
        0 => count(&value["reasoning_tokens"]),
        tokens => tokens,
    };
    Usage {
        prompt,
        cached: count(&value["prompt_tokens_details"]["cached_tokens"]).min(prompt),
        decoded: count(&value["completion_tokens"]),
        reasoning,
        ideal: None,
    }
}

/// More tokens than a reply can have.
const MAX_COUNT: f64 = 1e8;

/// A number of tokens; 0 if it is unknown or impossible.
fn count(value: &Value) -> u32 {
    // Some servers write counts as floats.
    match value.as_f64() {
        Some(count) if count < MAX_COUNT => count.round() as u32,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn choice(choice: Value) -> ServerReply {
        ServerReply::read(&json!({ "choices": [choice] }), false)
    }

    #[test]
    fn a_reply_becomes_a_completion() {
        let completion = ServerReply::read(
            &json!({
                "choices": [{"message": {"role": "assistant", "content": "Grüße 🐝"},
                             "finish_reason": "length", "logprobs": null}],
                "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17,
                          "prompt_tokens_details": {"cached_tokens": 8},
                          "completion_tokens_details": {"reasoning_tokens": 3}},
            }),
            false,
        )
        .completion();
        let usage = Usage { prompt: 12, cached: 8, decoded: 5, reasoning: 3, ideal: None };
        let text = "Grüße 🐝".to_owned();
        assert_eq!(
            completion,
            Ok(Completion { text, reasoning: None, finish: Finish::Length, usage })
        );
    }

    #[test]
    fn counts_are_read_or_unknown() {
        for (usage, prompt, decoded) in [
            (json!(null), 0, 0),
            (json!({"prompt_tokens": 12.0, "completion_tokens": null}), 12, 0),
            (json!({"prompt_tokens": "12", "completion_tokens": -1}), 0, 0),
            (json!({"prompt_tokens": 3, "prompt_tokens_details": null}), 3, 0),
            (json!({"prompt_tokens": 3, "completion_tokens": 1e30}), 3, 0),
        ] {
            let body = json!({"choices": [{"message": {"content": "Tea."}}], "usage": usage});
            let expected = Usage { prompt, decoded, ..Usage::default() };
            assert_eq!(ServerReply::read(&body, false).usage, expected, "{body}");
        }
    }

    #[test]
    fn thoughts_are_found_wherever_servers_put_them() {
        for message in [
            json!({"content": "Tea.", "reasoning_content": "Tea?"}),
            json!({"content": "Tea.", "reasoning": "\nTea?\n"}),
            json!({"content": "Tea.", "reasoning": "Tea?", "reasoning_content": "Tea?"}),
            json!({"content": "Tea.", "reasoning": null,
                   "reasoning_details": [{"type": "reasoning.text", "text": "Tea?"}]}),
            json!({"content": [{"type": "thinking", "thinking": "Tea?"},
                               {"type": "text", "text": "Tea."}]}),
            json!({"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "Tea?"}]},
                               {"type": "output_text", "text": "Te"}, "a."]}),
            json!({"content": "<think>Tea?</think>Tea."}),
        ] {
            let reply = choice(json!({"message": message, "finish_reason": "stop"}));
            assert_eq!((reply.thought.as_deref(), &*reply.answer), (Some("Tea?"), "Tea."));
        }
    }

    #[test]
    fn a_server_that_separates_thoughts_leaves_marks_to_the_answer() {
        let body = |message: Value| json!({"choices": [{"message": message}]});
        let content = "The tag </think> closes it.";
        let reply = ServerReply::read(&body(json!({"content": content, "reasoning": "Hm."})), true);
        assert_eq!((reply.thought.as_deref(), &*reply.answer), (Some("Hm."), content));
        let reply = ServerReply::read(&body(json!({"content": content})), true);
        assert_eq!((reply.thought.as_deref(), &*reply.answer), (Some("The tag"), "closes it."));
    }

    #[test]
    fn errors_in_a_body_are_found() {
        for (body, status, message) in [
            (json!({"error": {"message": "busy", "code": 429}}), Some(429), "busy"),
            (json!({"error": {"message": "busy", "code": "502"}}), Some(502), "busy"),
            (
                json!({"error": {"message": "slow", "code": "rate_limit_exceeded"}}),
                Some(429),
                "slow",
            ),
            (json!({"choices": null, "error": {"code": 502}}), Some(502), r#"{"code":502}"#),
            (json!({"error": "no model"}), None, "no model"),
            (json!({"object": "error", "message": "bad", "code": 400}), Some(400), "bad"),
            (json!({"choices": [{"error": {"message": "gone", "code": 503}}]}), Some(503), "gone"),
        ] {
            let error = error_in(&body).unwrap();
            assert_eq!((error.status, &*error.message), (status, message));
        }
        for body in [json!({}), json!([]), json!({"error": null}), json!({"choices": [{}]})] {
            assert_eq!(error_in(&body), None);
        }
    }
}

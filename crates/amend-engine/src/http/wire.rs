//! The requests to a server and its responses: the OpenAI API, and the extensions of
//! servers for open models.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use amend_core::chat::{Message, Role};
use amend_core::model::{Completion, Finish, Sampling, Usage};
use amend_core::random::Stream;
use amend_core::stats::log_sum_exp;

/// How many of the most likely tokens to request: the maximum that the API allows.
const TOP_LOGPROBS: u32 = 20;

/// Which extensions of the API a server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// llama.cpp's own server.
    LlamaServer,
    /// vLLM and SGLang.
    Vllm,
    /// Any other server: only extensions with a non-neutral value are sent.
    Other,
}

impl Dialect {
    /// The dialect of a server, from the owner in its list of models.
    #[must_use]
    pub fn from_owner(owned_by: Option<&str>) -> Self {
        match owned_by {
            Some("llamacpp") => Self::LlamaServer,
            Some("vllm" | "sglang") => Self::Vllm,
            _ => Self::Other,
        }
    }
}

/// The body of a request. `None` fields are not sent.
#[derive(Debug, Serialize)]
pub struct Body<'a> {
    model: &'a str,
    messages: &'a [Message],
    temperature: f32,
    top_p: f32,
    max_tokens: u32,
    seed: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    min_p: Option<f32>,
    /// The repeat penalty in llama.cpp, over the last `repeat_last_n` tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat_last_n: Option<u32>,
    /// The repeat penalty in other servers, over all tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_eos: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_prompt: Option<bool>,
    /// Continue the final assistant turn; llama-server always does.
    #[serde(skip_serializing_if = "Option::is_none")]
    continue_final_message: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    add_generation_prompt: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprobs: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_logprobs: Option<u32>,
}

impl<'a> Body<'a> {
    /// A request for a completion.
    ///
    /// A server with a known dialect gets every setting, because its defaults may not
    /// be neutral. Other servers get only the settings that are not neutral.
    pub fn complete(
        dialect: Dialect,
        model: &'a str,
        messages: &'a [Message],
        sampling: &Sampling,
        stream: Stream,
        ignore_eos: bool,
    ) -> Self {
        let known = dialect != Dialect::Other;
        let top_k = match (sampling.top_k, dialect) {
            (0, Dialect::Vllm) => -1,
            (top_k, _) => i64::from(top_k),
        };
        let penalty = Some(sampling.repeat_penalty).filter(|&penalty| known || penalty != 1.0);
        let has_beginning = messages.last().is_some_and(|turn| turn.role == Role::Assistant);
        let continues = has_beginning && dialect == Dialect::Vllm;
        let is_llama = dialect == Dialect::LlamaServer;
        Self {
            model,
            messages,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            max_tokens: sampling.max_tokens,
            // 31 bits: some servers expect a signed number, and for llama.cpp the
            // largest unsigned one means a random seed.
            seed: (stream.bits(0) >> 33) as u32,
            top_k: (known || sampling.top_k != 0).then_some(top_k),
            min_p: Some(sampling.min_p).filter(|&min_p| known || min_p != 0.0),
            repeat_penalty: penalty.filter(|_| is_llama),
            repeat_last_n: is_llama.then_some(sampling.repeat_last_n),
            repetition_penalty: penalty.filter(|_| !is_llama),
            ignore_eos: ignore_eos.then_some(true),
            cache_prompt: is_llama.then_some(true),
            continue_final_message: continues.then_some(true),
            add_generation_prompt: continues.then_some(false),
            logprobs: None,
            top_logprobs: None,
        }
    }

    /// A request for the most likely first tokens of a response, with their
    /// unmodified probabilities.
    pub fn choose(dialect: Dialect, model: &'a str, messages: &'a [Message]) -> Self {
        let plain = Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last_n: 0,
            max_tokens: 1,
            ..Sampling::default()
        };
        Self {
            logprobs: Some(true),
            top_logprobs: Some(TOP_LOGPROBS),
            ..Self::complete(dialect, model, messages, &plain, Stream::new(0), false)
        }
    }

    /// The body as JSON.
    ///
    /// # Errors
    /// A number can't be written as JSON.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// The parts of a response that are read.
#[derive(Debug, Deserialize)]
pub struct ServerReply {
    choices: Vec<Choice>,
    #[serde(default)]
    usage: Option<UsageForm>,
}

#[derive(Debug, Deserialize)]
struct Choice {
    message: Text,
    #[serde(default)]
    finish_reason: Option<String>,
    #[serde(default)]
    logprobs: Option<LogProbs>,
}

#[derive(Debug, Deserialize)]
struct Text {
    #[serde(default)]
    content: Option<String>,
}

#[derive(Debug, Deserialize)]
struct LogProbs {
    #[serde(default)]
    content: Option<Vec<Position>>,
}

#[derive(Debug, Deserialize)]
struct Position {
    #[serde(default)]
    top_logprobs: Vec<Likely>,
}

#[derive(Debug, Deserialize)]
struct Likely {
    token: String,
    logprob: f64,
}

#[derive(Debug, Deserialize)]
struct UsageForm {
    #[serde(default)]
    prompt_tokens: u32,
    #[serde(default)]
    completion_tokens: u32,
    #[serde(default)]
    prompt_tokens_details: Option<Details>,
}

#[derive(Debug, Deserialize)]
struct Details {
    #[serde(default)]
    cached_tokens: Option<u32>,
}

impl ServerReply {
    /// Reads a response.
    ///
    /// # Errors
    /// Describes what is missing or of the wrong type.
    pub fn read(value: Value) -> Result<Self, String> {
        let response: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        if response.choices.is_empty() {
            return Err("it has no choices".to_owned());
        }
        Ok(response)
    }

    /// The token counts of the server; zeros if it reports none.
    pub fn usage(&self) -> Usage {
        let Some(usage) = &self.usage else { return Usage::default() };
        let cached = usage.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens);
        Usage {
            prompt: usage.prompt_tokens,
            cached: cached.unwrap_or(0).min(usage.prompt_tokens),
            decoded: usage.completion_tokens,
            reasoning: 0,
            ideal: None,
        }
    }

    /// The response as a completion.
    pub fn into_completion(mut self) -> Completion {
        let usage = self.usage();
        let choice = self.choices.swap_remove(0);
        let finish = match choice.finish_reason.as_deref() {
            Some("length") => Finish::Length,
            _ => Finish::Stop,
        };
        Completion {
            text: choice.message.content.unwrap_or_default(),
            reasoning: None,
            finish,
            usage,
        }
    }

    /// The natural logarithm of each choice's probability, summed over the spellings
    /// that are among the most likely tokens. If none is among them, the logarithm of
    /// the least likely reported token, which is an upper bound. `None` if the server
    /// reports no probabilities.
    pub fn log_probs(&self, choices: &[Vec<String>]) -> Option<Vec<f64>> {
        let likely =
            &self.choices.first()?.logprobs.as_ref()?.content.as_ref()?.first()?.top_logprobs;
        let least = likely.iter().map(|token| token.logprob).reduce(f64::min)?;
        let log_prob = |spellings: &Vec<String>| {
            let tokens = likely.iter().filter(|token| spellings.contains(&token.token));
            log_sum_exp(tokens.map(|token| token.logprob)).unwrap_or(least)
        };
        Some(choices.iter().map(log_prob).collect())
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use amend_core::chat::Role;

    fn body(dialect: Dialect, sampling: &Sampling, ignore_eos: bool) -> Value {
        let messages = [Message::new(Role::User, "Why?")];
        let stream = Stream::new(4);
        let body = Body::complete(dialect, "tiny", &messages, sampling, stream, ignore_eos);
        let mut value: Value = serde_json::from_str(&body.to_json().unwrap()).unwrap();
        let map = value.as_object_mut().unwrap();
        // The seed is the same in all cases.
        let seed = map.remove("seed").unwrap().as_u64().unwrap();
        assert_eq!(seed, stream.bits(0) >> 33);
        value
    }

    #[test]
    fn each_dialect_gets_its_extensions() {
        let neutral = Sampling {
            temperature: 0.5,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            max_tokens: 9,
            ..Sampling::default()
        };
        let set = Sampling { top_k: 40, min_p: 0.25, repeat_penalty: 1.5, ..neutral.clone() };
        let plain = json!({
            "model": "tiny",
            "messages": [{"role": "user", "content": "Why?"}],
            "temperature": 0.5,
            "top_p": 1.0,
            "max_tokens": 9,
        });
        for (dialect, sampling, ignore_eos, extensions) in [
            (Dialect::Other, &neutral, false, json!({})),
            (Dialect::Other, &neutral, true, json!({"ignore_eos": true})),
            (
                Dialect::Other,
                &set,
                false,
                json!({"top_k": 40, "min_p": 0.25, "repetition_penalty": 1.5}),
            ),
            (
                Dialect::Vllm,
                &neutral,
                false,
                json!({"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0}),
            ),
            (
                Dialect::LlamaServer,
                &set,
                true,
                json!({"top_k": 40, "min_p": 0.25, "repeat_penalty": 1.5, "repeat_last_n": 64,
                       "ignore_eos": true, "cache_prompt": true}),
            ),
            (
                Dialect::LlamaServer,
                &neutral,
                false,
                json!({"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "repeat_last_n": 64,
                       "cache_prompt": true}),
            ),
        ] {
            let mut expected = plain.clone();
            for (key, value) in extensions.as_object().unwrap() {
                expected[key] = value.clone();
            }
            assert_eq!(body(dialect, sampling, ignore_eos), expected);
        }
    }

    #[test]
    fn a_choice_requests_one_token_with_unmodified_probabilities() {
        let messages = [Message::new(Role::User, "A or B?")];
        let body = Body::choose(Dialect::Other, "tiny", &messages).to_json().unwrap();
        let value: Value = serde_json::from_str(&body).unwrap();
        let field = |key: &str| value[key].clone();
        assert_eq!(
            ["max_tokens", "logprobs", "top_logprobs", "temperature", "top_p"].map(field),
            [json!(1), json!(true), json!(20), json!(1.0), json!(1.0)]
        );
    }

    #[test]
    fn vllm_continues_a_final_assistant_turn() {
        let messages =
            [Message::new(Role::User, "A or B?"), Message::new(Role::Assistant, "Answer:")];
        let flags = |dialect, messages: &[Message]| {
            let body = Body::choose(dialect, "tiny", messages).to_json().unwrap();
            let value: Value = serde_json::from_str(&body).unwrap();
            [value["continue_final_message"].clone(), value["add_generation_prompt"].clone()]
        };
        assert_eq!(flags(Dialect::Vllm, &messages), [json!(true), json!(false)]);
        assert_eq!(flags(Dialect::Vllm, &messages[..1]), [json!(null), json!(null)]);
        assert_eq!(flags(Dialect::LlamaServer, &messages), [json!(null), json!(null)]);
    }

    fn response(value: Value) -> ServerReply {
        ServerReply::read(value).unwrap()
    }

    #[test]
    fn a_response_becomes_a_completion() {
        let completion = response(json!({
            "choices": [{"message": {"role": "assistant", "content": "Grüße 🐝"},
                         "finish_reason": "length", "logprobs": null}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17,
                      "prompt_tokens_details": {"cached_tokens": 8}},
        }))
        .into_completion();
        let usage = Usage { prompt: 12, cached: 8, decoded: 5, ..Usage::default() };
        let text = "Grüße 🐝".to_owned();
        assert_eq!(completion, Completion { text, reasoning: None, finish: Finish::Length, usage });
        // The minimum that servers send.
        let least = response(json!({"choices": [{"message": {"content": null}}]}));
        assert_eq!(
            least.into_completion(),
            Completion {
                text: String::new(),
                reasoning: None,
                finish: Finish::Stop,
                usage: Usage::default()
            }
        );
    }

    #[test]
    fn malformed_responses_are_rejected() {
        for value in [json!({}), json!([]), json!({"choices": []}), json!({"choices": [{}]})] {
            assert!(ServerReply::read(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn probabilities_are_summed_over_spellings() {
        let with_logprobs = |logprobs: Value| {
            response(json!({"choices": [{"message": {"content": "A"}, "logprobs": logprobs}]}))
        };
        let choices = |words: &[&[&str]]| -> Vec<Vec<String>> {
            words
                .iter()
                .map(|word| word.iter().map(|&spelling| spelling.to_owned()).collect())
                .collect()
        };
        let response =
            with_logprobs(json!({"content": [{"token": "A", "logprob": -0.5, "top_logprobs": [
                {"token": "A", "logprob": 0.5_f64.ln()},
                {"token": " A", "logprob": 0.25_f64.ln()},
                {"token": "B", "logprob": 0.125_f64.ln()},
                {"token": "The", "logprob": 0.0625_f64.ln()},
            ]}]}));
        let log_probs =
            response.log_probs(&choices(&[&["A", " A"], &["B", " B"], &["C", " C"]])).unwrap();
        // C is not reported: it is at most as likely as the last token.
        for (log_prob, p) in log_probs.iter().zip([0.75_f64, 0.125, 0.0625]) {
            assert!((log_prob - p.ln()).abs() < 1e-12, "{log_prob} {p}");
        }
        for logprobs in [
            json!(null),
            json!({"content": null}),
            json!({"content": []}),
            json!({"content": [{"token": "A", "logprob": -0.1}]}),
        ] {
            assert_eq!(with_logprobs(logprobs).log_probs(&choices(&[&["A"]])), None);
        }
    }
}

//! What is sent to a server and what comes back, in the words of the OpenAI
//! API and in the further ones that servers of open models know.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use amend_core::chat::{Message, Role};
use amend_core::model::{Completion, Finish, Sampling, Usage};
use amend_core::random::Stream;

/// How many of the likeliest tokens a server is asked to tell: the most that
/// the API grants.
const TOP: u32 = 20;

/// Which further words a server knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// llama.cpp's own server.
    LlamaServer,
    /// vLLM and SGLang.
    Vllm,
    /// Any other: it is told nothing that it need not know.
    Other,
}

impl Dialect {
    /// The dialect of a server, by who it says owns its models.
    #[must_use]
    pub fn of(owned_by: Option<&str>) -> Self {
        match owned_by {
            Some("llamacpp") => Self::LlamaServer,
            Some("vllm" | "sglang") => Self::Vllm,
            _ => Self::Other,
        }
    }
}

/// A request. What is none is not sent.
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
    /// llama.cpp's name of it, over the last so many tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repeat_last_n: Option<u32>,
    /// The others' name of it, over all tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    repetition_penalty: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    ignore_eos: Option<bool>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cache_prompt: Option<bool>,
    /// Go on from the assistant's turn at the end; llama-server does so unasked.
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
    /// Asks for an answer.
    ///
    /// A server known by its dialect is told every value, since its own default
    /// need not be the neutral one; another is told those that are not neutral.
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
        let begun = messages.last().is_some_and(|turn| turn.role == Role::Assistant);
        let goes_on = begun && dialect == Dialect::Vllm;
        let of_llama = dialect == Dialect::LlamaServer;
        Self {
            model,
            messages,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            max_tokens: sampling.max_tokens,
            // 31 bits: some servers take a signed number, and llama.cpp takes
            // the largest unsigned one for "any".
            seed: (stream.bits(0) >> 33) as u32,
            top_k: (known || sampling.top_k != 0).then_some(top_k),
            min_p: Some(sampling.min_p).filter(|&min_p| known || min_p != 0.0),
            repeat_penalty: penalty.filter(|_| of_llama),
            repeat_last_n: of_llama.then_some(sampling.repeat_last_n),
            repetition_penalty: penalty.filter(|_| !of_llama),
            ignore_eos: ignore_eos.then_some(true),
            cache_prompt: of_llama.then_some(true),
            continue_final_message: goes_on.then_some(true),
            add_generation_prompt: goes_on.then_some(false),
            logprobs: None,
            top_logprobs: None,
        }
    }

    /// Asks for the likeliest first tokens of an answer, with nothing done to
    /// their probabilities.
    pub fn choose(dialect: Dialect, model: &'a str, messages: &'a [Message]) -> Self {
        let plain = Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last_n: 0,
            max_tokens: 1,
        };
        Self {
            logprobs: Some(true),
            top_logprobs: Some(TOP),
            ..Self::complete(dialect, model, messages, &plain, Stream::new(0), false)
        }
    }

    /// The body's text.
    ///
    /// # Errors
    /// A number that JSON can't write.
    pub fn to_json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string(self)
    }
}

/// An answer: what is read of it.
#[derive(Debug, Deserialize)]
pub struct Answer {
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

impl Answer {
    /// Reads an answer.
    ///
    /// # Errors
    /// What of it is not as it should be.
    pub fn read(value: Value) -> Result<Self, String> {
        let answer: Self = serde_json::from_value(value).map_err(|error| error.to_string())?;
        if answer.choices.is_empty() { Err("it has no choices".to_owned()) } else { Ok(answer) }
    }

    /// Tokens the server counted; zeros where it counts none.
    pub fn usage(&self) -> Usage {
        let Some(usage) = &self.usage else { return Usage::default() };
        let cached = usage.prompt_tokens_details.as_ref().and_then(|details| details.cached_tokens);
        Usage {
            prompt: usage.prompt_tokens,
            cached: cached.unwrap_or(0).min(usage.prompt_tokens),
            decoded: usage.completion_tokens,
            ideal: None,
        }
    }

    /// The answer as a completion.
    pub fn into_completion(mut self) -> Completion {
        let usage = self.usage();
        let choice = self.choices.swap_remove(0);
        let finish = match choice.finish_reason.as_deref() {
            Some("length") => Finish::Length,
            _ => Finish::Stop,
        };
        Completion { text: choice.message.content.unwrap_or_default(), finish, usage }
    }

    /// For each choice the natural logarithm of its probability, summed over
    /// the spellings that are among the likeliest tokens; where none is, the
    /// logarithm of the least likely one told, which is as much as it can be.
    /// None where the server tells no probabilities.
    pub fn log_probs(&self, choices: &[Vec<String>]) -> Option<Vec<f64>> {
        let likely =
            &self.choices.first()?.logprobs.as_ref()?.content.as_ref()?.first()?.top_logprobs;
        let least = likely.iter().map(|one| one.logprob).reduce(f64::min)?;
        let of = |spellings: &Vec<String>| {
            let found = likely.iter().filter(|one| spellings.contains(&one.token));
            log_sum_exp(found.map(|one| one.logprob)).unwrap_or(least)
        };
        Some(choices.iter().map(of).collect())
    }
}

/// ln Σ exp(x); none of nothing.
fn log_sum_exp(terms: impl Iterator<Item = f64> + Clone) -> Option<f64> {
    let max = terms.clone().reduce(f64::max)?;
    Some(max + terms.map(|term| (term - max).exp()).sum::<f64>().ln())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use amend_core::chat::Role;

    fn sent(dialect: Dialect, sampling: &Sampling, ignore_eos: bool) -> Value {
        let messages = [Message::new(Role::User, "Why?")];
        let stream = Stream::new(4);
        let body = Body::complete(dialect, "tiny", &messages, sampling, stream, ignore_eos);
        let mut value: Value = serde_json::from_str(&body.to_json().unwrap()).unwrap();
        let map = value.as_object_mut().unwrap();
        // Checked below; it is the same in all.
        let seed = map.remove("seed").unwrap().as_u64().unwrap();
        assert_eq!(seed, stream.bits(0) >> 33);
        value
    }

    #[test]
    fn each_server_is_told_in_its_words() {
        let neutral = Sampling {
            temperature: 0.5,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            max_tokens: 9,
        };
        let set = Sampling { top_k: 40, min_p: 0.25, repeat_penalty: 1.5, ..neutral.clone() };
        let plain = json!({
            "model": "tiny",
            "messages": [{"role": "user", "content": "Why?"}],
            "temperature": 0.5,
            "top_p": 1.0,
            "max_tokens": 9,
        });
        for (dialect, sampling, ignore_eos, further) in [
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
            for (key, value) in further.as_object().unwrap() {
                expected[key] = value.clone();
            }
            assert_eq!(sent(dialect, sampling, ignore_eos), expected);
        }
    }

    #[test]
    fn a_choice_asks_for_one_token_as_the_model_has_it() {
        let messages = [Message::new(Role::User, "A or B?")];
        let body = Body::choose(Dialect::Other, "tiny", &messages).to_json().unwrap();
        let value: Value = serde_json::from_str(&body).unwrap();
        let told = |key: &str| value[key].clone();
        assert_eq!(
            ["max_tokens", "logprobs", "top_logprobs", "temperature", "top_p"].map(told),
            [json!(1), json!(true), json!(20), json!(1.0), json!(1.0)]
        );
    }

    #[test]
    fn a_reply_that_is_begun_is_gone_on_from() {
        let messages =
            [Message::new(Role::User, "A or B?"), Message::new(Role::Assistant, "Answer:")];
        let sent = |dialect, messages: &[Message]| {
            let body = Body::choose(dialect, "tiny", messages).to_json().unwrap();
            let value: Value = serde_json::from_str(&body).unwrap();
            [value["continue_final_message"].clone(), value["add_generation_prompt"].clone()]
        };
        assert_eq!(sent(Dialect::Vllm, &messages), [json!(true), json!(false)]);
        assert_eq!(sent(Dialect::Vllm, &messages[..1]), [json!(null), json!(null)]);
        assert_eq!(sent(Dialect::LlamaServer, &messages), [json!(null), json!(null)]);
    }

    fn answer(value: Value) -> Answer {
        Answer::read(value).unwrap()
    }

    #[test]
    fn an_answer_becomes_a_completion() {
        let completion = answer(json!({
            "choices": [{"message": {"role": "assistant", "content": "Grüße 🐝"},
                         "finish_reason": "length", "logprobs": null}],
            "usage": {"prompt_tokens": 12, "completion_tokens": 5, "total_tokens": 17,
                      "prompt_tokens_details": {"cached_tokens": 8}},
        }))
        .into_completion();
        let usage = Usage { prompt: 12, cached: 8, decoded: 5, ideal: None };
        let text = "Grüße 🐝".to_owned();
        assert_eq!(completion, Completion { text, finish: Finish::Length, usage });
        // The least that servers give.
        let least = answer(json!({"choices": [{"message": {"content": null}}]}));
        assert_eq!(
            least.into_completion(),
            Completion { text: String::new(), finish: Finish::Stop, usage: Usage::default() }
        );
    }

    #[test]
    fn an_answer_of_another_form_is_refused() {
        for value in [json!({}), json!([]), json!({"choices": []}), json!({"choices": [{}]})] {
            assert!(Answer::read(value.clone()).is_err(), "{value}");
        }
    }

    #[test]
    fn probabilities_are_summed_over_spellings() {
        let answer = |logprobs: Value| {
            answer(json!({"choices": [{"message": {"content": "A"}, "logprobs": logprobs}]}))
        };
        let choices = |words: &[&[&str]]| -> Vec<Vec<String>> {
            words.iter().map(|word| word.iter().map(|&one| one.to_owned()).collect()).collect()
        };
        let told = answer(json!({"content": [{"token": "A", "logprob": -0.5, "top_logprobs": [
            {"token": "A", "logprob": 0.5_f64.ln()},
            {"token": " A", "logprob": 0.25_f64.ln()},
            {"token": "B", "logprob": 0.125_f64.ln()},
            {"token": "The", "logprob": 0.0625_f64.ln()},
        ]}]}));
        let found = told.log_probs(&choices(&[&["A", " A"], &["B", " B"], &["C", " C"]])).unwrap();
        // C is nowhere: at most as likely as the last.
        for (found, p) in found.iter().zip([0.75_f64, 0.125, 0.0625]) {
            assert!((found - p.ln()).abs() < 1e-12, "{found} {p}");
        }
        for silent in [
            json!(null),
            json!({"content": null}),
            json!({"content": []}),
            json!({"content": [{"token": "A", "logprob": -0.1}]}),
        ] {
            assert_eq!(answer(silent).log_probs(&choices(&[&["A"]])), None);
        }
    }
}

//! The bodies of requests.

use serde_json::{Map, Value, json};

use crate::http::dialect::{Dialect, SwitchField, is_budget};
use crate::http::profile::{ChoiceWay, Profile};
use amend_core::chat::{Message, Reasoning, ReasoningMode, Role};
use amend_core::model::Sampling;
use amend_core::random::Stream;

/// The tokens of an answer that is short, or not needed.
pub const FEW_TOKENS: u32 = 16;

/// The body of a request.
pub type Body = Map<String, Value>;

/// Writes requests to a model of a server.
#[derive(Debug, Clone, Copy)]
pub struct RequestWriter<'a> {
    /// The kind of server.
    pub dialect: Dialect,
    /// The model's name.
    pub model: &'a str,
    /// What is known about the server.
    pub profile: &'a Profile,
}

impl RequestWriter<'_> {
    /// A request for a completion, or for the thought before it alone.
    pub fn complete(
        &self,
        turns: &[Message],
        sampling: &Sampling,
        stream: Stream,
        thought_only: bool,
    ) -> Body {
        let reasoning = &sampling.reasoning;
        let thinks = thought_only || self.profile.thinks(reasoning);
        let answer = if thought_only { FEW_TOKENS } else { sampling.max_tokens };
        let mut body = self.sampled(turns, sampling, stream);
        self.limit(&mut body, answer, thinks, reasoning);
        body.extend(self.thinking(thinks, reasoning));
        self.finish(body, turns)
    }

    /// A request for the most likely tokens at the beginning of an answer, with their
    /// unmodified probabilities.
    pub fn choose(
        &self,
        turns: &[Message],
        choices: &[Vec<String>],
        reasoning: &Reasoning,
    ) -> Body {
        let plain = Sampling {
            temperature: 1.0,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last_n: 0,
            ..Sampling::default()
        };
        let has_thought = turns.last().is_some_and(|turn| turn.reasoning.is_some());
        let way = self.profile.way;
        let (turns, answer, thinks) = match way {
            ChoiceWay::Begun | ChoiceWay::Continued | ChoiceWay::Unthinking => {
                (turns.to_vec(), 1, has_thought)
            }
            ChoiceWay::Label => {
                (ask_for_label(turns, choices), FEW_TOKENS, self.profile.thinks_anyway)
            }
        };
        let mut body = self.sampled(&turns, &plain, Stream::new(0));
        let skips_thought = way == ChoiceWay::Label && thinks;
        self.limit(&mut body, answer, skips_thought, reasoning);
        let mut thinking = self.thinking(thinks, reasoning);
        if !skips_thought {
            // The budget concerns thoughts that are still to be written.
            thinking.retain(|field, _| !is_budget(field));
        }
        body.extend(thinking);
        match way {
            ChoiceWay::Unthinking => {
                for switch in [SwitchField::Template, SwitchField::Effort] {
                    body.extend(switch.without_thought(reasoning));
                }
            }
            ChoiceWay::Begun | ChoiceWay::Continued | ChoiceWay::Label => {}
        }
        body.insert("logprobs".into(), true.into());
        self.finish(body, &turns)
    }

    /// Makes the server continue a begun reply, and leaves out what it refuses.
    fn finish(&self, mut body: Body, turns: &[Message]) -> Body {
        let needs_continuing =
            self.dialect.needs_continuing() || self.profile.way == ChoiceWay::Continued;
        if is_begun(turns) && needs_continuing {
            body.extend(self.dialect.continuing());
        }
        self.profile.refused.apply(&mut body);
        body
    }

    fn thinking(&self, thinks: bool, reasoning: &Reasoning) -> Body {
        let switch = self.profile.switch;
        if thinks && reasoning.mode != ReasoningMode::Off {
            return self.dialect.with_thought(switch, reasoning);
        }
        let switch = match (switch, reasoning.mode) {
            // The user insists.
            (SwitchField::Unknown, ReasoningMode::Off) => SwitchField::Effort,
            (switch, _) => switch,
        };
        let mut fields = switch.without_thought(reasoning);
        if self.dialect == Dialect::LlamaServer && reasoning.mode == ReasoningMode::Off {
            // It closes the thought of a model that has no switch. The server ignores 0 if
            // the chat template has opened the thought.
            fields.insert("reasoning_budget_tokens".into(), 1.into());
        }
        fields
    }

    /// Limits the tokens of the reply: those of the answer, and of a thought before it.
    fn limit(&self, body: &mut Body, answer: u32, thinks: bool, reasoning: &Reasoning) {
        let thought = if thinks { reasoning.budget } else { 0 };
        body.insert("max_tokens".into(), answer.saturating_add(thought).into());
    }

    /// The turns and the sampling settings.
    ///
    /// A server whose settings are known gets every setting, because its defaults may not be
    /// neutral. Other servers get only the settings that are not neutral.
    fn sampled(&self, turns: &[Message], sampling: &Sampling, stream: Stream) -> Body {
        let dialect = self.dialect;
        let mut body = Body::new();
        let mut set = |name: &str, value: Value| drop(body.insert(name.to_owned(), value));
        set("model", self.model.into());
        set("messages", dialect.messages(turns));
        set("temperature", number(sampling.temperature));
        set("top_p", number(sampling.top_p));
        // 31 bits: some servers expect a signed number, and for llama.cpp the largest
        // unsigned one means a random seed.
        set("seed", json!((stream.bits(0) >> 33) as u32));
        let known = dialect.knows_sampling();
        if known || sampling.top_k != 0 {
            let all = match dialect {
                Dialect::Vllm | Dialect::Sglang => json!(-1),
                _ => json!(0),
            };
            set("top_k", if sampling.top_k == 0 { all } else { sampling.top_k.into() });
        }
        if known || sampling.min_p != 0.0 {
            set("min_p", number(sampling.min_p));
        }
        if dialect == Dialect::LlamaServer {
            set("repeat_penalty", number(sampling.repeat_penalty));
            set("repeat_last_n", sampling.repeat_last_n.into());
            set("cache_prompt", true.into());
        } else if known || sampling.repeat_penalty != 1.0 {
            set("repetition_penalty", number(sampling.repeat_penalty));
        }
        body
    }
}

/// Whether the last turn begins the reply.
fn is_begun(turns: &[Message]) -> bool {
    turns.last().is_some_and(|turn| turn.role == Role::Assistant)
}

/// A number with the digits that it is written with: 0.8 and not the double next to it.
fn number(value: f32) -> Value {
    json!(value.to_string().parse::<f64>().unwrap_or_default())
}

/// The turns with the beginning of the reply removed, and a request for the label alone.
fn ask_for_label(turns: &[Message], choices: &[Vec<String>]) -> Vec<Message> {
    let labels: Vec<&str> =
        choices.iter().filter_map(|spellings| spellings.first()).map(String::as_str).collect();
    let request = match labels.split_last() {
        Some((last, others)) if !others.is_empty() => {
            format!("Reply with {} or {last} and nothing else.", others.join(", "))
        }
        _ => "Reply with the label and nothing else.".to_owned(),
    };
    let mut turns = turns.to_vec();
    if is_begun(&turns) {
        turns.pop();
    }
    match turns.last_mut() {
        Some(last) if last.role == Role::User => {
            last.content.push_str("\n\n");
            last.content.push_str(&request);
        }
        _ => turns.push(Message::new(Role::User, request)),
    }
    turns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(dialect: Dialect, change: impl FnOnce(&mut Profile)) -> (Dialect, Profile) {
        let mut profile = Profile::new(dialect);
        change(&mut profile);
        (dialect, profile)
    }

    fn writer_for((dialect, profile): &(Dialect, Profile)) -> RequestWriter<'_> {
        RequestWriter { dialect: *dialect, model: "tiny", profile }
    }

    fn neutral() -> Sampling {
        Sampling {
            temperature: 0.5,
            top_k: 0,
            top_p: 1.0,
            min_p: 0.0,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            max_tokens: 9,
            ..Sampling::default()
        }
    }

    fn complete(server: &(Dialect, Profile), sampling: &Sampling, thought_only: bool) -> Body {
        let turns = [Message::new(Role::User, "Why?")];
        let stream = Stream::new(4);
        let mut body = writer_for(server).complete(&turns, sampling, stream, thought_only);
        // The seed is the same in all cases.
        let seed = body.shift_remove("seed").unwrap().as_u64().unwrap();
        assert_eq!(seed, stream.bits(0) >> 33);
        body
    }

    #[test]
    fn each_server_gets_its_sampling_settings() {
        let set = Sampling { top_k: 40, min_p: 0.25, repeat_penalty: 1.5, ..neutral() };
        let plain = json!({
            "model": "tiny",
            "messages": [{"role": "user", "content": "Why?"}],
            "temperature": 0.5,
            "top_p": 1.0,
            "max_tokens": 9,
        });
        let off = json!({"enable_thinking": false, "thinking": false});
        for (dialect, sampling, extensions) in [
            (Dialect::Other, &neutral(), json!({})),
            (Dialect::Other, &set, json!({"top_k": 40, "min_p": 0.25, "repetition_penalty": 1.5})),
            (
                Dialect::Vllm,
                &neutral(),
                json!({"top_k": -1, "min_p": 0.0, "repetition_penalty": 1.0,
                       "chat_template_kwargs": off}),
            ),
            (
                Dialect::LlamaServer,
                &set,
                json!({"top_k": 40, "min_p": 0.25, "repeat_penalty": 1.5, "repeat_last_n": 64,
                       "cache_prompt": true, "chat_template_kwargs": off}),
            ),
            (
                Dialect::LlamaServer,
                &neutral(),
                json!({"top_k": 0, "min_p": 0.0, "repeat_penalty": 1.0, "repeat_last_n": 64,
                       "cache_prompt": true, "chat_template_kwargs": off}),
            ),
        ] {
            let mut expected = plain.clone();
            for (key, value) in extensions.as_object().unwrap() {
                expected[key] = value.clone();
            }
            let body = complete(&ask(dialect, |_| {}), sampling, false);
            assert_eq!(Value::Object(body), expected);
        }
    }

    #[test]
    fn a_thought_has_its_budget_beside_the_answer() {
        let with = |mode| {
            let reasoning = Reasoning { mode, budget: 100, ..Reasoning::default() };
            Sampling { reasoning, ..neutral() }
        };
        let llama = |change: fn(&mut Profile)| ask(Dialect::LlamaServer, change);
        let field = |body: &Body, key: &str| body.get(key).cloned().unwrap_or_default();
        for (server, mode, thought_only, max_tokens, budget, thinks) in [
            (llama(|_| {}), ReasoningMode::Auto, false, 9, json!(null), false),
            (llama(|_| {}), ReasoningMode::Off, false, 9, json!(1), false),
            (llama(|_| {}), ReasoningMode::On, false, 109, json!(100), true),
            (llama(|_| {}), ReasoningMode::On, true, 116, json!(100), true),
            (
                llama(|it| it.thinks_anyway = true),
                ReasoningMode::Auto,
                false,
                109,
                json!(100),
                true,
            ),
            (llama(|it| it.thinks_anyway = true), ReasoningMode::Off, false, 109, json!(1), false),
        ] {
            let body = complete(&server, &with(mode), thought_only);
            assert_eq!(field(&body, "max_tokens"), json!(max_tokens), "{mode}");
            assert_eq!(field(&body, "reasoning_budget_tokens"), budget, "{mode}");
            assert_eq!(body["chat_template_kwargs"]["enable_thinking"], json!(thinks), "{mode}");
        }
        // A user who insists on no thought is heard by an unknown server.
        let other = ask(Dialect::Other, |_| {});
        let body = complete(&other, &with(ReasoningMode::Off), false);
        assert_eq!(field(&body, "reasoning_effort"), json!("none"));
    }

    fn choices() -> Vec<Vec<String>> {
        [["A", " A"], ["B", " B"]].map(|labels| labels.map(str::to_owned).to_vec()).to_vec()
    }

    fn begun() -> Vec<Message> {
        vec![Message::new(Role::User, "A or B?"), Message::new(Role::Assistant, "Answer:")]
    }

    #[test]
    fn a_choice_requests_one_token_with_unmodified_probabilities() {
        let server = ask(Dialect::Other, |_| {});
        let body = writer_for(&server).choose(&begun()[..1], &choices(), &Reasoning::default());
        let field = |key: &str| body[key].clone();
        assert_eq!(
            ["max_tokens", "logprobs", "top_logprobs", "temperature", "top_p"].map(field),
            [json!(1), json!(true), json!(20), json!(1.0), json!(1.0)]
        );
    }

    #[test]
    fn a_begun_reply_is_continued_in_the_words_of_the_server() {
        let server = |dialect, way| ask(dialect, |profile| profile.way = way);
        let flags = |server: &(Dialect, Profile), turns: &[Message]| {
            let body = writer_for(server).choose(turns, &choices(), &Reasoning::default());
            ["continue_final_message", "add_generation_prompt"]
                .map(|key| body.get(key).cloned().unwrap_or_default())
        };
        let none = [json!(null), json!(null)];
        for (dialect, way, expected) in [
            (Dialect::Vllm, ChoiceWay::Begun, [json!(true), json!(false)]),
            (Dialect::Sglang, ChoiceWay::Begun, [json!(true), json!(false)]),
            (Dialect::LlamaServer, ChoiceWay::Begun, none.clone()),
            (Dialect::LlamaServer, ChoiceWay::Continued, [json!("content"), json!(false)]),
            (Dialect::Other, ChoiceWay::Begun, none.clone()),
            (Dialect::Other, ChoiceWay::Continued, [json!(true), json!(false)]),
            (Dialect::Vllm, ChoiceWay::Label, none.clone()),
        ] {
            assert_eq!(flags(&server(dialect, way), &begun()), expected, "{dialect:?} {way:?}");
        }
        assert_eq!(flags(&server(Dialect::Vllm, ChoiceWay::Begun), &begun()[..1]), none);
    }

    #[test]
    fn a_thought_before_a_choice_is_sent_back() {
        let mut turns = begun();
        turns[1].reasoning = Some("A is shorter.".to_owned());
        let server = ask(Dialect::LlamaServer, |profile| profile.way = ChoiceWay::Continued);
        let reasoning = Reasoning { mode: ReasoningMode::On, ..Reasoning::default() };
        let body = writer_for(&server).choose(&turns, &choices(), &reasoning);
        assert_eq!(
            body["messages"][1],
            json!({"role": "assistant", "content": "Answer:", "reasoning_content": "A is shorter."})
        );
        assert_eq!(body["chat_template_kwargs"]["enable_thinking"], json!(true));
        assert_eq!((&body["max_tokens"], body.get("reasoning_budget_tokens")), (&json!(1), None));
    }

    #[test]
    fn thoughts_are_switched_off_in_every_way() {
        let server = ask(Dialect::Other, |profile| profile.way = ChoiceWay::Unthinking);
        let body = writer_for(&server).choose(&begun(), &choices(), &Reasoning::default());
        assert_eq!(body["reasoning_effort"], json!("none"));
        assert_eq!(body["chat_template_kwargs"]["enable_thinking"], json!(false));
    }

    #[test]
    fn a_label_is_asked_for_without_a_begun_reply() {
        let server = ask(Dialect::LlamaServer, |profile| {
            profile.way = ChoiceWay::Label;
            profile.thinks_anyway = true;
        });
        let reasoning = Reasoning { budget: 100, ..Reasoning::default() };
        let body = writer_for(&server).choose(&begun(), &choices(), &reasoning);
        assert_eq!(
            body["messages"],
            json!([{"role": "user", "content": "A or B?\n\nReply with A or B and nothing else."}])
        );
        assert_eq!(
            (&body["max_tokens"], &body["reasoning_budget_tokens"]),
            (&json!(116), &json!(100))
        );
    }
}

//! Which servers there are, and the words that each one knows.

use serde_json::{Map, Value, json};

use super::address::Address;
use amend_core::chat::{Message, Reasoning};

/// A kind of server, by the extensions of the API that it knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// llama.cpp's own server.
    LlamaServer,
    /// vLLM.
    Vllm,
    /// `SGLang`.
    Sglang,
    /// Ollama.
    Ollama,
    /// LM Studio.
    LmStudio,
    /// `OpenRouter`.
    OpenRouter,
    /// Any other server: only extensions with a value that is not neutral are sent.
    Other,
}

/// The field that switches thoughts off and on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SwitchField {
    /// `chat_template_kwargs`, with the variables of the chat templates.
    Template,
    /// `reasoning_effort`, which is `none` for off.
    Effort,
    /// The object `reasoning`.
    Object,
    /// None is known.
    Unknown,
}

impl SwitchField {
    /// The fields that ask for no thought.
    pub fn without_thought(self, reasoning: &Reasoning) -> Map<String, Value> {
        let mut fields = Map::new();
        switch_template(self, false, reasoning, &mut fields);
        match self {
            SwitchField::Effort => {
                fields.insert("reasoning_effort".into(), "none".into());
            }
            SwitchField::Object => {
                fields.insert("reasoning".into(), json!({"effort": "none"}));
            }
            SwitchField::Template | SwitchField::Unknown => {}
        }
        fields
    }
}

impl Dialect {
    /// The dialect of a server, from its address and the owner of its model.
    pub fn detect(address: &Address, owned_by: Option<&str>) -> Self {
        match owned_by {
            Some("llamacpp") => return Self::LlamaServer,
            Some("vllm") => return Self::Vllm,
            Some("sglang") => return Self::Sglang,
            Some("organization_owner" | "organization-owner") => return Self::LmStudio,
            // Ollama names the namespace of the model.
            Some("library") => return Self::Ollama,
            _ => {}
        }
        let uri = address.uri();
        match (uri.host(), uri.port_u16()) {
            (Some("openrouter.ai"), _) => Self::OpenRouter,
            (_, Some(11434)) => Self::Ollama,
            (_, Some(1234)) => Self::LmStudio,
            _ => Self::Other,
        }
    }

    /// The name of the server.
    pub fn name(self) -> &'static str {
        match self {
            Self::LlamaServer => "llama-server",
            Self::Vllm => "vLLM",
            Self::Sglang => "SGLang",
            Self::Ollama => "Ollama",
            Self::LmStudio => "LM Studio",
            Self::OpenRouter => "OpenRouter",
            Self::Other => "the server",
        }
    }

    /// Whether it is a server for open models whose sampling settings have known names.
    pub fn knows_sampling(self) -> bool {
        matches!(self, Self::LlamaServer | Self::Vllm | Self::Sglang)
    }

    /// The switch that it has for thoughts.
    pub fn switch(self) -> SwitchField {
        match self {
            Self::LlamaServer | Self::Vllm | Self::Sglang => SwitchField::Template,
            Self::Ollama | Self::LmStudio => SwitchField::Effort,
            Self::OpenRouter => SwitchField::Object,
            Self::Other => SwitchField::Unknown,
        }
    }

    /// The fields that ask for a thought of at most the budget.
    pub fn with_thought(self, switch: SwitchField, reasoning: &Reasoning) -> Map<String, Value> {
        let mut fields = Map::new();
        switch_template(switch, true, reasoning, &mut fields);
        let budget = reasoning.budget;
        if self == Self::OpenRouter {
            let object = match &reasoning.effort {
                Some(effort) => json!({ "effort": effort }),
                None => json!({ "max_tokens": budget }),
            };
            fields.insert("reasoning".into(), object);
            return fields;
        }
        if let Some(effort) = &reasoning.effort {
            fields.insert("reasoning_effort".into(), effort.clone().into());
        }
        let (name, budget) = match self {
            Self::LlamaServer => ("reasoning_budget_tokens", json!(budget)),
            Self::Vllm => ("thinking_token_budget", json!(budget)),
            Self::Sglang => ("custom_params", json!({ "thinking_budget": budget })),
            Self::Ollama | Self::LmStudio | Self::OpenRouter | Self::Other => return fields,
        };
        fields.insert(name.into(), budget);
        fields
    }

    /// The turns as the server reads them: thoughts have different names.
    pub fn messages(self, turns: &[Message]) -> Value {
        let message = |turn: &Message| {
            let mut message = json!(turn);
            let Some(fields) = message.as_object_mut() else { return message };
            let key = match self {
                Self::Vllm | Self::Ollama | Self::LmStudio | Self::OpenRouter => "reasoning",
                Self::LlamaServer | Self::Sglang | Self::Other => return message,
            };
            // Older versions of vLLM read the other name.
            let thought = match self {
                Self::Vllm => fields.get("reasoning_content").cloned(),
                _ => fields.shift_remove("reasoning_content"),
            };
            if let Some(thought) = thought {
                fields.insert(key.into(), thought);
            }
            message
        };
        turns.iter().map(message).collect()
    }

    /// The fields that make the server continue the last turn in every case.
    pub fn continuing(self) -> Map<String, Value> {
        let what = match self {
            Self::LlamaServer => json!("content"),
            _ => json!(true),
        };
        let mut fields = Map::new();
        fields.insert("continue_final_message".into(), what);
        fields.insert("add_generation_prompt".into(), false.into());
        fields
    }

    /// Whether the server starts a new turn after a begun reply unless the request has
    /// [`Dialect::continuing`].
    pub fn needs_continuing(self) -> bool {
        matches!(self, Self::Vllm | Self::Sglang)
    }

    /// How to start the server so that thoughts are separated from answers.
    pub fn how_to_separate_thoughts(self) -> &'static str {
        match self {
            Self::LlamaServer => {
                "start llama-server with --jinja and, if it has --skip-chat-parsing, with --special"
            }
            Self::Vllm => {
                "start vLLM with the --reasoning-parser of the model (openai_gptoss for gpt-oss)"
            }
            Self::Sglang => {
                "start SGLang with the --reasoning-parser of the model (gpt-oss for gpt-oss)"
            }
            Self::Ollama => "update Ollama, or use the model from its library",
            Self::LmStudio | Self::OpenRouter | Self::Other => {
                "switch on the server's parser of thoughts for this model"
            }
        }
    }

    /// What the server itself needs to report log-probabilities. `None` if nothing helps.
    pub fn how_to_get_logprobs(self) -> Option<&'static str> {
        match self {
            Self::Ollama => Some("update Ollama: versions before 0.12.11 report none"),
            Self::OpenRouter => Some("choose a model and provider that support `logprobs`"),
            Self::LlamaServer | Self::Vllm | Self::Sglang | Self::LmStudio | Self::Other => None,
        }
    }

    /// How to make the server continue a begun reply.
    pub fn how_to_continue(self) -> &'static str {
        match self {
            Self::LlamaServer => {
                "start llama-server with --reasoning off and without --no-prefill-assistant, or \
                 update it"
            }
            Self::Vllm | Self::Sglang => {
                "use a chat template that keeps the content of a final assistant turn as it is"
            }
            Self::Ollama | Self::LmStudio | Self::OpenRouter | Self::Other => {
                "judge with another server or a model file (--judge-model)"
            }
        }
    }

    /// How to make the server enforce the budget of a thought. `None` if it has no budgets.
    pub fn how_to_enforce_budget(self) -> Option<&'static str> {
        match self {
            Self::LlamaServer => Some(
                "start llama-server with a chat template that shows how the model marks its \
                 thoughts (--chat-template-file), use the model file itself (-m MODEL.gguf), or \
                 raise --reasoning-budget",
            ),
            Self::Vllm => Some(
                "start vLLM with --reasoning-parser, and with --reasoning-config if it asks for it",
            ),
            Self::Sglang => {
                Some("start SGLang with --reasoning-parser and --enable-strict-thinking")
            }
            Self::Ollama | Self::LmStudio | Self::OpenRouter | Self::Other => None,
        }
    }

    /// How to raise the length at which the server cuts prompts.
    pub fn how_to_raise_context(self) -> &'static str {
        match self {
            Self::Ollama => {
                "raise OLLAMA_CONTEXT_LENGTH, or num_ctx in the Modelfile, and restart Ollama"
            }
            Self::LmStudio => {
                "raise the context length of the loaded model, or set its overflow policy to stop \
                 at the limit"
            }
            Self::LlamaServer => "raise --ctx-size of llama-server",
            Self::Sglang => "raise --context-length, and leave out --allow-auto-truncate",
            Self::OpenRouter => "switch off the middle-out transform for this key",
            Self::Vllm | Self::Other => "raise the context length of the server",
        }
    }
}

/// Whether a field limits the length of a thought.
pub fn is_budget(field: &str) -> bool {
    matches!(field, "reasoning_budget_tokens" | "thinking_token_budget" | "custom_params")
}

/// Adds the variables of the chat template, if they switch thoughts or the user sets any.
fn switch_template(
    switch: SwitchField,
    thinks: bool,
    reasoning: &Reasoning,
    fields: &mut Map<String, Value>,
) {
    let mut variables = Map::new();
    if switch == SwitchField::Template {
        // Templates call it by one name or the other, and ignore the other.
        variables.insert("enable_thinking".into(), thinks.into());
        variables.insert("thinking".into(), thinks.into());
    }
    variables.extend(reasoning.chat_template_kwargs.clone());
    if !variables.is_empty() {
        fields.insert("chat_template_kwargs".into(), variables.into());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amend_core::chat::Role;

    #[test]
    fn servers_are_recognised() {
        for (address, owner, dialect) in [
            ("http://localhost:8080", Some("llamacpp"), Dialect::LlamaServer),
            ("http://localhost:8000", Some("vllm"), Dialect::Vllm),
            ("http://localhost:30000", Some("sglang"), Dialect::Sglang),
            ("http://localhost:11434", Some("library"), Dialect::Ollama),
            ("http://gpu.example", Some("library"), Dialect::Ollama),
            ("http://localhost:11434", Some("me"), Dialect::Ollama),
            ("http://localhost:1234", Some("organization_owner"), Dialect::LmStudio),
            ("https://openrouter.ai/api/v1", None, Dialect::OpenRouter),
            ("https://api.example/v1", Some("system"), Dialect::Other),
            ("https://api.example/v1", None, Dialect::Other),
        ] {
            assert_eq!(Dialect::detect(&address.parse().unwrap(), owner), dialect, "{address}");
        }
    }

    #[test]
    fn each_server_is_asked_for_thoughts_in_its_words() {
        let reasoning = Reasoning { budget: 64, ..Reasoning::default() };
        let eager = Reasoning { effort: Some("high".to_owned()), ..reasoning.clone() };
        let kwargs = |on: bool| json!({"enable_thinking": on, "thinking": on});
        for (dialect, off, on, with_effort) in [
            (
                Dialect::LlamaServer,
                json!({"chat_template_kwargs": kwargs(false)}),
                json!({"chat_template_kwargs": kwargs(true), "reasoning_budget_tokens": 64}),
                json!({"chat_template_kwargs": kwargs(true), "reasoning_budget_tokens": 64,
                       "reasoning_effort": "high"}),
            ),
            (
                Dialect::Vllm,
                json!({"chat_template_kwargs": kwargs(false)}),
                json!({"chat_template_kwargs": kwargs(true), "thinking_token_budget": 64}),
                json!({"chat_template_kwargs": kwargs(true), "thinking_token_budget": 64,
                       "reasoning_effort": "high"}),
            ),
            (
                Dialect::Sglang,
                json!({"chat_template_kwargs": kwargs(false)}),
                json!({"chat_template_kwargs": kwargs(true),
                       "custom_params": {"thinking_budget": 64}}),
                json!({"chat_template_kwargs": kwargs(true), "reasoning_effort": "high",
                       "custom_params": {"thinking_budget": 64}}),
            ),
            (
                Dialect::Ollama,
                json!({"reasoning_effort": "none"}),
                json!({}),
                json!({"reasoning_effort": "high"}),
            ),
            (
                Dialect::LmStudio,
                json!({"reasoning_effort": "none"}),
                json!({}),
                json!({"reasoning_effort": "high"}),
            ),
            (
                Dialect::OpenRouter,
                json!({"reasoning": {"effort": "none"}}),
                json!({"reasoning": {"max_tokens": 64}}),
                json!({"reasoning": {"effort": "high"}}),
            ),
            (Dialect::Other, json!({}), json!({}), json!({"reasoning_effort": "high"})),
        ] {
            let switch = dialect.switch();
            let fields = |map: Map<String, Value>| Value::Object(map);
            assert_eq!(fields(switch.without_thought(&eager)), off, "{dialect:?}");
            assert_eq!(fields(dialect.with_thought(switch, &reasoning)), on, "{dialect:?}");
            assert_eq!(fields(dialect.with_thought(switch, &eager)), with_effort, "{dialect:?}");
        }
    }

    #[test]
    fn variables_of_the_user_replace_those_of_the_switch() {
        let own = json!({"thinking": "yes", "preserve_thinking": true});
        let chat_template_kwargs = own.as_object().unwrap().clone();
        let reasoning = Reasoning { chat_template_kwargs, ..Reasoning::default() };
        let fields = |dialect: Dialect| dialect.switch().without_thought(&reasoning);
        assert_eq!(
            fields(Dialect::Vllm)["chat_template_kwargs"],
            json!({"enable_thinking": false, "thinking": "yes", "preserve_thinking": true})
        );
        assert_eq!(fields(Dialect::Other)["chat_template_kwargs"], own);
    }

    #[test]
    fn thoughts_of_turns_have_the_name_that_the_server_reads() {
        let thought =
            Message { reasoning: Some("Tea?".into()), ..Message::new(Role::Assistant, "Tea.") };
        let turns = [Message::new(Role::User, "Why?"), thought];
        for (dialect, keys) in [
            (Dialect::LlamaServer, json!({"reasoning_content": "Tea?"})),
            (Dialect::Sglang, json!({"reasoning_content": "Tea?"})),
            (Dialect::Vllm, json!({"reasoning_content": "Tea?", "reasoning": "Tea?"})),
            (Dialect::Ollama, json!({"reasoning": "Tea?"})),
        ] {
            let mut expected = json!({"role": "assistant", "content": "Tea."});
            for (key, value) in keys.as_object().unwrap() {
                expected[key] = value.clone();
            }
            let messages = json!([{"role": "user", "content": "Why?"}, expected]);
            assert_eq!(dialect.messages(&turns), messages, "{dialect:?}");
        }
    }
}

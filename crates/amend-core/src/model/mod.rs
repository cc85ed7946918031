//! Engines that run a model, behind one trait: requests go in, events come out.

mod probe;
mod prompt_tokens;
mod scripted;
mod vocabulary;

use serde::{Deserialize, Serialize};

use crate::chat::{Message, NextTurn, Reasoning};
use crate::random::Stream;

pub use probe::{ChoiceNeeds, ProbeError, ProbeNeeds};
pub use prompt_tokens::PromptTokens;
pub use scripted::Scripted;
pub use vocabulary::Vocabulary;

/// Identifies a request to an engine. The caller chooses it; it is unique among the
/// requests that have no result yet.
pub type RequestId = u64;

/// How to sample the next token, and when to stop.
///
/// Truncation order is llama.cpp's: repeat penalty, top-k, top-p, min-p, then
/// temperature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Sampling {
    /// Divides the logits; 0 always takes the most likely token (greedy).
    pub temperature: f32,
    /// Keeps the k most likely tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the smallest set of tokens whose probability reaches p; 1 keeps all.
    pub top_p: f32,
    /// Drops tokens below p times the probability of the most likely token; 0 keeps all.
    pub min_p: f32,
    /// Divides positive logits of recent tokens and multiplies negative ones; 1 changes nothing.
    pub repeat_penalty: f32,
    /// How many recent tokens the repeat penalty applies to, including those of the prompt.
    pub repeat_last_n: u32,
    /// The maximum number of tokens in the answer.
    pub max_tokens: u32,
    /// How the model thinks before it answers.
    #[serde(skip_serializing_if = "Reasoning::is_default")]
    pub reasoning: Reasoning,
}

impl Default for Sampling {
    fn default() -> Self {
        Self {
            temperature: 0.8,
            top_k: 40,
            top_p: 0.95,
            min_p: 0.05,
            repeat_penalty: 1.0,
            repeat_last_n: 64,
            max_tokens: 512,
            reasoning: Reasoning::default(),
        }
    }
}

/// One model call.
#[derive(Debug, Clone)]
pub struct Request {
    /// The caller's id for it.
    pub id: RequestId,
    /// The conversation to continue with an assistant turn. If the last turn is the
    /// assistant's, the response begins with it: its thought, if it has one, and its text.
    pub turns: Vec<Message>,
    /// How many leading turns are the same for every item of the run, so that they are
    /// worth keeping in the prefix cache after this request.
    pub shared_turns: usize,
    /// The completion whose text is the last assistant turn of `turns`: its decoded
    /// tokens are reused as a prefix. They are available to requests that are
    /// submitted before the next [`Engine::step`].
    pub continues: Option<RequestId>,
    /// The number of the item that the request is about. Requests with the same number have a
    /// prefix in common: an engine that has several caches uses the same one for them.
    pub item: u64,
    /// What to compute about the assistant turn.
    pub task: Task,
}

/// What to compute about the assistant turn that follows a conversation.
#[derive(Debug, Clone)]
pub enum Task {
    /// Decode its text.
    Complete {
        /// How to sample tokens.
        sampling: Sampling,
        /// The source of the random numbers: one per decoded position.
        stream: Stream,
        /// Decode up to `max_tokens` even past an end-of-text token (benchmarks).
        ignore_eos: bool,
        /// The text will repeat much of its prompt, so that prompt lookup pays off.
        /// Affects the speed, never the text.
        copies: bool,
        /// Decode only the thought before it, up to its end or its budget.
        thought_only: bool,
    },
    /// Compute the probability that its answer begins with each of some words: a thought is
    /// skipped. Decodes nothing.
    Choose {
        /// The spellings of each choice (`"A"`, `" A"`, …). Only those that are a
        /// single token of the vocabulary count.
        choices: Vec<Vec<String>>,
        /// The settings of the chat template.
        reasoning: Reasoning,
    },
    /// Compute the probability of a given text. Decodes nothing.
    Likelihood {
        /// The text. The token that ends the turn is not counted.
        response: String,
        /// The settings of the chat template.
        reasoning: Reasoning,
    },
}

impl Task {
    /// How the model thinks, and what its turn may begin with.
    #[must_use]
    pub fn reasoning(&self) -> (&Reasoning, NextTurn) {
        match self {
            Self::Complete { sampling, .. } => (&sampling.reasoning, NextTurn::Reply),
            Self::Choose { reasoning, .. } | Self::Likelihood { reasoning, .. } => {
                (reasoning, NextTurn::Answer)
            }
        }
    }
}

/// Why decoding ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model ended its turn.
    Stop,
    /// The text reached `max_tokens` and is cut off.
    Length,
    /// The server marked the text as a refusal.
    Refusal,
}

/// The result of a [`Task::Complete`].
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The answer, exactly as the model wrote it. Empty for a thought alone.
    pub text: String,
    /// What the model thought before the answer, if anything.
    pub reasoning: Option<String>,
    /// Why decoding ended.
    pub finish: Finish,
    /// Its token counts.
    pub usage: Usage,
}

/// Token counts of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens in the prompt.
    pub prompt: u32,
    /// Prompt tokens found in the prefix cache.
    pub cached: u32,
    /// Tokens decoded, including the end-of-text token and those of a thought.
    pub decoded: u32,
    /// The decoded tokens of the thought and of the marks around it.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub reasoning: u32,
    /// Prompt tokens that even an unlimited cache would have had to compute. `None` if
    /// they are not counted: see [`Engine::count_ideal`]. A sum covers the requests
    /// for which they were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ideal: Option<u32>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(count: &u32) -> bool {
    *count == 0
}

impl Usage {
    /// Prompt tokens that were computed because they were not in the cache.
    #[must_use]
    pub fn prefilled(self) -> u32 {
        self.prompt.saturating_sub(self.cached)
    }
}

impl std::ops::Add for Usage {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            prompt: self.prompt + other.prompt,
            cached: self.cached + other.cached,
            decoded: self.decoded + other.decoded,
            reasoning: self.reasoning + other.reasoning,
            ideal: match (self.ideal, other.ideal) {
                (Some(left), Some(right)) => Some(left + right),
                (left, right) => left.or(right),
            },
        }
    }
}

/// Why one request, and so one item, failed. Other items are not affected.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Failure {
    /// The prompt and the longest possible response don't fit in the context.
    #[error(
        "the step needs {needed} tokens of context (prompt {prompt} + {}), but only {available} are \
         available: {}shorten the prompt, or raise --ctx-size (up to the context length \
         that the model was trained for)",
        if *.thought > 0 { format!("thought {thought} + answer {answer}") } else { format!("answer {answer}") },
        match (*.thought, *.answer) {
            // A verdict is one token.
            (0, 0 | 1) => "",
            (0, _) => "lower --max-tokens, ",
            _ => "lower --reasoning-budget or --max-tokens, ",
        }
    )]
    ContextOverflow {
        /// Tokens of the prompt and the answer.
        needed: u32,
        /// Tokens in the prompt.
        prompt: u32,
        /// The maximum number of tokens in the thought and the marks around it.
        #[serde(default)]
        thought: u32,
        /// The maximum number of tokens in the answer.
        answer: u32,
        /// The maximum number of tokens in one sequence.
        available: u32,
    },
    /// The prompt template failed on this item's data.
    #[error("failed to render the prompt template: {message}")]
    Template {
        /// The template engine's message.
        message: String,
    },
    /// The model's chat template rejected the conversation.
    #[error("the model's chat template rejected the conversation: {message}")]
    ChatTemplate {
        /// The template's message.
        message: String,
    },
    /// Content would still become a control token after all measures against it.
    #[error("content would become the control token {token:?}")]
    ForgedToken {
        /// The token's text.
        token: String,
    },
    /// No spelling of a choice is a single token.
    #[error("none of {spellings:?} is a single token of this model's vocabulary")]
    NoSuchToken {
        /// The choice's spellings.
        spellings: Vec<String>,
    },
    /// The step returned an empty text.
    #[error("the {step} step returned no text")]
    Empty {
        /// The step's name.
        step: String,
    },
    /// The model thought and gave no answer.
    #[error(
        "the model thought{} and gave no answer: in a new run, pass --reasoning off, or raise \
         --reasoning-budget or --max-tokens if the thought was cut off",
        if *.tokens > 0 { format!(" for {tokens} tokens") } else { String::new() }
    )]
    NoAnswer {
        /// Tokens of the thought; 0 if the server does not report them.
        tokens: u32,
    },
    /// A thought was asked for. The model marks none, or the server returned none.
    #[error(
        "a thought was asked for, and the model gives none: pass --reasoning auto, or use a model that \
         thinks and, behind a server, a server that returns thoughts"
    )]
    CannotThink,
    /// The server ended the answer for a reason that makes it unusable.
    #[error("the server ended the answer with finish_reason {reason:?}")]
    Incomplete {
        /// The server's name for the reason.
        reason: String,
    },
    /// The logits contain NaN or infinite values.
    #[error("the model's logits are not finite")]
    NotFinite,
    /// llama.cpp failed to compute a batch.
    #[error("llama.cpp failed to decode: {message}")]
    Decode {
        /// The library's message.
        message: String,
    },
    /// The server rejected the request, or could not be reached.
    #[error("the endpoint failed: {message}")]
    Endpoint {
        /// What failed, and the server's message.
        message: String,
    },
    /// The server returned no log-probabilities.
    #[error(
        "the endpoint returns no log-probabilities (logprobs, top_logprobs): use a server that does \
         or a model file (GGUF), or disable judging (`enabled = false` in `[judge]`)"
    )]
    NoLogProbs,
    /// A server can't compute the probability of a given text.
    #[error("an endpoint can't compute the probability of a given text: use a model file (GGUF)")]
    CannotScore,
    /// A server does not report the tokens of a prompt before it computes them.
    #[error("the tokens of a prompt are not available from an endpoint")]
    TokensUnknown,
}

/// What an engine reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// More text of a completion.
    Text {
        /// The request.
        id: RequestId,
        /// The new text.
        text: String,
    },
    /// A [`Task::Complete`] is done.
    Done {
        /// The request.
        id: RequestId,
        /// Its result.
        completion: Completion,
    },
    /// A [`Task::Choose`] is done.
    Chosen {
        /// The request.
        id: RequestId,
        /// The natural logarithm of each choice's probability, summed over its
        /// spellings. Probabilities are those of the whole vocabulary.
        log_probs: Vec<f64>,
        /// Its token counts.
        usage: Usage,
    },
    /// A [`Task::Likelihood`] is done.
    Likelihood {
        /// The request.
        id: RequestId,
        /// The natural logarithm of each token's probability given all tokens before
        /// it, in order.
        log_probs: Vec<f64>,
        /// Its token counts. The tokens of the given text count as prompt.
        usage: Usage,
    },
    /// A request failed.
    Failed {
        /// The request.
        id: RequestId,
        /// Why it failed.
        failure: Failure,
    },
}

/// A failure of the engine itself: it can't compute any request.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// What failed, and on what. Does not repeat `source`.
    pub message: String,
    /// What the user can do about it.
    pub hint: Option<String>,
    /// The error of a library or of the operating system that caused this one.
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

impl EngineError {
    /// An error without a hint and without a cause.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None, source: None }
    }

    /// Adds what the user can do about the error.
    #[must_use]
    pub fn hinted(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    /// Adds the error that caused this one.
    #[must_use]
    pub fn caused_by(self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self { source: Some(source.into()), ..self }
    }
}

/// The prompt of a request, in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// The id and text of each token, in order.
    pub tokens: Vec<(i32, String)>,
    /// How many of them belong to the leading shared turns.
    pub shared: usize,
}

/// Counts over the lifetime of an engine, for progress, benchmarks and manifests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Prompt tokens computed.
    pub prefilled: u64,
    /// Prompt tokens found in the prefix cache.
    pub cached: u64,
    /// Tokens decoded.
    pub decoded: u64,
    /// Draft tokens of prompt lookup.
    pub drafted: u64,
    /// Draft tokens that were accepted.
    pub accepted: u64,
    /// Batches computed.
    pub batches: u64,
    /// Rows in those batches.
    pub rows: u64,
    /// Seconds spent computing batches.
    pub compute_seconds: f64,
}

impl std::ops::Add for Counters {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            prefilled: self.prefilled + other.prefilled,
            cached: self.cached + other.cached,
            decoded: self.decoded + other.decoded,
            batches: self.batches + other.batches,
            rows: self.rows + other.rows,
            drafted: self.drafted + other.drafted,
            accepted: self.accepted + other.accepted,
            compute_seconds: self.compute_seconds + other.compute_seconds,
        }
    }
}

/// What a kind of engine can do, known before a model is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Capabilities {
    /// It can compute the probability of a given text ([`Task::Likelihood`]).
    pub scores_texts: bool,
    /// It knows the tokens of a prompt before it computes them
    /// ([`PromptTokens::prepare`]).
    pub knows_tokens: bool,
    /// The same requests, submitted in the same order to a new engine, give the same
    /// results.
    pub is_deterministic: bool,
    /// It computes its batches in this process, so that their costs can be measured.
    pub measures_batches: bool,
}

/// Runs a model. One thread owns it and drives it by [`Engine::step`].
pub trait Engine: PromptTokens {
    /// What this engine can do.
    fn capabilities(&self) -> Capabilities;

    /// Describes the model and the engine's settings, for the manifest of a run.
    ///
    /// # Errors
    /// The model file can no longer be read.
    fn describe(&self) -> Result<Description, EngineError>;

    /// How many requests to keep in flight for full speed.
    fn width(&self) -> usize;

    /// The most tokens of a request, with its answer. `None` if it is not known.
    fn longest_request(&self) -> Option<u64> {
        None
    }

    /// From now on reports how many prompt tokens of each request an unlimited cache
    /// would have had to compute ([`Usage::ideal`]). Does nothing if the engine does
    /// not know its tokens.
    fn count_ideal(&mut self) {}

    /// Checks whether a [`Task::Choose`] among these choices is possible. An engine
    /// that does not know the vocabulary accepts all choices.
    ///
    /// # Errors
    /// [`Failure::NoSuchToken`] for the first choice that is not a single token.
    fn can_choose(&self, _choices: &[Vec<String>]) -> Result<(), Failure> {
        Ok(())
    }

    /// Asks for one of each kind of request that a run will make, before its first item, and
    /// adapts to what it learns. An engine that knows in advance what it can do does nothing.
    ///
    /// # Errors
    /// The engine can't do what the run needs.
    fn probe(&mut self, _needs: &ProbeNeeds) -> Result<(), ProbeError> {
        Ok(())
    }

    /// Queues a request. [`Engine::step`] reports its result.
    fn submit(&mut self, request: Request);

    /// Cancels a request and frees what it holds. Ignores unknown ids.
    fn cancel(&mut self, id: RequestId);

    /// Drops all state of earlier requests, so that later requests are computed as by a
    /// new engine. May only be called when no request is in flight.
    fn reset(&mut self);

    /// Computes one batch and appends its events to `events`. Returns false when
    /// nothing is left to do.
    ///
    /// # Errors
    /// Only errors that end the engine. A failed request is an event.
    fn step(&mut self, events: &mut Vec<Event>) -> Result<bool, EngineError>;

    /// The counts so far.
    fn counters(&self) -> Counters;

    /// What the engine has to say about its work at the end of a run, a line each.
    fn report(&self) -> Vec<String> {
        Vec::new()
    }
}

/// A model and an engine's settings, for the manifest of a run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The model. A run can only be resumed with the same one.
    pub model: serde_json::Value,
    /// Settings that affect speed or rounding, but not the task.
    pub settings: serde_json::Value,
}

//! What runs a model, behind one trait: requests go in, events come out.

mod scripted;
mod vocabulary;

use serde::{Deserialize, Serialize};

use crate::chat::Message;
use crate::random::Stream;

pub use scripted::Scripted;
pub use vocabulary::Vocabulary;

/// Names a request to an engine; chosen by the caller, unique while it lives.
pub type RequestId = u64;

/// How the next token is drawn, and when to stop.
///
/// Truncation order is llama.cpp's: repeat penalty, top-k, top-p, min-p, then
/// temperature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Sampling {
    /// Divides the logits; 0 takes the likeliest token always (greedy).
    pub temperature: f32,
    /// Keeps the k likeliest tokens; 0 keeps all.
    pub top_k: u32,
    /// Keeps the smallest set of tokens whose probability reaches p; 1 keeps all.
    pub top_p: f32,
    /// Drops tokens below p times the likeliest token's probability; 0 keeps all.
    pub min_p: f32,
    /// Divides positive logits of recent tokens (multiplies negative ones); 1 changes nothing.
    pub repeat_penalty: f32,
    /// How many recent tokens the repeat penalty looks at, those of the prompt included.
    pub repeat_last_n: u32,
    /// The most tokens one step may decode.
    pub max_tokens: u32,
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
        }
    }
}

/// One model call.
#[derive(Debug, Clone)]
pub struct Request {
    /// The caller's name for it.
    pub id: RequestId,
    /// The conversation to continue with an assistant turn. Where the last turn
    /// is the assistant's, that is what its reply begins with.
    pub turns: Vec<Message>,
    /// How many leading turns are the same for every item of the run: worth
    /// keeping in the prefix cache after this request.
    pub shared_turns: usize,
    /// The completion whose text stands as the last assistant turn of `turns`:
    /// its decoded tokens are reused as prefix. A request that is submitted
    /// before the next [`Engine::step`] finds them.
    pub continues: Option<RequestId>,
    /// What is wanted of the assistant turn.
    pub task: Task,
}

/// What a request wants of the assistant turn that follows its conversation.
#[derive(Debug, Clone)]
pub enum Task {
    /// Its text, decoded.
    Complete {
        /// How to draw tokens.
        sampling: Sampling,
        /// Where the random numbers come from: one per decoded position.
        stream: Stream,
        /// Decode to `max_tokens` even past an end-of-text token (benchmarks).
        ignore_eos: bool,
        /// It will repeat much of its prompt, so that its next tokens may be
        /// guessed from there: this changes its speed, never its text.
        copies: bool,
    },
    /// The probability that it begins with one of some words: nothing is
    /// decoded.
    Choose {
        /// For each choice, its spellings (`"A"`, `" A"`, …). Those that are one
        /// token of the vocabulary count.
        choices: Vec<Vec<String>>,
    },
    /// The probability of a given text: nothing is decoded.
    Score {
        /// The text. The token that ends the turn is not counted.
        response: String,
    },
}

/// Why decoding ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Finish {
    /// The model ended its turn.
    Stop,
    /// `max_tokens` was reached: the text is cut off.
    Length,
}

/// What a request came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Completion {
    /// The decoded text, as the model wrote it.
    pub text: String,
    /// Why it ended.
    pub finish: Finish,
    /// Tokens counted for it.
    pub usage: Usage,
}

/// Tokens of one request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Tokens in the prompt.
    pub prompt: u32,
    /// Of these, tokens found in the prefix cache.
    pub cached: u32,
    /// Tokens decoded, the end-of-text token included.
    pub decoded: u32,
    /// Of the prompt, tokens that even a cache without limit would have had to
    /// compute; `None` where nobody counts them: see [`Engine::count_ideal`].
    /// In a sum, of the parts that were counted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ideal: Option<u32>,
}

impl Usage {
    /// Tokens of the prompt that were computed, and not found in the cache.
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
            ideal: match (self.ideal, other.ideal) {
                (Some(one), Some(other)) => Some(one + other),
                (one, other) => one.or(other),
            },
        }
    }
}

/// Why one request, and so one item, failed. The others go on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Failure {
    /// Prompt and answer can't fit in the context, even alone.
    #[error(
        "the step needs {needed} tokens of context (prompt {prompt} + answer {answer}), there are {available}: \
         lower max_tokens, shorten the prompt or, up to what the model was trained for, raise \
         --ctx-size"
    )]
    ContextOverflow {
        /// Prompt plus answer, in tokens.
        needed: u32,
        /// Tokens in the prompt.
        prompt: u32,
        /// The most tokens the answer may have.
        answer: u32,
        /// What one sequence may hold, in tokens.
        available: u32,
    },
    /// The prompt template failed on this item's data.
    #[error("the template failed: {message}")]
    Template {
        /// The template engine's words.
        message: String,
    },
    /// The model's chat template refused the conversation.
    #[error("the model's chat template refused the conversation: {message}")]
    ChatTemplate {
        /// The template's words.
        message: String,
    },
    /// Content would have become a control token in spite of every measure.
    #[error("content would become the control token {token:?}")]
    ForgedToken {
        /// The token's text.
        token: String,
    },
    /// A choice is no single token, in any of its spellings.
    #[error("none of {spellings:?} is a single token of this model's vocabulary")]
    NoSuchToken {
        /// The choice's spellings.
        spellings: Vec<String>,
    },
    /// The step gave no text at all.
    #[error("the {step} step gave no text")]
    Empty {
        /// The step's name.
        step: String,
    },
    /// The model computed something other than numbers.
    #[error("the model's logits are not finite")]
    NotFinite,
    /// llama.cpp refused a batch.
    #[error("llama.cpp refused to decode: {message}")]
    Decode {
        /// The library's words.
        message: String,
    },
    /// The server refused the request, or could not be reached.
    #[error("the endpoint failed: {message}")]
    Endpoint {
        /// What was asked of it and what came back.
        message: String,
    },
    /// The server tells no probabilities.
    #[error(
        "the endpoint tells no log-probabilities (logprobs, top_logprobs): use a server that does or \
         a model file (GGUF), or judge nothing (`enabled = false` in `[judge]`)"
    )]
    NoLogProbs,
    /// The server can't tell how likely a given text is.
    #[error("an endpoint can't score a given text: use a model file (GGUF)")]
    CannotScore,
    /// Only the server knows what tokens a prompt has.
    #[error("the prompt's tokens are known to the endpoint alone")]
    TokensUnknown,
}

/// What an engine reports.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// More text of a completion.
    Text {
        /// Whose text.
        id: RequestId,
        /// The new text.
        text: String,
    },
    /// A request is done.
    Done {
        /// Whose completion.
        id: RequestId,
        /// What it came to.
        completion: Completion,
    },
    /// A [`Task::Choose`] is done.
    Chosen {
        /// Whose choice.
        id: RequestId,
        /// For each choice, the natural logarithm of its probability: summed
        /// over its spellings, out of the whole vocabulary.
        log_probs: Vec<f64>,
        /// Tokens counted for it.
        usage: Usage,
    },
    /// A [`Task::Score`] is done.
    Scored {
        /// Whose score.
        id: RequestId,
        /// The natural logarithm of each token's probability given all before
        /// it, in order.
        log_probs: Vec<f64>,
        /// Tokens counted for it; the scored ones are part of the prompt.
        usage: Usage,
    },
    /// A request failed.
    Failed {
        /// Whose failure.
        id: RequestId,
        /// Why.
        failure: Failure,
    },
}

/// What went wrong with the engine itself: no request can go on.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub struct EngineError {
    /// What was attempted and what came of it.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The prompt of a request as the engine would send it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared {
    /// Each token's id and text, in order.
    pub tokens: Vec<(i32, String)>,
    /// How many of them come from leading shared turns.
    pub shared: usize,
}

/// Counts over an engine's life, for progress, benchmarks and notes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters {
    /// Prompt tokens computed.
    pub prefilled: u64,
    /// Prompt tokens found in the prefix cache.
    pub cached: u64,
    /// Tokens decoded.
    pub decoded: u64,
    /// Tokens guessed ahead of being drawn.
    pub drafted: u64,
    /// Of these, the ones that came true.
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

/// What runs a model. One thread owns it and drives it by [`Engine::step`].
pub trait Engine {
    /// What a run's manifest says of the model and of the engine's settings.
    ///
    /// # Errors
    /// The model's file can't be read any more.
    fn describe(&self) -> Result<Description, EngineError>;

    /// How many requests are worth having under way at once.
    fn width(&self) -> usize;

    /// Renders and tokenises a conversation as [`Engine::submit`] would.
    ///
    /// # Errors
    /// What would make the request fail: the chat template, or a forged token.
    fn prepare(&self, turns: &[Message], shared_turns: usize) -> Result<Prepared, Failure>;

    /// From now on tells with each request what of its prompt a cache without limit
    /// would have had to compute ([`Usage::ideal`]). An engine that does not know
    /// its tokens goes on telling nothing.
    fn count_ideal(&mut self) {}

    /// Whether a [`Task::Choose`] among these choices can be asked. An engine that
    /// does not know the vocabulary lets it be tried.
    ///
    /// # Errors
    /// [`Failure::NoSuchToken`] for the first choice that no token says.
    fn can_choose(&self, _choices: &[Vec<String>]) -> Result<(), Failure> {
        Ok(())
    }

    /// Queues a request; what comes of it is told by [`Engine::step`].
    fn submit(&mut self, request: Request);

    /// Drops a request and whatever it holds. Unknown ids are ignored.
    fn cancel(&mut self, id: RequestId);

    /// Forgets whatever earlier requests left behind, so that what follows is
    /// computed as by a new engine. Only called with nothing under way.
    fn reset(&mut self);

    /// Computes one batch and appends what happened to `events`. Returns false
    /// when nothing is left to do.
    ///
    /// # Errors
    /// Only what ends the engine; a request's own trouble is an event.
    fn step(&mut self, events: &mut Vec<Event>) -> Result<bool, EngineError>;

    /// Counts so far.
    fn counters(&self) -> Counters;
}

/// A model and an engine's settings, for the manifest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Description {
    /// The model: what must be the same for a run to be resumed.
    pub model: serde_json::Value,
    /// Settings that change speed, or the last bits of numbers, but not the task.
    pub settings: serde_json::Value,
}

//! A text that is being decoded: a thought, if the model thinks, and the answer.

use std::collections::VecDeque;

use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::vocab::LlamaVocab;

use crate::llama::kv::trie::Token;
use crate::llama::sampling::prompt_lookup::PromptLookup;
use crate::llama::sampling::sampler::Sampler;
use crate::llama::tokenize::{Decoded, Utf8};
use crate::llama::turn_tokens::TurnTokens;
use amend_core::chat::{ReplyPart, ThoughtSplitter};
use amend_core::model::{Completion, Counters, Event, Failure, Finish, RequestId, Sampling, Usage};
use amend_core::random::Stream;

/// A text that is being decoded.
#[derive(Debug)]
pub struct Completing {
    sampling: Sampling,
    /// The source of the random numbers.
    stream: Stream,
    /// Whether to decode past the end of the turn.
    ignore_eos: bool,
    /// Its prompt lookup, if it uses one.
    copying: Option<PromptLookup>,
    /// Its thought, if it may have one.
    thought: Option<DecodingThought>,
    decoded: Vec<Token>,
    /// The answer.
    text: String,
    utf8: Utf8,
    finish: Option<Finish>,
}

/// The thought before an answer.
#[derive(Debug)]
pub struct DecodingThought {
    splitter: ThoughtSplitter,
    /// The tokens that close it when its budget is used up.
    close: Vec<Token>,
    /// Those of them that are still to be written.
    forced: VecDeque<Token>,
    /// Whether the text ends with the thought.
    is_alone: bool,
    /// Whether a thought has begun.
    has_begun: bool,
    text: String,
    /// How many tokens were decoded inside it.
    inside: usize,
    /// How many tokens were decoded before the first of the answer.
    tokens: usize,
    /// Whether that token contains only text of the answer.
    is_exact: bool,
}

impl DecodingThought {
    /// A thought before its first token. `close` closes it when its budget is used up.
    /// If `is_alone`, nothing is decoded after it.
    #[must_use]
    pub fn new(splitter: ThoughtSplitter, close: Vec<Token>, is_alone: bool) -> Self {
        Self {
            has_begun: splitter.is_thinking(),
            splitter,
            close,
            forced: VecDeque::new(),
            is_alone,
            text: String::new(),
            inside: 0,
            tokens: 0,
            is_exact: true,
        }
    }

    /// An upper estimate of the tokens in its marks: those that the model writes around each
    /// part of the thought, and those that close it.
    fn marks(&self) -> usize {
        3 * self.close.len()
    }

    /// Whether it has to be closed now.
    fn is_used_up(&self, budget: usize) -> bool {
        let in_parts = self.tokens >= budget + self.close.len();
        self.splitter.is_thinking() && (self.inside >= budget || in_parts)
    }

    /// Adds the text of a token and returns the text that it adds to the answer.
    fn push(&mut self, piece: &str) -> String {
        let was_answering = self.splitter.is_answering();
        self.inside += usize::from(self.splitter.is_thinking());
        let parts = self.splitter.push(piece);
        self.has_begun |= self.splitter.is_thinking();
        let answer = self.take(parts);
        if !was_answering {
            if answer.is_empty() {
                self.tokens += 1;
            } else {
                self.is_exact = answer.len() == piece.trim_start().len();
            }
        }
        answer
    }

    /// Keeps the parts of the thought and returns those of the answer.
    fn take(&mut self, parts: Vec<ReplyPart>) -> String {
        let mut answer = String::new();
        for part in parts {
            match part {
                ReplyPart::Thought(text) => self.text.push_str(&text),
                ReplyPart::Answer(text) => answer.push_str(&text),
            }
        }
        answer
    }
}

/// The parts of the engine that sampling uses.
pub struct SamplingContext<'a> {
    /// The vocabulary.
    pub vocab: &'a LlamaVocab<'a>,
    /// The tokens around turns and thoughts.
    pub turn_tokens: &'a TurnTokens,
    /// The sampler.
    pub sampler: &'a mut Sampler,
    /// The engine's counts.
    pub counters: &'a mut Counters,
}

impl Completing {
    /// A text before its first token. Uses prompt lookup if `copying` is given.
    #[must_use]
    pub fn new(
        sampling: Sampling,
        stream: Stream,
        ignore_eos: bool,
        copying: Option<PromptLookup>,
        thought: Option<DecodingThought>,
    ) -> Self {
        Self {
            sampling,
            stream,
            ignore_eos,
            copying,
            thought,
            decoded: Vec::new(),
            text: String::new(),
            utf8: Utf8::default(),
            finish: None,
        }
    }

    /// The maximum number of tokens to decode, those of a thought included.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        let thought = match &self.thought {
            Some(thought) => self.sampling.reasoning.budget as usize + thought.marks(),
            None => 0,
        };
        thought + self.max_answer_tokens()
    }

    /// The maximum number of tokens in the answer.
    #[must_use]
    pub fn max_answer_tokens(&self) -> usize {
        match &self.thought {
            Some(thought) if thought.is_alone => 0,
            _ => self.sampling.max_tokens as usize,
        }
    }

    /// The tokens decoded so far, including the one that ended the turn.
    #[must_use]
    pub fn decoded(&self) -> &[Token] {
        &self.decoded
    }

    /// How many of these belong to a thought and the marks around it.
    #[must_use]
    pub fn thought_tokens(&self) -> usize {
        self.thought.as_ref().map_or(0, |thought| thought.tokens)
    }

    /// Its prompt lookup, if it uses one.
    #[must_use]
    pub fn copying(&self) -> Option<&PromptLookup> {
        self.copying.as_ref()
    }

    /// Chooses the next token. Returns whether the text ends with it, or `None` if the
    /// logits are not finite.
    pub fn draw(
        &mut self,
        id: RequestId,
        prompt: &[Token],
        logits: &[f32],
        tools: &mut SamplingContext<'_>,
        events: &mut Vec<Event>,
    ) -> Option<bool> {
        let forced = self.thought.as_mut().and_then(|thought| thought.forced.pop_front());
        let token = match forced {
            Some(token) => token,
            None => self.sample(prompt, logits, tools)?,
        };
        tools.counters.decoded += 1;
        self.decoded.push(token);
        if let Some(copying) = &mut self.copying {
            copying.push(token);
        }
        let (is_thinking, is_answering) = match &self.thought {
            Some(thought) => (thought.splitter.is_thinking(), thought.splitter.is_answering()),
            None => (false, true),
        };
        let turn_tokens = tools.turn_tokens;
        let is_mark = turn_tokens.marks.contains(&token);
        // In some formats, the mark that ends a thought also ends a turn.
        let ends_turn = turn_tokens.ends.contains(&token) && !(is_thinking && is_mark);
        let leaves_turn = turn_tokens.borders.contains(&token) && (is_answering || !is_mark);
        if ends_turn || leaves_turn {
            self.finish = Some(Finish::Stop);
            return Some(true);
        }
        let piece = tools.vocab.token_to_piece(LlamaToken(token), is_mark, None);
        let text = self.utf8.push(&piece);
        self.push(id, text, events);
        self.finish = self.finished();
        Some(self.finish.is_some())
    }

    fn sample(
        &self,
        prompt: &[Token],
        logits: &[f32],
        tools: &mut SamplingContext<'_>,
    ) -> Option<Token> {
        let banned: &[Token] = if self.ignore_eos { &tools.turn_tokens.ends } else { &[] };
        let uniform = self.stream.uniform(self.decoded.len() as u64);
        let recent = self.recent(prompt);
        tools.sampler.sample(logits, &self.sampling, &recent, banned, uniform)
    }

    /// Adds the text of a token.
    fn push(&mut self, id: RequestId, text: String, events: &mut Vec<Event>) {
        let answer = match &mut self.thought {
            Some(thought) => thought.push(&text),
            None => text,
        };
        self.add(id, answer, events);
    }

    fn add(&mut self, id: RequestId, answer: String, events: &mut Vec<Event>) {
        let is_alone = self.thought.as_ref().is_some_and(|thought| thought.is_alone);
        if !answer.is_empty() && !is_alone {
            self.text.push_str(&answer);
            events.push(Event::Text { id, text: answer });
        }
    }

    /// Why the text ends here, if it does. Closes a thought whose budget is used up.
    fn finished(&mut self) -> Option<Finish> {
        let length = self.decoded.len();
        let most = self.max_tokens();
        let Some(thought) = &mut self.thought else {
            return if length >= most { Some(Finish::Length) } else { None };
        };
        if thought.splitter.has_ended() {
            // The tokens of the mark are not part of the answer.
            thought.is_exact = false;
            return Some(Finish::Stop);
        }
        let is_thinking = thought.splitter.is_thinking();
        let is_over = thought.splitter.is_answering() || (thought.has_begun && !is_thinking);
        if thought.is_alone && is_over {
            return Some(Finish::Stop);
        }
        let budget = self.sampling.reasoning.budget as usize;
        if thought.is_used_up(budget) {
            if thought.is_alone {
                return Some(Finish::Length);
            }
            if thought.forced.is_empty() {
                thought.forced.extend(&thought.close);
            }
        }
        let answer = length - thought.tokens;
        if length >= most || answer >= self.sampling.max_tokens as usize {
            return Some(Finish::Length);
        }
        None
    }

    /// Emits the result after the last token.
    pub fn conclude(&mut self, id: RequestId, usage: Usage, events: &mut Vec<Event>) {
        let mut rest = self.utf8.finish();
        let mut reasoning = None;
        if let Some(thought) = &mut self.thought {
            let mut parts = thought.splitter.push(&rest);
            parts.extend(thought.splitter.finish());
            rest = thought.take(parts);
            let text = thought.text.trim();
            if !text.is_empty() {
                reasoning = Some(text.to_owned());
            }
        }
        self.add(id, rest, events);
        if let Some(thought) = &self.thought
            && thought.has_begun
            && !thought.is_alone
            && self.text.trim().is_empty()
        {
            let failure = Failure::NoAnswer { tokens: usage.reasoning };
            events.push(Event::Failed { id, failure });
            return;
        }
        // The text has ended, so that `finish` is set.
        let finish = self.finish.unwrap_or(Finish::Length);
        let completion = Completion { text: self.text.clone(), reasoning, finish, usage };
        events.push(Event::Done { id, completion });
    }

    /// The text and tokens of the finished answer, if the tokens are exactly those of the
    /// text.
    #[must_use]
    pub fn into_decoded(mut self) -> Option<Decoded> {
        if self.finish == Some(Finish::Stop) {
            self.decoded.pop();
        }
        let mut tokens = self.decoded;
        if let Some(thought) = self.thought {
            if thought.is_alone || !thought.is_exact {
                return None;
            }
            tokens.drain(..thought.tokens.min(tokens.len()));
        }
        Some(Decoded { text: self.text, tokens })
    }

    /// The tokens that the repeat penalty applies to.
    fn recent(&self, prompt: &[Token]) -> Vec<Token> {
        if self.sampling.repeat_penalty == 1.0 {
            return Vec::new();
        }
        let backwards = self.decoded.iter().rev().chain(prompt.iter().rev());
        backwards.take(self.sampling.repeat_last_n as usize).copied().collect()
    }
}

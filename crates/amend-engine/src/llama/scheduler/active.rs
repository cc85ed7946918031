//! A request under way: what it still has to compute, and what comes of it.

use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::vocab::LlamaVocab;

use crate::llama::kv::shared_prefix::KindId;
use crate::llama::kv::trie::{SeqId, Token};
use crate::llama::sampling::prompt_lookup::Copying;
use crate::llama::sampling::sampler::Sampler;
use crate::llama::sampling::softmax;
use crate::llama::tokenize::{Decoded, Utf8};
use amend_core::model::{
    Completion, Counters, EngineError, Event, Failure, Finish, RequestId, Sampling, Usage,
};
use amend_core::random::Stream;

/// A request in tokens.
#[derive(Debug)]
pub struct Queued {
    /// The caller's name for it.
    pub id: RequestId,
    /// What to prefill.
    pub tokens: Vec<Token>,
    /// The kind of prompt, by its header.
    pub kind: KindId,
    /// Whether it goes on from a completion whose tokens are in it.
    pub goes_on: bool,
    /// The first token whose logits are wanted; those after it are too.
    pub first_wanted: usize,
    /// What is made of the logits.
    pub goal: Goal,
    /// How many of the tokens a cache without limit would not have, where that is
    /// counted.
    pub ideal: Option<u32>,
}

/// What is made of the logits.
#[derive(Debug)]
pub enum Goal {
    /// A text.
    Complete(Box<Completing>),
    /// The probabilities of sets of tokens at one position.
    Choose(Vec<Vec<Token>>),
    /// The probabilities of given tokens, one a wanted row.
    Score {
        /// The tokens.
        targets: Vec<Token>,
        /// What was found so far.
        log_probs: Vec<f64>,
    },
}

/// A text being decoded.
#[derive(Debug)]
pub struct Completing {
    /// How to draw tokens.
    pub sampling: Sampling,
    /// Where the random numbers come from.
    pub stream: Stream,
    /// Decode past the end of the turn.
    pub ignore_eos: bool,
    /// What it may repeat, where its next tokens are to be guessed.
    copying: Option<Copying>,
    decoded: Vec<Token>,
    text: String,
    utf8: Utf8,
    finish: Option<Finish>,
}

impl Completing {
    /// A text before its first token; with `copying`, its tokens are guessed.
    #[must_use]
    pub fn new(
        sampling: Sampling,
        stream: Stream,
        ignore_eos: bool,
        copying: Option<Copying>,
    ) -> Self {
        Self {
            sampling,
            stream,
            ignore_eos,
            copying,
            decoded: Vec::new(),
            text: String::new(),
            utf8: Utf8::default(),
            finish: None,
        }
    }
}

impl Queued {
    /// Tokens it may decode.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        match &self.goal {
            Goal::Complete(completing) => completing.sampling.max_tokens as usize,
            Goal::Choose(_) | Goal::Score { .. } => 0,
        }
    }

    /// Tokens its sequence may come to have: prompt and answer.
    #[must_use]
    pub fn length(&self) -> usize {
        self.tokens.len() + self.max_tokens()
    }

    /// Leading tokens that may come from the cache: all before the first row
    /// that is wanted.
    #[must_use]
    pub fn cacheable(&self) -> &[Token] {
        &self.tokens[..self.first_wanted]
    }
}

/// A request with a sequence of its own.
#[derive(Debug)]
pub struct Active {
    /// The request.
    pub queued: Queued,
    /// Its sequence.
    pub seq: SeqId,
    /// Tokens to prefill that are in the cache.
    pub computed: usize,
    /// Of these, the ones that were found there.
    pub cached: usize,
    /// Tokens to prefill that are in the current batch.
    pub chunk: usize,
    /// Tokens in the current batch that are guessed to follow the last one drawn.
    pub draft: Vec<Token>,
    /// Rows of the current batch whose logits are wanted, in order.
    pub rows: Vec<usize>,
}

impl Active {
    /// The token to compute next, once all is prefilled, and its position.
    #[must_use]
    pub fn next(&self) -> Option<(Token, usize)> {
        let Goal::Complete(completing) = &self.queued.goal else { return None };
        let &token = completing.decoded.last()?;
        Some((token, self.queued.tokens.len() + completing.decoded.len() - 1))
    }

    /// What its next tokens may be guessed from.
    #[must_use]
    pub fn copying(&self) -> Option<&Copying> {
        match &self.queued.goal {
            Goal::Complete(completing) => completing.copying.as_ref(),
            Goal::Choose(_) | Goal::Score { .. } => None,
        }
    }

    /// Tokens its sequence should hold: all but the last one drawn.
    #[must_use]
    pub fn settled(&self) -> usize {
        self.computed + self.decoded().len().saturating_sub(1)
    }

    /// The tokens decoded so far, the one that ended the turn included.
    #[must_use]
    pub fn decoded(&self) -> &[Token] {
        match &self.queued.goal {
            Goal::Complete(completing) => &completing.decoded,
            Goal::Choose(_) | Goal::Score { .. } => &[],
        }
    }

    /// Tokens still to prefill.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.queued.tokens.len() - self.computed
    }

    /// Cells it may still come to need.
    #[must_use]
    pub fn cells_to_come(&self) -> usize {
        let computed = self.decoded().len().saturating_sub(1);
        self.remaining() + self.queued.max_tokens() - computed
    }

    fn usage(&self) -> Usage {
        Usage {
            prompt: self.queued.tokens.len() as u32,
            cached: self.cached as u32,
            decoded: self.decoded().len() as u32,
            ideal: self.queued.ideal,
        }
    }

    /// Takes in the logits of its rows in the batch just computed. True when
    /// the request has ended.
    ///
    /// # Errors
    /// `logits` can't give a row.
    pub fn take<'l>(
        &mut self,
        logits: impl Fn(usize) -> Result<&'l [f32], EngineError>,
        tools: &mut Tools<'_>,
        events: &mut Vec<Event>,
    ) -> Result<bool, EngineError> {
        let id = self.queued.id;
        let draft = std::mem::take(&mut self.draft);
        for (at, row) in std::mem::take(&mut self.rows).into_iter().enumerate() {
            let logits = logits(row)?;
            let usage = self.usage();
            let ended = match &mut self.queued.goal {
                Goal::Complete(completing) => {
                    completing.draw(id, &self.queued.tokens, logits, tools, events)
                }
                Goal::Choose(choices) => softmax::log_normaliser(logits).map(|normaliser| {
                    let mass = |tokens: &Vec<Token>| softmax::log_mass(logits, tokens, normaliser);
                    let log_probs = choices.iter().map(mass).collect();
                    events.push(Event::Chosen { id, log_probs, usage });
                    true
                }),
                Goal::Score { targets, log_probs } => {
                    softmax::log_normaliser(logits).map(|normaliser| {
                        let target = targets[log_probs.len()];
                        log_probs.push(f64::from(logits[target as usize]) - normaliser);
                        log_probs.len() == targets.len()
                    })
                }
            };
            let guess = draft.get(at);
            let confirmed = guess == self.decoded().last();
            tools.counters.accepted += u64::from(guess.is_some() && confirmed);
            match ended {
                // The rows that follow a wrong guess stand for nothing.
                Some(false) if guess.is_some() && !confirmed => break,
                Some(false) => {}
                Some(true) => {
                    self.conclude(events);
                    return Ok(true);
                }
                None => {
                    events.push(Event::Failed { id, failure: Failure::NotFinite });
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Tells what came of the request, where that was not told yet.
    fn conclude(&mut self, events: &mut Vec<Event>) {
        let (id, usage) = (self.queued.id, self.usage());
        match &mut self.queued.goal {
            Goal::Choose(_) => {}
            Goal::Score { log_probs, .. } => {
                let log_probs = std::mem::take(log_probs);
                events.push(Event::Scored { id, log_probs, usage });
            }
            Goal::Complete(completing) => {
                let rest = completing.utf8.finish();
                if !rest.is_empty() {
                    completing.text.push_str(&rest);
                    events.push(Event::Text { id, text: rest });
                }
                // A text that was concluded has its end.
                let finish = completing.finish.unwrap_or(Finish::Length);
                let text = completing.text.clone();
                events.push(Event::Done { id, completion: Completion { text, finish, usage } });
            }
        }
    }

    /// The text and tokens of a completion that has ended.
    #[must_use]
    pub fn into_decoded(self) -> Option<Decoded> {
        let Goal::Complete(mut completing) = self.queued.goal else { return None };
        if completing.finish == Some(Finish::Stop) {
            completing.decoded.pop();
        }
        Some(Decoded { text: completing.text, tokens: completing.decoded })
    }
}

/// What drawing a token needs of the engine.
pub struct Tools<'a> {
    /// The vocabulary.
    pub vocab: &'a LlamaVocab<'a>,
    /// Tokens that end a turn.
    pub end_tokens: &'a [Token],
    /// The sampler.
    pub sampler: &'a mut Sampler,
    /// The engine's counts.
    pub counters: &'a mut Counters,
}

impl Completing {
    /// Draws the next token. Whether the text ends with it; none when the
    /// logits are not finite.
    fn draw(
        &mut self,
        id: RequestId,
        prompt: &[Token],
        logits: &[f32],
        tools: &mut Tools<'_>,
        events: &mut Vec<Event>,
    ) -> Option<bool> {
        let banned: &[Token] = if self.ignore_eos { tools.end_tokens } else { &[] };
        let uniform = self.stream.uniform(self.decoded.len() as u64);
        let recent = self.recent(prompt);
        let token = tools.sampler.sample(logits, &self.sampling, &recent, banned, uniform)?;
        tools.counters.decoded += 1;
        self.decoded.push(token);
        if let Some(copying) = &mut self.copying {
            copying.push(token);
        }
        let token = LlamaToken(token);
        if is_end(tools.vocab, token) {
            self.finish = Some(Finish::Stop);
            return Some(true);
        }
        let text = self.utf8.push(&tools.vocab.token_to_piece(token, false, None));
        if !text.is_empty() {
            self.text.push_str(&text);
            events.push(Event::Text { id, text });
        }
        if self.decoded.len() >= self.sampling.max_tokens as usize {
            self.finish = Some(Finish::Length);
        }
        Some(self.finish.is_some())
    }

    /// The tokens the repeat penalty looks at.
    fn recent(&self, prompt: &[Token]) -> Vec<Token> {
        if self.sampling.repeat_penalty == 1.0 {
            return Vec::new();
        }
        let backwards = self.decoded.iter().rev().chain(prompt.iter().rev());
        backwards.take(self.sampling.repeat_last_n as usize).copied().collect()
    }
}

/// Any control token ends the turn: an answer never contains one.
fn is_end(vocab: &LlamaVocab<'_>, token: LlamaToken) -> bool {
    vocab.is_eog(token) || vocab.is_control(token)
}

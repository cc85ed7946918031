//! An active request: what it still has to compute, and what it does with the logits.

use std::sync::Arc;

use crate::llama::kv::shared_prefix::KindId;
use crate::llama::kv::trie::{SeqId, Token};
use crate::llama::sampling::prompt_lookup::PromptLookup;
use crate::llama::sampling::softmax;
use crate::llama::scheduler::completing::{Completing, SamplingContext};
use crate::llama::tokenize::Decoded;
use amend_core::model::{EngineError, Event, Failure, RequestId, Usage};

/// A request in tokens, before it has a sequence.
#[derive(Debug)]
pub struct Queued {
    /// The caller's id for it.
    pub id: RequestId,
    /// The tokens to prefill.
    pub tokens: Vec<Token>,
    /// The kind of its prompt.
    pub kind: KindId,
    /// The completions that it continues, directly and indirectly, oldest first.
    pub history: Vec<Arc<Decoded>>,
    /// The request that the completions go back to; `None` if it continues none.
    pub root: Option<Root>,
    /// The index of the first token whose logits are needed. Those of all later tokens
    /// are needed too.
    pub first_with_logits: usize,
    /// What to do with the logits.
    pub goal: Goal,
    /// How many of the tokens an unlimited cache would have had to compute, if that is
    /// counted.
    pub ideal: Option<u32>,
}

/// The first request of a chain of continuations.
#[derive(Debug, Clone, Copy)]
pub struct Root {
    /// The kind of its prompt.
    pub kind: KindId,
    /// Its [`Queued::length`].
    pub length: usize,
}

/// What to do with the logits.
#[derive(Debug)]
pub enum Goal {
    /// Decode a text.
    Complete(Box<Completing>),
    /// Compute the probabilities of sets of tokens at one position.
    Choose(Vec<Vec<Token>>),
    /// Compute the probabilities of given tokens, one per row of logits.
    Score {
        /// The tokens.
        targets: Vec<Token>,
        /// The results so far.
        log_probs: Vec<f64>,
    },
}

impl Queued {
    /// The maximum number of tokens to decode.
    #[must_use]
    pub fn max_tokens(&self) -> usize {
        match &self.goal {
            Goal::Complete(completing) => completing.max_tokens(),
            Goal::Choose(_) | Goal::Score { .. } => 0,
        }
    }

    /// The maximum number of tokens in its answer.
    #[must_use]
    pub fn max_answer_tokens(&self) -> usize {
        match &self.goal {
            Goal::Complete(completing) => completing.max_answer_tokens(),
            Goal::Choose(_) | Goal::Score { .. } => 0,
        }
    }

    /// The maximum length of its sequence in tokens: prompt, thought and answer.
    #[must_use]
    pub fn length(&self) -> usize {
        self.tokens.len() + self.max_tokens()
    }

    /// Whether it continues a completion and contains its decoded tokens.
    #[must_use]
    pub fn is_continuation(&self) -> bool {
        self.root.is_some()
    }

    /// The first request of its chain: itself, unless it is a continuation.
    #[must_use]
    pub fn root(&self) -> Root {
        self.root.unwrap_or(Root { kind: self.kind, length: self.length() })
    }

    /// The leading tokens that may come from the cache: all before the first one whose
    /// logits are needed.
    #[must_use]
    pub fn cacheable(&self) -> &[Token] {
        &self.tokens[..self.first_with_logits]
    }
}

/// A request with a sequence in the KV cache.
#[derive(Debug)]
pub struct Active {
    /// The request.
    pub queued: Queued,
    /// Its sequence.
    pub seq: SeqId,
    /// How many of its prompt tokens are in the cache.
    pub computed: usize,
    /// How many of these were in the cache when it started.
    pub cached: usize,
    /// How many of its prompt tokens are in the current batch.
    pub chunk: usize,
    /// The draft tokens in the current batch, which follow the last decoded token.
    pub draft: Vec<Token>,
    /// The rows of the current batch whose logits it needs, in order.
    pub rows: Vec<usize>,
}

impl Active {
    /// The next token to compute and its position, once the prompt is prefilled and a
    /// token has been decoded.
    #[must_use]
    pub fn next(&self) -> Option<(Token, usize)> {
        let Goal::Complete(completing) = &self.queued.goal else { return None };
        let &token = completing.decoded().last()?;
        Some((token, self.queued.tokens.len() + completing.decoded().len() - 1))
    }

    /// Its prompt lookup, if it uses one.
    #[must_use]
    pub fn copying(&self) -> Option<&PromptLookup> {
        match &self.queued.goal {
            Goal::Complete(completing) => completing.copying(),
            Goal::Choose(_) | Goal::Score { .. } => None,
        }
    }

    /// How many tokens its sequence should hold: all but the last decoded one.
    #[must_use]
    pub fn settled(&self) -> usize {
        self.computed + self.decoded().len().saturating_sub(1)
    }

    /// The tokens decoded so far, including the one that ended the turn.
    #[must_use]
    pub fn decoded(&self) -> &[Token] {
        match &self.queued.goal {
            Goal::Complete(completing) => completing.decoded(),
            Goal::Choose(_) | Goal::Score { .. } => &[],
        }
    }

    /// How many tokens are still to prefill.
    #[must_use]
    pub fn remaining(&self) -> usize {
        self.queued.tokens.len() - self.computed
    }

    /// How many further cells it may need.
    #[must_use]
    pub fn cells_needed(&self) -> usize {
        let computed = self.decoded().len().saturating_sub(1);
        self.remaining() + self.queued.max_tokens() - computed
    }

    fn usage(&self) -> Usage {
        Usage {
            prompt: self.queued.tokens.len() as u32,
            cached: self.cached as u32,
            decoded: self.decoded().len() as u32,
            reasoning: match &self.queued.goal {
                Goal::Complete(completing) => completing.thought_tokens() as u32,
                Goal::Choose(_) | Goal::Score { .. } => 0,
            },
            ideal: self.queued.ideal,
        }
    }

    /// Processes the logits of its rows in the computed batch. Returns whether the
    /// request has ended.
    ///
    /// # Errors
    /// `logits` fails for a row.
    pub fn take<'l>(
        &mut self,
        logits: impl Fn(usize) -> Result<&'l [f32], EngineError>,
        tools: &mut SamplingContext<'_>,
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
            let draft_token = draft.get(at);
            let is_accepted = draft_token == self.decoded().last();
            tools.counters.accepted += u64::from(draft_token.is_some() && is_accepted);
            match ended {
                // The rows after a rejected draft token are invalid.
                Some(false) if draft_token.is_some() && !is_accepted => break,
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

    /// Emits the result of the request, unless it was emitted with its last row.
    fn conclude(&mut self, events: &mut Vec<Event>) {
        let (id, usage) = (self.queued.id, self.usage());
        match &mut self.queued.goal {
            Goal::Choose(_) => {}
            Goal::Score { log_probs, .. } => {
                let log_probs = std::mem::take(log_probs);
                events.push(Event::Likelihood { id, log_probs, usage });
            }
            Goal::Complete(completing) => completing.conclude(id, usage, events),
        }
    }

    /// The text and tokens of a finished answer, if the tokens are exactly those of the
    /// text.
    #[must_use]
    pub fn into_decoded(self) -> Option<Decoded> {
        match self.queued.goal {
            Goal::Complete(completing) => completing.into_decoded(),
            Goal::Choose(_) | Goal::Score { .. } => None,
        }
    }
}

//! A context for measurements: it computes rows of random tokens without scheduling or
//! sampling.

use std::time::Instant;

use crate::llama::kv::batch::{Batch, Bounds};
use crate::llama::kv::trie::{SeqId, Token};
use crate::llama::scheduler::admission::drop_from;
use crate::llama::{Llama, LlamaSettings, Model};
use amend_core::model::EngineError;
use amend_core::random::Stream;

/// A context and its next batch.
pub struct Rig<'m> {
    llama: Llama<'m>,
    batch: Batch,
    sequences: usize,
    vocabulary: u64,
    drawn: u64,
}

impl<'m> Rig<'m> {
    /// Creates a context with `settings.sequences()` sequences.
    ///
    /// # Errors
    /// llama.cpp can't create the context.
    pub fn new(model: &'m Model, settings: &LlamaSettings) -> Result<Self, EngineError> {
        let llama = Llama::new(model, settings)?;
        let vocabulary = model.inner.vocab().n_tokens();
        let sequences = llama.settings.sequences();
        let batch = Batch::new(Bounds {
            rows: llama.context.n_batch() as usize,
            sequences,
            positions: llama.settings.longest_sequence(),
            vocabulary: vocabulary as usize,
        });
        Ok(Self { llama, batch, sequences, vocabulary: vocabulary as u64, drawn: 0 })
    }

    /// The number of sequences, whose ids start at 0.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// How many rows can still be added to the batch.
    pub fn room(&self) -> usize {
        self.batch.room()
    }

    /// Adds a row with a random token.
    ///
    /// # Errors
    /// The position or the sequence is out of bounds.
    pub fn push(&mut self, position: usize, seq: SeqId, logits: bool) -> Result<(), EngineError> {
        let token = Stream::new(1).bits(self.drawn) % self.vocabulary;
        self.drawn += 1;
        self.batch.push(token as Token, position, seq, logits).map(drop)
    }

    /// Computes and clears the batch. Returns the seconds that llama.cpp took.
    ///
    /// # Errors
    /// llama.cpp can't compute the batch.
    pub fn compute(&mut self) -> Result<f64, EngineError> {
        let start = Instant::now();
        self.batch.decode(&mut self.llama.context).map_err(|error| {
            EngineError::new("llama.cpp failed to decode a batch")
                .hinted("raise --ctx-size")
                .caused_by(error)
        })?;
        self.batch.clear();
        Ok(start.elapsed().as_secs_f64())
    }

    /// Copies the first `length` tokens of `base` to the empty sequence `seq`.
    ///
    /// # Errors
    /// llama.cpp can't copy them.
    pub fn share(&mut self, base: SeqId, seq: SeqId, length: usize) -> Result<(), EngineError> {
        self.llama.share(base, seq, length)
    }

    /// Whether a sequence can be truncated after any of its tokens.
    pub fn can_cut(&self) -> bool {
        self.llama.can_cut
    }

    /// Drops the tokens of `seq` from a position on: 0, or any position if sequences
    /// [can be truncated](Rig::can_cut).
    ///
    /// # Errors
    /// llama.cpp can't drop them.
    pub fn cut(&mut self, seq: SeqId, from: usize) -> Result<(), EngineError> {
        drop_from(&mut self.llama.context, seq, from)
    }
}

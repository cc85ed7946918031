//! A context driven by hand: rows of random tokens, with nothing to schedule
//! and nothing to sample. For measurements.

use std::time::Instant;

use crate::llama::kv::batch::{Batch, Bounds};
use crate::llama::kv::trie::{SeqId, Token};
use crate::llama::scheduler::admission::drop_from;
use crate::llama::{Llama, Model, Settings};
use amend_core::model::EngineError;
use amend_core::random::Stream;

/// The context, and the batch that is next.
pub struct Rig<'m> {
    llama: Llama<'m>,
    batch: Batch,
    sequences: usize,
    vocabulary: u64,
    drawn: u64,
}

impl<'m> Rig<'m> {
    /// A rig of `settings.sequences()` sequences.
    ///
    /// # Errors
    /// A context that can't be made.
    pub fn new(model: &'m Model, settings: &Settings) -> Result<Self, EngineError> {
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

    /// Sequence ids are below it.
    pub fn sequences(&self) -> usize {
        self.sequences
    }

    /// Rows that may still be added to the batch.
    pub fn room(&self) -> usize {
        self.batch.room()
    }

    /// Adds a row of a random token.
    ///
    /// # Errors
    /// A position or sequence out of bounds.
    pub fn push(&mut self, position: usize, seq: SeqId, logits: bool) -> Result<(), EngineError> {
        let token = Stream::new(1).bits(self.drawn) % self.vocabulary;
        self.drawn += 1;
        self.batch.push(token as Token, position, seq, logits).map(drop)
    }

    /// Computes the batch and empties it; the seconds that took.
    ///
    /// # Errors
    /// llama.cpp's.
    pub fn compute(&mut self) -> Result<f64, EngineError> {
        let start = Instant::now();
        self.batch.decode(&mut self.llama.context).map_err(|error| EngineError {
            message: format!("llama.cpp failed to decode a batch: {error}"),
            hint: Some("raise --ctx-size".to_owned()),
        })?;
        self.batch.clear();
        Ok(start.elapsed().as_secs_f64())
    }

    /// Lets `seq` begin with the first `length` tokens of `base`.
    ///
    /// # Errors
    /// llama.cpp's.
    pub fn share(&mut self, base: SeqId, seq: SeqId, length: usize) -> Result<(), EngineError> {
        self.llama.share(base, seq, length)
    }

    /// Whether a sequence can be cut after any of its tokens.
    pub fn can_cut(&self) -> bool {
        self.llama.can_cut
    }

    /// Drops what `seq` holds from a position on: 0, or any where sequences
    /// [can be cut](Rig::can_cut).
    ///
    /// # Errors
    /// llama.cpp's.
    pub fn cut(&mut self, seq: SeqId, from: usize) -> Result<(), EngineError> {
        drop_from(&mut self.llama.context, seq, from)
    }
}

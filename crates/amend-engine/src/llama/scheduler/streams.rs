//! A KV cache with a separate stream for each sequence.
//!
//! llama.cpp computes the sequences of a batch in one pass if their ids are contiguous,
//! and each row then attends only to the cells of its own stream. A shared prefix is
//! copied to each stream. Active requests use the ids below `parallel`; the higher ids
//! hold prefixes for later requests.

use super::admission::{Idle, drop_cells, drop_from};
use crate::llama::kv::trie::{Fork, KvTrie, SeqId};
use crate::llama::settings::Switch;
use crate::llama::{Llama, LlamaSettings, new_batch, new_context};
use amend_core::model::EngineError;

impl Llama<'_> {
    /// Copies the first `len` tokens of a sequence to one without cells.
    pub(crate) fn share(
        &mut self,
        source: SeqId,
        seq: SeqId,
        len: usize,
    ) -> Result<(), EngineError> {
        let has_streams = self.settings.has_streams();
        // llama.cpp aborts the process on a copy of part of a stream.
        let range = if has_streams { (None, None) } else { (Some(0), Some(len as u32)) };
        self.context.copy_kv_cache_seq(source, seq, range.0, range.1).map_err(|error| {
            EngineError::new(format!("llama.cpp failed to copy sequence {source} to {seq}"))
                .caused_by(error)
        })?;
        if has_streams {
            drop_from(&mut self.context, seq, len)?;
        }
        Ok(())
    }

    /// Opens a stream for the waiting request at `at`. The stream begins with the longest
    /// prefix of the request that the cache holds.
    pub(crate) fn open_stream(&mut self, at: usize) -> Result<Fork, EngineError> {
        let source = self.cells.holder(self.sharable(at));
        if let Some((seq, shared)) = source
            && self.can_take_over(seq, shared, at)
        {
            self.idle.retain(|idle| idle.seq != seq);
            drop_cells(&mut self.context, &mut self.cells, seq, shared)?;
            return Ok(Fork { seq, shared, source: None });
        }
        let seq = self.free_slot(source.map(|(seq, _)| seq))?;
        let limit = self.sharable(at).len();
        let fork = self.cells.fork(seq, &self.waiting[at].tokens[..limit]);
        if let Some(source) = fork.source {
            self.share(source, seq, fork.shared)?;
        }
        Ok(fork)
    }

    /// Whether the waiting request at `at` may take over the stream of an idle sequence:
    /// no other request shares more of it than `shared` tokens.
    fn can_take_over(&self, seq: SeqId, shared: usize, at: usize) -> bool {
        let Some(idle) = self.idle.iter().find(|idle| idle.seq == seq) else { return false };
        let mut lengths = self.shared_lengths(idle).enumerate();
        (seq as usize) < self.settings.parallel
            && self.shared_prefix(idle) <= shared
            && lengths.all(|(waiting, len)| waiting == at || len <= shared)
    }

    /// Finds or makes a free id for an active request. Moves an idle sequence to a higher
    /// id if necessary; if there is none, evicts the idle sequence that costs least to
    /// lose, but not `keep`.
    fn free_slot(&mut self, keep: Option<SeqId>) -> Result<SeqId, EngineError> {
        let slots = self.settings.parallel;
        loop {
            if let Some(free) = self.cells.free(0..slots) {
                return Ok(free);
            }
            // Fewer than `slots` requests are active, so an idle sequence holds a slot.
            let Some(at) = self.cheapest_to_lose(|idle| (idle.seq as usize) < slots) else {
                return Err(EngineError::new("error in amend's scheduler: no slot can be freed")
                    .hinted("please report this with the command and the log of -vv"));
            };
            match self.cells.free(slots..self.settings.sequences()) {
                Some(free) => self.move_idle(at, free)?,
                None => {
                    let cheapest = self.cheapest_to_lose(|idle| Some(idle.seq) != keep);
                    self.drop_idle(cheapest.unwrap_or(at))?;
                }
            }
        }
    }

    /// The index of the idle sequence that costs least to lose, among those that
    /// `is_candidate` accepts. The cost is the number of tokens to compute again, divided
    /// by the time until their next use. Shared prefixes are assumed to be used soon.
    fn cheapest_to_lose(&self, is_candidate: impl Fn(&Idle) -> bool) -> Option<usize> {
        let cost = |idle: &Idle| {
            let distance = if idle.next == usize::MAX { self.settings.parallel } else { idle.next };
            self.cells.held_alone(idle.seq) as f64 / (distance + 1) as f64
        };
        let candidates = self.idle.iter().enumerate().filter(|(_, idle)| is_candidate(idle));
        candidates.min_by(|(_, a), (_, b)| cost(a).total_cmp(&cost(b))).map(|(at, _)| at)
    }

    /// Moves active requests to the lowest ids, so that their ids are contiguous.
    pub(crate) fn compact_streams(&mut self) -> Result<(), EngineError> {
        let count = self.active.len();
        while let Some(gap) =
            (0..count as SeqId).find(|&id| self.active.iter().all(|active| active.seq != id))
        {
            if let Some(at) = self.idle.iter().position(|idle| idle.seq == gap) {
                match self.cells.free(count..self.settings.sequences()) {
                    Some(free) => self.move_idle(at, free)?,
                    None => self.drop_idle(at)?,
                }
            }
            // There are as many ids below `count` as requests, and one is free, so some
            // request has a higher id.
            let Some(at) = self.active.iter().position(|active| active.seq as usize >= count)
            else {
                return Ok(());
            };
            self.move_stream(self.active[at].seq, gap)?;
            self.active[at].seq = gap;
        }
        Ok(())
    }

    fn move_idle(&mut self, at: usize, to: SeqId) -> Result<(), EngineError> {
        self.move_stream(self.idle[at].seq, to)?;
        self.idle[at].seq = to;
        Ok(())
    }

    fn move_stream(&mut self, from: SeqId, to: SeqId) -> Result<(), EngineError> {
        self.share(from, to, self.cells.len(from))?;
        drop_from(&mut self.context, from, 0)?;
        self.cells.rename(from, to);
        Ok(())
    }

    /// Replaces the streams by a unified cache. No request may be active.
    pub(crate) fn give_up_streams(&mut self) -> Result<(), EngineError> {
        tracing::warn!(
            "a request is longer than the {} tokens of a stream: switching to a unified cache, which \
             is slower on a CPU; raise --ctx-size to avoid this",
            self.settings.longest_sequence()
        );
        self.lay_out(Switch::On)
    }

    /// Recreates the context with another layout of the cache.
    pub(crate) fn lay_out(&mut self, kv_unified: Switch) -> Result<(), EngineError> {
        let settings = LlamaSettings { kv_unified, ..self.settings.clone() };
        // Free the old context first: there may not be enough memory for both.
        let small = LlamaSettings { ctx_size: 256, parallel: 1, ..settings.clone() };
        self.context = new_context(self.model, &small)?;
        self.context = new_context(self.model, &settings)?;
        self.batch = new_batch(self.model, &self.context, &settings);
        self.cells = KvTrie::new(settings.sequences());
        self.settings = settings;
        self.idle.clear();
        Ok(())
    }
}

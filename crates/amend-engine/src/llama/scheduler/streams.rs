//! A KV cache with a stream for each sequence.
//!
//! llama.cpp computes the sequences of a batch in one pass where their ids lie side
//! by side, and each row then passes over the cells of its own stream alone. What is
//! shared is copied: requests under way have the ids below `parallel`, and those from
//! there on hold what may still serve as prefix.

use super::admission::{Idle, drop_cells, drop_from};
use crate::llama::kv::trie::{Cells, Fork, SeqId};
use crate::llama::settings::Switch;
use crate::llama::{Llama, Settings, new_batch, new_context};
use amend_core::model::EngineError;

impl Llama<'_> {
    /// Lets a sequence without cells begin with the first `len` tokens of another.
    pub(crate) fn share(
        &mut self,
        source: SeqId,
        seq: SeqId,
        len: usize,
    ) -> Result<(), EngineError> {
        let fail = |error: &dyn ToString| EngineError { message: error.to_string(), hint: None };
        if !self.settings.has_streams() {
            return self
                .context
                .copy_kv_cache_seq(source, seq, Some(0), Some(len as u32))
                .map_err(|error| fail(&error));
        }
        // A copy of part of a stream would end the process.
        self.context.copy_kv_cache_seq(source, seq, None, None).map_err(|error| fail(&error))?;
        drop_from(&mut self.context, seq, len)
    }

    /// A stream for the waiting request at `at`, which begins with the longest prefix
    /// that is held.
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

    /// Whether the waiting request at `at` may go on in the stream of an idle
    /// sequence: nobody else wants what it would drop.
    fn can_take_over(&self, seq: SeqId, shared: usize, at: usize) -> bool {
        let Some(idle) = self.idle.iter().find(|idle| idle.seq == seq) else { return false };
        let mut wanted = self.wanted(idle).enumerate();
        (seq as usize) < self.settings.parallel
            && self.header(idle) <= shared
            && wanted.all(|(waiting, len)| waiting == at || len <= shared)
    }

    /// A free id for a request under way. What is idle there moves to another stream,
    /// for which, if there is none, the idle sequence goes that is missed least, `keep`
    /// aside.
    fn free_slot(&mut self, keep: Option<SeqId>) -> Result<SeqId, EngineError> {
        let slots = self.settings.parallel;
        loop {
            if let Some(free) = self.cells.free(0..slots) {
                return Ok(free);
            }
            // Fewer than `slots` are under way: an idle sequence has one.
            let Some(at) = self.least_missed(|idle| (idle.seq as usize) < slots) else {
                return Err(EngineError {
                    message: "a slot is held by no sequence".to_owned(),
                    hint: None,
                });
            };
            match self.cells.free(slots..self.settings.sequences()) {
                Some(free) => self.move_idle(at, free)?,
                None => {
                    let other = self.least_missed(|idle| Some(idle.seq) != keep);
                    self.drop_idle(other.unwrap_or(at))?;
                }
            }
        }
    }

    /// Which of some idle sequences would be missed least: each takes one stream, so it
    /// is the fewest tokens to compute again for the time until they are wanted. A
    /// header is taken to be wanted again soon.
    fn least_missed(&self, some: impl Fn(&Idle) -> bool) -> Option<usize> {
        let missed = |idle: &Idle| {
            let distance = if idle.next == usize::MAX { self.settings.parallel } else { idle.next };
            self.cells.held_alone(idle.seq) as f64 / (distance + 1) as f64
        };
        let some = self.idle.iter().enumerate().filter(|(_, idle)| some(idle));
        some.min_by(|(_, a), (_, b)| missed(a).total_cmp(&missed(b))).map(|(at, _)| at)
    }

    /// Moves requests under way to the lowest ids, so that they lie side by side.
    pub(crate) fn close_ranks(&mut self) -> Result<(), EngineError> {
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
            // As many ids as requests, and one of them free: a request is above.
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

    /// Makes one cache of all streams, once nothing is under way.
    pub(crate) fn give_up_streams(&mut self) -> Result<(), EngineError> {
        tracing::warn!(
            "a request is longer than the {} tokens of a stream: from here on all share one \
             cache, which is slower on a CPU; a larger --ctx-size avoids it",
            self.settings.longest_sequence()
        );
        self.lay_out(Switch::On)
    }

    /// Makes the context anew with one cache, or with streams.
    pub(crate) fn lay_out(&mut self, kv_unified: Switch) -> Result<(), EngineError> {
        let settings = Settings { kv_unified, ..self.settings.clone() };
        // The old one goes first: memory may not suffice for both.
        let small = Settings { ctx_size: 256, parallel: 1, ..settings.clone() };
        self.context = new_context(self.model, &small)?;
        self.context = new_context(self.model, &settings)?;
        self.batch = new_batch(self.model, &self.context, &settings);
        self.cells = Cells::new(settings.sequences());
        self.settings = settings;
        self.idle.clear();
        Ok(())
    }
}

//! Which requests hold cells: who is let in, which prefix they share, and what
//! is dropped for them.

use llama_cpp_2::context::LlamaContext;

use super::Llama;
use super::active::Active;
use super::cells::{Cells, Fork, SeqId, Token};
use super::headers::{KindId, common_prefix};
use crate::engine::EngineError;

/// A sequence of a request that has ended.
pub(super) struct Idle {
    pub(super) seq: SeqId,
    /// The kind of its prompt, whose header may be kept.
    pub(super) kind: KindId,
}

impl Llama<'_> {
    /// Admits waiting requests, first come first served, while slots and cells
    /// suffice. A request waits while another one is computing a longer part of
    /// its prompt than is in the cache, so that no prefix is computed twice.
    pub(super) fn admit(&mut self) -> Result<(), EngineError> {
        let mut at = 0;
        while at < self.waiting.len() && self.active.len() < self.settings.parallel {
            if self.is_being_computed(self.waiting[at].cacheable()) {
                at += 1;
                continue;
            }
            if !self.start(at)? {
                break;
            }
        }
        Ok(())
    }

    fn is_being_computed(&self, usable: &[Token]) -> bool {
        self.sharing
            && self.active.iter().any(|active| {
                let common = common_prefix(&active.queued.tokens, usable);
                active.computed < common && self.cells.longest_prefix(usable) < common
            })
    }

    /// Starts the waiting request at `at`; false when it doesn't fit yet.
    fn start(&mut self, at: usize) -> Result<bool, EngineError> {
        let queued = &self.waiting[at];
        let limit = if self.sharing { queued.first_wanted } else { 0 };
        let fork = loop {
            match self.cells.fork(&queued.tokens, limit) {
                Some(Fork { seq, shared, source: Some(source) })
                    if !self.is_whole(source, shared) =>
                {
                    self.cells.truncate(seq, 0);
                    self.cells.forget(source);
                }
                Some(fork) => break fork,
                None if self.idle.is_empty() => return Ok(false),
                None => {
                    let oldest = self.idle.remove(0);
                    drop_cells(&mut self.context, &mut self.cells, oldest.seq, 0)?;
                }
            }
        };
        if let Some(source) = fork.source {
            self.context
                .copy_kv_cache_seq(source, fork.seq, Some(0), Some(fork.shared as u32))
                .map_err(|error| EngineError { message: error.to_string(), hint: None })?;
        }
        let reserved: usize = self.active.iter().map(Active::cells_to_come).sum();
        let needed = queued.tokens.len() - fork.shared + queued.max_tokens();
        while self.cells.used() + reserved + needed > self.settings.ctx_size as usize {
            if self.idle.is_empty() {
                drop_cells(&mut self.context, &mut self.cells, fork.seq, 0)?;
                return Ok(false);
            }
            let oldest = self.idle.remove(0);
            drop_cells(&mut self.context, &mut self.cells, oldest.seq, 0)?;
        }
        let Some(queued) = self.waiting.remove(at) else { return Ok(false) };
        self.counters.cached += fork.shared as u64;
        self.active.push(Active {
            queued,
            seq: fork.seq,
            computed: fork.shared,
            cached: fork.shared,
            chunk: 0,
            draft: Vec::new(),
            rows: Vec::new(),
        });
        Ok(true)
    }

    /// Whether a sequence can go on after its first `len` tokens.
    ///
    /// In a cache with a sliding window, full-sized or not, llama.cpp reuses a
    /// cell that a single sequence holds once that sequence's window has passed
    /// it. What is left serves to go on where the sequence is, but not where it
    /// was. The mirror does not see this; llama.cpp tells the first position
    /// that is left.
    fn is_whole(&self, seq: SeqId, len: usize) -> bool {
        let first = self.context.kv_cache_seq_pos_min(seq);
        let needed = self.window.map_or(0, |window| len.saturating_sub(window));
        len == 0 || usize::try_from(first).is_ok_and(|first| first <= needed)
    }

    /// Drops of idle sequences what nobody waits for, the headers shared by all
    /// items excepted.
    pub(super) fn trim_idle(&mut self) -> Result<(), EngineError> {
        for idle in std::mem::take(&mut self.idle) {
            let header = match self.headers.length(idle.kind).min(self.cells.len(idle.seq)) {
                length if length > 0 && !self.cells.is_shared(idle.seq, length) => length,
                _ => 0,
            };
            let wanted = self
                .waiting
                .iter()
                .map(|waiting| self.cells.common_prefix(idle.seq, waiting.cacheable()))
                .max()
                .unwrap_or(0);
            let keep = if self.sharing { header.max(wanted) } else { 0 };
            let keep = if self.is_whole(idle.seq, keep) { keep } else { 0 };
            drop_cells(&mut self.context, &mut self.cells, idle.seq, keep)?;
            if keep > 0 {
                self.idle.push(idle);
            }
        }
        Ok(())
    }
}

/// Drops a sequence's cells from `keep` on, in llama.cpp and in the mirror.
pub(super) fn drop_cells(
    context: &mut LlamaContext<'_>,
    cells: &mut Cells,
    seq: SeqId,
    keep: usize,
) -> Result<(), EngineError> {
    if keep >= cells.len(seq) && keep > 0 {
        return Ok(());
    }
    drop_from(context, seq, keep)?;
    cells.truncate(seq, keep);
    Ok(())
}

/// Drops a sequence's cells from position `keep` on, in llama.cpp alone.
pub(super) fn drop_from(
    context: &mut LlamaContext<'_>,
    seq: SeqId,
    keep: usize,
) -> Result<(), EngineError> {
    match context.clear_kv_cache_seq(Some(seq as u32), Some(keep as u32), None) {
        Ok(true) => Ok(()),
        _ => Err(EngineError {
            message: format!("llama.cpp could not drop sequence {seq} from position {keep}"),
            hint: None,
        }),
    }
}

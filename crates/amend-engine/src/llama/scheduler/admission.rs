//! Which requests hold cells: who is let in, which prefix they share, and what
//! is dropped for them.

use std::cmp::Reverse;

use llama_cpp_2::context::LlamaContext;

use super::active::{Active, Goal, Queued};
use crate::llama::Llama;
use crate::llama::kv::shared_prefix::{KindId, common_prefix};
use crate::llama::kv::trie::{Cells, Fork, SeqId, Token};
use amend_core::model::EngineError;

/// A sequence of a request that has ended.
pub(crate) struct Idle {
    pub(crate) seq: SeqId,
    /// The kind of its prompt, whose header may be kept.
    pub(crate) kind: KindId,
    /// How many requests will start before the first that begins with more of it
    /// than the header; the most there can be where none does.
    pub(crate) next: usize,
}

impl Idle {
    /// A sequence whose request has just ended.
    pub(crate) fn new(seq: SeqId, kind: KindId) -> Self {
        Self { seq, kind, next: usize::MAX }
    }
}

impl Llama<'_> {
    /// Has a request wait: first those that go on from a completion, since they
    /// hold its cells until they end; each group first come first served.
    pub(crate) fn enqueue(&mut self, queued: Queued) {
        let first = self.waiting.partition_point(|waiting| waiting.goes_on);
        let at = if queued.goes_on { first } else { self.waiting.len() };
        self.waiting.insert(at, queued);
    }

    /// Admits waiting requests, in their order, while slots and cells suffice. A
    /// request waits while another one is computing a longer part of its prompt
    /// than is in the cache, so that no prefix is computed twice.
    pub(crate) fn admit(&mut self) -> Result<(), EngineError> {
        let mut at = 0;
        while at < self.waiting.len() && self.active.len() < self.settings.parallel {
            if self.is_being_computed(self.waiting[at].cacheable()) {
                at += 1;
            } else if self.waiting[at].length() > self.settings.longest_sequence() {
                if !self.active.is_empty() {
                    break;
                }
                self.give_up_streams()?;
            } else if !self.start(at)? {
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
        let fork = match self.settings.has_streams() {
            true => Some(self.open_stream(at)?),
            false => self.fork(at)?,
        };
        let Some(Fork { seq, shared, .. }) = fork else { return Ok(false) };
        let Some(queued) = self.waiting.remove(at) else { return Ok(false) };
        self.counters.cached += shared as u64;
        self.active.push(Active {
            queued,
            seq,
            computed: shared,
            cached: shared,
            chunk: 0,
            draft: Vec::new(),
            rows: Vec::new(),
        });
        Ok(true)
    }

    /// The leading tokens of the waiting request at `at` that it may share.
    pub(crate) fn sharable(&self, at: usize) -> &[Token] {
        if self.sharing { self.waiting[at].cacheable() } else { &[] }
    }

    /// A sequence of a unified cache for the waiting request at `at`; none when there
    /// is no room yet.
    fn fork(&mut self, at: usize) -> Result<Option<Fork>, EngineError> {
        let fork = loop {
            let Some(free) = self.cells.free(0..self.settings.sequences()) else {
                if self.evict()? {
                    continue;
                }
                return Ok(None);
            };
            let limit = self.sharable(at).len();
            let fork = self.cells.fork(free, &self.waiting[at].tokens[..limit]);
            match fork.source {
                Some(source) if !self.is_whole(source, fork.shared) => {
                    self.cells.truncate(free, 0);
                    self.cells.forget(source);
                }
                _ => break fork,
            }
        };
        let needed = self.waiting[at].length() - fork.shared;
        let reserved = self.reserved(at);
        let size = self.settings.ctx_size as usize;
        let lacking = (self.cells.used() + reserved + needed).saturating_sub(size);
        // Nothing is dropped in vain.
        if !self.active.is_empty() && lacking > self.spare_cells() {
            self.cells.truncate(fork.seq, 0);
            return Ok(None);
        }
        if let Some(source) = fork.source {
            self.share(source, fork.seq, fork.shared)?;
        }
        while self.cells.used() + reserved + needed > size && self.evict()? {}
        Ok(Some(fork))
    }

    /// Cells set aside before the waiting request at `at` may have any: those that
    /// requests under way may still come to need and, unless it goes on from
    /// one of them, those that what goes on from them and from it will need.
    fn reserved(&self, at: usize) -> usize {
        let under_way = self.active.iter().map(Active::cells_to_come).sum();
        let queued = &self.waiting[at];
        if queued.goes_on || self.active.is_empty() {
            return under_way;
        }
        let growth = |queued: &Queued| match &queued.goal {
            // Before one has ended, as much again: too few go on, not too many.
            Goal::Complete(_) if !queued.goes_on => {
                self.growth.get(&queued.kind).copied().unwrap_or(queued.length())
            }
            _ => 0,
        };
        let later: usize = self.active.iter().map(|active| growth(&active.queued)).sum();
        under_way + later + growth(queued)
    }

    /// Whether an idle sequence may go while others are under way: none of the
    /// requests that may be under way next wants it.
    fn is_spare(&self, idle: &Idle) -> bool {
        idle.next >= self.settings.parallel
    }

    /// Cells that spare idle sequences alone hold.
    fn spare_cells(&self) -> usize {
        let spare = self.idle.iter().filter(|idle| self.is_spare(idle));
        spare.map(|idle| self.cells.held_alone(idle.seq)).sum()
    }

    /// Drops an idle sequence to make room; false where there is none to drop.
    /// Headers go first, then what is wanted last (Belady 1966), of equals the
    /// oldest. What is wanted soon would be computed again: it goes only where
    /// nothing is under way that makes room when it ends.
    fn evict(&mut self) -> Result<bool, EngineError> {
        let idle = self.idle.iter().enumerate();
        let last = idle.max_by_key(|&(at, idle)| (idle.next, Reverse(at)));
        let Some((at, _)) = last.filter(|(_, idle)| self.active.is_empty() || self.is_spare(idle))
        else {
            return Ok(false);
        };
        self.drop_idle(at)?;
        Ok(true)
    }

    /// Drops the idle sequence at `at`.
    pub(crate) fn drop_idle(&mut self, at: usize) -> Result<(), EngineError> {
        let idle = self.idle.remove(at);
        tracing::debug!(tokens = self.cells.len(idle.seq), idle.next, "made room in the KV cache");
        drop_cells(&mut self.context, &mut self.cells, idle.seq, 0)
    }

    /// How many leading tokens of an idle sequence each waiting request may share.
    pub(crate) fn wanted(&self, idle: &Idle) -> impl Iterator<Item = usize> {
        let waiting = self.waiting.iter();
        waiting.map(move |waiting| self.cells.common_prefix(idle.seq, waiting.cacheable()))
    }

    /// How many tokens of a header an idle sequence has.
    pub(crate) fn header(&self, idle: &Idle) -> usize {
        self.headers.length(idle.kind).min(self.cells.len(idle.seq))
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
    /// items excepted, and what another sequence holds too.
    pub(crate) fn trim_idle(&mut self) -> Result<(), EngineError> {
        for mut idle in std::mem::take(&mut self.idle) {
            let header = self.header(&idle);
            let shared: Vec<usize> = self.wanted(&idle).collect();
            let wanted = shared.iter().copied().max().unwrap_or(0);
            idle.next = shared.iter().position(|&len| len > header).unwrap_or(usize::MAX);
            let keep = match header.max(wanted) {
                length
                    if self.sharing
                        && !self.cells.is_shared(idle.seq, length)
                        && self.is_whole(idle.seq, length) =>
                {
                    length
                }
                _ => 0,
            };
            drop_cells(&mut self.context, &mut self.cells, idle.seq, keep)?;
            if keep > 0 {
                self.idle.push(idle);
            }
        }
        Ok(())
    }
}

/// Drops a sequence's cells from `keep` on, in llama.cpp and in the mirror.
pub(crate) fn drop_cells(
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
pub(crate) fn drop_from(
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

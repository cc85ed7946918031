//! Decides which requests hold cells of the KV cache: which are admitted, which prefix
//! they share, and what is evicted for them.

use std::cmp::Reverse;

use llama_cpp_2::context::LlamaContext;

use super::active::{Active, Goal, Queued};
use crate::llama::kv::shared_prefix::{KindId, common_prefix};
use crate::llama::kv::trie::{Fork, KvTrie, SeqId, Token};
use crate::llama::{Growth, Llama};
use amend_core::model::EngineError;

/// The sequence of a finished request.
pub(crate) struct Idle {
    pub(crate) seq: SeqId,
    /// The kind of its prompt, which determines the shared prefix to keep.
    pub(crate) kind: KindId,
    /// How many requests will start before the first one that shares more of it than
    /// the shared prefix of its kind; `usize::MAX` if none does.
    pub(crate) next: usize,
}

impl Idle {
    /// The sequence of a request that has just ended.
    pub(crate) fn new(seq: SeqId, kind: KindId) -> Self {
        Self { seq, kind, next: usize::MAX }
    }
}

impl Llama<'_> {
    /// Adds a request to the queue. Continuations come first, because the completions
    /// that they continue hold cells until then; the longest chain comes first, because
    /// it holds most cells and is nearest to its end. Otherwise first in, first out.
    pub(crate) fn enqueue(&mut self, queued: Queued) {
        let steps = queued.history.len();
        let at = self.waiting.partition_point(|waiting| waiting.history.len() >= steps);
        self.waiting.insert(at, queued);
    }

    /// Admits waiting requests in order while there are free slots and cells. A request
    /// waits while another one computes a longer part of its prompt than the cache
    /// holds, so that no prefix is computed twice.
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

    /// Whether an active request will compute more of these tokens than the cache holds.
    fn is_being_computed(&self, usable: &[Token]) -> bool {
        self.sharing
            && self.active.iter().any(|active| {
                let common = common_prefix(&active.queued.tokens, usable);
                active.computed < common && self.cells.longest_prefix(usable) < common
            })
    }

    /// Starts the waiting request at `at`. Returns false if it does not fit yet.
    fn start(&mut self, at: usize) -> Result<bool, EngineError> {
        let fork =
            if self.settings.has_streams() { Some(self.open_stream(at)?) } else { self.fork(at)? };
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

    /// The leading tokens that the waiting request at `at` may share.
    pub(crate) fn sharable(&self, at: usize) -> &[Token] {
        if self.sharing { self.waiting[at].cacheable() } else { &[] }
    }

    /// Starts a sequence in a unified cache for the waiting request at `at`. Returns
    /// `None` if there is no room yet.
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
        // Don't evict anything if that would not make enough room.
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

    /// How many cells to reserve before the waiting request at `at` gets any: those that
    /// active requests may still need and, unless it is a continuation, those that
    /// continuations of them and of it will need.
    fn reserved(&self, at: usize) -> usize {
        let needed = self.active.iter().map(Active::cells_needed).sum();
        let queued = &self.waiting[at];
        if queued.is_continuation() || self.active.is_empty() {
            return needed;
        }
        let growth = |queued: &Queued| match &queued.goal {
            Goal::Complete(_) => {
                let root = queued.root();
                let Growth { tokens, is_known } =
                    self.growth.get(&root.kind).copied().unwrap_or_default();
                // Until a chain of a kind has ended, assume that continuations triple the
                // length: this admits too few requests rather than too many.
                let assumed = if is_known { 0 } else { 2 * root.length };
                (root.length + tokens.max(assumed)).saturating_sub(queued.length())
            }
            Goal::Choose(_) | Goal::Score { .. } => 0,
        };
        let growth_of_active: usize = self.active.iter().map(|active| growth(&active.queued)).sum();
        needed + growth_of_active + growth(queued)
    }

    /// Whether an idle sequence may be evicted while requests are active: none of the
    /// requests that may start next shares it.
    fn is_spare(&self, idle: &Idle) -> bool {
        idle.next >= self.settings.parallel
    }

    /// The number of cells that only spare idle sequences hold.
    fn spare_cells(&self) -> usize {
        let spare = self.idle.iter().filter(|idle| self.is_spare(idle));
        spare.map(|idle| self.cells.held_alone(idle.seq)).sum()
    }

    /// Evicts an idle sequence to make room. Returns false if none can be evicted.
    ///
    /// Evicts the sequence whose next use is farthest away (Belady 1966), the oldest in
    /// case of a tie; those of which only the shared prefix is used come first. A
    /// sequence that is used soon would be computed again: it is evicted only if there
    /// is no active request that will free cells when it ends.
    fn evict(&mut self) -> Result<bool, EngineError> {
        let idle = self.idle.iter().enumerate();
        let Some((at, idle)) = idle.max_by_key(|&(at, idle)| (idle.next, Reverse(at))) else {
            return Ok(false);
        };
        if !self.active.is_empty() && !self.is_spare(idle) {
            return Ok(false);
        }
        self.drop_idle(at)?;
        Ok(true)
    }

    /// Drops the idle sequence at `at`.
    pub(crate) fn drop_idle(&mut self, at: usize) -> Result<(), EngineError> {
        let idle = self.idle.remove(at);
        tracing::debug!(
            tokens = self.cells.len(idle.seq),
            idle.next,
            "evicted a prefix from the KV cache"
        );
        drop_cells(&mut self.context, &mut self.cells, idle.seq, 0)
    }

    /// How many leading tokens of an idle sequence each waiting request can share.
    pub(crate) fn shared_lengths(&self, idle: &Idle) -> impl Iterator<Item = usize> {
        let waiting = self.waiting.iter();
        waiting.map(move |waiting| self.cells.common_prefix(idle.seq, waiting.cacheable()))
    }

    /// How many tokens of an idle sequence are the shared prefix of its kind.
    pub(crate) fn shared_prefix(&self, idle: &Idle) -> usize {
        self.headers.length(idle.kind).min(self.cells.len(idle.seq))
    }

    /// Whether a sequence can be continued after its first `len` tokens.
    ///
    /// In a cache with a sliding window, full-sized or not, llama.cpp reuses a cell of a
    /// single sequence once the sequence's window has passed it. The remaining cells are
    /// enough to continue at the end of the sequence, but not at an earlier position.
    /// [`KvTrie`] does not mirror this; llama.cpp reports the first position that is left.
    fn is_whole(&self, seq: SeqId, len: usize) -> bool {
        let first = self.context.kv_cache_seq_pos_min(seq);
        let needed = self.window.map_or(0, |window| len.saturating_sub(window));
        len == 0 || usize::try_from(first).is_ok_and(|first| first <= needed)
    }

    /// Truncates idle sequences to the part that a waiting request shares or that is the
    /// shared prefix of their kind. Drops those whose part another sequence holds too.
    pub(crate) fn trim_idle(&mut self) -> Result<(), EngineError> {
        for mut idle in std::mem::take(&mut self.idle) {
            let prefix = self.shared_prefix(&idle);
            let lengths: Vec<usize> = self.shared_lengths(&idle).collect();
            idle.next = lengths.iter().position(|&len| len > prefix).unwrap_or(usize::MAX);
            let longest = lengths.into_iter().max().unwrap_or(0).max(prefix);
            let is_worth_keeping = self.sharing
                && !self.cells.is_shared(idle.seq, longest)
                && self.is_whole(idle.seq, longest);
            let keep = if is_worth_keeping { longest } else { 0 };
            drop_cells(&mut self.context, &mut self.cells, idle.seq, keep)?;
            if keep > 0 {
                self.idle.push(idle);
            }
        }
        Ok(())
    }
}

/// Drops the cells of a sequence from position `keep` on, in llama.cpp and in the mirror.
pub(crate) fn drop_cells(
    context: &mut LlamaContext<'_>,
    cells: &mut KvTrie,
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

/// Drops the cells of a sequence from position `keep` on, only in llama.cpp.
pub(crate) fn drop_from(
    context: &mut LlamaContext<'_>,
    seq: SeqId,
    keep: usize,
) -> Result<(), EngineError> {
    let fail = || {
        let message = format!("llama.cpp failed to remove sequence {seq} from position {keep} on");
        EngineError::new(message)
    };
    match context.clear_kv_cache_seq(Some(seq as u32), Some(keep as u32), None) {
        Ok(true) => Ok(()),
        Ok(false) => Err(fail()),
        Err(error) => Err(fail().caused_by(error)),
    }
}

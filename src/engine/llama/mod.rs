//! llama.cpp in this process: the only place that knows it.
//!
//! [`Llama`] schedules requests over one context with a unified KV cache. Each
//! step admits what fits, composes one batch of decode rows and prefill chunks,
//! computes it, and samples. What is admitted, and in what order, depends on
//! the requests and settings alone, never on a clock.

mod active;
pub mod bare;
mod batch;
mod cells;
mod headers;
mod ideal;
mod model;
mod probe;
mod row;
mod sampler;
mod settings;
mod softmax;
mod tokenize;
mod vocabulary;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Instant;

use llama_cpp_2::DecodeError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::token::LlamaToken;
use serde_json::{Value, json};

use self::active::{Active, Completing, Goal, Queued, Tools};
use self::batch::{Batch, Bounds};
use self::cells::{Cells, Fork, SeqId, Token};
use self::headers::{Headers, KindId, common_prefix};
use self::ideal::Ideal;
pub use self::model::Model;
use self::sampler::Sampler;
pub use self::settings::{CacheType, MAX_PARALLEL, Settings, Switch};
use self::tokenize::{Decoded, Prompt};
pub use self::vocabulary::Vocabulary;
use super::{
    Counters, Description, Engine, EngineError, Event, Failure, Prepared, Request, RequestId, Task,
};
use crate::chat::Message;

/// The version of the bindings that `Cargo.toml` pins, for manifests.
const LLAMA_CPP_2: &str = "0.1.160";

/// The most rows of a batch whose logits are wanted for scores: each takes a
/// vocabulary's worth of memory.
const MAX_SCORED_ROWS: usize = 128;

/// An engine over one model and one context.
pub struct Llama<'m> {
    model: &'m Model,
    context: LlamaContext<'m>,
    settings: Settings,
    cells: Cells,
    /// Whether sequences share the cells of common prefixes.
    sharing: bool,
    /// The model's [`Model::window`].
    window: Option<usize>,
    /// What one sequence may hold, in tokens.
    sequence_limit: usize,
    end_tokens: Vec<Token>,
    waiting: VecDeque<Queued>,
    active: Vec<Active>,
    /// Sequences of finished requests that may still serve as prefix, oldest first.
    idle: Vec<Idle>,
    /// Tokens of what finished in the last step.
    decoded: HashMap<RequestId, Decoded>,
    /// Requests that failed before they were queued.
    failed: Vec<(RequestId, Failure)>,
    batch: Batch,
    sampler: Sampler,
    counters: Counters,
    ideal: Option<Ideal>,
    headers: Headers,
}

struct Idle {
    seq: SeqId,
    /// The kind of its prompt, whose header may be kept.
    kind: KindId,
}

impl<'m> Llama<'m> {
    /// An engine with a context of its own.
    ///
    /// # Errors
    /// A context llama.cpp can't make: too little memory, or settings that do
    /// not go together.
    pub fn new(model: &'m Model, settings: &Settings) -> Result<Self, EngineError> {
        let mut settings = settings.resolved();
        let window = model.window();
        if window.is_some() {
            // Where a batch is cut, llama.cpp finds cells for all parts before
            // it computes the first, and in a cache with a window may drop for
            // a later part what an earlier one still looks at.
            settings.ubatch_size = settings.batch_size;
        }
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(settings.ctx_size))
            // llama.cpp aborts if a batch may have fewer rows than sequences.
            .with_n_batch(settings.batch_size.max(settings.sequences() as u32))
            .with_n_ubatch(settings.ubatch_size)
            .with_n_seq_max(settings.sequences() as u32)
            .with_n_threads(settings.threads as i32)
            .with_n_threads_batch(settings.threads_batch as i32)
            .with_flash_attention_policy(match settings.flash_attention {
                Switch::Auto => -1,
                Switch::Off => 0,
                Switch::On => 1,
            })
            .with_type_k(settings.cache_type_k.into())
            .with_type_v(settings.cache_type_v.into())
            .with_kv_unified(true)
            .with_swa_full(true)
            .with_no_perf(true);
        let mut context =
            model.inner.new_context(model::backend()?, params).map_err(|_| EngineError {
                message: format!(
                    "failed to make a context of {} tokens for {} sequences",
                    settings.ctx_size, settings.parallel
                ),
                hint: Some(
                    "lower --ctx-size or --parallel to use less memory; a quantised value cache \
                     needs flash attention; the log above says more"
                        .to_owned(),
                ),
            })?;
        let can_cut = probe::can_cut(&mut context)?;
        let vocab = model.inner.vocab();
        let vocabulary = vocab.n_tokens();
        let cells = context.n_ctx() as usize;
        let bounds = Bounds {
            rows: context.n_batch().min(settings.batch_size) as usize,
            sequences: settings.sequences(),
            positions: cells,
            vocabulary: vocabulary as usize,
        };
        let settings = Settings { ctx_size: context.n_ctx(), ..settings };
        Ok(Self {
            model,
            context,
            cells: Cells::new(settings.sequences()),
            sharing: settings.share_prefixes && model.can_share() && can_cut,
            window,
            sequence_limit: cells.min(model.trained_context() as usize),
            end_tokens: (0..vocabulary).filter(|&t| vocab.is_eog(LlamaToken(t))).collect(),
            settings,
            waiting: VecDeque::new(),
            active: Vec::new(),
            idle: Vec::new(),
            decoded: HashMap::new(),
            failed: Vec::new(),
            batch: Batch::new(bounds),
            sampler: Sampler::default(),
            counters: Counters::default(),
            ideal: None,
            headers: Headers::default(),
        })
    }

    /// From now on counts what a cache without limit would have had to prefill,
    /// over at most `requests` requests.
    pub fn count_ideal(&mut self, requests: usize) {
        self.ideal = Some(Ideal::new(requests));
    }

    /// Tokens that a cache without limit would have had to prefill for the
    /// requests that ended since [`Llama::count_ideal`].
    #[must_use]
    pub fn ideal_prefill(&self) -> u64 {
        self.ideal.as_ref().map_or(0, |ideal| ideal.prefilled)
    }

    /// The mean position at which a token was decoded since
    /// [`Llama::count_ideal`]: how long the contexts were.
    #[must_use]
    pub fn mean_decoded_position(&self) -> f64 {
        let sum = self.ideal.as_ref().map_or(0, |ideal| ideal.decoded_positions);
        sum as f64 / self.counters.decoded.max(1) as f64
    }

    /// Cells of the KV cache in use, in tokens.
    #[must_use]
    pub fn cells_in_use(&self) -> usize {
        self.cells.used()
    }

    /// The texts of the vocabulary's control tokens and of the tokens that end
    /// a turn, in order of id.
    #[must_use]
    pub fn special_tokens(&self) -> Vec<String> {
        let vocab = self.model.inner.vocab();
        (0..vocab.n_tokens())
            .map(LlamaToken)
            .filter(|&token| vocab.is_control(token) || vocab.is_eog(token))
            .map(|token| {
                String::from_utf8_lossy(&vocab.token_to_piece(token, true, None)).into_owned()
            })
            .collect()
    }

    /// Cells of the KV cache, in tokens.
    #[must_use]
    pub fn cells_in_all(&self) -> usize {
        self.settings.ctx_size as usize
    }

    /// A request in tokens, if it can be computed at all.
    fn queue(&mut self, request: Request) -> Result<Queued, Failure> {
        let decoded = request.continues.and_then(|id| self.decoded.get(&id));
        let vocab = self.model.inner.vocab();
        let template = &self.model.template;
        let Prompt { mut tokens, shared } =
            tokenize::prompt(&vocab, template, &request.turns, request.shared_turns, decoded)?;
        let Some(last) = tokens.len().checked_sub(1) else {
            let message = "the prompt has no tokens".to_owned();
            return Err(Failure::ChatTemplate { message });
        };
        let goal = match request.task {
            Task::Complete { sampling, stream, ignore_eos } => {
                Goal::Complete(Box::new(Completing::new(sampling, stream, ignore_eos)))
            }
            Task::Choose { choices } => {
                let tokens = choices.into_iter().map(|spellings| self.model.tokens_of(spellings));
                Goal::Choose(tokens.collect::<Result<_, _>>()?)
            }
            Task::Score { response } => {
                let targets = tokenize::content(&vocab, &response)?;
                let Some((_, given)) = targets.split_last() else {
                    return Err(Failure::Empty { step: "response".to_owned() });
                };
                // The last token is scored from the row before it.
                tokens.extend_from_slice(given);
                Goal::Score { targets, log_probs: Vec::new() }
            }
        };
        let kind = self.headers.note(&tokens, shared.min(last));
        let queued = Queued { id: request.id, tokens, kind, first_wanted: last, goal };
        let needed = queued.tokens.len() + queued.max_tokens();
        if needed > self.sequence_limit {
            return Err(Failure::ContextOverflow {
                needed: needed as u32,
                prompt: queued.tokens.len() as u32,
                answer: queued.max_tokens() as u32,
                available: self.sequence_limit as u32,
            });
        }
        Ok(queued)
    }

    /// Admits waiting requests, first come first served, while slots and cells
    /// suffice. A request waits while another one is computing a longer part of
    /// its prompt than is in the cache, so that no prefix is computed twice.
    fn admit(&mut self) -> Result<(), EngineError> {
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
    fn trim_idle(&mut self) -> Result<(), EngineError> {
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

    /// Fills the batch: a row for each sequence that decodes, then prefill,
    /// oldest first, as far as there is room.
    fn compose(&mut self) -> Result<(), EngineError> {
        self.batch.clear();
        for active in &mut self.active {
            active.rows.clear();
            active.chunk = 0;
            if let Some((token, position)) = active.next() {
                active.rows.push(self.batch.push(token, position, active.seq, true)?);
            }
        }
        let mut scored = 0;
        for active in &mut self.active {
            let queued = &active.queued;
            while active.chunk < active.remaining() && self.batch.room() > 0 {
                let at = active.computed + active.chunk;
                let wanted = at >= queued.first_wanted;
                scored += usize::from(wanted);
                if scored > MAX_SCORED_ROWS {
                    break;
                }
                let row = self.batch.push(queued.tokens[at], at, active.seq, wanted)?;
                if wanted {
                    active.rows.push(row);
                }
                active.chunk += 1;
            }
        }
        Ok(())
    }

    /// Mirrors the computed batch in the counts of cells.
    fn record(&mut self) {
        self.counters.batches += 1;
        self.counters.rows += self.batch.len() as u64;
        for active in &mut self.active {
            if let Some((token, _)) = active.next() {
                self.cells.push(active.seq, token);
            }
            let end = active.computed + active.chunk;
            for &token in &active.queued.tokens[active.computed..end] {
                self.cells.push(active.seq, token);
            }
            active.computed = end;
            self.counters.prefilled += active.chunk as u64;
        }
    }

    /// Hands every request its logits; those that end give up their slots.
    fn take_logits(&mut self, events: &mut Vec<Event>) -> Result<(), EngineError> {
        let vocab = self.model.inner.vocab();
        let (batch, context) = (&self.batch, &self.context);
        let mut tools = Tools {
            vocab: &vocab,
            end_tokens: &self.end_tokens,
            sampler: &mut self.sampler,
            decoded: &mut self.counters.decoded,
        };
        let mut going_on = Vec::with_capacity(self.active.len());
        for mut active in std::mem::take(&mut self.active) {
            if !active.take(|row| batch.logits(context, row), &mut tools, events)? {
                going_on.push(active);
                continue;
            }
            self.idle.push(Idle { seq: active.seq, kind: active.queued.kind });
            let id = active.queued.id;
            if let Some(ideal) = &mut self.ideal {
                ideal.count(&active);
            }
            if let Some(decoded) = active.into_decoded() {
                self.decoded.insert(id, decoded);
            }
        }
        self.active = going_on;
        Ok(())
    }

    /// After llama.cpp found no cells for a batch, which the counts should rule
    /// out: the youngest request gives way, the others go on.
    fn give_way(&mut self, events: &mut Vec<Event>) -> Result<(), EngineError> {
        let Some(active) = self.active.pop() else { return Ok(()) };
        tracing::warn!(
            used = self.cells.used(),
            context = self.settings.ctx_size,
            "llama.cpp found no room in the KV cache"
        );
        let failure = Failure::Decode { message: "no room in the KV cache".to_owned() };
        events.push(Event::Failed { id: active.queued.id, failure });
        drop_cells(&mut self.context, &mut self.cells, active.seq, 0)
    }
}

impl Engine for Llama<'_> {
    fn describe(&self) -> Result<Description, EngineError> {
        Ok(Description {
            model: self.model.describe()?,
            settings: json!({
                "engine": "llama.cpp",
                "model_file": self.model.file_name(),
                "llama-cpp-2": LLAMA_CPP_2,
                "settings": serde_json::to_value(&self.settings).unwrap_or(Value::Null),
            }),
        })
    }

    fn width(&self) -> usize {
        self.settings.parallel
    }

    fn prepare(&self, turns: &[Message], shared_turns: usize) -> Result<Prepared, Failure> {
        let vocab = self.model.inner.vocab();
        let prompt = tokenize::prompt(&vocab, &self.model.template, turns, shared_turns, None)?;
        let text = |token: Token| {
            let piece = vocab.token_to_piece(LlamaToken(token), true, None);
            String::from_utf8_lossy(&piece).into_owned()
        };
        Ok(Prepared {
            tokens: prompt.tokens.iter().map(|&token| (token, text(token))).collect(),
            shared: prompt.shared,
        })
    }

    fn submit(&mut self, request: Request) {
        let id = request.id;
        match self.queue(request) {
            Ok(queued) => self.waiting.push_back(queued),
            Err(failure) => self.failed.push((id, failure)),
        }
    }

    fn cancel(&mut self, id: RequestId) {
        self.waiting.retain(|waiting| waiting.id != id);
        self.failed.retain(|(failed, _)| *failed != id);
        if let Some(at) = self.active.iter().position(|active| active.queued.id == id) {
            let active = self.active.remove(at);
            // Its cells are dropped before the next batch, unless wanted.
            self.idle.push(Idle { seq: active.seq, kind: None });
        }
    }

    fn reset(&mut self) {
        self.context.clear_kv_cache();
        self.cells = Cells::new(self.settings.sequences());
        self.headers = Headers::default();
        self.waiting.clear();
        self.active.clear();
        self.idle.clear();
        self.decoded.clear();
        self.failed.clear();
    }

    fn step(&mut self, events: &mut Vec<Event>) -> Result<bool, EngineError> {
        for (id, failure) in self.failed.drain(..) {
            events.push(Event::Failed { id, failure });
        }
        self.decoded.clear();
        // Before, so that cells nobody wants make room; after, since what was
        // wanted has been shared.
        self.trim_idle()?;
        self.admit()?;
        self.trim_idle()?;
        if self.active.is_empty() {
            return Ok(false);
        }
        self.compose()?;
        let start = Instant::now();
        let result = self.batch.decode(&mut self.context);
        self.counters.compute_seconds += start.elapsed().as_secs_f64();
        match result {
            Ok(()) => {
                self.record();
                self.take_logits(events)?;
            }
            Err(DecodeError::NoKvCacheSlot) => self.give_way(events)?,
            Err(error) => {
                return Err(EngineError {
                    message: format!("llama.cpp failed to decode a batch: {error}"),
                    hint: Some("the log of -vv says more; memory may have run out".to_owned()),
                });
            }
        }
        Ok(true)
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

/// Drops a sequence's cells from `keep` on, in llama.cpp and in the mirror.
fn drop_cells(
    context: &mut LlamaContext<'_>,
    cells: &mut Cells,
    seq: SeqId,
    keep: usize,
) -> Result<(), EngineError> {
    if keep >= cells.len(seq) && keep > 0 {
        return Ok(());
    }
    let removed = context.clear_kv_cache_seq(Some(seq as u32), Some(keep as u32), None);
    if !matches!(removed, Ok(true)) {
        return Err(EngineError {
            message: format!("llama.cpp could not drop sequence {seq} from position {keep}"),
            hint: None,
        });
    }
    cells.truncate(seq, keep);
    Ok(())
}

#[cfg(test)]
mod tests;

//! llama.cpp in this process: the only place that knows it.
//!
//! [`Llama`] schedules requests over one context with a unified KV cache. Each
//! step admits what fits, composes one batch of decode rows and prefill chunks,
//! computes it, and samples. What is admitted, and in what order, depends on
//! the requests and settings alone, never on a clock.

mod batch;
mod cells;
mod model;
mod sampler;
mod settings;
mod tokenize;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::time::Instant;

use llama_cpp_2::DecodeError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::{KvCacheType, LlamaContextParams};
use llama_cpp_2::token::LlamaToken;
use llama_cpp_2::vocab::LlamaVocab;
use serde_json::{Value, json};

use self::batch::{Batch, Bounds};
use self::cells::{Cells, SeqId, Token};
pub use self::model::Model;
use self::sampler::Sampler;
pub use self::settings::{CacheType, MAX_PARALLEL, Settings, Switch};
use self::tokenize::{Decoded, Prompt, Utf8};
use super::{
    Completion, Counters, Description, Engine, EngineError, Event, Failure, Finish, Prepared,
    Request, RequestId, Usage,
};
use crate::chat::Message;

/// The version of the bindings that `Cargo.toml` pins, for manifests.
const LLAMA_CPP_2: &str = "0.1.160";

/// An engine over one model and one context.
pub struct Llama<'m> {
    model: &'m Model,
    context: LlamaContext<'m>,
    settings: Settings,
    cells: Cells,
    /// Whether sequences share the cells of common prefixes.
    sharing: bool,
    /// What one sequence may hold, in tokens.
    sequence_limit: usize,
    end_tokens: Vec<Token>,
    waiting: VecDeque<Waiting>,
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
}

struct Waiting {
    request: Request,
    prompt: Prompt,
}

struct Active {
    request: Request,
    prompt: Prompt,
    seq: SeqId,
    /// Prompt tokens in the cache.
    computed: usize,
    cached: usize,
    decoded: Vec<Token>,
    text: String,
    utf8: Utf8,
    /// The row of the current batch whose logits decide the next token.
    row: Option<usize>,
}

struct Idle {
    seq: SeqId,
    /// Leading tokens that every item's prompt has.
    shared: usize,
}

impl<'m> Llama<'m> {
    /// An engine with a context of its own.
    ///
    /// # Errors
    /// A context llama.cpp can't make: too little memory, or settings that do
    /// not go together.
    pub fn new(model: &'m Model, settings: &Settings) -> Result<Self, EngineError> {
        let settings = settings.resolved();
        let params = LlamaContextParams::default()
            .with_n_ctx(NonZeroU32::new(settings.ctx_size))
            .with_n_batch(settings.batch_size)
            .with_n_ubatch(settings.ubatch_size)
            .with_n_seq_max(settings.sequences() as u32)
            .with_n_threads(settings.threads as i32)
            .with_n_threads_batch(settings.threads_batch as i32)
            .with_flash_attention_policy(match settings.flash_attention {
                Switch::Auto => -1,
                Switch::Off => 0,
                Switch::On => 1,
            })
            .with_type_k(cache_type(settings.cache_type_k))
            .with_type_v(cache_type(settings.cache_type_v))
            .with_kv_unified(true)
            .with_swa_full(true)
            .with_no_perf(true);
        let context =
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
        let vocab = model.inner.vocab();
        let vocabulary = vocab.n_tokens();
        let cells = context.n_ctx() as usize;
        let bounds = Bounds {
            rows: context.n_batch() as usize,
            sequences: settings.sequences(),
            positions: cells,
            vocabulary: vocabulary as usize,
        };
        let settings = Settings { ctx_size: context.n_ctx(), ..settings };
        Ok(Self {
            model,
            context,
            cells: Cells::new(settings.sequences()),
            sharing: settings.share_prefixes && model.can_share(),
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
        })
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

    /// Admits waiting requests, first come first served, while slots and cells
    /// suffice. A request waits while another one is computing a longer part of
    /// its prompt than is in the cache, so that no prefix is computed twice.
    fn admit(&mut self) -> Result<(), EngineError> {
        let mut at = 0;
        while at < self.waiting.len() && self.active.len() < self.settings.parallel {
            if self.is_being_computed(&self.waiting[at].prompt.tokens) {
                at += 1;
                continue;
            }
            if !self.start(at)? {
                break;
            }
        }
        Ok(())
    }

    fn is_being_computed(&self, tokens: &[Token]) -> bool {
        let usable = &tokens[..tokens.len() - 1];
        self.sharing
            && self.active.iter().any(|active| {
                let common = common_prefix(&active.prompt.tokens, usable);
                active.computed < common && self.cells.longest_prefix(usable) < common
            })
    }

    /// Starts the waiting request at `at`; false when it doesn't fit yet.
    fn start(&mut self, at: usize) -> Result<bool, EngineError> {
        let Waiting { request, prompt } = &self.waiting[at];
        // The last token is always computed: its logits are wanted.
        let limit = if self.sharing { prompt.tokens.len() - 1 } else { 0 };
        let fork = loop {
            match self.cells.fork(&prompt.tokens, limit) {
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
        let needed = prompt.tokens.len() - fork.shared + request.sampling.max_tokens as usize;
        while self.cells.used() + reserved + needed > self.settings.ctx_size as usize {
            if self.idle.is_empty() {
                drop_cells(&mut self.context, &mut self.cells, fork.seq, 0)?;
                return Ok(false);
            }
            let oldest = self.idle.remove(0);
            drop_cells(&mut self.context, &mut self.cells, oldest.seq, 0)?;
        }
        let Some(Waiting { request, prompt }) = self.waiting.remove(at) else { return Ok(false) };
        self.counters.cached += fork.shared as u64;
        self.active.push(Active {
            request,
            prompt,
            seq: fork.seq,
            computed: fork.shared,
            cached: fork.shared,
            decoded: Vec::new(),
            text: String::new(),
            utf8: Utf8::default(),
            row: None,
        });
        Ok(true)
    }

    /// Drops of idle sequences what nobody waits for, the headers shared by all
    /// items excepted.
    fn trim_idle(&mut self) -> Result<(), EngineError> {
        for idle in std::mem::take(&mut self.idle) {
            let header = match idle.shared {
                shared if shared > 0 && !self.cells.is_shared(idle.seq, shared) => shared,
                _ => 0,
            };
            let wanted = self
                .waiting
                .iter()
                .map(|waiting| self.cells.common_prefix(idle.seq, &waiting.prompt.tokens))
                .max()
                .unwrap_or(0);
            let keep = if self.sharing { header.max(wanted) } else { 0 };
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
            active.row = None;
            if let Some(&token) = active.decoded.last() {
                let position = active.prompt.tokens.len() + active.decoded.len() - 1;
                active.row = Some(self.batch.push(token, position, active.seq, true)?);
            }
        }
        for active in &mut self.active {
            let prompt = &active.prompt.tokens;
            let chunk = (prompt.len() - active.computed).min(self.batch.room());
            for at in active.computed..active.computed + chunk {
                let last = at + 1 == prompt.len();
                let row = self.batch.push(prompt[at], at, active.seq, last)?;
                if last {
                    active.row = Some(row);
                }
            }
        }
        Ok(())
    }

    /// Mirrors the computed batch in the counts of cells.
    fn record(&mut self) {
        let mut room = self.batch.len();
        self.counters.batches += 1;
        self.counters.rows += room as u64;
        for active in &self.active {
            if let Some(&token) = active.decoded.last() {
                self.cells.push(active.seq, token);
                room -= 1;
            }
        }
        for active in &mut self.active {
            let chunk = (active.prompt.tokens.len() - active.computed).min(room);
            for &token in &active.prompt.tokens[active.computed..active.computed + chunk] {
                self.cells.push(active.seq, token);
            }
            active.computed += chunk;
            room -= chunk;
            self.counters.prefilled += chunk as u64;
        }
    }

    /// Draws the next token of every sequence whose logits are there.
    fn draw(&mut self, events: &mut Vec<Event>) -> Result<(), EngineError> {
        let vocab = self.model.inner.vocab();
        let mut going_on = Vec::with_capacity(self.active.len());
        for mut active in std::mem::take(&mut self.active) {
            let Some(row) = active.row else {
                going_on.push(active);
                continue;
            };
            let logits = self.batch.logits(&self.context, row)?;
            let banned: &[Token] = if active.request.ignore_eos { &self.end_tokens } else { &[] };
            let sampling = &active.request.sampling;
            let uniform = active.request.stream.uniform(active.decoded.len() as u64);
            let recent = active.recent();
            let Some(token) = self.sampler.sample(logits, sampling, &recent, banned, uniform)
            else {
                events.push(Event::Failed { id: active.request.id, failure: Failure::NotFinite });
                drop_cells(&mut self.context, &mut self.cells, active.seq, 0)?;
                continue;
            };
            self.counters.decoded += 1;
            active.decoded.push(token);
            match active.advance(&vocab, token, events) {
                None => going_on.push(active),
                Some(finish) => self.finish(active, finish, events),
            }
        }
        self.active = going_on;
        Ok(())
    }

    fn finish(&mut self, mut active: Active, finish: Finish, events: &mut Vec<Event>) {
        let id = active.request.id;
        let rest = active.utf8.finish();
        if !rest.is_empty() {
            active.text.push_str(&rest);
            events.push(Event::Text { id, text: rest });
        }
        let usage = Usage {
            prompt: active.prompt.tokens.len() as u32,
            cached: active.cached as u32,
            decoded: active.decoded.len() as u32,
        };
        if finish == Finish::Stop {
            active.decoded.pop();
        }
        self.decoded.insert(id, Decoded { text: active.text.clone(), tokens: active.decoded });
        self.idle.push(Idle { seq: active.seq, shared: active.prompt.shared });
        events
            .push(Event::Done { id, completion: Completion { text: active.text, finish, usage } });
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
        events.push(Event::Failed { id: active.request.id, failure });
        drop_cells(&mut self.context, &mut self.cells, active.seq, 0)
    }
}

impl Active {
    /// Cells it may still come to need.
    fn cells_to_come(&self) -> usize {
        self.prompt.tokens.len() - self.computed + self.request.sampling.max_tokens as usize
            - self.decoded.len().saturating_sub(1)
    }

    /// The tokens the repeat penalty looks at.
    fn recent(&self) -> Vec<Token> {
        let sampling = &self.request.sampling;
        if sampling.repeat_penalty == 1.0 {
            return Vec::new();
        }
        let backwards = self.decoded.iter().rev().chain(self.prompt.tokens.iter().rev());
        backwards.take(sampling.repeat_last_n as usize).copied().collect()
    }

    /// Takes in the token just drawn; says whether decoding ends with it. Any
    /// control token ends the turn: an answer never contains one.
    fn advance(
        &mut self,
        vocab: &LlamaVocab<'_>,
        token: Token,
        events: &mut Vec<Event>,
    ) -> Option<Finish> {
        let token = LlamaToken(token);
        if vocab.is_eog(token) || vocab.is_control(token) {
            return Some(Finish::Stop);
        }
        let text = self.utf8.push(&vocab.token_to_piece(token, false, None));
        if !text.is_empty() {
            self.text.push_str(&text);
            events.push(Event::Text { id: self.request.id, text });
        }
        (self.decoded.len() >= self.request.sampling.max_tokens as usize).then_some(Finish::Length)
    }
}

impl Engine for Llama<'_> {
    fn describe(&self) -> Result<Description, EngineError> {
        Ok(Description {
            model: self.model.describe()?,
            settings: json!({
                "engine": "llama.cpp",
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
        let decoded = request.continues.and_then(|id| self.decoded.get(&id));
        let vocab = self.model.inner.vocab();
        let template = &self.model.template;
        let prompt =
            match tokenize::prompt(&vocab, template, &request.turns, request.shared_turns, decoded)
            {
                Ok(prompt) => prompt,
                Err(failure) => {
                    self.failed.push((request.id, failure));
                    return;
                }
            };
        let answer = request.sampling.max_tokens;
        let needed = prompt.tokens.len() + answer as usize;
        if needed > self.sequence_limit || prompt.tokens.is_empty() {
            let failure = Failure::ContextOverflow {
                needed: needed as u32,
                prompt: prompt.tokens.len() as u32,
                answer,
                available: self.sequence_limit as u32,
            };
            self.failed.push((request.id, failure));
            return;
        }
        self.waiting.push_back(Waiting { request, prompt });
    }

    fn cancel(&mut self, id: RequestId) {
        self.waiting.retain(|waiting| waiting.request.id != id);
        self.failed.retain(|(failed, _)| *failed != id);
        if let Some(at) = self.active.iter().position(|active| active.request.id == id) {
            let active = self.active.remove(at);
            // Its cells are dropped before the next batch, unless wanted.
            self.idle.push(Idle { seq: active.seq, shared: 0 });
        }
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
                self.draw(events)?;
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

fn common_prefix(a: &[Token], b: &[Token]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

fn cache_type(cache_type: CacheType) -> KvCacheType {
    match cache_type {
        CacheType::F32 => KvCacheType::F32,
        CacheType::F16 => KvCacheType::F16,
        CacheType::BF16 => KvCacheType::BF16,
        CacheType::Q8_0 => KvCacheType::Q8_0,
        CacheType::Q5_1 => KvCacheType::Q5_1,
        CacheType::Q5_0 => KvCacheType::Q5_0,
        CacheType::Q4_1 => KvCacheType::Q4_1,
        CacheType::Q4_0 => KvCacheType::Q4_0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_names_the_pinned_bindings() {
        let manifest = include_str!("../../../Cargo.toml");
        let pin = format!("llama-cpp-2 = {{ version = \"={LLAMA_CPP_2}\"");
        assert!(manifest.contains(&pin), "{pin}");
    }
}

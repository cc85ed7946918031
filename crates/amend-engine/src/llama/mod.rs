//! llama.cpp in this process. No other module uses llama.cpp.
//!
//! [`Llama`] schedules requests over one context. Each step admits the requests that
//! fit, composes one batch of decode rows and prefill chunks, computes it, and samples.
//! Which requests it admits, and in which order, depends only on the requests and the
//! settings, never on a clock.

mod cells;
mod devices;
mod facts;
mod kv;
mod layout;
mod log;
mod lora;
pub mod measure;
mod memory;
mod model;
mod placement;
#[cfg(feature = "portable")]
mod portable;
mod sampling;
mod scheduler;
mod settings;
mod template_source;
mod tokenize;
mod turn_tokens;
mod vocabulary;

use std::collections::{HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Instant;

use llama_cpp_2::DecodeError;
use llama_cpp_2::context::LlamaContext;
use llama_cpp_2::context::params::LlamaContextParams;
use llama_cpp_2::token::LlamaToken;
use serde_json::{Value, json};

pub use self::facts::{MemoryFacts, ModelFacts, TemplateFacts};
use self::layout::Layout;
pub use self::lora::{Lora, LoraError};
pub use self::model::Model;
pub use self::placement::{CpuTensors, CpuTensorsError, GpuLayers, GpuLayersError, SplitMode};
pub use self::settings::{CacheType, LlamaSettings, MAX_PARALLEL, Switch};
use self::tokenize::{Decoded, Prompt};
use self::turn_tokens::TurnTokens;
pub use self::vocabulary::GgufVocabulary;
use crate::llama::kv::batch::{Batch, Bounds};
use crate::llama::kv::shared_prefix::{KindId, SharedPrefixes};
use crate::llama::kv::trie::KvTrie;
use crate::llama::measure::oracle::OraclePrefill;
use crate::llama::sampling::prompt_lookup::PromptLookup;
use crate::llama::sampling::sampler::Sampler;
use crate::llama::scheduler::active::{Active, Goal, Queued, Root};
use crate::llama::scheduler::admission::Idle;
use crate::llama::scheduler::completing::{Completing, DecodingThought};
use amend_core::chat::{
    Message, NextTurn, Reasoning, ReasoningFormat, ReasoningMode, Role, ThoughtSplitter, TurnStart,
};
use amend_core::model::{
    Capabilities, Counters, Description, Engine, EngineError, Event, Failure, Prepared, ProbeError,
    ProbeNeeds, PromptTokens, Request, RequestId, Task,
};

/// The version of the bindings that `Cargo.toml` pins, for manifests of runs.
pub const LLAMA_CPP_2: &str = "0.1.160";

/// What this engine can do.
pub(crate) const CAPABILITIES: Capabilities = Capabilities {
    scores_texts: true,
    knows_tokens: true,
    is_deterministic: true,
    measures_batches: true,
};

/// The maximum number of rows of a batch that return logits for a [`Task::Likelihood`]. The
/// logits of each row take memory for the whole vocabulary.
const MAX_SCORED_ROWS: usize = 128;

/// A finished completion.
struct Ended {
    /// It and the completions that it continues, oldest first.
    decoded: Vec<Arc<Decoded>>,
    root: Root,
    /// Whether a request continues it.
    is_continued: bool,
}

/// By how many tokens continuations, direct or indirect, were longer than the request that
/// they go back to.
#[derive(Debug, Default, Clone, Copy)]
struct Growth {
    /// The most so far.
    tokens: usize,
    /// Whether some chain of continuations has ended.
    is_known: bool,
}

/// An engine with one model and one context.
pub struct Llama<'m> {
    model: &'m Model,
    context: LlamaContext<'m>,
    settings: LlamaSettings,
    cells: KvTrie,
    /// Whether a sequence can be truncated after any of its tokens.
    can_cut: bool,
    /// Whether sequences share the cells of common prefixes.
    sharing: bool,
    /// The model's [`Model::window`].
    window: Option<usize>,
    /// The maximum number of tokens in one request.
    sequence_limit: usize,
    /// The layout of the cache after creation and after a reset.
    first_layout: Switch,
    turn_tokens: TurnTokens,
    waiting: VecDeque<Queued>,
    active: Vec<Active>,
    /// Sequences of finished requests that are kept as prefixes, oldest first.
    idle: Vec<Idle>,
    /// The completions that finished in the last step.
    ended: HashMap<RequestId, Ended>,
    /// The growth of each kind of prompt.
    growth: HashMap<KindId, Growth>,
    /// Whether nothing has been computed since [`Engine::reset`].
    is_fresh: bool,
    /// Requests that failed before they entered the queue.
    failed: Vec<(RequestId, Failure)>,
    batch: Batch,
    sampler: Sampler,
    counters: Counters,
    /// Tokens and compute seconds of the batches in which every slot decoded one token
    /// and nothing else was computed.
    full_width: (u64, f64),
    ideal: Option<OraclePrefill>,
    headers: SharedPrefixes,
}

/// Creates a context.
fn new_context<'m>(
    model: &'m Model,
    settings: &LlamaSettings,
) -> Result<LlamaContext<'m>, EngineError> {
    let params = LlamaContextParams::default()
        .with_n_ctx(NonZeroU32::new(settings.ctx_size))
        // llama.cpp aborts if the batch size is smaller than the number of sequences.
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
        .with_kv_unified(!settings.has_streams())
        .with_swa_full(true)
        .with_no_perf(true);
    let backend = model::backend()?;
    let mut context =
        log::with_cause(|| model.inner.new_context(backend, params)).map_err(|error| {
            EngineError::new(format!(
            "failed to create a context of {} tokens for {} sequences",
            settings.ctx_size, settings.parallel
        ))
        .hinted(
            "lower --ctx-size or --parallel to use less memory, or -ngl to use less of the GPU's; \
             a quantised value cache needs flash attention; to see the log of llama.cpp, run \
             with -vv",
        )
        .caused_by(error)
        })?;
    if let Some(adapter) = &model.adapter {
        adapter.apply(&mut context)?;
    }
    Ok(context)
}

/// Creates a batch for a context.
fn new_batch(model: &Model, context: &LlamaContext<'_>, settings: &LlamaSettings) -> Batch {
    Batch::new(Bounds {
        rows: context.n_batch().min(settings.batch_size) as usize,
        sequences: settings.sequences(),
        positions: context.n_ctx() as usize,
        vocabulary: model.inner.vocab().n_tokens() as usize,
    })
}

impl<'m> Llama<'m> {
    /// Creates an engine and its context.
    ///
    /// # Errors
    /// llama.cpp can't create the context: there is too little memory, or the settings
    /// are incompatible. The model does not generate text from left to right.
    pub fn new(model: &'m Model, settings: &LlamaSettings) -> Result<Self, EngineError> {
        if settings.parallel > MAX_PARALLEL {
            tracing::warn!(
                "--parallel {} is lowered to {MAX_PARALLEL}: llama.cpp supports no more sequences",
                settings.parallel
            );
        }
        let requested = settings.kv_unified;
        let placed = LlamaSettings { n_gpu_layers: model.gpu_layers(), ..settings.clone() };
        let budget = memory::cache_budget(model.memory(), &placed);
        let layout = Layout::choose(&placed, &model.cache_cells(settings), budget);
        tracing::info!("{layout}");
        let mut settings = layout.applied(placed);
        if requested == Switch::Off && !settings.has_streams() {
            tracing::warn!("--kv-unified off has no effect: this model needs a unified cache");
        }
        let window = model.window();
        if window.is_some() {
            // When llama.cpp splits a batch, it finds cells for all parts before it
            // computes the first. In a cache with a sliding window it may then reuse
            // for a later part cells that an earlier part still attends to.
            settings.ubatch_size = settings.batch_size;
        }
        let mut context = new_context(model, &settings)?;
        let can_cut = measure::probe::can_cut(&mut context)? && model.can_share();
        let vocab = model.inner.vocab();
        let settings = LlamaSettings { ctx_size: context.n_ctx(), ..settings };
        // If the user requested streams, the engine never gives them up.
        let limit = match requested {
            Switch::Off => settings.longest_sequence(),
            Switch::Auto | Switch::On => settings.ctx_size as usize,
        };
        Ok(Self {
            model,
            batch: new_batch(model, &context, &settings),
            context,
            cells: KvTrie::new(settings.sequences()),
            first_layout: settings.kv_unified,
            sharing: settings.share_prefixes && can_cut,
            can_cut,
            window,
            sequence_limit: limit.min(model.trained_context() as usize),
            turn_tokens: TurnTokens::new(&vocab, &model.template),
            settings,
            waiting: VecDeque::new(),
            active: Vec::new(),
            idle: Vec::new(),
            ended: HashMap::new(),
            growth: HashMap::new(),
            is_fresh: false,
            failed: Vec::new(),
            sampler: Sampler::default(),
            counters: Counters::default(),
            full_width: (0, 0.0),
            ideal: None,
            headers: SharedPrefixes::default(),
        })
    }

    /// The tokens that an unlimited cache would have had to prefill for the requests
    /// since [`Engine::count_ideal`] or [`Engine::reset`].
    #[must_use]
    pub fn ideal_prefill(&self) -> u64 {
        self.ideal.as_ref().map_or(0, |ideal| ideal.prefilled)
    }

    /// The mean position of the tokens decoded since [`Engine::count_ideal`], which is
    /// the mean length of the contexts.
    #[must_use]
    pub fn mean_decoded_position(&self) -> f64 {
        let sum = self.ideal.as_ref().map_or(0, |ideal| ideal.decoded_positions);
        sum as f64 / self.counters.decoded.max(1) as f64
    }

    /// Tokens per second in the batches in which every slot decoded one token and
    /// nothing else was computed. `None` if there was no such batch.
    #[must_use]
    pub fn full_width_rate(&self) -> Option<f64> {
        let (tokens, seconds) = self.full_width;
        if tokens == 0 {
            return None;
        }
        Some(tokens as f64 / seconds)
    }

    /// The number of cells of the KV cache in use. Copies in several streams count
    /// once.
    #[must_use]
    pub fn cells_in_use(&self) -> usize {
        self.cells.used()
    }

    /// The maximum number of cells in use at once, counted as in
    /// [`Llama::cells_in_use`].
    #[must_use]
    pub fn peak_cells(&self) -> usize {
        self.cells.peak()
    }

    /// The texts of the vocabulary's control tokens and of the tokens that end a turn,
    /// ordered by id.
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

    /// How many tokens each slot can hold when all slots are in use.
    #[must_use]
    pub fn cells_per_slot(&self) -> usize {
        if self.settings.has_streams() {
            self.settings.longest_sequence()
        } else {
            self.settings.ctx_size as usize / self.settings.parallel
        }
    }

    /// The length of the longest prefix that is kept for later requests, in tokens.
    #[must_use]
    pub fn longest_kept(&self) -> usize {
        self.idle.iter().map(|idle| self.cells.len(idle.seq)).max().unwrap_or(0)
    }

    /// Whether to use prompt lookup for a completion with this value of `copies`.
    fn uses_prompt_lookup(&self, copies: bool) -> bool {
        // Rejected draft tokens have to be removed from the cache.
        if !self.can_cut {
            return false;
        }
        match self.settings.speculate {
            Switch::Auto => copies,
            Switch::On => true,
            Switch::Off => false,
        }
    }

    /// The thought of a completion whose turn begins with `start`; `None` if it has none.
    ///
    /// # Errors
    /// [`Failure::CannotThink`] if a thought was asked for and the model marks none.
    fn thought(
        &self,
        reasoning: &Reasoning,
        start: TurnStart,
        is_alone: bool,
    ) -> Result<Option<DecodingThought>, Failure> {
        let is_asked_for = is_alone || reasoning.mode == ReasoningMode::On;
        match self.model.template.reasoning() {
            Some(format) if start != TurnStart::Answer => {
                let splitter = ThoughtSplitter::new(format.clone(), start);
                let vocab = self.model.inner.vocab();
                let close = vocab.tokenize(format.close.as_bytes(), false, true);
                let close = close.iter().map(|token| token.0).collect();
                Ok(Some(DecodingThought::new(splitter, close, is_alone)))
            }
            None if is_asked_for => Err(Failure::CannotThink),
            _ => Ok(None),
        }
    }

    /// Converts a request to tokens.
    ///
    /// # Errors
    /// The failure of a request that can't be computed.
    fn queue(&mut self, request: Request) -> Result<Queued, Failure> {
        let ended = request.continues.and_then(|id| self.ended.get_mut(&id));
        let vocab = self.model.inner.vocab();
        let template = &self.model.template;
        let (history, root) = match ended {
            Some(ended) => {
                ended.is_continued = true;
                (ended.decoded.clone(), Some(ended.root))
            }
            None => (Vec::new(), None),
        };
        let Request { turns, shared_turns, task, .. } = request;
        let settings = task.reasoning();
        let Prompt { mut tokens, shared, start } =
            tokenize::prompt(&vocab, template, &turns, shared_turns, settings, &history)?;
        let Some(last) = tokens.len().checked_sub(1) else {
            let message = "the prompt has no tokens".to_owned();
            return Err(Failure::ChatTemplate { message });
        };
        let goal = match task {
            Task::Complete { sampling, stream, ignore_eos, copies, thought_only } => {
                let thought = self.thought(&sampling.reasoning, start, thought_only)?;
                let copying = self.uses_prompt_lookup(copies).then(|| PromptLookup::new(&tokens));
                Goal::Complete(Box::new(Completing::new(
                    sampling, stream, ignore_eos, copying, thought,
                )))
            }
            Task::Choose { choices, .. } => {
                let tokens = choices.iter().map(|spellings| self.model.tokens_of(spellings));
                Goal::Choose(tokens.collect::<Result<_, _>>()?)
            }
            Task::Likelihood { response, .. } => {
                let targets = tokenize::content(&vocab, &response)?;
                let Some((_, given)) = targets.split_last() else {
                    return Err(Failure::Empty { step: "response".to_owned() });
                };
                // The row of each token scores the next one, so the last is not needed.
                tokens.extend_from_slice(given);
                Goal::Score { targets, log_probs: Vec::new() }
            }
        };
        let kind = self.headers.add(&tokens, shared.min(last));
        let mut queued = Queued {
            id: request.id,
            tokens,
            kind,
            history,
            root,
            first_with_logits: last,
            goal,
            ideal: None,
        };
        let needed = queued.length();
        if let Some(root) = root {
            let growth = self.growth.entry(root.kind).or_default();
            growth.tokens = growth.tokens.max(needed.saturating_sub(root.length));
        }
        if needed > self.sequence_limit {
            let answer = queued.max_answer_tokens();
            return Err(Failure::ContextOverflow {
                needed: needed as u32,
                prompt: queued.tokens.len() as u32,
                thought: (queued.max_tokens() - answer) as u32,
                answer: answer as u32,
                available: self.sequence_limit as u32,
            });
        }
        queued.ideal = self.ideal.as_mut().map(|ideal| ideal.add_prompt(&queued.tokens, last));
        Ok(queued)
    }
}

impl PromptTokens for Llama<'_> {
    fn prepare(
        &self,
        turns: &[Message],
        shared_turns: usize,
        reasoning: &Reasoning,
        next: NextTurn,
    ) -> Result<Prepared, Failure> {
        self.model.prepare(turns, shared_turns, reasoning, next)
    }

    fn reasoning_format(&self) -> Option<&ReasoningFormat> {
        self.model.reasoning_format()
    }
}

impl Engine for Llama<'_> {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn describe(&self) -> Result<Description, EngineError> {
        let mut settings = json!({
            "engine": "llama.cpp",
            "model_file": self.model.file_name(),
            "llama-cpp-2": LLAMA_CPP_2,
            "settings": serde_json::to_value(&self.settings).unwrap_or(Value::Null),
        });
        if !self.model.gpus().is_empty() {
            settings["gpus"] = json!(self.model.gpus());
        }
        Ok(Description { model: self.model.describe()?, settings })
    }

    fn width(&self) -> usize {
        self.settings.parallel
    }

    fn longest_request(&self) -> Option<u64> {
        Some(self.sequence_limit as u64)
    }

    fn count_ideal(&mut self) {
        self.ideal = Some(OraclePrefill::default());
    }

    fn can_choose(&self, choices: &[Vec<String>]) -> Result<(), Failure> {
        choices.iter().try_for_each(|spellings| self.model.tokens_of(spellings).map(drop))
    }

    /// Needs no request: the answers follow from the chat template and the vocabulary.
    fn probe(&mut self, needs: &ProbeNeeds) -> Result<(), ProbeError> {
        let question = [Message::new(Role::User, "Why?")];
        let template = &self.model.template;
        if let Err(error) = template.render(&question, &Reasoning::default(), NextTurn::Reply) {
            return Err(ProbeError::Unfit {
                message: format!("the model's chat template fails: {error}"),
                hint: "pass another one: --chat-template FILE".to_owned(),
            });
        }
        let thinks = |reasoning: &Reasoning| reasoning.mode == ReasoningMode::On;
        let choices = needs.choices.as_ref();
        let needs_thoughts = needs.texts.as_ref().is_some_and(thinks)
            || choices.is_some_and(|choices| choices.thought_turns.is_some());
        if needs_thoughts && template.reasoning().is_none() {
            return Err(ProbeError::Unfit {
                message: "the chat template of this model marks no thoughts".to_owned(),
                hint: "pass --reasoning auto, or use a model that thinks".to_owned(),
            });
        }
        let mut settings = needs.texts.iter().chain(choices.map(|choices| &choices.reasoning));
        let effort = settings.find_map(|reasoning| reasoning.effort.as_ref());
        if let Some(effort) = effort
            && !self.model.template.reasoning().is_some_and(|format| format.has_effort)
        {
            tracing::warn!(
                "the reasoning effort {effort:?} has no effect: the chat template of this model \
                 does not read `reasoning_effort`"
            );
        }
        if let (Some(format), Some(reasoning)) = (template.reasoning(), &needs.texts)
            && format.thinks(reasoning)
            && reasoning.budget as usize >= self.sequence_limit
        {
            return Err(ProbeError::Unfit {
                message: format!(
                    "a thought of {} tokens does not fit in a context of {}",
                    reasoning.budget, self.sequence_limit
                ),
                hint: "lower --reasoning-budget, or raise --ctx-size".to_owned(),
            });
        }
        let labels = choices.map_or(&[][..], |choices| &choices.labels);
        self.can_choose(labels).map_err(|failure| ProbeError::Unfit {
            message: failure.to_string(),
            hint: "use another model, or give the judge other `labels` in `[judge]`".to_owned(),
        })
    }

    fn submit(&mut self, request: Request) {
        let id = request.id;
        match self.queue(request) {
            Ok(queued) => self.enqueue(queued),
            Err(failure) => self.failed.push((id, failure)),
        }
    }

    fn cancel(&mut self, id: RequestId) {
        self.waiting.retain(|waiting| waiting.id != id);
        self.failed.retain(|(failed, _)| *failed != id);
        if let Some(at) = self.active.iter().position(|active| active.queued.id == id) {
            let active = self.active.remove(at);
            // The next step drops its cells unless a waiting request shares them.
            self.idle.push(Idle::new(active.seq, None));
        }
    }

    fn reset(&mut self) {
        self.context.clear_kv_cache();
        self.cells = KvTrie::new(self.settings.sequences());
        self.headers = SharedPrefixes::default();
        self.waiting.clear();
        self.active.clear();
        self.idle.clear();
        self.ended.clear();
        self.growth.clear();
        self.failed.clear();
        self.is_fresh = true;
        self.ideal = self.ideal.take().map(|_| OraclePrefill::default());
    }

    fn step(&mut self, events: &mut Vec<Event>) -> Result<bool, EngineError> {
        for (id, failure) in self.failed.drain(..) {
            events.push(Event::Failed { id, failure });
        }
        for (_, ended) in self.ended.drain() {
            if !ended.is_continued {
                self.growth.entry(ended.root.kind).or_default().is_known = true;
            }
        }
        if self.is_fresh && self.settings.kv_unified != self.first_layout {
            self.lay_out(self.first_layout)?;
        }
        self.is_fresh = false;
        // First to make room for admission; then because admitted requests now share
        // the prefixes that were kept for them.
        self.trim_idle()?;
        self.admit()?;
        self.trim_idle()?;
        if self.active.is_empty() {
            return Ok(false);
        }
        self.compose()?;
        let start = Instant::now();
        let result = self.batch.decode(&mut self.context);
        let seconds = start.elapsed().as_secs_f64();
        self.counters.compute_seconds += seconds;
        let decoding = self.active.iter().filter(|active| active.next().is_some()).count();
        if decoding == self.settings.parallel && decoding == self.batch.len() {
            self.full_width.0 += decoding as u64;
            self.full_width.1 += seconds;
        }
        match result {
            Ok(()) => {
                self.record();
                self.take_logits(events)?;
            }
            Err(DecodeError::NoKvCacheSlot) => self.fail_youngest(events)?,
            Err(error) => {
                return Err(EngineError::new("llama.cpp failed to decode a batch")
                    .hinted("run with -vv for the log of llama.cpp; memory may have run out")
                    .caused_by(error));
            }
        }
        Ok(true)
    }

    fn counters(&self) -> Counters {
        self.counters
    }
}

#[cfg(test)]
mod tests;

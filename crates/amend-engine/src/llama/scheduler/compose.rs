//! Composes batches and hands their results to the requests.

use std::sync::Arc;

use super::active::Active;
use super::admission::{Idle, drop_cells};
use super::completing::SamplingContext;
use crate::llama::measure::costs::BELOW_A_TILE;
use crate::llama::sampling::prompt_lookup as draft;
use crate::llama::settings::Switch;
use crate::llama::{Ended, Llama, MAX_SCORED_ROWS};
use amend_core::model::{EngineError, Event, Failure};

impl Llama<'_> {
    /// Fills the batch: a row for each decoding sequence and rows for its draft tokens,
    /// then as many prefill rows as fit, oldest requests first.
    ///
    /// If decoding and prefill together have more than `mixed_rows` rows, the batch
    /// only prefills. With streams it never mixes the two, since llama.cpp would compute
    /// them in separate passes anyway.
    pub(crate) fn compose(&mut self) -> Result<(), EngineError> {
        self.batch.clear();
        for active in &mut self.active {
            active.rows.clear();
            active.draft.clear();
            active.chunk = 0;
        }
        let decoding = self.active.iter().filter(|active| active.next().is_some()).count();
        let prefilling: usize = self.active.iter().map(Active::remaining).sum();
        let mixed_rows = self.settings.mixed_rows.unwrap_or(usize::MAX);
        let streams = self.settings.has_streams();
        let prefill_only = prefilling > 0 && (streams || decoding + prefilling > mixed_rows);
        if !prefill_only {
            if streams {
                self.compact_streams()?;
            }
            self.add_decoding(decoding, prefilling)?;
        }
        self.add_prefill()
    }

    /// Adds the rows of the `decoding` sequences that decode, and leaves room for
    /// `prefilling` rows.
    fn add_decoding(&mut self, decoding: usize, prefilling: usize) -> Result<(), EngineError> {
        let most = self.batch.room().min(BELOW_A_TILE);
        let mut spare = most.saturating_sub(decoding + prefilling);
        let mut rows = decoding + prefilling;
        for active in in_order(&mut self.active) {
            let Some((token, position)) = active.next() else { continue };
            active.rows.push(self.batch.push(token, position, active.seq, true)?);
            let Some(copying) = active.copying() else { continue };
            // Cells are reserved only for the tokens that the text may still have, and
            // draft tokens may be rejected, so they must not push tokens out of a
            // sliding window.
            let most = (active.cells_needed().saturating_sub(1))
                .min(self.window.map_or(usize::MAX, |window| window.saturating_sub(position + 1)))
                .min(spare)
                .min(draft::LONGEST);
            let count = match self.settings.speculate {
                Switch::On => most,
                // A second row of a stream would need a separate pass.
                _ if decoding > 1 && self.settings.has_streams() => 0,
                _ => copying.best_length(&self.settings.costs, rows, decoding, most),
            };
            active.draft = copying.draft(count).to_vec();
            for (&token, position) in active.draft.iter().zip(position + 1..) {
                active.rows.push(self.batch.push(token, position, active.seq, true)?);
            }
            spare -= active.draft.len();
            rows += active.draft.len();
        }
        Ok(())
    }

    /// Adds as many prefill rows as fit.
    fn add_prefill(&mut self) -> Result<(), EngineError> {
        let mut room = self.batch.room();
        let mut scored = 0;
        for active in &mut self.active {
            let start = active.computed;
            let unscored = active.queued.first_with_logits.saturating_sub(start);
            let most = unscored + (MAX_SCORED_ROWS - scored);
            active.chunk = active.remaining().min(room).min(most);
            room -= active.chunk;
            scored += active.chunk.saturating_sub(unscored);
        }
        for active in in_order(&mut self.active) {
            let queued = &active.queued;
            for at in active.computed..active.computed + active.chunk {
                let needs_logits = at >= queued.first_with_logits;
                let row = self.batch.push(queued.tokens[at], at, active.seq, needs_logits)?;
                if needs_logits {
                    active.rows.push(row);
                }
            }
        }
        Ok(())
    }

    /// Records the computed batch in the mirror of the cache and in the counters.
    pub(crate) fn record(&mut self) {
        self.counters.batches += 1;
        self.counters.rows += self.batch.len() as u64;
        for active in &mut self.active {
            if let Some((token, _)) = active.next()
                && !active.rows.is_empty()
            {
                self.cells.push(active.seq, token);
                for &token in &active.draft {
                    self.cells.push(active.seq, token);
                }
                self.counters.drafted += active.draft.len() as u64;
            }
            let end = active.computed + active.chunk;
            for &token in &active.queued.tokens[active.computed..end] {
                self.cells.push(active.seq, token);
            }
            active.computed = end;
            self.counters.prefilled += active.chunk as u64;
        }
    }

    /// Hands every request its logits. Requests that end free their slots.
    pub(crate) fn take_logits(&mut self, events: &mut Vec<Event>) -> Result<(), EngineError> {
        let vocab = self.model.inner.vocab();
        let (batch, context) = (&self.batch, &self.context);
        let mut tools = SamplingContext {
            vocab: &vocab,
            turn_tokens: &self.turn_tokens,
            sampler: &mut self.sampler,
            counters: &mut self.counters,
        };
        let mut overlong = Vec::new();
        let mut still_active = Vec::with_capacity(self.active.len());
        for mut active in std::mem::take(&mut self.active) {
            let drafted = !active.draft.is_empty();
            let ended = active.take(|row| batch.logits(context, row), &mut tools, events)?;
            if drafted {
                // It may hold cells of rejected draft tokens.
                overlong.push((active.seq, active.settled()));
            }
            if !ended {
                still_active.push(active);
                continue;
            }
            self.idle.push(Idle::new(active.seq, active.queued.kind));
            let (id, root) = (active.queued.id, active.queued.root());
            if let Some(ideal) = &mut self.ideal {
                ideal.add_decoded(&active.queued.tokens, active.decoded());
            }
            let mut decoded = std::mem::take(&mut active.queued.history);
            if let Some(own) = active.into_decoded() {
                decoded.push(Arc::new(own));
                self.ended.insert(id, Ended { decoded, root, is_continued: false });
            }
        }
        self.active = still_active;
        for (seq, settled) in overlong {
            drop_cells(&mut self.context, &mut self.cells, seq, settled)?;
        }
        Ok(())
    }

    /// Fails the youngest request after llama.cpp found no cells for a batch. The mirror of
    /// the cache should prevent that. The other requests continue.
    pub(crate) fn fail_youngest(&mut self, events: &mut Vec<Event>) -> Result<(), EngineError> {
        let Some(active) = self.active.pop() else { return Ok(()) };
        tracing::warn!(
            used = self.cells.used(),
            context = self.settings.ctx_size,
            "llama.cpp found no room in the KV cache; failing the youngest request"
        );
        let failure = Failure::Decode { message: "no room in the KV cache".to_owned() };
        events.push(Event::Failed { id: active.queued.id, failure });
        drop_cells(&mut self.context, &mut self.cells, active.seq, 0)
    }
}

/// The active requests ordered by sequence: llama.cpp computes streams in one pass if
/// their ids are contiguous and ascending in the batch.
fn in_order(active: &mut [Active]) -> Vec<&mut Active> {
    let mut active: Vec<&mut Active> = active.iter_mut().collect();
    active.sort_by_key(|active| active.seq);
    active
}

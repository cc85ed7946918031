//! Settings of the llama.cpp engine.

use std::path::PathBuf;

use clap::ValueEnum;
use llama_cpp_2::context::params::KvCacheType;
use serde::{Deserialize, Serialize};

use super::costs::Costs;

/// How the engine loads and runs a model. Zero means: chosen for the machine.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    /// Sequences decoded together.
    pub parallel: usize,
    /// Cells of the KV cache, in tokens, shared by all sequences.
    pub ctx_size: u32,
    /// The most rows of a batch.
    pub batch_size: u32,
    /// The most rows computed at once; a larger batch is cut.
    pub ubatch_size: u32,
    /// Threads that decode.
    pub threads: usize,
    /// Threads that prefill.
    pub threads_batch: usize,
    /// Layers held by the GPU.
    pub n_gpu_layers: u32,
    /// Flash attention.
    pub flash_attention: Switch,
    /// Type of the cached keys.
    pub cache_type_k: CacheType,
    /// Type of the cached values.
    pub cache_type_v: CacheType,
    /// Map the model's file instead of reading it.
    pub mmap: bool,
    /// A chat template to use instead of the model's own.
    pub chat_template: Option<PathBuf>,
    /// Share the cells of common prefixes.
    pub share_prefixes: bool,
    /// Guess the next tokens of texts that repeat their prompt: of those said
    /// to, where it pays; of all, at any cost; or of none.
    pub speculate: Switch,
    /// The most rows of a batch in which some decode and others prefill; none
    /// chooses by the costs.
    pub mixed_rows: Option<usize>,
    /// What batches cost: by it the engine chooses what is left to it.
    pub costs: Costs,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            parallel: 0,
            ctx_size: 0,
            batch_size: 512,
            ubatch_size: 512,
            threads: 0,
            threads_batch: 0,
            n_gpu_layers: 0,
            flash_attention: Switch::Auto,
            cache_type_k: CacheType::F16,
            cache_type_v: CacheType::F16,
            mmap: true,
            chat_template: None,
            share_prefixes: true,
            speculate: Switch::Auto,
            mixed_rows: None,
            costs: Costs::default(),
        }
    }
}

/// Cells a sequence gets on average where the user names no context size.
const CELLS_PER_SEQUENCE: u32 = 1024;

/// The smallest context chosen for the user, in tokens.
const SMALLEST_CONTEXT: u32 = 4096;

impl Settings {
    /// These settings with every zero replaced by what suits the machine.
    #[must_use]
    pub fn resolved(&self) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let or = |value: usize, chosen: usize| if value == 0 { chosen } else { value };
        let parallel = or(self.parallel, self.costs.parallel()).min(MAX_PARALLEL);
        let threads = or(self.threads, cores);
        let ctx_size = match self.ctx_size {
            0 => (parallel as u32 * CELLS_PER_SEQUENCE).max(SMALLEST_CONTEXT),
            size => size,
        };
        // Every decoding sequence needs a row.
        let batch_size = self.batch_size.max(parallel as u32);
        Self {
            parallel,
            ctx_size,
            batch_size,
            ubatch_size: self.ubatch_size.clamp(1, batch_size),
            threads,
            threads_batch: or(self.threads_batch, threads),
            mixed_rows: self
                .mixed_rows
                .or_else(|| self.costs.mixed_rows())
                .or(Some(batch_size as usize)),
            ..self.clone()
        }
    }

    /// Sequence ids the context is made for: one for each slot, one more for
    /// what each slot leaves behind, and a few for shared headers.
    #[must_use]
    pub fn sequences(&self) -> usize {
        2 * self.parallel + 8
    }
}

/// llama.cpp has 256 sequence ids; see [`Settings::sequences`].
pub const MAX_PARALLEL: usize = 124;

/// On, off, or as the engine sees fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// As the engine sees fit.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// Number formats of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
#[allow(non_camel_case_types, missing_docs, reason = "the names llama.cpp's users know")]
pub enum CacheType {
    F32,
    F16,
    BF16,
    Q8_0,
    Q5_1,
    Q5_0,
    Q4_1,
    Q4_0,
}

impl From<CacheType> for KvCacheType {
    fn from(cache_type: CacheType) -> Self {
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
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_are_resolved_within_llamas_bounds() {
        let settings = Settings { parallel: 1000, ..Settings::default() }.resolved();
        assert_eq!(settings.parallel, MAX_PARALLEL);
        assert!(settings.sequences() <= 256);
        assert_eq!(settings.ctx_size, MAX_PARALLEL as u32 * CELLS_PER_SEQUENCE);
        let one = Settings { parallel: 1, batch_size: 0, ..Settings::default() }.resolved();
        assert_eq!((one.ctx_size, one.batch_size, one.ubatch_size), (4096, 1, 1));
        assert!(one.threads > 0 && one.threads_batch == one.threads);
    }
}

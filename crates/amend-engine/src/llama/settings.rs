//! Settings of the llama.cpp engine.

use std::fmt;
use std::path::PathBuf;

use llama_cpp_2::context::params::KvCacheType;
use serde::{Deserialize, Serialize};

use super::lora::Lora;
use super::placement::{CpuTensors, GpuLayers, SplitMode};
use crate::llama::measure::costs::Costs;

/// How the engine loads and runs a model. Zeros are replaced by a choice for the machine:
/// see [`LlamaSettings::resolved`].
#[derive(Debug, Clone, Serialize)]
pub struct LlamaSettings {
    /// The number of sequences to decode together.
    pub parallel: usize,
    /// The number of cells of the KV cache, for all sequences together.
    pub ctx_size: u32,
    /// The length of the longest request of the job in tokens, with its answer. `None` if it is
    /// not known.
    #[serde(skip)]
    pub longest_request: Option<u32>,
    /// Whether the layout of the KV cache may depend only on the machine and the job, and not
    /// on the memory that is free at the moment.
    #[serde(skip)]
    pub is_repeatable: bool,
    /// Whether all sequences share a unified KV cache, or each has a separate stream.
    pub kv_unified: Switch,
    /// The maximum number of rows of a batch.
    pub batch_size: u32,
    /// The maximum number of rows computed at once. Larger batches are split.
    pub ubatch_size: u32,
    /// The number of threads that decode.
    pub threads: usize,
    /// The number of threads that prefill.
    pub threads_batch: usize,
    /// The number of layers on the GPU. In the settings of an engine it is the number of
    /// the loaded model.
    pub n_gpu_layers: GpuLayers,
    /// How the model is split between GPUs. `None` leaves it to llama.cpp.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_mode: Option<SplitMode>,
    /// The number of the GPU that has the whole model, or its intermediate results,
    /// depending on the split mode.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub main_gpu: Option<u32>,
    /// The tensors that stay in the memory of the CPU.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub cpu_tensors: Vec<CpuTensors>,
    /// Whether to use flash attention.
    pub flash_attention: Switch,
    /// The type of the cached keys.
    pub cache_type_k: CacheType,
    /// The type of the cached values.
    pub cache_type_v: CacheType,
    /// Whether to map the model file into memory instead of reading it.
    pub mmap: bool,
    /// Whether to keep the model in memory even if memory is short.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub mlock: bool,
    /// The adapter to apply. It is part of the model's description.
    #[serde(skip)]
    pub lora: Option<Lora>,
    /// The file of a chat template to use instead of the model's.
    pub chat_template: Option<PathBuf>,
    /// Whether sequences share the cells of common prefixes.
    pub share_prefixes: bool,
    /// Prompt lookup: `Auto` uses it for texts marked as repeating their prompt, if it
    /// pays; `On` uses it for all texts; `Off` for none.
    pub speculate: Switch,
    /// The maximum number of rows of a batch that decodes and prefills. `None` chooses by
    /// the costs. With streams, no batch does both.
    pub mixed_rows: Option<usize>,
    /// The costs of batches, from which the engine chooses settings.
    pub costs: Costs,
}

impl Default for LlamaSettings {
    fn default() -> Self {
        Self {
            parallel: 0,
            ctx_size: 0,
            longest_request: None,
            is_repeatable: false,
            kv_unified: Switch::Auto,
            batch_size: 512,
            ubatch_size: 512,
            threads: 0,
            threads_batch: 0,
            n_gpu_layers: GpuLayers::Auto,
            split_mode: None,
            main_gpu: None,
            cpu_tensors: Vec::new(),
            flash_attention: Switch::Auto,
            cache_type_k: CacheType::F16,
            cache_type_v: CacheType::F16,
            mmap: true,
            mlock: false,
            lora: None,
            chat_template: None,
            share_prefixes: true,
            speculate: Switch::Auto,
            mixed_rows: None,
            costs: Costs::default(),
        }
    }
}

impl LlamaSettings {
    /// These settings, with every zero replaced by a choice for this machine.
    #[must_use]
    pub fn resolved(&self) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let or = |value: usize, chosen: usize| if value == 0 { chosen } else { value };
        let parallel = or(self.parallel, self.costs.parallel()).min(MAX_PARALLEL);
        let threads = or(self.threads, cores);
        // Every decoding sequence needs a row of the batch.
        let batch_size = self.batch_size.max(parallel as u32);
        Self {
            parallel,
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

    /// Whether each sequence has a separate stream of the KV cache.
    pub(super) fn has_streams(&self) -> bool {
        self.kv_unified == Switch::Off
    }

    /// The maximum number of tokens in a sequence with this layout of the cache.
    pub(super) fn longest_sequence(&self) -> usize {
        if self.has_streams() {
            self.ctx_size as usize / self.sequences()
        } else {
            self.ctx_size as usize
        }
    }

    /// These settings for an engine that decodes almost nothing, such as that of a judge:
    /// if the layout of the KV cache is open, a unified one, which prefills prompts of
    /// different lengths in one pass.
    #[must_use]
    pub fn for_judging(self) -> Self {
        match self.kv_unified {
            Switch::Auto => Self { kv_unified: Switch::On, ..self },
            Switch::On | Switch::Off => self,
        }
    }

    /// The number of sequence ids of the context: one per slot, and some for prefixes that
    /// are kept for later requests. In a unified cache that is another one per slot and a
    /// few for shared prefixes; with streams, which take memory, only two.
    #[must_use]
    pub fn sequences(&self) -> usize {
        if self.has_streams() { self.parallel + 2 } else { 2 * self.parallel + 8 }
    }
}

/// The maximum number of slots: llama.cpp has 256 sequence ids, of which each slot needs
/// two (see [`LlamaSettings::sequences`]).
pub const MAX_PARALLEL: usize = 124;

/// A setting that the engine can choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// The engine chooses.
    Auto,
    /// Always.
    On,
    /// Never.
    Off,
}

/// The number format of the KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
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

impl Switch {
    /// Every value.
    pub const ALL: [Self; 3] = [Self::Auto, Self::On, Self::Off];

    /// The name on the command line and in manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::On => "on",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for Switch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Display for CacheType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl CacheType {
    /// Every type, the largest first.
    pub const ALL: [Self; 8] = [
        Self::F32,
        Self::F16,
        Self::BF16,
        Self::Q8_0,
        Self::Q5_1,
        Self::Q5_0,
        Self::Q4_1,
        Self::Q4_0,
    ];

    /// The name on the command line and in manifests.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::BF16 => "bf16",
            Self::Q8_0 => "q8_0",
            Self::Q5_1 => "q5_1",
            Self::Q5_0 => "q5_0",
            Self::Q4_1 => "q4_1",
            Self::Q4_0 => "q4_0",
        }
    }

    /// The number of bits per number, including its share of the scale of a block, rounded
    /// up.
    pub(super) fn bits(self) -> u64 {
        match self {
            Self::F32 => 32,
            Self::F16 | Self::BF16 => 16,
            Self::Q8_0 => 9,
            Self::Q5_1 | Self::Q5_0 => 6,
            Self::Q4_1 | Self::Q4_0 => 5,
        }
    }
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
    fn zeros_are_resolved_within_the_limits_of_llama_cpp() {
        let settings = LlamaSettings { parallel: 1000, ..LlamaSettings::default() }.resolved();
        assert_eq!(settings.parallel, MAX_PARALLEL);
        assert!(settings.sequences() <= 256);
        let one =
            LlamaSettings { parallel: 1, batch_size: 0, ..LlamaSettings::default() }.resolved();
        assert_eq!((one.batch_size, one.ubatch_size), (1, 1));
        assert!(one.threads > 0 && one.threads_batch == one.threads);
    }
}

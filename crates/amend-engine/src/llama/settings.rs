//! Settings of the llama.cpp engine.

use std::fmt;
use std::path::PathBuf;

use llama_cpp_2::context::params::KvCacheType;
use serde::{Deserialize, Serialize};

use crate::llama::measure::costs::Costs;

/// How the engine loads and runs a model. Zero means: chosen for the machine.
#[derive(Debug, Clone, Serialize)]
pub struct Settings {
    /// Sequences decoded together.
    pub parallel: usize,
    /// Cells of the KV cache, in tokens, for all sequences together.
    pub ctx_size: u32,
    /// One part of the KV cache for all sequences, or one each: a stream.
    pub kv_unified: Switch,
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
    /// chooses by the costs. In streams the two are always apart.
    pub mixed_rows: Option<usize>,
    /// What batches cost: by it the engine chooses what is left to it.
    pub costs: Costs,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            parallel: 0,
            ctx_size: 0,
            kv_unified: Switch::Auto,
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

/// Cells a sequence gets on average where the user names no context size, and the
/// fewest a stream has that is chosen for the user.
const CELLS_PER_SEQUENCE: u32 = 1024;

/// Cells a stream gets where the user names no context size.
const CELLS_PER_STREAM: u32 = 2048;

/// llama.cpp rounds a stream up to a multiple of it.
const STREAM_STEP: u32 = 256;

/// The most bytes a KV cache of streams is given that is chosen for the user: they
/// take more cells than one cache, where each prefix is held once.
const AMPLE: u64 = 1 << 30;

/// The smallest context chosen for the user, in tokens, where it is one.
const SMALLEST_CONTEXT: u32 = 4096;

impl Settings {
    /// These settings with every zero replaced by what suits the machine.
    #[must_use]
    pub fn resolved(&self) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let or = |value: usize, chosen: usize| if value == 0 { chosen } else { value };
        let parallel = or(self.parallel, self.costs.parallel()).min(MAX_PARALLEL);
        let threads = or(self.threads, cores);
        // Every decoding sequence needs a row.
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

    /// Resolved settings with the KV cache's size and layout chosen, on or off, where
    /// they are left open. `cell_bytes` is what a cell takes, none if the model's
    /// sequences can't have streams.
    ///
    /// Streams decode faster on a CPU, since attention in a unified cache
    /// passes over the cells of all sequences. They take more cells, and a request
    /// has to fit into one.
    #[must_use]
    pub(super) fn laid_out(&self, cell_bytes: Option<u64>) -> Self {
        let split = Self { kv_unified: Switch::Off, ..self.clone() };
        let sequences = split.sequences() as u32;
        let stream = match (self.ctx_size, cell_bytes) {
            (0, Some(bytes)) => {
                let ample = AMPLE / (bytes.max(1) * u64::from(sequences));
                ample.min(CELLS_PER_STREAM.into()) as u32
            }
            (size, _) => size / sequences,
        } / STREAM_STEP
            * STREAM_STEP;
        let streams = match self.kv_unified {
            _ if cell_bytes.is_none() => false,
            Switch::Off => true,
            Switch::On => false,
            Switch::Auto => {
                self.parallel > 1 && self.n_gpu_layers == 0 && stream >= CELLS_PER_SEQUENCE
            }
        };
        if streams {
            return Self { ctx_size: stream.max(STREAM_STEP) * sequences, ..split };
        }
        let ctx_size = match self.ctx_size {
            0 => (self.parallel as u32 * CELLS_PER_SEQUENCE).max(SMALLEST_CONTEXT),
            size => size,
        };
        Self { kv_unified: Switch::On, ctx_size, ..self.clone() }
    }

    /// Whether each sequence has a part of the KV cache for itself.
    pub(super) fn has_streams(&self) -> bool {
        self.kv_unified == Switch::Off
    }

    /// Tokens that a sequence may hold, as the cache is laid out.
    pub(super) fn longest_sequence(&self) -> usize {
        match self.has_streams() {
            true => self.ctx_size as usize / self.sequences(),
            false => self.ctx_size as usize,
        }
    }

    /// These settings for an engine that decodes next to nothing, as a judge's: where
    /// the layout of the KV cache is left open, one for all sequences, in which prompts of
    /// different lengths are prefilled in the same pass.
    #[must_use]
    pub fn for_reading(self) -> Self {
        match self.kv_unified {
            Switch::Auto => Self { kv_unified: Switch::On, ..self },
            Switch::On | Switch::Off => self,
        }
    }

    /// Sequence ids the context is made for: one for each slot, and some for what
    /// may still serve as prefix. In a unified cache that is one more for each slot and
    /// a few for shared headers; of streams, which take memory, the few.
    #[must_use]
    pub fn sequences(&self) -> usize {
        match self.has_streams() {
            true => self.parallel + 4,
            false => 2 * self.parallel + 8,
        }
    }
}

/// llama.cpp has 256 sequence ids; see [`Settings::sequences`].
pub const MAX_PARALLEL: usize = 124;

/// On, off, or as the engine sees fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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

    /// Its name on the command line and in manifests.
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

    /// Its name on the command line and in manifests.
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

    /// Bits that a number takes, with its share of a block's scale, rounded up.
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
    fn zeros_are_resolved_within_llamas_bounds() {
        let settings = Settings { parallel: 1000, ..Settings::default() }.resolved();
        assert_eq!(settings.parallel, MAX_PARALLEL);
        assert!(settings.sequences() <= 256);
        let one = Settings { parallel: 1, batch_size: 0, ..Settings::default() }.resolved();
        assert_eq!((one.batch_size, one.ubatch_size), (1, 1));
        assert!(one.threads > 0 && one.threads_batch == one.threads);
    }

    #[test]
    fn streams_are_chosen_where_they_pay_and_have_room() {
        let small = Some(23_040);
        let chosen = |parallel, ctx_size, kv_unified, n_gpu_layers, cell_bytes| {
            let settings =
                Settings { parallel, ctx_size, kv_unified, n_gpu_layers, ..Settings::default() };
            let chosen = settings.laid_out(cell_bytes);
            (chosen.kv_unified, chosen.ctx_size, chosen.sequences())
        };
        use Switch::{Auto, Off, On};
        assert_eq!(chosen(8, 0, Auto, 0, small), (Off, 12 * 2048, 12));
        // A gibibyte does not go further.
        assert_eq!(chosen(32, 0, Auto, 0, small), (Off, 36 * 1280, 36));
        assert_eq!(chosen(8, 0, Auto, 0, Some(131_072)), (On, 8192, 24));
        for (parallel, n_gpu_layers, cell_bytes) in [(1, 0, small), (8, 99, small), (8, 0, None)] {
            let (unified, ..) = chosen(parallel, 0, Auto, n_gpu_layers, cell_bytes);
            assert_eq!(unified, On, "{parallel} {n_gpu_layers} {cell_bytes:?}");
        }
        // A size that was named is kept to.
        assert_eq!(chosen(8, 8192, Auto, 0, small), (On, 8192, 24));
        assert_eq!(chosen(8, 13_000, Auto, 0, small), (Off, 12 * 1024, 12));
        assert_eq!(chosen(8, 8192, Off, 0, small), (Off, 12 * 512, 12));
        assert_eq!(chosen(8, 100, Off, 0, small), (Off, 12 * 256, 12));
        assert_eq!(chosen(8, 0, Off, 0, None), (On, 8192, 24));
        assert_eq!(chosen(1, 0, On, 0, small), (On, 4096, 10));
    }
}

//! The layout of the KV cache: how many sequences, how many cells, and whether each sequence
//! has a separate stream. It follows from the longest request and the memory.

use std::fmt;

use super::LlamaSettings;
use super::cells::CacheCells;
use super::placement::GpuLayers;
use super::settings::Switch;
use amend_core::text::format::bytes;

/// The length of the longest request that is assumed if it is not known. Shorter ones get as
/// much room.
const ORDINARY_REQUEST: u32 = 1536;

/// The minimum size of a stream that is chosen automatically, if the longest request is not
/// known and the user sets the size of the cache.
const SMALLEST_STREAM: u32 = 1024;

/// llama.cpp rounds the size of a stream up to a multiple of this.
const STREAM_STEP: u32 = 256;

/// The minimum size of a unified cache that is chosen automatically, in cells.
const SMALLEST_CONTEXT: u32 = 4096;

/// The maximum size in bytes of streams that are chosen automatically if it is not known how
/// much memory is free.
const UNKNOWN_MEMORY: u64 = 1 << 30;

/// The chosen layout of a KV cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Layout {
    /// The number of sequences to decode together.
    pub parallel: usize,
    /// The number of cells, for all sequences together.
    pub ctx_size: u32,
    /// Whether all sequences share a unified cache. Not [`Switch::Auto`].
    pub kv_unified: Switch,
    /// The length of the longest request, if it is known.
    longest: Option<u32>,
    /// The size in bytes.
    pub bytes: u64,
    /// The memory in bytes that the cache may take, if it is too small for the usual layout.
    lacking: Option<u64>,
}

impl Layout {
    /// Chooses what the settings leave open. `budget` is the memory for the cache in bytes, if it
    /// is known. A size or a number of sequences that the user sets is kept.
    ///
    /// Streams decode faster on a CPU, because attention in a unified cache passes over the
    /// cells of all sequences. But they need more cells, and a request has to fit in one stream.
    /// So each sequence gets a stream if there is memory for them; else all share a unified
    /// cache; else there are fewer sequences.
    pub fn choose(settings: &LlamaSettings, cells: &CacheCells, budget: Option<u64>) -> Self {
        let choice = Choice { settings: settings.resolved(), cells, budget };
        if settings.ctx_size > 0 {
            return choice.of_size();
        }
        let usual = choice.settings.parallel;
        let widths = std::iter::successors(Some(usual), |width| Some(width / 2));
        // The user's number of sequences is kept.
        let count = if settings.parallel > 0 { 1 } else { usize::MAX };
        let mut tried = widths.take_while(|&width| width > 0).take(count);
        let mut last = usual;
        let chosen = tried.find_map(|width| {
            last = width;
            choice.fitting(width)
        });
        chosen.unwrap_or_else(|| choice.squeezed(last))
    }

    /// Settings with this layout, and with every zero replaced.
    pub fn applied(self, settings: LlamaSettings) -> LlamaSettings {
        let Self { parallel, ctx_size, kv_unified, .. } = self;
        LlamaSettings { parallel, ctx_size, kv_unified, ..settings }.resolved()
    }
}

impl fmt::Display for Layout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { parallel, ctx_size, kv_unified, longest, bytes: size, lacking } = *self;
        write!(f, "KV cache: {ctx_size} tokens in {}", bytes(size))?;
        match kv_unified {
            Switch::Off => write!(f, ", a stream for each of {parallel} sequences")?,
            Switch::On | Switch::Auto => write!(f, ", shared by {parallel} sequences")?,
        }
        if let Some(longest) = longest {
            write!(f, "; the longest request takes {longest}")?;
        }
        if let Some(budget) = lacking {
            write!(f, "; less than usual, because only {} of memory may be used", bytes(budget))?;
        }
        Ok(())
    }
}

/// What a layout is chosen by.
struct Choice<'a> {
    /// With every zero replaced, except for the size of the cache.
    settings: LlamaSettings,
    cells: &'a CacheCells,
    budget: Option<u64>,
}

impl Choice<'_> {
    /// The tokens that a sequence needs room for. A little more than the longest request,
    /// because only a sample of the texts was measured.
    fn per_request(&self) -> u32 {
        let longest = self.settings.longest_request.unwrap_or(0);
        let with_margin = longest.saturating_add(longest / 16).max(ORDINARY_REQUEST);
        with_margin.min(self.cells.trained.max(1)).next_multiple_of(STREAM_STEP)
    }

    /// How many sequence ids there are with separate streams.
    fn streams(&self, parallel: usize) -> u32 {
        let split = LlamaSettings { parallel, kv_unified: Switch::Off, ..self.settings.clone() };
        split.sequences() as u32
    }

    /// Whether to use streams for `parallel` sequences, if there is room for them.
    fn wants_streams(&self, parallel: usize) -> bool {
        match self.settings.kv_unified {
            _ if !self.cells.can_split => false,
            Switch::Off => true,
            Switch::On => false,
            Switch::Auto => parallel > 1 && self.settings.n_gpu_layers == GpuLayers::Count(0),
        }
    }

    fn layout(&self, parallel: usize, ctx_size: u32, kv_unified: Switch) -> Layout {
        let bytes = u64::from(ctx_size) * self.cells.bytes;
        let longest = self.settings.longest_request;
        Layout { parallel, ctx_size, kv_unified, longest, bytes, lacking: None }
    }

    /// The layout in a cache of the size that the user sets.
    fn of_size(&self) -> Layout {
        let Self { settings, .. } = self;
        let parallel = settings.parallel;
        let streams = self.streams(parallel);
        let stream = settings.ctx_size / streams / STREAM_STEP * STREAM_STEP;
        let least = settings.longest_request.unwrap_or(SMALLEST_STREAM).min(self.cells.trained);
        let is_split =
            self.wants_streams(parallel) && (settings.kv_unified == Switch::Off || stream >= least);
        if is_split {
            return self.layout(parallel, stream.max(STREAM_STEP) * streams, Switch::Off);
        }
        self.layout(parallel, settings.ctx_size, Switch::On)
    }

    /// The layout for `parallel` sequences. `None` if there is too little memory.
    fn fitting(&self, parallel: usize) -> Option<Layout> {
        let fits = |layout: &Layout, unknown: u64| layout.bytes <= self.budget.unwrap_or(unknown);
        let room = self.per_request();
        let streams = self.layout(parallel, room * self.streams(parallel), Switch::Off);
        // They share what their prompts have in common.
        let shared = (room * 2 / 3).saturating_mul(parallel as u32);
        let unified = self.layout(parallel, shared.max(room).max(SMALLEST_CONTEXT), Switch::On);
        let is_split = self.wants_streams(parallel);
        let is_first = parallel == self.settings.parallel;
        let lacking = if is_first { None } else { self.budget };
        if is_split && fits(&streams, UNKNOWN_MEMORY) {
            return Some(Layout { lacking, ..streams });
        }
        if is_split && self.settings.kv_unified == Switch::Off {
            return None;
        }
        let lacking = if is_split { self.budget } else { lacking };
        if fits(&unified, u64::MAX) { Some(Layout { lacking, ..unified }) } else { None }
    }

    /// The layout for `parallel` sequences in as much memory as there is.
    fn squeezed(&self, parallel: usize) -> Layout {
        let budget = self.budget.unwrap_or(UNKNOWN_MEMORY);
        let cells = u32::try_from(budget / self.cells.bytes.max(1)).unwrap_or(u32::MAX);
        let lacking = Some(budget);
        if self.wants_streams(parallel) && self.settings.kv_unified == Switch::Off {
            let streams = self.streams(parallel);
            let stream = (cells / streams / STREAM_STEP * STREAM_STEP).max(STREAM_STEP);
            return Layout { lacking, ..self.layout(parallel, stream * streams, Switch::Off) };
        }
        let cells = (cells / STREAM_STEP * STREAM_STEP).max(STREAM_STEP);
        Layout { lacking, ..self.layout(parallel, cells, Switch::On) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Switch::{Auto, Off, On};

    /// The cells of the example model, which has 30 layers and 3 heads of 64 numbers.
    const SMALL: CacheCells = CacheCells { bytes: 23_040, can_split: true, trained: 8192 };

    /// The cells of a model of eight billion parameters.
    const LARGE: CacheCells = CacheCells { bytes: 131_072, can_split: true, trained: 131_072 };

    const GIB: u64 = 1 << 30;

    fn on_cpu() -> LlamaSettings {
        LlamaSettings { n_gpu_layers: GpuLayers::Count(0), ..LlamaSettings::default() }
    }

    fn chosen(
        settings: &LlamaSettings,
        cells: CacheCells,
        budget: Option<u64>,
    ) -> (usize, u32, Switch) {
        let Layout { parallel, ctx_size, kv_unified, .. } =
            Layout::choose(settings, &cells, budget);
        (parallel, ctx_size, kv_unified)
    }

    #[test]
    fn sequences_get_streams_if_they_fit_then_share_a_cache_then_are_fewer() {
        for (cells, budget, expected) in [
            (SMALL, Some(8 * GIB), (8, 10 * 1536, Off)),
            (LARGE, Some(8 * GIB), (8, 10 * 1536, Off)),
            (LARGE, Some(2 * GIB), (8, 15_360, Off)),
            (LARGE, Some(GIB), (8, 8192, On)),
            // Four sequences have streams in less than eight share.
            (LARGE, Some(GIB - 1), (4, 4096, On)),
            (LARGE, Some(GIB / 2), (4, 4096, On)),
            // Not even one has the usual room.
            (LARGE, Some(GIB / 4), (1, 2048, On)),
            (LARGE, Some(0), (1, 256, On)),
            // How much memory is free is not known.
            (SMALL, None, (8, 10 * 1536, Off)),
            (LARGE, None, (8, 8192, On)),
        ] {
            assert_eq!(chosen(&on_cpu(), cells, budget), expected, "{cells:?} {budget:?}");
        }
        let whole = CacheCells { can_split: false, ..SMALL };
        assert_eq!(chosen(&on_cpu(), whole, None), (8, 8192, On));
        let on_gpu = LlamaSettings { n_gpu_layers: GpuLayers::Count(99), ..on_cpu() };
        assert_eq!(chosen(&on_gpu, SMALL, Some(8 * GIB)), (8, 8192, On));
    }

    #[test]
    fn the_longest_request_decides_the_room_of_a_sequence() {
        for (longest, room) in [(10, 1536), (1500, 1792), (2000, 2304), (9000, 8192)] {
            let settings = LlamaSettings { longest_request: Some(longest), ..on_cpu() };
            let (_, ctx_size, _) = chosen(&settings, SMALL, Some(8 * GIB));
            assert_eq!(ctx_size, 10 * room, "{longest}");
            let one = LlamaSettings { parallel: 1, ..settings };
            assert_eq!(chosen(&one, SMALL, None), (1, room.max(4096), On), "{longest}");
        }
    }

    #[test]
    fn what_the_user_sets_is_kept() {
        let of = |parallel, ctx_size, kv_unified| LlamaSettings {
            parallel,
            ctx_size,
            kv_unified,
            ..on_cpu()
        };
        for (settings, expected) in [
            (of(8, 8192, Auto), (8, 8192, On)),
            (of(8, 13_000, Auto), (8, 10 * 1280, Off)),
            (of(8, 8192, Off), (8, 10 * 768, Off)),
            (of(8, 100, Off), (8, 10 * 256, Off)),
            (of(8, 0, Off), (8, 10 * 256, Off)),
            (of(1, 0, On), (1, 256, On)),
            (of(32, 0, Auto), (32, 256, On)),
        ] {
            assert_eq!(chosen(&settings, SMALL, Some(1000)), expected, "{settings:?}");
        }
        let ample = Some(8 * GIB);
        assert_eq!(chosen(&of(32, 0, Auto), SMALL, ample), (32, 34 * 1536, Off));
        assert_eq!(chosen(&of(1, 0, On), SMALL, ample), (1, 4096, On));
        let whole = CacheCells { can_split: false, ..SMALL };
        assert_eq!(chosen(&of(8, 0, Off), whole, ample), (8, 8192, On));
        // In streams that the longest request does not fit, a unified cache is used at once.
        let long = LlamaSettings { longest_request: Some(1300), ..of(8, 13_000, Auto) };
        assert_eq!(chosen(&long, SMALL, ample), (8, 13_000, On));
    }

    #[test]
    fn a_layout_says_what_was_chosen_and_why() {
        let settings = LlamaSettings { longest_request: Some(2000), ..on_cpu() };
        let said = |budget| Layout::choose(&settings, &SMALL, budget).to_string();
        assert_eq!(
            said(Some(8 * GIB)),
            "KV cache: 23040 tokens in 530 MB, a stream for each of 8 sequences; the longest request \
             takes 2000"
        );
        assert_eq!(
            said(Some(GIB / 4)),
            "KV cache: 6144 tokens in 141 MB, shared by 4 sequences; the longest request takes 2000; \
             less than usual, because only 268 MB of memory may be used"
        );
    }
}

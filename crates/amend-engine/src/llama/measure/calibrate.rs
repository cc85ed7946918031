//! Measures the costs of batches in a few seconds.

use std::time::{Duration, Instant};

pub use super::costs::{Costs, Mixed};
use super::rig::Rig;
use crate::llama::kv::trie::SeqId;
use crate::llama::{LlamaSettings, Model, Switch};
use amend_core::model::EngineError;

/// The numbers of rows to measure. Weights that are repacked for a CPU are read once for
/// four rows, so that a fifth row costs more than a fourth.
const ROWS: [usize; 13] = [1, 2, 3, 4, 5, 8, 9, 12, 13, 16, 17, 20, 32];

/// The sizes of batches that decode and prefill: below and above the 64 rows that
/// attention on a CPU computes as one tile.
const MIXED: [usize; 2] = [63, 160];

/// The number of rows that decode in them.
const DECODING: usize = 8;

/// The maximum number of tokens before the measured rows of each sequence. Attention to
/// them is part of the cost of a row.
const MAX_DEPTH: usize = 512;

/// The time limit of the measurement. With a slow model, some sizes stay unmeasured.
const TIME_LIMIT: Duration = Duration::from_secs(5);

/// Each figure is the minimum of this many measurements.
const REPETITIONS: usize = 3;

/// Measures the costs of batches with these settings.
///
/// # Errors
/// llama.cpp can't create the context or compute a batch.
pub fn measure(model: &Model, settings: &LlamaSettings) -> Result<Costs, EngineError> {
    let start = Instant::now();
    let widest = ROWS[ROWS.len() - 1];
    // A unified cache holds the common prefix once, and attention to it costs as much as
    // in separate streams.
    let settings = LlamaSettings {
        parallel: widest,
        ctx_size: 4096,
        kv_unified: Switch::On,
        ..settings.clone()
    };
    let mut bench = Bench { rig: Rig::new(model, &settings)?, depth: 0 };
    // The first batch includes llama.cpp's initialisation.
    bench.decode(DECODING)?;
    bench.clear()?;
    let shallow = bench.least(|bench| bench.decode(DECODING))?;
    // Spend about a third of the time on the tokens before the measured rows.
    let depth = TIME_LIMIT.as_secs_f64() / 3.0 / shallow * DECODING as f64;
    if bench.rig.can_cut() {
        bench.fill((depth as usize).clamp(1, MAX_DEPTH))?;
    }

    let deep = bench.least(|bench| bench.decode(DECODING))?;
    let per_token = milliseconds(deep - shallow) / (DECODING * bench.depth.max(1)) as f64;
    let mut costs = Costs {
        rows: Vec::new(),
        depth: bench.depth,
        per_token: per_token.max(0.0),
        mixed: Vec::new(),
    };
    for rows in ROWS {
        if rows > 1 && start.elapsed() > TIME_LIMIT {
            return Ok(costs);
        }
        let seconds = bench.least(|bench| bench.decode(rows))?;
        costs.rows.push((rows, milliseconds(seconds)));
    }
    for rows in MIXED {
        if start.elapsed() > TIME_LIMIT || rows > bench.rig.room() {
            break;
        }
        let prefilling = rows - DECODING;
        let together = bench.least(|bench| {
            bench.add_prefill(prefilling)?;
            bench.decode(DECODING)
        })?;
        let apart = bench.least(|bench| {
            bench.add_prefill(prefilling)?;
            Ok(bench.rig.compute()? + bench.decode(DECODING)?)
        })?;
        let (together, apart) = (milliseconds(together), milliseconds(apart));
        costs.mixed.push(Mixed { rows, together, apart });
    }
    Ok(costs)
}

/// Converts to milliseconds, rounded to a microsecond.
fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e3
}

struct Bench<'m> {
    rig: Rig<'m>,
    /// The number of tokens before the measured rows of each sequence; 0 if sequences
    /// can't be truncated.
    depth: usize,
}

impl Bench<'_> {
    fn sequences() -> std::ops::Range<SeqId> {
        0..ROWS[ROWS.len() - 1] as SeqId
    }

    /// The id of the sequence that prefills.
    fn extra() -> SeqId {
        Self::sequences().end
    }

    /// Gives all sequences the same `depth` tokens.
    fn fill(&mut self, depth: usize) -> Result<(), EngineError> {
        for position in 0..depth {
            self.rig.push(position, 0, false)?;
            if self.rig.room() == 0 || position + 1 == depth {
                self.rig.compute()?;
            }
        }
        for seq in Self::sequences().skip(1) {
            self.rig.share(0, seq, depth)?;
        }
        self.depth = depth;
        Ok(())
    }

    fn add_prefill(&mut self, rows: usize) -> Result<(), EngineError> {
        (0..rows).try_for_each(|position| self.rig.push(position, Self::extra(), false))
    }

    /// Computes the batch together with one row of each of the first `rows` sequences.
    /// Returns the seconds it took.
    fn decode(&mut self, rows: usize) -> Result<f64, EngineError> {
        for seq in Self::sequences().take(rows) {
            self.rig.push(self.depth, seq, true)?;
        }
        self.rig.compute()
    }

    /// The minimum of a few measurements, each with the same cells.
    fn least(
        &mut self,
        mut measure: impl FnMut(&mut Self) -> Result<f64, EngineError>,
    ) -> Result<f64, EngineError> {
        let mut least = f64::INFINITY;
        for _ in 0..REPETITIONS {
            least = least.min(measure(self)?);
            self.clear()?;
        }
        Ok(least)
    }

    /// Drops the tokens that were added to the sequences after [`Bench::fill`].
    fn clear(&mut self) -> Result<(), EngineError> {
        for seq in Self::sequences() {
            self.rig.cut(seq, self.depth)?;
        }
        self.rig.cut(Self::extra(), 0)
    }
}

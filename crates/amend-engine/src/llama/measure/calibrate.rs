//! Measures what batches cost, in a few seconds.

use std::time::{Duration, Instant};

pub use super::costs::{Costs, Mixed};
use super::rig::Rig;
use crate::llama::kv::trie::SeqId;
use crate::llama::{Model, Settings, Switch};
use amend_core::model::EngineError;

/// Numbers of rows that are measured. Weights packed for a CPU are read for four
/// rows at once, so a fifth costs more than the fourth.
const ROWS: [usize; 13] = [1, 2, 3, 4, 5, 8, 9, 12, 13, 16, 17, 20, 32];

/// Sizes of batches in which some rows decode and others prefill: below and
/// above the 64 rows that attention on a CPU takes as one.
const MIXED: [usize; 2] = [63, 160];

/// Rows that decode in them.
const DECODING: usize = 8;

/// The most tokens that each sequence goes on from: attention to them is part of
/// the cost of a row.
const DEEPEST: usize = 512;

/// What is not measured by then stays unmeasured: large models are slow.
const PATIENCE: Duration = Duration::from_secs(5);

/// Each figure is the least of so many.
const TIMES: usize = 3;

/// Measures the costs of batches with these settings.
///
/// # Errors
/// A context that can't be made, or a batch that can't be computed.
pub fn measure(model: &Model, settings: &Settings) -> Result<Costs, EngineError> {
    let start = Instant::now();
    let widest = ROWS[ROWS.len() - 1];
    // In one cache what all begin with is held once, and costs what a stream's own would.
    let settings =
        Settings { parallel: widest, ctx_size: 4096, kv_unified: Switch::On, ..settings.clone() };
    let mut bench = Bench { rig: Rig::new(model, &settings)?, depth: 0 };
    // The first batch also pays for what llama.cpp sets up.
    bench.decode(DECODING)?;
    bench.clear()?;
    let probe = bench.least(|bench| bench.decode(DECODING))?;
    // About a third of the time for the tokens that sequences go on from.
    let depth = PATIENCE.as_secs_f64() / 3.0 / probe * DECODING as f64;
    if bench.rig.can_cut() {
        bench.fill((depth as usize).clamp(1, DEEPEST))?;
    }

    let deep = bench.least(|bench| bench.decode(DECODING))?;
    let per_token = milliseconds(deep - probe) / (DECODING * bench.depth.max(1)) as f64;
    let mut costs = Costs {
        rows: Vec::new(),
        depth: bench.depth,
        per_token: per_token.max(0.0),
        mixed: Vec::new(),
    };
    for rows in ROWS {
        if rows > 1 && start.elapsed() > PATIENCE {
            return Ok(costs);
        }
        let seconds = bench.least(|bench| bench.decode(rows))?;
        costs.rows.push((rows, milliseconds(seconds)));
    }
    for rows in MIXED {
        if start.elapsed() > PATIENCE || rows > bench.rig.room() {
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

/// To a microsecond: more digits say nothing.
fn milliseconds(seconds: f64) -> f64 {
    (seconds * 1e6).round() / 1e3
}

struct Bench<'m> {
    rig: Rig<'m>,
    /// Tokens that each sequence goes on from; none where a sequence can't be cut back
    /// to them.
    depth: usize,
}

impl Bench<'_> {
    fn sequences() -> std::ops::Range<SeqId> {
        0..ROWS[ROWS.len() - 1] as SeqId
    }

    /// The sequence that prefills.
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

    /// Seconds to compute what is in the batch and a row of each of the first
    /// `rows` sequences.
    fn decode(&mut self, rows: usize) -> Result<f64, EngineError> {
        for seq in Self::sequences().take(rows) {
            self.rig.push(self.depth, seq, true)?;
        }
        self.rig.compute()
    }

    /// The least of a few figures, each measured on the same cells.
    fn least(
        &mut self,
        mut figure: impl FnMut(&mut Self) -> Result<f64, EngineError>,
    ) -> Result<f64, EngineError> {
        let mut least = f64::INFINITY;
        for _ in 0..TIMES {
            least = least.min(figure(self)?);
            self.clear()?;
        }
        Ok(least)
    }

    /// Drops what was added to the sequences since they were filled.
    fn clear(&mut self) -> Result<(), EngineError> {
        for seq in Self::sequences() {
            self.rig.cut(seq, self.depth)?;
        }
        self.rig.cut(Self::extra(), 0)
    }
}

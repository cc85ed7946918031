//! `amend bench`: what the engine reaches on fixed workloads, against what
//! llama.cpp alone reaches in the same process.
//!
//! The limit of a workload is the time llama.cpp would need for what can't be
//! avoided: (ideal prefilled tokens / bare prefill rate) + (decoded tokens /
//! bare decode rate at the width and mean context of the workload).

pub mod peer;
pub mod plot;
pub mod revisions;
pub mod workload;

use std::time::Instant;

use serde::Serialize;

use amend_core::model::{Counters, Engine};
use amend_engine::llama::measure::baseline as bare;
use amend_engine::llama::measure::baseline::{Rates, Shape};
use amend_engine::llama::{Llama, Model, Settings};
use workload::{Size, Workload, WorkloadError};

/// One workload at one width.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The workload.
    pub workload: Workload,
    /// Sequences decoded together.
    pub width: usize,
    /// Items, critiques or verdicts a second.
    pub rows_per_second: f64,
    /// Tokens decoded a second, prefill included in the time.
    pub decoded_per_second: f64,
    /// Tokens decoded a second in the batches in which every sequence decodes one
    /// and nothing is prefilled, over what the bare loop decodes; none where there
    /// was no such batch.
    pub share_of_bare_decode: Option<f64>,
    /// Seconds from first to last.
    pub seconds: f64,
    /// What the engine counted.
    pub counters: Counters,
    /// Tokens a cache without limit would have had to prefill.
    pub ideal_prefill: u64,
    /// Prefilled tokens over the ideal number.
    pub prefill_ratio: f64,
    /// Mean rows of a batch.
    pub rows_per_batch: f64,
    /// Share of the guessed tokens that came true; none where none was guessed.
    pub acceptance: Option<f64>,
    /// The most cells of the KV cache in use at once, in tokens.
    pub peak_cells: usize,
    /// Share of the time not spent in llama.cpp.
    pub outside: f64,
    /// What llama.cpp alone reaches at this width and context: before and after.
    pub bare: [Rates; 2],
    /// The shape it was measured at.
    pub bare_shape: Shape,
    /// The limit's time over the time taken.
    pub share_of_limit: f64,
    /// Largest resident memory of the process so far, in bytes; none where the
    /// system does not tell.
    pub peak_memory: Option<u64>,
}

/// Measures a workload at one width.
///
/// # Errors
/// The engine's, or that of a request.
pub fn measure(
    model: &Model,
    settings: &Settings,
    workload: Workload,
    size: Size,
) -> Result<Measured, WorkloadError> {
    let shape = shape(model, settings, workload, size)?;
    let before = bare::measure(model, settings, shape)?;
    let mut engine = Llama::new(model, settings)?;
    engine.count_ideal();
    let start = Instant::now();
    workload::run(&mut engine, workload, size)?;
    let seconds = start.elapsed().as_secs_f64();
    let counters = engine.counters();
    let ideal_prefill = engine.ideal_prefill();
    let peak_cells = engine.peak_cells();
    let full_width_rate = engine.full_width_rate();
    drop(engine);
    let after = bare::measure(model, settings, shape)?;

    let mean = |rate: fn(&Rates) -> f64| (rate(&before) + rate(&after)) / 2.0;
    let decoding = match counters.decoded {
        0 => 0.0,
        decoded => decoded as f64 / mean(|rates| rates.decode),
    };
    let limit = ideal_prefill as f64 / mean(|rates| rates.prefill) + decoding;
    Ok(Measured {
        workload,
        width: shape.width,
        rows_per_second: workload::rows(workload, size) as f64 / seconds,
        decoded_per_second: counters.decoded as f64 / seconds,
        share_of_bare_decode: full_width_rate.map(|rate| rate / mean(|rates| rates.decode)),
        seconds,
        counters,
        ideal_prefill,
        prefill_ratio: counters.prefilled as f64 / ideal_prefill.max(1) as f64,
        rows_per_batch: counters.rows as f64 / counters.batches.max(1) as f64,
        acceptance: (counters.drafted > 0)
            .then(|| counters.accepted as f64 / counters.drafted as f64),
        peak_cells,
        outside: 1.0 - counters.compute_seconds / seconds,
        bare: [before, after],
        bare_shape: shape,
        share_of_limit: limit / seconds,
        peak_memory: peak_memory(),
    })
}

/// The bare loop that is like the workload: as wide, with contexts as long on
/// average, of which as much is shared.
fn shape(
    model: &Model,
    settings: &Settings,
    workload: Workload,
    size: Size,
) -> Result<Shape, WorkloadError> {
    const STEPS: usize = 48;
    let mut engine = Llama::new(model, settings)?;
    let width = engine.width();
    // A few rows show how long prompts are, and what of them is a header.
    let sample = Size {
        prompts: size.prompts.min(2),
        conversations: size.conversations.min(2),
        principles: size.principles.min(2),
        ..size
    };
    engine.count_ideal();
    workload::run(&mut engine, workload, sample)?;
    let counters = engine.counters();
    let prompts = counters.prefilled + counters.cached;
    let requests = workload::requests(workload, sample).max(1);
    let length = match counters.decoded {
        0 => prompts as usize / requests,
        _ => engine.mean_decoded_position() as usize,
    };
    // What the engine keeps when all is done is what every prompt begins with.
    let shared = engine.longest_kept().min(length / 2);
    let own = length.saturating_sub(shared + STEPS / 2).max(1);
    let own = own.min(engine.cells_per_slot().saturating_sub(STEPS + shared).max(1));
    Ok(Shape { width, shared, own, steps: STEPS })
}

/// The process's largest resident set, where `/proc` tells.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

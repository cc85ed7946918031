//! `amend bench`: measures the engine on fixed workloads and compares it with a baseline,
//! a loop that only calls llama.cpp in the same process.
//!
//! The limit of a workload is the time that llama.cpp needs for the unavoidable work:
//! (ideal prefilled tokens / baseline prefill rate) + (decoded tokens / baseline decode
//! rate at the width and mean context length of the workload).

pub mod peer;
pub mod revisions;
pub mod workload;

use std::time::Instant;

use serde::Serialize;

use amend_core::model::{Counters, Engine};
use amend_engine::llama::measure::baseline as bare;
use amend_engine::llama::measure::baseline::{BatchShape, Rates};
use amend_engine::llama::{Llama, LlamaSettings, Model};
use workload::{Size, Workload, WorkloadError};

/// The measurement of one workload at one width.
#[derive(Debug, Clone, Serialize)]
pub struct Measured {
    /// The workload.
    pub workload: Workload,
    /// The number of sequences decoded together.
    pub width: usize,
    /// Items, critiques or verdicts per second.
    pub rows_per_second: f64,
    /// Decoded tokens per second. The time includes prefill.
    pub decoded_per_second: f64,
    /// Decoded tokens per second in the batches in which every sequence decodes one token
    /// and nothing is prefilled, divided by the decode rate of the baseline. `None` if
    /// there was no such batch.
    pub share_of_bare_decode: Option<f64>,
    /// The total time in seconds.
    pub seconds: f64,
    /// The counters of the engine.
    pub counters: Counters,
    /// Tokens that an unlimited cache would have had to prefill.
    pub ideal_prefill: u64,
    /// Prefilled tokens divided by the ideal number.
    pub prefill_ratio: f64,
    /// The mean number of rows per batch.
    pub rows_per_batch: f64,
    /// The share of draft tokens that were accepted; `None` without draft tokens.
    pub acceptance: Option<f64>,
    /// The maximum number of cells of the KV cache in use at once.
    pub peak_cells: usize,
    /// The share of the time that was not spent in llama.cpp.
    pub outside: f64,
    /// The baseline at this width and context length, measured before and after.
    pub bare: [Rates; 2],
    /// The shape of the baseline.
    pub bare_shape: BatchShape,
    /// The time of the limit divided by the total time.
    pub share_of_limit: f64,
    /// The maximum resident memory of the process so far, in bytes; `None` if the system
    /// does not report it.
    pub peak_memory: Option<u64>,
}

/// Measures a workload at one width.
///
/// # Errors
/// The engine or a request fails.
pub fn measure(
    model: &Model,
    settings: &LlamaSettings,
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
        acceptance: match counters.drafted {
            0 => None,
            drafted => Some(counters.accepted as f64 / drafted as f64),
        },
        peak_cells,
        outside: 1.0 - counters.compute_seconds / seconds,
        bare: [before, after],
        bare_shape: shape,
        share_of_limit: limit / seconds,
        peak_memory: peak_memory(),
    })
}

/// The shape of a baseline that is comparable to the workload: the same width, and the same
/// mean lengths of the contexts and of their shared prefix.
fn shape(
    model: &Model,
    settings: &LlamaSettings,
    workload: Workload,
    size: Size,
) -> Result<BatchShape, WorkloadError> {
    const STEPS: usize = 48;
    let mut engine = Llama::new(model, settings)?;
    let width = engine.width();
    // A few rows are enough to find the lengths of prompts and of their shared prefix.
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
    // At the end the engine keeps only the shared prefix of all prompts.
    let shared = engine.longest_kept().min(length / 2);
    let own = length.saturating_sub(shared + STEPS / 2).max(1);
    let own = own.min(engine.cells_per_slot().saturating_sub(STEPS + shared).max(1));
    Ok(BatchShape { width, shared, own, steps: STEPS })
}

/// The maximum resident memory of the process, if `/proc` reports it.
fn peak_memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    let kilobytes: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    Some(kilobytes * 1024)
}

//! The same workloads through an OpenAI-compatible server, for comparison.
//!
//! Tokens are those the server counts. A server remembers prompts of earlier
//! workloads: figures are fair for one that was just started.

use std::time::Instant;

use serde::Serialize;

use super::workload::{self, Size, Workload, WorkloadError};
use amend_core::model::{Counters, Engine};
use amend_engine::http::{Http, Settings};

/// One workload through a server.
#[derive(Debug, Clone, Serialize)]
pub struct PeerMeasured {
    /// The workload.
    pub workload: Workload,
    /// Requests under way at once.
    pub concurrency: usize,
    /// Items, critiques or verdicts a second.
    pub rows_per_second: f64,
    /// Tokens decoded a second, all else included in the time.
    pub decoded_per_second: f64,
    /// Seconds from first to last.
    pub seconds: f64,
    /// What the server counted; prompts are prefilled where it says nothing of
    /// its cache.
    pub counters: Counters,
    /// What the server says of its model.
    pub server: serde_json::Value,
}

/// Measures a workload through a server.
///
/// # Errors
/// A server that can't be used, or refuses a request.
pub fn measure(
    settings: &Settings,
    workload: Workload,
    size: Size,
) -> Result<PeerMeasured, WorkloadError> {
    let mut engine = Http::connect(settings)?;
    let start = Instant::now();
    workload::run(&mut engine, workload, size)?;
    let seconds = start.elapsed().as_secs_f64();
    let counters = engine.counters();
    Ok(PeerMeasured {
        workload,
        concurrency: engine.width(),
        rows_per_second: workload::rows(workload, size) as f64 / seconds,
        decoded_per_second: counters.decoded as f64 / seconds,
        seconds,
        counters,
        server: engine.describe()?.model,
    })
}

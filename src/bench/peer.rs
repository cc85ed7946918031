//! Runs the same workloads through an OpenAI-compatible server, for comparison.
//!
//! Token counts are those of the server. A server caches the prompts of earlier workloads,
//! so that the comparison is only fair with a server that has just been started.

use std::time::Instant;

use serde::Serialize;

use super::workload::{self, Size, Workload, WorkloadError};
use amend_core::model::{Counters, Engine};
use amend_engine::http::{EndpointSettings, Http};

/// The measurement of one workload through a server.
#[derive(Debug, Clone, Serialize)]
pub struct PeerMeasured {
    /// The workload.
    pub workload: Workload,
    /// The number of requests in flight.
    pub concurrency: usize,
    /// Items, critiques or verdicts per second.
    pub rows_per_second: f64,
    /// Decoded tokens per second of the total time.
    pub decoded_per_second: f64,
    /// The total time in seconds.
    pub seconds: f64,
    /// The token counts of the server. All prompt tokens count as prefilled if it does not
    /// report its cache.
    pub counters: Counters,
    /// The server's description of its model.
    pub server: serde_json::Value,
}

/// Measures a workload through a server.
///
/// # Errors
/// The server can't be used, or it rejects a request.
pub fn measure(
    settings: &EndpointSettings,
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

//! Measures prompt lookup on revisions: on the model's revisions, and on constructed ones
//! that keep a known share of their answer.

use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;

use super::workload::WorkloadError;
use amend_core::driver::{Job, Observer, Work, drive};
use amend_core::model::Engine;
use amend_core::procedure::{ItemLoop, StepRequest};
use amend_core::record::{Item, Outcome, Step, StepOutput};
use amend_engine::llama::measure::constructed::{self, Constructed};
use amend_engine::llama::{Llama, LlamaSettings, Model, Switch};

/// The shares of the answer that constructed revisions keep, in percent.
const KEPT: [usize; 3] = [60, 80, 95];

/// The speed of revisions at width 1, without and with prompt lookup.
#[derive(Debug, Clone, Serialize)]
pub struct Revisions {
    /// Constructed revisions.
    pub constructed: Vec<Constructed>,
    /// The model's revisions of its answers to given prompts.
    pub real: [Speed; 2],
}

/// The decoding speed of revisions.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Speed {
    /// The number of tokens, without the first of each revision.
    pub tokens: u64,
    /// The sum of the times from the first to the last token of each revision, in seconds.
    pub seconds: f64,
    /// The number of draft tokens.
    pub drafted: u64,
    /// The number of accepted draft tokens.
    pub accepted: u64,
}

/// Measures constructed revisions, and the model's revisions of its answers to `items`.
///
/// # Errors
/// The engine or a request fails.
pub fn measure(
    model: &Model,
    settings: &LlamaSettings,
    job: &Job,
    items: &[Item],
) -> Result<Revisions, WorkloadError> {
    let constructed = KEPT
        .iter()
        .map(|&kept| constructed::measure(model, settings, kept))
        .collect::<Result<_, _>>()?;
    let mut real = [Speed::default(); 2];
    for (speculate, speed) in [Switch::Off, Switch::Auto].into_iter().zip(&mut real) {
        let settings = LlamaSettings { parallel: 1, speculate, ..settings.clone() };
        let mut engine = Llama::new(model, &settings)?;
        let mut stopwatch = Stopwatch::default();
        let work =
            items.iter().map(|item| Work { item: Arc::new(item.clone()), steps: Vec::new() });
        drive(&mut engine, job, work, &mut stopwatch).map_err(WorkloadError::from_drive)?;
        let counters = engine.counters();
        *speed =
            Speed { drafted: counters.drafted, accepted: counters.accepted, ..stopwatch.speed };
    }
    Ok(Revisions { constructed, real })
}

/// Measures the time of decoding revisions. Expects one item in flight at a time.
#[derive(Default)]
struct Stopwatch {
    /// When the first text of the current step was decoded.
    since: Option<Instant>,
    speed: Speed,
}

impl Observer for Stopwatch {
    type Error = WorkloadError;

    fn text(&mut self, _: &ItemLoop, _: &StepRequest, _: &str) -> Result<(), WorkloadError> {
        self.since.get_or_insert_with(Instant::now);
        Ok(())
    }

    fn step(&mut self, _: &ItemLoop, step: &Step) -> Result<(), WorkloadError> {
        let since = self.since.take();
        match step.kind.output() {
            StepOutput::Revision => {}
            StepOutput::Answer
            | StepOutput::Critique
            | StepOutput::Score
            | StepOutput::Verdict
            | StepOutput::Likelihood => return Ok(()),
        }
        // Without decoded text there is no time to measure.
        let Some(since) = since else { return Ok(()) };
        self.speed.tokens += u64::from(step.usage.decoded.saturating_sub(1));
        self.speed.seconds += since.elapsed().as_secs_f64();
        Ok(())
    }

    fn end(&mut self, _: &ItemLoop, _: Outcome) -> Result<(), WorkloadError> {
        // An item that fails, for example with an empty answer, has fewer revisions.
        self.since = None;
        Ok(())
    }
}

//! Measures the speed of a model in a few seconds.

use std::time::{Duration, Instant};

use serde::Serialize;

use super::rig::Rig;
use crate::llama::kv::trie::SeqId;
use crate::llama::{LlamaSettings, Model, Switch};
use amend_core::model::EngineError;

/// The number of tokens that are prefilled at once, and that come before those decoded.
const PROMPT: usize = 128;

/// The size of the context in tokens: room for the prompt, which sequences share, and a little
/// for each.
const CONTEXT: u32 = 1024;

/// The time limit of each figure. With a slow model, one batch decides.
const TIME_LIMIT: Duration = Duration::from_secs(1);

/// The maximum number of batches for a figure.
const MAX_BATCHES: u32 = 32;

/// The speed of a model, in tokens per second.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ModelSpeed {
    /// Of a prompt.
    pub prefill: f64,
    /// Of one text that is decoded alone.
    pub alone: f64,
    /// Of all texts that are decoded together.
    pub together: f64,
    /// The number of these texts.
    pub parallel: usize,
}

/// Measures the speed with these settings, and with `parallel` texts together.
///
/// # Errors
/// llama.cpp can't create the context or compute a batch.
pub fn measure(
    model: &Model,
    settings: &LlamaSettings,
    parallel: usize,
) -> Result<ModelSpeed, EngineError> {
    let settings =
        LlamaSettings { parallel, ctx_size: CONTEXT, kv_unified: Switch::On, ..settings.clone() };
    let mut rig = Rig::new(model, &settings)?;
    let prompt = PROMPT.min(rig.room());
    // The first batch includes llama.cpp's initialisation.
    rig.push(0, 0, true)?;
    rig.compute()?;
    rig.cut(0, 0)?;
    let prefill = rate(prompt, || {
        let seconds = fill(&mut rig, prompt)?;
        rig.cut(0, 0)?;
        Ok(seconds)
    })?;
    // Attention to earlier tokens is part of the cost, unless they can't stay.
    let depth = if rig.can_cut() { prompt } else { 0 };
    if depth > 0 {
        fill(&mut rig, depth)?;
        for seq in 1..parallel as SeqId {
            rig.share(0, seq, depth)?;
        }
    }
    let mut decode = |width: usize| {
        rate(width, || {
            for seq in 0..width as SeqId {
                rig.push(depth, seq, true)?;
            }
            let seconds = rig.compute()?;
            (0..width as SeqId).try_for_each(|seq| rig.cut(seq, depth))?;
            Ok(seconds)
        })
    };
    let alone = decode(1)?;
    let together = if parallel > 1 { decode(parallel)? } else { alone };
    Ok(ModelSpeed { prefill, alone, together, parallel })
}

/// Computes a prompt. Returns the seconds it took.
fn fill(rig: &mut Rig<'_>, tokens: usize) -> Result<f64, EngineError> {
    for position in 0..tokens {
        rig.push(position, 0, position + 1 == tokens)?;
    }
    rig.compute()
}

/// The tokens per second of batches of so many tokens.
fn rate(
    tokens: usize,
    mut batch: impl FnMut() -> Result<f64, EngineError>,
) -> Result<f64, EngineError> {
    let start = Instant::now();
    let (mut batches, mut seconds) = (0, 0.0);
    while batches == 0 || (batches < MAX_BATCHES && start.elapsed() < TIME_LIMIT) {
        seconds += batch()?;
        batches += 1;
    }
    Ok(f64::from(batches) * tokens as f64 / seconds.max(f64::EPSILON))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::models::tiny_model_path;

    #[test]
    fn every_family_is_measured() {
        for family in ["llama", "mamba", "lfm2", "olmo2"] {
            let settings = LlamaSettings { threads: 1, ..LlamaSettings::default() };
            let model = Model::load(&tiny_model_path(family), &settings).unwrap();
            for parallel in [1, 3] {
                let speed = measure(&model, &settings, parallel).unwrap();
                let ModelSpeed { prefill, alone, together, .. } = speed;
                assert!(prefill > 0.0 && alone > 0.0 && together > 0.0, "{family}: {speed:?}");
                assert_eq!(speed.parallel, parallel);
                assert!(parallel > 1 || together == alone, "{family}: {speed:?}");
            }
        }
    }
}

//! The baseline for the engine: a loop that only calls llama.cpp, without scheduling or
//! sampling. It shows the best that llama.cpp can reach on this machine.

use serde::Serialize;

use super::rig::Rig;
use crate::llama::{LlamaSettings, Model};
use amend_core::model::EngineError;

/// The shape of a baseline run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct BatchShape {
    /// Sequences decoded together.
    pub width: usize,
    /// Leading tokens that all sequences share.
    pub shared: usize,
    /// Tokens that each sequence prefills after those.
    pub own: usize,
    /// Tokens that each sequence decodes.
    pub steps: usize,
}

/// The speed of a baseline run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Rates {
    /// Prefilled tokens per second, in full batches.
    pub prefill: f64,
    /// Decoded tokens per second, with one token per sequence in each batch.
    pub decode: f64,
}

/// Measures llama.cpp alone, on random tokens.
///
/// # Errors
/// llama.cpp can't create the context, or the context is too small for the shape.
pub fn measure(
    model: &Model,
    settings: &LlamaSettings,
    shape: BatchShape,
) -> Result<Rates, EngineError> {
    let BatchShape { width, shared, own, steps } = shape;
    let settings = LlamaSettings { parallel: width, ..settings.clone() };
    let mut rig = Rig::new(model, &settings)?;

    // The sequence with the last id holds the tokens that the others share.
    let base = rig.sequences() as i32 - 1;
    for position in 0..shared {
        rig.push(position, base, false)?;
        if rig.room() == 0 || position + 1 == shared {
            rig.compute()?;
        }
    }
    if shared > 0 {
        for seq in 0..width as i32 {
            rig.share(base, seq, shared)?;
        }
    }
    let mut seconds = 0.0;
    let mut left = width * own;
    for seq in 0..width as i32 {
        for at in 0..own {
            left -= 1;
            rig.push(shared + at, seq, at + 1 == own)?;
            if rig.room() == 0 || left == 0 {
                seconds += rig.compute()?;
            }
        }
    }
    let prefill = (width * own) as f64 / seconds;
    let mut seconds = 0.0;
    for step in 0..steps {
        for seq in 0..width as i32 {
            rig.push(shared + own + step, seq, true)?;
        }
        seconds += rig.compute()?;
    }
    let decode = (width * steps) as f64 / seconds;
    Ok(Rates { prefill, decode })
}

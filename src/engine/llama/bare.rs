//! What llama.cpp does at its best on this machine: a loop that only calls it,
//! with nothing to schedule and nothing to sample. The ceiling for the engine.

use std::time::Instant;

use serde::Serialize;

use super::batch::{Batch, Bounds};
use super::{Llama, Model, Settings, Token};
use crate::engine::EngineError;
use crate::random::Stream;

/// The shape of a bare run.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Shape {
    /// Sequences decoded together.
    pub width: usize,
    /// Leading tokens that all sequences share.
    pub shared: usize,
    /// Tokens each sequence prefills on top.
    pub own: usize,
    /// Tokens each sequence decodes.
    pub steps: usize,
}

/// What a bare run reached.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Rates {
    /// Tokens a second, prefilling in full batches.
    pub prefill: f64,
    /// Tokens a second, decoding one a sequence and batch.
    pub decode: f64,
}

/// Measures llama.cpp alone, on tokens drawn at random.
///
/// # Errors
/// A context that can't be made or doesn't hold the shape.
pub fn measure(model: &Model, settings: &Settings, shape: Shape) -> Result<Rates, EngineError> {
    let Shape { width, shared, own, steps } = shape;
    let settings = Settings { parallel: width, ..settings.clone() };
    let mut llama = Llama::new(model, &settings)?;
    let vocabulary = model.inner.vocab().n_tokens() as u64;
    let bounds = Bounds {
        rows: llama.context.n_batch() as usize,
        sequences: llama.settings.sequences(),
        positions: llama.context.n_ctx() as usize,
        vocabulary: vocabulary as usize,
    };
    let mut batch = Batch::new(bounds);
    let stream = Stream::new(1);
    let mut drawn = 0;
    let mut token = || -> Token {
        drawn += 1;
        (stream.bits(drawn) % vocabulary) as Token
    };
    let failed = |error: llama_cpp_2::DecodeError| EngineError {
        message: format!("llama.cpp failed to decode a batch: {error}"),
        hint: Some("raise --ctx-size".to_owned()),
    };

    // The last sequence id holds what the others share.
    let base = bounds.sequences as i32 - 1;
    for position in 0..shared {
        batch.push(token(), position, base, false)?;
        if batch.room() == 0 || position + 1 == shared {
            batch.decode(&mut llama.context).map_err(failed)?;
            batch.clear();
        }
    }
    for seq in 0..width as i32 {
        if shared > 0 {
            llama
                .context
                .copy_kv_cache_seq(base, seq, Some(0), Some(shared as u32))
                .map_err(|error| EngineError { message: error.to_string(), hint: None })?;
        }
    }
    let start = Instant::now();
    let mut left = width * own;
    for seq in 0..width as i32 {
        for at in 0..own {
            left -= 1;
            batch.push(token(), shared + at, seq, at + 1 == own)?;
            if batch.room() == 0 || left == 0 {
                batch.decode(&mut llama.context).map_err(failed)?;
                batch.clear();
            }
        }
    }
    let prefill = (width * own) as f64 / start.elapsed().as_secs_f64();
    let start = Instant::now();
    for step in 0..steps {
        for seq in 0..width as i32 {
            batch.push(token(), shared + own + step, seq, true)?;
        }
        batch.decode(&mut llama.context).map_err(failed)?;
        batch.clear();
    }
    let decode = (width * steps) as f64 / start.elapsed().as_secs_f64();
    Ok(Rates { prefill, decode })
}

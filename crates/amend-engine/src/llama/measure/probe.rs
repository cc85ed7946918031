//! Tries out what the memory of a context can do: not every model family describes it in
//! its metadata.

use llama_cpp_2::context::LlamaContext;

use crate::llama::kv::batch::{Batch, Bounds};
use amend_core::model::EngineError;

/// Whether a sequence can be truncated after any of its tokens.
///
/// # Errors
/// The model keeps no memory of tokens (it embeds text or fills in masks), or it can't be
/// computed.
pub fn can_cut(context: &mut LlamaContext<'_>) -> Result<bool, EngineError> {
    const SEQUENCE: i32 = 0;
    let fail = |message: &str| {
        EngineError::new(message).hinted("use a model that generates text from left to right")
    };
    let mut batch = Batch::new(Bounds { rows: 1, sequences: 1, positions: 2, vocabulary: 1 });
    for position in 0..2 {
        batch.clear();
        batch.push(0, position, SEQUENCE, true)?;
        batch
            .decode(context)
            .map_err(|error| fail("the model can't compute a single token").caused_by(error))?;
    }
    if context.kv_cache_seq_pos_max(SEQUENCE) != 1 {
        return Err(fail("the model can't generate text: it keeps no memory of what came before"));
    }
    let mut cut = |from| context.clear_kv_cache_seq(Some(SEQUENCE as u32), Some(from), None);
    let can_cut = matches!(cut(1), Ok(true));
    match cut(0) {
        Ok(true) => Ok(can_cut),
        Ok(false) => Err(fail("llama.cpp could not empty its memory")),
        Err(error) => Err(fail("llama.cpp could not empty its memory").caused_by(error)),
    }
}

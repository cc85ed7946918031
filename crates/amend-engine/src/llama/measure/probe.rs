//! What a context's memory can do, found by trying: metadata does not tell it
//! of every family.

use llama_cpp_2::context::LlamaContext;

use crate::llama::kv::batch::{Batch, Bounds};
use amend_core::model::EngineError;

/// Whether a sequence can be cut after any of its tokens.
///
/// # Errors
/// A model that remembers no tokens (it embeds text, or fills it in), or one
/// that can't be computed.
pub fn can_cut(context: &mut LlamaContext<'_>) -> Result<bool, EngineError> {
    const SEQUENCE: i32 = 0;
    let fail = |message: &str| EngineError {
        message: message.to_owned(),
        hint: Some("use a model that generates text from left to right".to_owned()),
    };
    let mut batch = Batch::new(Bounds { rows: 1, sequences: 1, positions: 2, vocabulary: 1 });
    for position in 0..2 {
        batch.clear();
        batch.push(0, position, SEQUENCE, true)?;
        batch
            .decode(context)
            .map_err(|error| fail(&format!("the model can't compute a single token: {error}")))?;
    }
    if context.kv_cache_seq_pos_max(SEQUENCE) != 1 {
        return Err(fail("the model can't generate text: it keeps no memory of what came before"));
    }
    let mut cut = |from| context.clear_kv_cache_seq(Some(SEQUENCE as u32), Some(from), None);
    let can_cut = matches!(cut(1), Ok(true));
    match cut(0) {
        Ok(true) => Ok(can_cut),
        _ => Err(fail("llama.cpp could not empty its memory")),
    }
}

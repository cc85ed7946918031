//! The cells of a model's KV cache: how large they are, and what can be done with them.

use llama_cpp_2::model::LlamaModel;

use super::LlamaSettings;

/// The cells of a model's KV cache.
#[derive(Debug, Clone, Copy)]
pub(super) struct CacheCells {
    /// The size of a cell in bytes.
    pub bytes: u64,
    /// Whether sequences can have separate streams.
    pub can_split: bool,
    /// The context length that the model was trained for, in tokens. No request is longer.
    pub trained: u32,
}

impl CacheCells {
    /// The cells of a model with these settings.
    pub fn new(model: &LlamaModel, settings: &LlamaSettings) -> Self {
        Self {
            bytes: cell_bytes(model, settings),
            // A stream is copied as a whole, which is not possible with recurrent state or a
            // sliding window.
            can_split: can_share(model) && window(model).is_none(),
            trained: model.n_ctx_train(),
        }
    }
}

/// Whether sequences can share and drop ranges of cells. Recurrent and hybrid models keep one
/// state per sequence, which can't be truncated.
pub(super) fn can_share(model: &LlamaModel) -> bool {
    !model.is_recurrent() && !model.is_hybrid()
}

/// The size of the sliding attention window in tokens, if the metadata names one. `usize::MAX`
/// for chunked attention, which a number of tokens can't describe.
pub(super) fn window(model: &LlamaModel) -> Option<usize> {
    if attention(model, "chunk_size").is_some() {
        return Some(usize::MAX);
    }
    match attention(model, "sliding_window")?.parse::<usize>() {
        Ok(0) | Err(_) => None,
        Ok(window) => Some(window),
    }
}

/// A value of the metadata about the attention of the model's family.
fn attention(model: &LlamaModel, key: &str) -> Option<String> {
    let architecture = model.meta_val_str("general.architecture").ok()?;
    model.meta_val_str(&format!("{architecture}.attention.{key}")).ok()
}

/// The size of a KV cache cell in bytes, if all layers have attention of the same size.
fn cell_bytes(model: &LlamaModel, settings: &LlamaSettings) -> u64 {
    let length = |key: &str| attention(model, key)?.parse().ok();
    let head = model.n_embd() as u64 / u64::from(model.n_head().max(1));
    let bits = length("key_length").unwrap_or(head) * settings.cache_type_k.bits()
        + length("value_length").unwrap_or(head) * settings.cache_type_v.bits();
    u64::from(model.n_layer()) * u64::from(model.n_head_kv()) * bits / 8
}

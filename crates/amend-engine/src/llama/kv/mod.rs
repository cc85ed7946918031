//! The KV cache, mirrored exactly, and the checks before each call of llama.cpp.

pub(crate) mod batch;
pub(crate) mod shared_prefix;
pub(crate) mod trie;

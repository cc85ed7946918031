//! The path of the test model.

use std::path::PathBuf;

/// The model that `AMEND_TEST_MODEL` names, otherwise the one in `models`.
pub fn model_path() -> PathBuf {
    let path = std::env::var_os("AMEND_TEST_MODEL")
        .map_or_else(|| PathBuf::from("models/SmolLM2-135M-Instruct.Q4_1.gguf"), PathBuf::from);
    assert!(path.exists(), "no model at {}: run examples/fetch-model", path.display());
    path.canonicalize().unwrap()
}

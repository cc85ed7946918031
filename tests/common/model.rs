//! Where the test model lies.

use std::path::PathBuf;

/// The model `AMEND_TEST_MODEL` names, else the one in `models`.
pub fn model_path() -> PathBuf {
    let path = std::env::var_os("AMEND_TEST_MODEL")
        .map_or_else(|| PathBuf::from("models/SmolLM2-135M-Instruct.Q4_1.gguf"), PathBuf::from);
    assert!(path.exists(), "no model at {}: run examples/fetch-model", path.display());
    path.canonicalize().unwrap()
}

//! The paths of the models with random weights.

use std::path::PathBuf;

/// A tiny model in full precision, of a family that `tests/tiny-models` creates.
/// Batching changes its results by rounding errors only.
pub fn tiny_model_path(family: &str) -> PathBuf {
    let folder = std::env::var_os("AMEND_TINY_MODELS")
        .map_or_else(|| PathBuf::from("target/tiny-models"), PathBuf::from);
    let path = folder.join(format!("{family}.gguf"));
    assert!(path.exists(), "no model at {}: run tests/tiny-models", path.display());
    path.canonicalize().unwrap()
}

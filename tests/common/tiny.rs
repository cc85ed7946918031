//! Where the models of random weights lie.

use std::path::PathBuf;

/// A tiny model in full precision, of a family that `tests/tiny-models` makes: what is
/// computed together moves its figures by rounding alone.
pub fn tiny_model_path(family: &str) -> PathBuf {
    let folder = std::env::var_os("AMEND_TINY_MODELS")
        .map_or_else(|| PathBuf::from("target/tiny-models"), PathBuf::from);
    let path = folder.join(format!("{family}.gguf"));
    assert!(path.exists(), "no model at {}: run tests/tiny-models", path.display());
    path.canonicalize().unwrap()
}

//! The models that tests run. `tests/run` prepares them once: generated tiny models for the
//! tests that do not depend on the meaning of a text, and the example model for the rest.

use std::path::{Path, PathBuf};

/// The path of a tiny model that `tests/tiny-models` generates, by its family. Its weights
/// are F32, so batches of different shapes change its logits by rounding errors only.
pub fn tiny_model_path(family: &str) -> PathBuf {
    prepared(&format!("target/tiny-models/{family}.gguf"), "tests/tiny-models")
}

/// The path of the example model (135M parameters, quantised). It is slow: use it only
/// where a test needs a model that understands text. These tests do:
///
/// - `tests/it/meaning.rs`: all of them.
/// - `crates/amend-engine/tests/it/meaning.rs`: all of them.
pub fn example_model_path() -> PathBuf {
    prepared("models/SmolLM2-135M-Instruct.Q4_1.gguf", "examples/fetch-model")
}

/// A path in the repository, where a command of the repository puts a file.
fn prepared(path: &str, command: &str) -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = package.ancestors().find(|folder| folder.join("tests/tiny-models").exists());
    let root = root.expect("the repository");
    let path = root.join(path);
    assert!(path.exists(), "{} is missing: run {command}", path.display());
    path
}

//! The cost of batches with a model on this machine: measured once, and stored in
//! the user's cache folder.

use std::fs;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cli::output::error::CommandError;
use crate::cli::output::progress::announced;
use amend_core::hash;
use amend_data::store::atomic;
use amend_engine::llama::measure::calibrate::{self, Costs};
use amend_engine::llama::{LLAMA_CPP_2, LlamaSettings, Model};

/// The content of a file in the cache.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// What was measured: the model, the machine and the settings that matter.
    key: Value,
    costs: Costs,
}

/// The stored costs of a model with some settings. `None` if they were never
/// measured.
#[must_use]
pub fn known(model: &Model, settings: &LlamaSettings) -> Option<Costs> {
    let key = key(model, settings);
    read(&file(&folder()?, &key), &key)
}

/// Measures the costs of a model with some settings, and stores them.
///
/// # Errors
/// The measurement fails.
pub fn measured(model: &Model, settings: &LlamaSettings) -> Result<Costs, CommandError> {
    let costs = announced("measuring what batches cost on this machine", || {
        calibrate::measure(model, settings)
    })?;
    if let Some(folder) = folder() {
        let entry = Entry { key: key(model, settings), costs: costs.clone() };
        // If this fails, the next call measures again.
        if let Err(error) = write(&file(&folder, &entry.key), &entry) {
            tracing::debug!("failed to store the measurement: {error}");
        }
    }
    Ok(costs)
}

fn folder() -> Option<PathBuf> {
    let strategy = etcetera::choose_base_strategy().ok()?;
    Some(strategy.cache_dir().join("amend").join("calibration"))
}

/// Everything that the costs depend on.
fn key(model: &Model, settings: &LlamaSettings) -> Value {
    let settings = settings.resolved();
    let mut key = json!({
        "model": model.fingerprint(),
        "cpu": cpu(),
        "llama-cpp-2": LLAMA_CPP_2,
        "threads": [settings.threads, settings.threads_batch],
        "n_gpu_layers": model.gpu_layers(),
        "batch": [settings.batch_size, settings.ubatch_size],
        "flash_attention": settings.flash_attention,
        "cache_type": [settings.cache_type_k, settings.cache_type_v],
    });
    if !model.gpus().is_empty() {
        key["gpus"] = json!(model.gpus());
    }
    if let Some(mode) = settings.split_mode {
        key["split_mode"] = json!([mode, settings.main_gpu]);
    }
    if !settings.cpu_tensors.is_empty() {
        key["cpu_tensors"] = json!(settings.cpu_tensors);
    }
    key
}

/// The processor's name if the system reports it, otherwise its architecture.
fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_owned()
}

fn file(folder: &Path, key: &Value) -> PathBuf {
    folder.join(format!("{}.json", &hash::sha256(key.to_string().as_bytes())[..16]))
}

/// The costs in a file. `None` if it is missing, damaged, or has another key.
fn read(file: &Path, key: &Value) -> Option<Costs> {
    let entry: Entry = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    (entry.key == *key && entry.costs.is_sound()).then_some(entry.costs)
}

fn write(file: &Path, entry: &Entry) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)?;
    let json = serde_json::to_vec(entry)?;
    atomic::write(file, |out| out.write_all(&json))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn damaged_or_unrelated_files_are_ignored() {
        let folder = tempfile::tempdir().unwrap();
        let (key, other) = (json!({"threads": 2}), json!({"threads": 4}));
        let path = file(&folder.path().join("deep"), &key);
        assert_ne!(path, file(&folder.path().join("deep"), &other));
        assert_eq!(read(&path, &key), None);
        let entry = Entry { key: key.clone(), costs: Costs::default() };
        write(&path, &entry).unwrap();
        assert_eq!(read(&path, &key), Some(Costs::default()));
        assert_eq!(read(&path, &other), None);
        let unsound = |part: Value| {
            let mut costs = serde_json::to_value(Costs::default()).unwrap();
            costs.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
            json!({"key": key, "costs": costs}).to_string()
        };
        for damaged in [
            "".to_owned(),
            "{}".to_owned(),
            fs::read_to_string(&path).unwrap().replace('}', ""),
            unsound(json!({"rows": []})),
            unsound(json!({"rows": [[2, 1.0], [1, 2.0]]})),
            unsound(json!({"rows": [[1, -1.0]]})),
            unsound(json!({"per_token": -1.0})),
        ] {
            fs::write(&path, &damaged).unwrap();
            assert_eq!(read(&path, &key), None, "{damaged}");
        }
        write(&path, &entry).unwrap();
        assert_eq!(read(&path, &key), Some(Costs::default()));
    }
}

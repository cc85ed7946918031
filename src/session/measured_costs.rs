//! What batches cost with a model on this machine: measured once, and kept in
//! the user's cache folder.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use etcetera::BaseStrategy;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::cli::output::error::CliError;
use amend_core::hash;
use amend_engine::llama::measure::calibrate;
use amend_engine::llama::measure::calibrate::Costs;
use amend_engine::llama::{LLAMA_CPP_2, Model, Settings};

/// What a file in the cache holds.
#[derive(Debug, Serialize, Deserialize)]
struct Entry {
    /// What was measured: the model, the machine, the settings that matter.
    key: Value,
    costs: Costs,
}

/// The costs known of a model with some settings; none where they were never
/// measured.
#[must_use]
pub fn known(model: &Model, settings: &Settings) -> Option<Costs> {
    let key = key(model, settings);
    read(&file(&folder()?, &key), &key)
}

/// The costs of a model with some settings, measured anew.
///
/// # Errors
/// The measurement's.
pub fn measured(model: &Model, settings: &Settings) -> Result<Costs, CliError> {
    let costs = calibrate::measure(model, settings)?;
    if let Some(folder) = folder() {
        let entry = Entry { key: key(model, settings), costs: costs.clone() };
        // Without it the next call measures again.
        if let Err(error) = write(&file(&folder, &entry.key), &entry) {
            tracing::debug!("the measurement is not kept: {error}");
        }
    }
    Ok(costs)
}

fn folder() -> Option<PathBuf> {
    let strategy = etcetera::choose_base_strategy().ok()?;
    Some(strategy.cache_dir().join("amend").join("calibration"))
}

/// All that the costs hang on.
fn key(model: &Model, settings: &Settings) -> Value {
    let settings = settings.resolved();
    json!({
        "model": model.fingerprint(),
        "cpu": cpu(),
        "llama-cpp-2": LLAMA_CPP_2,
        "threads": [settings.threads, settings.threads_batch],
        "n_gpu_layers": settings.n_gpu_layers,
        "batch": [settings.batch_size, settings.ubatch_size],
        "flash_attention": settings.flash_attention,
        "cache_type": [settings.cache_type_k, settings.cache_type_v],
    })
}

/// The processor's name where the system tells it, else its family.
fn cpu() -> String {
    let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let name = info.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or(std::env::consts::ARCH, |(_, name)| name.trim()).to_owned()
}

fn file(folder: &Path, key: &Value) -> PathBuf {
    folder.join(format!("{}.json", &hash::sha256(key.to_string().as_bytes())[..16]))
}

/// The costs in a file; none if it is missing, damaged, or about something else.
fn read(file: &Path, key: &Value) -> Option<Costs> {
    let entry: Entry = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    (entry.key == *key && entry.costs.is_sound()).then_some(entry.costs)
}

fn write(file: &Path, entry: &Entry) -> std::io::Result<()> {
    let folder = file.parent().unwrap_or(Path::new(""));
    fs::create_dir_all(folder)?;
    let mut whole = tempfile::NamedTempFile::new_in(folder)?;
    whole.write_all(&serde_json::to_vec(entry)?)?;
    whole.persist(file).map_err(|error| error.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_sound_file_about_the_same_thing_is_taken() {
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

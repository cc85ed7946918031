//! Files of one JSON value.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::atomic;
use super::run_dir::RunError;
use amend_core::text::format::json_document;

/// Reads a file. `None` if it does not exist.
///
/// # Errors
/// It can't be read or parsed.
pub(super) fn read<T: DeserializeOwned>(path: PathBuf) -> Result<Option<T>, RunError> {
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(RunError::Io { action: "read", path, source }),
    };
    match serde_json::from_slice(&bytes) {
        Ok(value) => Ok(Some(value)),
        Err(source) => Err(RunError::Unreadable { path, source }),
    }
}

/// Writes a file, atomically.
///
/// # Errors
/// It can't be written.
pub(super) fn write(path: &Path, value: &impl Serialize) -> Result<(), RunError> {
    let json = json_document(value)
        .map_err(|source| RunError::Manifest { path: path.to_owned(), source })?;
    atomic::write(path, |out| out.write_all(json.as_bytes())).map_err(|source| RunError::Io {
        action: "write",
        path: path.to_owned(),
        source,
    })
}

//! The results that were taken and are kept until the run is done: parts of a step are not in
//! the journal before the whole step is.
//!
//! A line is `{"sum":"0123456789abcdef","record":{…}}`. `sum` is the first 8 bytes of the
//! SHA-256 of the bytes of the record. A last line without a newline, which a crash left, is cut
//! off.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{BatchError, Place, read_line, short_name};
use crate::store::atomic;
use crate::store::run_dir::files::BATCH_REPLIES;
use amend_core::hash;

/// The checksum's length in hexadecimal digits.
const SUM: usize = 16;

/// A record, for writing.
#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Record<'a> {
    /// A result that was used.
    Result { id: &'a str, line: &'a Value },
    /// What the server refuses, as far as it is known. The last one counts.
    Refused { fields: &'a [String] },
}

/// A record, for reading. A line of results is only parsed when it is used.
#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum Found {
    Result { id: String },
    Refused { fields: Vec<String> },
}

/// The results that a run has taken.
pub struct Replies {
    path: PathBuf,
    file: File,
    /// The lines that are not yet in the file.
    buffer: BufWriter<File>,
    length: u64,
    places: HashMap<u128, Place>,
    refused: Vec<String>,
    is_synced: bool,
}

impl Replies {
    /// Opens or creates the file in a run directory. The caller holds the lock of the run.
    ///
    /// # Errors
    /// The file can't be read or written, or a line is damaged.
    pub fn open(run: &Path) -> Result<Self, BatchError> {
        let path = run.join(BATCH_REPLIES);
        let io = |action| {
            let path = path.clone();
            move |source| BatchError::Io { action, path, source }
        };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("open"))?;
        atomic::sync_folder(run).map_err(io("sync the folder of"))?;
        let mut places = HashMap::new();
        let mut refused = Vec::new();
        let mut length = 0;
        let mut input = BufReader::new(&file);
        let mut line = Vec::new();
        let mut number = 0;
        while read_line(&mut input, &mut line).map_err(io("read"))? {
            number += 1;
            let Some(whole) = line.strip_suffix(b"\n") else {
                tracing::warn!(replies = %path.display(), "truncating an unfinished last line");
                break;
            };
            let damaged = |wrong| BatchError::Damaged { path: path.clone(), line: number, wrong };
            let record = decode(whole).map_err(damaged)?;
            let found = serde_json::from_slice(record);
            match found.map_err(|_| damaged("this version of amend does not know the record"))? {
                Found::Result { id } => {
                    let start = length + prefix_length();
                    places.insert(short_name(&id), Place { start, length: record.len() });
                }
                Found::Refused { fields } => refused = fields,
            }
            length += line.len() as u64;
        }
        file.set_len(length).map_err(io("truncate"))?;
        file.seek(SeekFrom::Start(length)).map_err(io("seek in"))?;
        let buffer = BufWriter::new(file.try_clone().map_err(io("open"))?);
        Ok(Self { path, file, buffer, length, places, refused, is_synced: true })
    }

    /// The kept line of results with this id.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn get(&mut self, id: &str) -> Result<Option<Value>, BatchError> {
        let Some(&place) = self.places.get(&short_name(id)) else { return Ok(None) };
        self.flush()?;
        let bytes = place.read(&mut self.file).map_err(self.io("read"))?;
        self.file.seek(SeekFrom::Start(self.length)).map_err(self.io("seek in"))?;
        let kept: KeptLine<'_> =
            serde_json::from_slice(&bytes).map_err(|error| self.io("read")(error.into()))?;
        let line = serde_json::from_str(kept.line.get());
        line.map(Some).map_err(|error| self.io("read")(error.into()))
    }

    /// Whether a line of results with this id is kept, given by its short name.
    pub(super) fn has(&self, name: u128) -> bool {
        self.places.contains_key(&name)
    }

    /// Keeps a line of results. It is safe after [`Replies::sync`].
    ///
    /// # Errors
    /// The file can't be written.
    pub fn keep(&mut self, id: &str, line: &Value) -> Result<(), BatchError> {
        let start = self.length + prefix_length();
        let length = self.append(&Record::Result { id, line })?;
        self.places.insert(short_name(id), Place { start, length });
        Ok(())
    }

    /// The fields that the server refuses, as far as it is known.
    #[must_use]
    pub fn refused(&self) -> &[String] {
        &self.refused
    }

    /// Keeps what the server refuses.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn keep_refused(&mut self, fields: Vec<String>) -> Result<(), BatchError> {
        self.append(&Record::Refused { fields: &fields })?;
        self.refused = fields;
        Ok(())
    }

    /// Syncs what was kept to the disk.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn sync(&mut self) -> Result<(), BatchError> {
        if !self.is_synced {
            self.flush()?;
            self.file.sync_data().map_err(self.io("sync"))?;
            self.is_synced = true;
        }
        Ok(())
    }

    /// Deletes the file. The run is done: everything is in its journal.
    ///
    /// # Errors
    /// The file can't be deleted.
    pub fn delete(self) -> Result<(), BatchError> {
        fs::remove_file(&self.path).map_err(self.io("delete"))
    }

    /// Appends a record, and returns its length.
    fn append(&mut self, record: &Record<'_>) -> Result<usize, BatchError> {
        let json = serde_json::to_vec(record).map_err(|error| self.io("write")(error.into()))?;
        let line = [prefix(&json).as_bytes(), &json, b"}\n"].concat();
        self.is_synced = false;
        self.buffer.write_all(&line).map_err(self.io("write"))?;
        self.length += line.len() as u64;
        Ok(json.len())
    }

    fn flush(&mut self) -> Result<(), BatchError> {
        self.buffer.flush().map_err(self.io("write"))
    }

    fn io(&self, action: &'static str) -> impl FnOnce(io::Error) -> BatchError + use<> {
        let path = self.path.clone();
        move |source| BatchError::Io { action, path, source }
    }
}

/// The line of results in a record.
#[derive(Deserialize)]
struct KeptLine<'a> {
    #[serde(borrow)]
    line: &'a RawValue,
}

/// What stands before a record.
fn prefix(record: &[u8]) -> String {
    format!(r#"{{"sum":"{}","record":"#, &hash::sha256(record)[..SUM])
}

/// The length of [`prefix`] in bytes.
fn prefix_length() -> u64 {
    (r#"{"sum":"","record":"#.len() + SUM) as u64
}

/// The record in a line without its newline.
fn decode(line: &[u8]) -> Result<&[u8], &'static str> {
    const FORM: &str = "it does not have the form of a kept result";
    let (start, rest) = line.split_at_checked(prefix_length() as usize).ok_or(FORM)?;
    let record = rest.strip_suffix(b"}").ok_or(FORM)?;
    if start == prefix(record).as_bytes() { Ok(record) } else { Err("the checksum does not match") }
}

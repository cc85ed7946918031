//! A file of results, as `vllm run-batch` and services for batches write it: one JSON object a
//! line, in any order, with the `custom_id` of the request.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

use super::{BatchError, Place, Replies, read_line, short_name};

/// Parses a line, more leniently than JSON allows.
pub type ParseLine = fn(&[u8]) -> Result<Value, serde_json::Error>;

/// A file of results, all of whose lines are whole.
pub struct ResultFile {
    path: PathBuf,
    file: File,
    parse: ParseLine,
    lines: HashMap<u128, Line>,
    /// The lines whose id another line has too.
    repeated: u64,
}

struct Line {
    place: Place,
    is_used: bool,
}

/// The part of a line that is read first.
#[derive(Deserialize)]
struct Head {
    custom_id: String,
    /// Only requests have it.
    method: Option<IgnoredAny>,
}

impl ResultFile {
    /// Reads the ids of all lines. `parse` reads lines that are not quite JSON.
    ///
    /// # Errors
    /// The file can't be read, or a line is cut off, is not JSON, has no id, or is a request.
    pub fn open(path: &Path, parse: ParseLine) -> Result<Self, BatchError> {
        let io = |action| move |source| BatchError::Io { action, path: path.to_owned(), source };
        let file = File::open(path)
            .map_err(|source| BatchError::Open { path: path.to_owned(), source })?;
        let mut input = BufReader::new(&file);
        let mut lines = HashMap::new();
        let (mut repeated, mut start, mut number) = (0, 0, 0);
        let mut line = Vec::new();
        while read_line(&mut input, &mut line).map_err(io("read"))? {
            number += 1;
            let content = line.trim_ascii();
            if !content.is_empty() {
                let id = id_in(content, parse).map_err(|wrong| BatchError::Result {
                    path: path.to_owned(),
                    line: number,
                    wrong,
                })?;
                let place = Place { start, length: line.len() };
                // Of two results of one request, the first counts.
                let known = lines.len();
                lines.entry(short_name(&id)).or_insert(Line { place, is_used: false });
                repeated += u64::from(lines.len() == known);
            }
            start += line.len() as u64;
        }
        Ok(Self { path: path.to_owned(), file, parse, lines, repeated })
    }

    /// The line with this id.
    ///
    /// # Errors
    /// The file can't be read, or has changed.
    pub fn get(&mut self, id: &str) -> Result<Option<Value>, BatchError> {
        let Some(line) = self.lines.get_mut(&short_name(id)) else { return Ok(None) };
        line.is_used = true;
        let io = |source| BatchError::Io { action: "read", path: self.path.clone(), source };
        let bytes = line.place.read(&mut self.file).map_err(io)?;
        (self.parse)(bytes.trim_ascii()).map(Some).map_err(|error| io(error.into()))
    }

    /// The number of lines.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.lines.len() as u64 + self.repeated
    }

    /// The number of results that were used.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.lines.values().filter(|line| line.is_used).count() as u64
    }

    /// The number of results of requests that are neither due nor known from earlier ones.
    #[must_use]
    pub fn unknown(&self, replies: &Replies) -> u64 {
        let unknown = |(name, line): &(&u128, &Line)| !line.is_used && !replies.has(**name);
        self.lines.iter().filter(unknown).count() as u64
    }

    /// The path of the file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// The id in a line.
fn id_in(line: &[u8], parse: ParseLine) -> Result<String, String> {
    const REQUEST: &str = "it is a request: take the file with the results";
    if let Ok(Head { custom_id, method }) = serde_json::from_slice(line) {
        return if method.is_some() { Err(REQUEST.to_owned()) } else { Ok(custom_id) };
    }
    let value = parse(line).map_err(|error| match error.is_eof() {
        true => "the line is cut off: get the file again".to_owned(),
        false => error.to_string(),
    })?;
    match value["custom_id"].as_str() {
        Some(_) if !value["method"].is_null() => Err(REQUEST.to_owned()),
        Some(id) => Ok(id.to_owned()),
        None => Err("it has no custom_id".to_owned()),
    }
}

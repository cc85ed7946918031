//! The requests that are due. They wait in a temporary file until it is certain that they are
//! needed, and are then written to files for a batch.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use super::{BatchError, Place, short_name};
use crate::store::atomic;

/// How large a file of requests may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileLimits {
    /// The most requests of a file.
    pub requests: u64,
    /// The most bytes of a file. A longer request has a file of its own.
    pub bytes: u64,
}

/// Requests that are due.
pub struct Outbox {
    folder: PathBuf,
    waiting: BufWriter<File>,
    length: u64,
    /// By the order in which they were added.
    requests: Vec<Waiting>,
    numbers: HashMap<u128, usize>,
}

struct Waiting {
    place: Place,
    /// How often it is needed.
    needed: usize,
}

impl Outbox {
    /// An empty outbox, whose temporary file is in `folder`.
    ///
    /// # Errors
    /// The temporary file can't be created.
    pub fn new(folder: &Path) -> Result<Self, BatchError> {
        let file = tempfile::tempfile_in(folder).map_err(|source| BatchError::Io {
            action: "create a temporary file in",
            path: folder.to_owned(),
            source,
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            waiting: BufWriter::new(file),
            length: 0,
            requests: Vec::new(),
            numbers: HashMap::new(),
        })
    }

    /// Adds the line of a request, without a newline. A request that is added again is written
    /// once.
    ///
    /// # Errors
    /// The temporary file can't be written.
    pub fn add(&mut self, id: &str, line: &str) -> Result<(), BatchError> {
        let name = short_name(id);
        if let Some(&number) = self.numbers.get(&name) {
            self.requests[number].needed += 1;
            return Ok(());
        }
        self.waiting.write_all(line.as_bytes()).map_err(self.io("write to"))?;
        let place = Place { start: self.length, length: line.len() };
        self.length += line.len() as u64;
        self.numbers.insert(name, self.requests.len());
        self.requests.push(Waiting { place, needed: 1 });
        Ok(())
    }

    /// Takes a request back that was added once more than it is needed.
    pub fn remove(&mut self, id: &str) {
        if let Some(&number) = self.numbers.get(&short_name(id)) {
            let needed = &mut self.requests[number].needed;
            *needed = needed.saturating_sub(1);
        }
    }

    /// The number of requests.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.requests.iter().filter(|request| request.needed > 0).count() as u64
    }

    /// Writes the requests to `path` and, if one file can't hold them, to further parts beside
    /// it, each atomically. Returns the files; there are none if nothing is due.
    ///
    /// # Errors
    /// A file can't be written, or a further part is left from other requests.
    pub fn write(&mut self, path: &Path, limits: FileLimits) -> Result<Vec<PathBuf>, BatchError> {
        self.waiting.flush().map_err(self.io("write to"))?;
        let parts = self.parts(limits);
        let next = part(path, parts.len() + 1);
        if !parts.is_empty() && next.exists() {
            return Err(BatchError::Leftover { path: next });
        }
        let mut files = Vec::new();
        for (at, places) in parts.iter().enumerate() {
            let path = part(path, at + 1);
            let waiting = self.waiting.get_mut();
            let fill = |out: &mut (dyn Write + Send)| -> io::Result<()> {
                for place in places {
                    out.write_all(&place.read(waiting)?)?;
                    out.write_all(b"\n")?;
                }
                Ok(())
            };
            atomic::write(&path, fill).map_err(|source| BatchError::Io {
                action: "write",
                path: path.clone(),
                source,
            })?;
            files.push(path);
        }
        Ok(files)
    }

    /// The places of the requests of each file.
    fn parts(&self, limits: FileLimits) -> Vec<Vec<Place>> {
        let mut parts: Vec<Vec<Place>> = Vec::new();
        let mut bytes = 0;
        for request in self.requests.iter().filter(|request| request.needed > 0) {
            let size = request.place.length as u64 + 1;
            match parts.last_mut() {
                Some(part)
                    if (part.len() as u64) < limits.requests && bytes + size <= limits.bytes =>
                {
                    part.push(request.place);
                    bytes += size;
                }
                _ => {
                    parts.push(vec![request.place]);
                    bytes = size;
                }
            }
        }
        parts
    }

    fn io(&self, action: &'static str) -> impl FnOnce(io::Error) -> BatchError + use<> {
        let path = self.folder.clone();
        move |source| BatchError::Io { action, path, source }
    }
}

/// The file of a part, from 1: `requests.jsonl`, `requests.part2.jsonl` and so on.
fn part(path: &Path, number: usize) -> PathBuf {
    if number == 1 {
        return path.to_owned();
    }
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    match path.extension() {
        Some(extension) => {
            path.with_file_name(format!("{name}.part{number}.{}", extension.to_string_lossy()))
        }
        None => path.with_file_name(format!("{name}.part{number}")),
    }
}

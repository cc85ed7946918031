//! The journal: one checksummed line a record, appended by one writer.
//!
//! A line is `{"n":12,"sum":"0123456789abcdef","record":{…}}`: `n` counts from
//! 0, `sum` is the first 8 bytes of SHA-256 over n in decimal, a colon, and the
//! record's bytes as they stand. The reader takes exactly what the writer
//! writes, so any changed byte is noticed.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use amend_core::hash;
use amend_core::model::Failure;
use amend_core::record::{Item, Outcome, Step};

/// The longest line, in bytes: more than the longest input row can grow to by
/// JSON's escapes.
pub const MAX_RECORD: usize = 64 << 20;

/// The checksum's length in hexadecimal digits.
const SUM: usize = 16;

/// What a line of the journal says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// A step of an item was done.
    Step {
        /// The item's key.
        item: String,
        /// The step.
        step: Step,
    },
    /// An item came to its end.
    End {
        /// The item, whole.
        item: Item,
        /// What it came to.
        outcome: Outcome,
    },
    /// An item starts over: its steps and its end so far count no more.
    Retry {
        /// The item's key.
        item: String,
    },
    /// Every item of a cohort has ended: a reproducible run resumes here.
    Cohort {},
}

impl Record {
    /// The key of the item it is about, if it is about one.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Step { item, .. } | Self::Retry { item } => Some(item),
            Self::End { item, .. } => Some(&item.key),
            Self::Cohort {} => None,
        }
    }
}

/// What goes wrong with a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file can't be opened, read or cut.
    #[error("failed to {action} {path}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On which file.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// No room for another record.
    #[error(
        "disk full: {path} is valid up to record {records} and takes no more; \
         free space and resume"
    )]
    Full {
        /// The journal.
        path: PathBuf,
        /// Records in it.
        records: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A record could not be written.
    #[error(
        "failed to write to {path}: it is valid up to record {records}; resume once it can be written"
    )]
    Write {
        /// The journal.
        path: PathBuf,
        /// Records in it.
        records: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A record was written, but may not be on the disk.
    #[error(
        "failed to sync {path}: the last of its {records} records may be lost; \
         check the disk and resume"
    )]
    Sync {
        /// The journal.
        path: PathBuf,
        /// Records written to it.
        records: u64,
        /// What the system said.
        source: io::Error,
    },
    /// A write or sync failed before; nothing more is written.
    #[error("{path} takes no more records: an earlier write failed")]
    Poisoned {
        /// The journal.
        path: PathBuf,
    },
    /// A record the journal has no place for.
    #[error("refused to write to {path}: {fault}")]
    Refused {
        /// The journal.
        path: PathBuf,
        /// Why not.
        fault: Fault,
    },
    /// A line that is not what was written.
    #[error(
        "{path}, line {line}: {fault}; to go on without it and what follows, keep the lines \
         before it: head -n {} {path} > {path}.kept && mv {path}.kept {path}", .line - 1
    )]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        fault: Fault,
    },
}

/// What is wrong with a line or record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Fault {
    /// Not the form of a journal line.
    #[error("not a line of a journal")]
    Form,
    /// A line is missing, or was put in.
    #[error("record {found} stands where record {expected} is due")]
    Number {
        /// The number due.
        expected: u64,
        /// The number there.
        found: u64,
    },
    /// The bytes were changed.
    #[error("the checksum does not match")]
    Sum,
    /// Sound, but not understood.
    #[error("the record is none that this version knows ({message})")]
    Record {
        /// The parser's words.
        message: String,
    },
    /// More bytes than a record may have.
    #[error("a record is longer than {limit} bytes")]
    Length {
        /// The most bytes.
        limit: usize,
    },
    /// A record about an item that has ended.
    #[error("item {key} had already ended")]
    Ended {
        /// The item.
        key: String,
    },
}

/// How far an item has come.
#[derive(Debug, Clone, PartialEq)]
pub enum Progress {
    /// Under way: its steps so far.
    Unfinished(Vec<Step>),
    /// Done.
    Done,
    /// Failed.
    Failed(Failure),
}

/// How far every item of a journal has come, by key. Items not named have not
/// begun.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    items: HashMap<String, Progress>,
}

impl State {
    /// How far an item has come; none if it has not begun.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Progress> {
        self.items.get(key)
    }

    /// Takes an item's recorded steps, to go on from them; empty if it has not
    /// begun or has ended.
    pub fn take_steps(&mut self, key: &str) -> Vec<Step> {
        match self.items.get_mut(key) {
            Some(Progress::Unfinished(steps)) => std::mem::take(steps),
            _ => Vec::new(),
        }
    }

    /// Every item that has begun, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Progress)> {
        self.items.iter().map(|(key, progress)| (key.as_str(), progress))
    }

    /// Whether an item is done or failed.
    #[must_use]
    pub fn ended(&self, key: &str) -> bool {
        matches!(self.get(key), Some(Progress::Done | Progress::Failed(_)))
    }

    /// Takes in the next record.
    fn apply(&mut self, record: Record) -> Result<(), Fault> {
        if let Some(key) = record.key()
            && !matches!(record, Record::Retry { .. })
            && self.ended(key)
        {
            return Err(Fault::Ended { key: key.to_owned() });
        }
        match record {
            Record::Step { item, step } => {
                let fresh = || Progress::Unfinished(Vec::new());
                if let Progress::Unfinished(steps) = self.items.entry(item).or_insert_with(fresh) {
                    steps.push(step);
                }
            }
            Record::End { item, outcome: Outcome::Done { .. } } => {
                self.items.insert(item.key, Progress::Done);
            }
            Record::End { item, outcome: Outcome::Failed { failure } } => {
                self.items.insert(item.key, Progress::Failed(failure));
            }
            Record::Retry { item } => {
                self.items.remove(&item);
            }
            Record::Cohort {} => {}
        }
        Ok(())
    }
}

/// The checksum of record `n`.
fn sum(n: u64, record: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(n.to_string());
    hash.update(b":");
    hash.update(record);
    hash::hex(&hash.finalize()[..SUM / 2])
}

/// The line of record `n`, its newline included.
fn encode(n: u64, record: &Record) -> Result<Vec<u8>, Fault> {
    let record =
        serde_json::to_vec(record).map_err(|error| Fault::Record { message: error.to_string() })?;
    let mut line = format!(r#"{{"n":{n},"sum":"{}","record":"#, sum(n, &record)).into_bytes();
    line.extend_from_slice(&record);
    line.extend_from_slice(b"}\n");
    if line.len() > MAX_RECORD { Err(Fault::Length { limit: MAX_RECORD }) } else { Ok(line) }
}

/// The record of a line without its newline, which must be number `expected`.
fn decode(line: &[u8], expected: u64) -> Result<Record, Fault> {
    let line = line.strip_prefix(br#"{"n":"#).ok_or(Fault::Form)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, line) = line.split_at(digits);
    if number != expected.to_string().as_bytes() {
        let found = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
        return Err(found.map_or(Fault::Form, |found| Fault::Number { expected, found }));
    }
    let line = line.strip_prefix(br#","sum":""#).ok_or(Fault::Form)?;
    let (found, line) = line.split_at_checked(SUM).ok_or(Fault::Form)?;
    let record = line
        .strip_prefix(br#"","record":"#)
        .and_then(|line| line.strip_suffix(b"}"))
        .ok_or(Fault::Form)?;
    if found != sum(expected, record).as_bytes() {
        return Err(Fault::Sum);
    }
    serde_json::from_slice(record).map_err(|error| Fault::Record { message: error.to_string() })
}

/// Reads a journal from its start, holding one line at a time.
pub(crate) struct Reader<R> {
    input: R,
    path: PathBuf,
    line: Vec<u8>,
    /// Records read.
    records: u64,
    /// Bytes of the lines read.
    length: u64,
    /// Bytes after the last newline.
    tail: u64,
    /// Records and bytes up to the end of the last whole cohort.
    whole: (u64, u64),
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(input: R, path: PathBuf) -> Self {
        Self { input, path, line: Vec::new(), records: 0, length: 0, tail: 0, whole: (0, 0) }
    }

    /// How many records were read.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// The next record; none at the end, or at a last line without a newline.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, JournalError> {
        self.line.clear();
        let most = MAX_RECORD as u64 + 1;
        let read =
            io::Read::take(&mut self.input, most).read_until(b'\n', &mut self.line).map_err(
                |source| JournalError::Io { action: "read", path: self.path.clone(), source },
            )?;
        let Some(line) = self.line.strip_suffix(b"\n") else {
            if read > MAX_RECORD {
                return Err(self.damaged(Fault::Length { limit: MAX_RECORD }));
            }
            self.tail = read as u64;
            return Ok(None);
        };
        let record = decode(line, self.records).map_err(|fault| self.damaged(fault))?;
        self.records += 1;
        self.length += read as u64;
        if record == (Record::Cohort {}) {
            self.whole = (self.records, self.length);
        }
        Ok(Some(record))
    }

    /// The fault of the line that follows the records read.
    fn damaged(&self, fault: Fault) -> JournalError {
        JournalError::Damaged { path: self.path.clone(), line: self.records + 1, fault }
    }

    /// Reads to the end.
    fn replay(&mut self) -> Result<State, JournalError> {
        let mut state = State::default();
        while let Some(record) = self.next()? {
            state.apply(record).map_err(|fault| JournalError::Damaged {
                path: self.path.clone(),
                line: self.records,
                fault,
            })?;
        }
        Ok(state)
    }
}

/// Where a journal's bytes go: a file, or what fails like one in tests.
pub(crate) trait Storage: Write {
    /// Puts everything written on the disk.
    fn sync(&mut self) -> io::Result<()>;
    /// Cuts off everything after the first `length` bytes.
    fn truncate(&mut self, length: u64) -> io::Result<()>;
}

impl Storage for File {
    fn sync(&mut self) -> io::Result<()> {
        self.sync_data()
    }

    fn truncate(&mut self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

/// Appends records to a journal.
pub(crate) struct Journal<S> {
    storage: S,
    path: PathBuf,
    /// Items that have ended: a record about one would make the journal unreadable.
    ended: HashSet<String>,
    records: u64,
    length: u64,
    poisoned: bool,
}

impl Journal<File> {
    /// Opens a journal to go on with it, or a new one. A last line without a
    /// newline, left by a crash, is cut off; with `cohorts`, everything after
    /// the last whole cohort is.
    pub(crate) fn open(path: &Path, cohorts: bool) -> Result<(Self, State), JournalError> {
        let io = |action| move |source| JournalError::Io { action, path: path.to_owned(), source };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)
            .map_err(io("open"))?;
        let mut reader = Reader::new(io::BufReader::new(&file), path.to_owned());
        let state = reader.replay()?;
        let Reader { records, length, tail, whole, .. } = reader;
        if cohorts && whole.0 < records {
            tracing::info!(
                journal = %path.display(), records = records - whole.0,
                "cutting off a cohort that was not finished, to do it again"
            );
            file.set_len(whole.1).map_err(io("cut"))?;
            file.sync_data().map_err(io("sync"))?;
            return Self::open(path, cohorts);
        }
        if tail > 0 {
            tracing::warn!(
                journal = %path.display(), bytes = tail,
                "cutting off an unfinished last line"
            );
            file.set_len(length).map_err(io("cut"))?;
            file.sync_data().map_err(io("sync"))?;
        }
        io::Seek::seek(&mut file, io::SeekFrom::Start(length)).map_err(io("seek in"))?;
        Ok((Self::new(file, path.to_owned(), &state, records, length), state))
    }
}

impl<S: Storage> Journal<S> {
    fn new(storage: S, path: PathBuf, state: &State, records: u64, length: u64) -> Self {
        let keys = state.iter().map(|(key, _)| key).filter(|key| state.ended(key));
        let ended = keys.map(str::to_owned).collect();
        Self { storage, path, ended, records, length, poisoned: false }
    }

    /// Writes a record in one write; an item's end is on the disk when this
    /// returns.
    pub(crate) fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned { path: self.path.clone() });
        }
        let refused = |fault| JournalError::Refused { path: self.path.clone(), fault };
        if let Some(key) = record.key()
            && !matches!(record, Record::Retry { .. })
            && self.ended.contains(key)
        {
            return Err(refused(Fault::Ended { key: key.to_owned() }));
        }
        let line = encode(self.records, record).map_err(refused)?;
        if let Err(source) = self.storage.write_all(&line) {
            self.poisoned = true;
            // Should this fail too, what stays has no newline and is cut on opening.
            if let Err(error) = self.storage.truncate(self.length) {
                tracing::warn!(journal = %self.path.display(), %error, "part of a line stays");
            }
            let (path, records) = (self.path.clone(), self.records);
            return Err(match source.kind() {
                io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
                    JournalError::Full { path, records, source }
                }
                _ => JournalError::Write { path, records, source },
            });
        }
        self.records += 1;
        self.length += line.len() as u64;
        match record {
            Record::Step { .. } => {}
            Record::Retry { item } => {
                self.ended.remove(item);
            }
            Record::End { item, .. } => {
                self.ended.insert(item.key.clone());
                self.sync()?;
            }
            Record::Cohort {} => self.sync()?,
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        self.storage.sync().map_err(|source| {
            // Never tried again: the system may have dropped what it failed to write.
            self.poisoned = true;
            JournalError::Sync { path: self.path.clone(), records: self.records, source }
        })
    }
}

#[cfg(test)]
mod tests;

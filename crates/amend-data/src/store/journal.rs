//! The journal: one line with a checksum for each record, appended by one writer.
//!
//! A line is `{"n":12,"sum":"0123456789abcdef","record":{…}}`. `n` counts from 0. `sum` is
//! the first 8 bytes of the SHA-256 of `n` in decimal, a colon, and the bytes of the
//! record. The reader accepts only the exact form that the writer produces, so it detects
//! every changed byte.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use amend_core::hash;
use amend_core::model::Failure;
use amend_core::record::{Item, Outcome, Step};

/// The longest line in bytes: more than the longest input row takes with JSON
/// escapes.
pub const MAX_RECORD: usize = 64 << 20;

/// The checksum's length in hexadecimal digits.
const SUM: usize = 16;

/// A record of the journal.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Record {
    /// A step of an item is done.
    Step {
        /// The item's key.
        item: String,
        /// The step.
        step: Step,
    },
    /// An item ended.
    End {
        /// The item.
        item: Item,
        /// The outcome.
        outcome: Outcome,
    },
    /// An item starts over: its earlier steps and its end no longer count.
    Retry {
        /// The item's key.
        item: String,
    },
    /// Every item of a cohort has ended: a reproducible run resumes here.
    Cohort {},
}

impl Record {
    /// The key of the item that the record is about, if any.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        match self {
            Self::Step { item, .. } | Self::Retry { item } => Some(item),
            Self::End { item, .. } => Some(&item.key),
            Self::Cohort {} => None,
        }
    }
}

/// An error of a journal.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file can't be opened, read or truncated.
    #[error("failed to {action} {path}")]
    Io {
        /// The attempted action.
        action: &'static str,
        /// The journal.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// There is no space for another record.
    #[error(
        "disk full: {path} is valid up to record {records}; free some space, then pass --resume"
    )]
    Full {
        /// The journal.
        path: PathBuf,
        /// The number of records in it.
        records: u64,
        /// The cause.
        source: io::Error,
    },
    /// A record can't be written.
    #[error(
        "failed to write to {path}: it is valid up to record {records}; fix the cause, then \
         pass --resume"
    )]
    Write {
        /// The journal.
        path: PathBuf,
        /// The number of records in it.
        records: u64,
        /// The cause.
        source: io::Error,
    },
    /// A record was written, but it may not be on the disk.
    #[error(
        "failed to sync {path}: the last of its {records} records may be lost; \
         check the disk, then pass --resume"
    )]
    Sync {
        /// The journal.
        path: PathBuf,
        /// The number of records written.
        records: u64,
        /// The cause.
        source: io::Error,
    },
    /// An earlier write or sync failed, so nothing more is written.
    #[error("refused to write to {path}: an earlier write failed")]
    Poisoned {
        /// The journal.
        path: PathBuf,
    },
    /// The record is not valid here.
    #[error("refused to write to {path}: {fault}")]
    Refused {
        /// The journal.
        path: PathBuf,
        /// What is wrong with the record.
        fault: JournalFault,
    },
    /// A line is damaged.
    #[error(
        "{path}, line {line}: {fault}; to continue without this line and all later lines, \
         keep the lines before it: head -n {} {path} > {path}.kept && mv {path}.kept {path}", .line - 1
    )]
    Damaged {
        /// The journal.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        fault: JournalFault,
    },
}

/// What is wrong with a line or a record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum JournalFault {
    /// The line does not have the form of a journal line.
    #[error("not a journal line")]
    Form,
    /// A line is missing or was inserted.
    #[error("found record {found}, expected record {expected}")]
    Number {
        /// The expected number.
        expected: u64,
        /// The number found.
        found: u64,
    },
    /// Bytes have changed.
    #[error("the checksum does not match")]
    Sum,
    /// The line is intact, but this version can't parse the record.
    #[error("this version of amend does not know the record ({message})")]
    Record {
        /// The message of the parser.
        message: String,
    },
    /// The record is too long.
    #[error("a record is longer than {limit} bytes")]
    Length {
        /// The most bytes of a line.
        limit: usize,
    },
    /// The record is about an item that has already ended.
    #[error("item {key} has already ended")]
    Ended {
        /// The key of the item.
        key: String,
    },
}

/// The progress of an item.
#[derive(Debug, Clone, PartialEq)]
pub enum ItemProgress {
    /// The item is unfinished and has these steps.
    Unfinished(Vec<Step>),
    /// The item is done.
    Done,
    /// The item failed.
    Failed(Failure),
}

/// The progress of each item in a journal, by key. Items that have not begun are
/// absent.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    items: HashMap<String, ItemProgress>,
}

impl State {
    /// The progress of an item. `None` if it has not begun.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&ItemProgress> {
        self.items.get(key)
    }

    /// Takes the recorded steps of an unfinished item, to continue from them. Empty if the
    /// item has not begun or has ended.
    pub fn take_steps(&mut self, key: &str) -> Vec<Step> {
        match self.items.get_mut(key) {
            Some(ItemProgress::Unfinished(steps)) => std::mem::take(steps),
            _ => Vec::new(),
        }
    }

    /// All items that have begun, in arbitrary order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &ItemProgress)> {
        self.items.iter().map(|(key, progress)| (key.as_str(), progress))
    }

    /// Returns whether an item is done or failed.
    #[must_use]
    pub fn ended(&self, key: &str) -> bool {
        matches!(self.get(key), Some(ItemProgress::Done | ItemProgress::Failed(_)))
    }

    /// Applies the next record.
    fn apply(&mut self, record: Record) -> Result<(), JournalFault> {
        if let Some(key) = record.key()
            && !matches!(record, Record::Retry { .. })
            && self.ended(key)
        {
            return Err(JournalFault::Ended { key: key.to_owned() });
        }
        match record {
            Record::Step { item, step } => {
                let fresh = || ItemProgress::Unfinished(Vec::new());
                if let ItemProgress::Unfinished(steps) =
                    self.items.entry(item).or_insert_with(fresh)
                {
                    steps.push(step);
                }
            }
            Record::End { item, outcome: Outcome::Done { .. } } => {
                self.items.insert(item.key, ItemProgress::Done);
            }
            Record::End { item, outcome: Outcome::Failed { failure } } => {
                self.items.insert(item.key, ItemProgress::Failed(failure));
            }
            Record::Retry { item } => {
                self.items.remove(&item);
            }
            Record::Cohort {} => {}
        }
        Ok(())
    }
}

/// Computes the checksum of record `n`.
fn sum(n: u64, record: &[u8]) -> String {
    let mut hash = Sha256::new();
    hash.update(n.to_string());
    hash.update(b":");
    hash.update(record);
    hash::hex(&hash.finalize()[..SUM / 2])
}

/// Encodes record `n` as a line, with its newline.
fn encode(n: u64, record: &Record) -> Result<Vec<u8>, JournalFault> {
    let record = serde_json::to_vec(record)
        .map_err(|error| JournalFault::Record { message: error.to_string() })?;
    let mut line = format!(r#"{{"n":{n},"sum":"{}","record":"#, sum(n, &record)).into_bytes();
    line.extend_from_slice(&record);
    line.extend_from_slice(b"}\n");
    if line.len() > MAX_RECORD { Err(JournalFault::Length { limit: MAX_RECORD }) } else { Ok(line) }
}

/// Decodes a line without its newline. Its number must be `expected`.
fn decode(line: &[u8], expected: u64) -> Result<Record, JournalFault> {
    let line = line.strip_prefix(br#"{"n":"#).ok_or(JournalFault::Form)?;
    let digits = line.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, line) = line.split_at(digits);
    if number != expected.to_string().as_bytes() {
        let found = std::str::from_utf8(number).ok().and_then(|number| number.parse().ok());
        return Err(
            found.map_or(JournalFault::Form, |found| JournalFault::Number { expected, found })
        );
    }
    let line = line.strip_prefix(br#","sum":""#).ok_or(JournalFault::Form)?;
    let (found, line) = line.split_at_checked(SUM).ok_or(JournalFault::Form)?;
    let record = line
        .strip_prefix(br#"","record":"#)
        .and_then(|line| line.strip_suffix(b"}"))
        .ok_or(JournalFault::Form)?;
    if found != sum(expected, record).as_bytes() {
        return Err(JournalFault::Sum);
    }
    serde_json::from_slice(record)
        .map_err(|error| JournalFault::Record { message: error.to_string() })
}

/// Reads a journal from its start, one line at a time.
pub(crate) struct Reader<R> {
    input: R,
    path: PathBuf,
    line: Vec<u8>,
    /// The number of records read.
    records: u64,
    /// The bytes of those records.
    length: u64,
    /// The bytes after the last newline.
    tail: u64,
    /// The records and bytes up to the end of the last complete cohort.
    whole: (u64, u64),
}

impl<R: BufRead> Reader<R> {
    pub(crate) fn new(input: R, path: PathBuf) -> Self {
        Self { input, path, line: Vec::new(), records: 0, length: 0, tail: 0, whole: (0, 0) }
    }

    /// The number of records read.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }

    /// Reads the next record. `None` at the end, or if the last line has no newline.
    pub(crate) fn next(&mut self) -> Result<Option<Record>, JournalError> {
        self.line.clear();
        let most = MAX_RECORD as u64 + 1;
        let read =
            io::Read::take(&mut self.input, most).read_until(b'\n', &mut self.line).map_err(
                |source| JournalError::Io { action: "read", path: self.path.clone(), source },
            )?;
        let Some(line) = self.line.strip_suffix(b"\n") else {
            if read > MAX_RECORD {
                return Err(self.damaged(JournalFault::Length { limit: MAX_RECORD }));
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

    /// Makes the error for the line after the records read.
    fn damaged(&self, fault: JournalFault) -> JournalError {
        JournalError::Damaged { path: self.path.clone(), line: self.records + 1, fault }
    }

    /// Reads to the end and returns the state.
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

/// Where a journal is stored: a file, or a fake one in tests.
pub(crate) trait Storage: Write {
    /// Syncs everything written to the disk.
    fn sync(&mut self) -> io::Result<()>;
    /// Truncates to `length` bytes.
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
    /// The items that have ended. Another record about one would damage the journal.
    ended: HashSet<String>,
    records: u64,
    length: u64,
    poisoned: bool,
}

impl Journal<File> {
    /// Opens or creates a journal to append to it. Truncates a last line without newline,
    /// which a crash left. With `cohorts`, truncates everything after the last complete
    /// cohort.
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
                "truncating an unfinished cohort, to repeat it"
            );
            file.set_len(whole.1).map_err(io("truncate"))?;
            file.sync_data().map_err(io("sync"))?;
            return Self::open(path, cohorts);
        }
        if tail > 0 {
            tracing::warn!(
                journal = %path.display(), bytes = tail,
                "truncating an unfinished last line"
            );
            file.set_len(length).map_err(io("truncate"))?;
            file.sync_data().map_err(io("sync"))?;
        }
        io::Seek::seek(&mut file, io::SeekFrom::Start(length)).map_err(io("seek in"))?;
        Ok((Self::new(file, path.to_owned(), &state, records, length), state))
    }
}

impl<S: Storage> Journal<S> {
    /// A journal without records.
    pub(crate) fn start(storage: S, path: &Path) -> Self {
        Self::new(storage, path.to_owned(), &State::default(), 0, 0)
    }

    fn new(storage: S, path: PathBuf, state: &State, records: u64, length: u64) -> Self {
        let keys = state.iter().map(|(key, _)| key).filter(|key| state.ended(key));
        let ended = keys.map(str::to_owned).collect();
        Self { storage, path, ended, records, length, poisoned: false }
    }

    /// Appends a record with one write. The end of an item or cohort is synced to the disk
    /// before this returns.
    pub(crate) fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned { path: self.path.clone() });
        }
        let refused = |fault| JournalError::Refused { path: self.path.clone(), fault };
        if let Some(key) = record.key()
            && !matches!(record, Record::Retry { .. })
            && self.ended.contains(key)
        {
            return Err(refused(JournalFault::Ended { key: key.to_owned() }));
        }
        let line = encode(self.records, record).map_err(refused)?;
        if let Err(source) = self.storage.write_all(&line) {
            self.poisoned = true;
            // If this fails too, the partial line is truncated on the next open.
            if let Err(error) = self.storage.truncate(self.length) {
                tracing::warn!(journal = %self.path.display(), %error, "a partial line remains");
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
            // Do not retry: the system may have dropped the data it failed to write.
            self.poisoned = true;
            JournalError::Sync { path: self.path.clone(), records: self.records, source }
        })
    }
}

#[cfg(test)]
mod tests;

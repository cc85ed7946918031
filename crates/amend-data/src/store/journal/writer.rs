//! Appends records to a journal.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::line::encode;
use super::reader::{Reader, Replayed};
use super::state::{EndedItems, KeySet, State};
use super::{JournalError, JournalFault, Record};
use amend_core::hash;

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

/// What identifies the contents of a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JournalDigest {
    /// The number of records.
    pub records: u64,
    /// The number of bytes.
    pub bytes: u64,
    /// The SHA-256 of the bytes, in hexadecimal.
    pub sha256: String,
}

/// Appends records to a journal.
pub(crate) struct Journal<S> {
    pub(super) storage: S,
    path: PathBuf,
    /// The items that had ended when the journal was opened. Together with `ended` and
    /// `retried`, it knows which items have ended: another record about one would damage the
    /// journal.
    before: Arc<EndedItems>,
    /// The items that have ended since then.
    ended: KeySet,
    /// The items in `before` that have started over since then.
    retried: KeySet,
    pub(super) records: u64,
    /// The bytes of those records.
    pub(super) length: u64,
    /// The SHA-256 of all records.
    hash: Sha256,
    /// Whether an end was written that is not synced.
    has_unsynced_end: bool,
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
        let input = io::BufReader::with_capacity(READ_BYTES, &file);
        let replayed = Reader::new(input, path.to_owned()).replay()?;
        let Replayed { records, length, tail, whole, .. } = replayed;
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
        let before = Arc::clone(replayed.state.ended_items());
        let hash = replayed.hash;
        let journal = Self { before, records, length, hash, ..Self::start(file, path) };
        Ok((journal, replayed.state))
    }
}

/// The bytes that are read from a journal at once.
pub(crate) const READ_BYTES: usize = 1 << 20;

impl<S: Storage> Journal<S> {
    /// A journal without records.
    pub(crate) fn start(storage: S, path: &Path) -> Self {
        Self {
            storage,
            path: path.to_owned(),
            before: Arc::default(),
            ended: KeySet::default(),
            retried: KeySet::default(),
            records: 0,
            length: 0,
            hash: Sha256::new(),
            has_unsynced_end: false,
            poisoned: false,
        }
    }

    /// Whether an item has ended.
    fn has_ended(&self, key: &str) -> bool {
        self.ended.contains(key) || self.before.contains(key) && !self.retried.contains(key)
    }

    /// Appends a record with one write. The end of an item is synced by [`Self::commit`], that of
    /// a cohort before this returns.
    pub(crate) fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        if self.poisoned {
            return Err(JournalError::Poisoned { path: self.path.clone() });
        }
        let refused = |fault| JournalError::Refused { path: self.path.clone(), fault };
        if let Some(key) = record.key()
            && !matches!(record, Record::Retry { .. })
            && self.has_ended(key)
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
        self.hash.update(&line);
        match record {
            Record::Step { .. } => {}
            Record::Retry { item } => {
                self.ended.remove(item);
                if self.before.contains(item) {
                    self.retried.insert(item);
                }
            }
            Record::End { item, .. } => {
                self.ended.insert(&item.key);
                self.has_unsynced_end = true;
            }
            Record::Cohort {} => self.sync()?,
        }
        Ok(())
    }

    /// Syncs the ends of items that are not synced, together.
    pub(crate) fn commit(&mut self) -> Result<(), JournalError> {
        if self.has_unsynced_end { self.sync() } else { Ok(()) }
    }

    fn sync(&mut self) -> Result<(), JournalError> {
        // A failed sync is not retried: the system may have dropped the data.
        self.has_unsynced_end = false;
        self.storage.sync().map_err(|source| {
            self.poisoned = true;
            JournalError::Sync { path: self.path.clone(), records: self.records, source }
        })
    }

    /// The digest of all records, without reading them again.
    pub(crate) fn digest(&self) -> JournalDigest {
        let sha256 = hash::hex(&self.hash.clone().finalize());
        JournalDigest { records: self.records, bytes: self.length, sha256 }
    }
}

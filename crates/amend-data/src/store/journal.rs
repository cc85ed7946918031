//! The journal: one line with a checksum for each record, appended by one writer.
//!
//! A line is `{"n":12,"sum":"0123456789abcdef","record":{…}}`. `n` counts from 0. `sum` is
//! the first 8 bytes of the SHA-256 of `n` in decimal, a colon, and the bytes of the
//! record. The reader accepts only the exact form that the writer produces, so it detects
//! every changed byte.

mod line;
mod reader;
mod state;
mod writer;

use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use amend_core::record::{Item, Outcome, Step};

pub(crate) use line::Outline;
pub(crate) use reader::Reader;
pub use state::{ItemProgress, State};
pub use writer::JournalDigest;
pub(crate) use writer::{Journal, READ_BYTES, Storage};

/// The longest line in bytes: more than the longest input row takes with JSON
/// escapes.
pub const MAX_RECORD: usize = 64 << 20;

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

#[cfg(test)]
mod tests;

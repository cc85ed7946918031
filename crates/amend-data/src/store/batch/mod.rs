//! The files of a run whose model is asked through batch files: results that were taken
//! ([`Replies`]), files of results ([`ResultFile`]) and files of requests ([`Outbox`]).
//!
//! They are read and written line by line. Memory holds where each line is, and not the lines.

mod outbox;
mod replies;
mod result_file;

use std::fs::File;
use std::io::{self, BufRead, Read, Seek, SeekFrom};
use std::path::PathBuf;

pub use outbox::{FileLimits, Outbox};
pub use replies::Replies;
pub use result_file::{ParseLine, ResultFile};

use crate::store::journal::MAX_RECORD;

/// An error of a batch file.
#[derive(Debug, thiserror::Error)]
pub enum BatchError {
    /// A file can't be read or written.
    #[error("failed to {action} {path}")]
    Io {
        /// The attempted action.
        action: &'static str,
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A file of results can't be opened.
    #[error("failed to open {path}")]
    Open {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A line of results can't be read.
    #[error("{path}:{line} is not a result of a batch: {wrong}; nothing was taken")]
    Result {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        wrong: String,
    },
    /// A line of the results that were taken is damaged.
    #[error(
        "{path}, line {line}: {wrong}; to continue without all results that were taken, whose \
         requests are then due again where a step is unfinished: rm {path}"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with it.
        wrong: &'static str,
    },
    /// A part of a larger set of request files would be mistaken for one of this set.
    #[error("{path} is left from other requests: remove it, or choose another name for --emit")]
    Leftover {
        /// The file.
        path: PathBuf,
    },
}

/// The place of a line in a file, without its newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Place {
    start: u64,
    length: usize,
}

impl Place {
    fn read(self, file: &mut File) -> io::Result<Vec<u8>> {
        let mut bytes = vec![0; self.length];
        file.seek(SeekFrom::Start(self.start))?;
        file.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// Reads a line with its newline into `line`. Returns whether there is one.
///
/// # Errors
/// It can't be read, or is longer than a record may be.
fn read_line(input: &mut impl BufRead, line: &mut Vec<u8>) -> io::Result<bool> {
    line.clear();
    input.take(MAX_RECORD as u64 + 1).read_until(b'\n', line)?;
    if line.len() > MAX_RECORD {
        return Err(io::Error::other(format!("a line is longer than {MAX_RECORD} bytes")));
    }
    Ok(!line.is_empty())
}

/// A short name for an id: no other id has it.
fn short_name(id: &str) -> u128 {
    let digest = amend_core::hash::sha256(id.as_bytes());
    u128::from_str_radix(&digest[..32], 16).unwrap_or_default()
}

#[cfg(test)]
mod tests;

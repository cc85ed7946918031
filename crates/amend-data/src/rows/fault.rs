//! What is wrong with a file or a row of it, and how to fix it.

use std::io;

use super::reader::Place;

/// A fault of a file or of one of its rows.
#[derive(Debug, thiserror::Error)]
#[error("{file}{}: {problem}", .place.map(|place| place.to_string()).unwrap_or_default())]
pub struct ReadFault {
    /// The file, as named by the user.
    pub file: String,
    /// The row. `None` if the fault concerns the whole file.
    pub place: Option<Place>,
    /// The problem.
    pub problem: ReadProblem,
}

/// A problem of a file or a row.
#[derive(Debug, thiserror::Error)]
pub enum ReadProblem {
    /// The file cannot be opened.
    #[error("failed to open: {0}")]
    Open(io::Error),
    /// The file cannot be read to its end.
    #[error("failed to read: {0}")]
    Read(io::Error),
    /// The file has no rows.
    #[error("the file has no rows")]
    NoRows,
    /// A row is too long.
    #[error("the row is longer than {limit} bytes: shorten it, and write one row per line")]
    TooLong {
        /// The most bytes.
        limit: usize,
    },
    /// The bytes are not UTF-8.
    #[error("invalid UTF-8 at byte {byte} of the row: convert the file with iconv -t UTF-8")]
    NotUtf8 {
        /// The first invalid byte, from 1.
        byte: usize,
    },
    /// The row is not valid JSON.
    #[error("invalid JSON at column {column}: {message}")]
    Json {
        /// The column in bytes, from 1.
        column: usize,
        /// The message of the parser.
        message: String,
    },
    /// The row is a JSON value of another type.
    #[error("a row must be a JSON string or object, not {found}")]
    NotARow {
        /// The type found.
        found: &'static str,
    },
}

impl ReadProblem {
    /// Whether later rows of the file cannot be read either.
    #[must_use]
    pub fn ends_the_file(&self) -> bool {
        matches!(self, Self::Open(_) | Self::Read(_) | Self::NoRows)
    }
}

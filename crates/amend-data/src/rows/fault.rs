//! What is wrong with a file or a row of it, and how to fix it.

use std::io;
use std::path::PathBuf;

use super::reader::Place;

/// A fault of a file or of one of its rows.
#[derive(Debug, thiserror::Error)]
#[error("{file}{}: {problem}", .place.map(|place| place.to_string()).unwrap_or_default())]
pub struct InputFault<P: Problem> {
    /// The file, as named by the user.
    pub file: String,
    /// The row. `None` if the fault concerns the whole file.
    pub place: Option<Place>,
    /// The problem.
    pub problem: P,
}

/// A fault of a file or a row that cannot be read.
pub type ReadFault = InputFault<ReadProblem>;

/// What can be wrong with a row.
pub trait Problem: std::fmt::Display + std::fmt::Debug {
    /// What is wrong, without the values of a row: problems of the same kind are shown or
    /// counted together.
    fn kind(&self) -> String;

    /// Whether later rows of the file cannot be read either.
    fn ends_the_file(&self) -> bool {
        false
    }
}

/// A problem of a file or a row.
#[derive(Debug, thiserror::Error)]
pub enum ReadProblem {
    /// The file cannot be opened.
    #[error("failed to open: {0}")]
    Open(io::Error),
    /// A folder has no data files.
    #[error("the folder has no data files ({known}){}", .folders.as_ref().map(|names| format!(": name one of its folders ({names})")).unwrap_or_default())]
    NoFiles {
        /// The extensions of data files.
        known: String,
        /// The names of its folders, if it has any.
        folders: Option<String>,
    },
    /// A folder and its folder `data` both have data files.
    #[error(
        "the folder has data files of its own, such as {file}, and others in its folder data: \
         name that folder, or the files"
    )]
    TwoFolders {
        /// One of its own files.
        file: String,
    },
    /// The same file is named twice.
    #[error("the file is named twice, also as {first}: name it once")]
    Twice {
        /// The name it has first.
        first: String,
    },
    /// The file is of a kind that cannot be read.
    #[error("{found} cannot be read: {fix}")]
    Unreadable {
        /// What the file is.
        found: &'static str,
        /// What to do with it.
        fix: String,
    },
    /// The file cannot be read to its end.
    #[error("failed to read: {0}")]
    Read(io::Error),
    /// Compressed data is damaged or ends early.
    #[error("the {compression} data is damaged or cut off ({error}): copy the file again")]
    Compressed {
        /// The compression.
        compression: &'static str,
        /// The message of the decoder.
        error: io::Error,
    },
    /// A file of columns cannot be read.
    #[error("not readable as {kind} ({message}): copy the file again, or write it again")]
    Columns {
        /// Parquet or Arrow.
        kind: &'static str,
        /// The message of the library.
        message: String,
    },
    /// The columns of a file have types that are not JSON.
    #[error(
        "the columns cannot be converted to JSON ({0}): leave out those that are not text, numbers, lists or structs"
    )]
    ColumnTypes(String),
    /// The file has no rows.
    #[error("the file has no rows")]
    NoRows,
    /// The file would have to be in memory as a whole, and is too large for that.
    #[error(
        "one JSON object of more than {limit} bytes: write one row per line, \
         for example with jq -c '.data[]'"
    )]
    TooLarge {
        /// The most bytes.
        limit: usize,
    },
    /// An object has several lists that may be its rows.
    #[error(
        "the file is one JSON object with several lists of rows ({}): write one of them to a \
         file, with jq '.{}'", .keys.join(", "), .keys[0]
    )]
    SeveralLists {
        /// Their keys.
        keys: Vec<String>,
    },
    /// A row is too long.
    #[error("the row is longer than {limit} bytes: shorten it, and write one row per line")]
    TooLong {
        /// The most bytes.
        limit: usize,
    },
    /// A row of CSV is too long.
    #[error("the row is longer than {limit} bytes: shorten it")]
    CellsTooLong {
        /// The most bytes.
        limit: usize,
    },
    /// The bytes are not UTF-8.
    #[error(
        "invalid UTF-8 at byte {byte} of the row: convert the file, for example with iconv -f \
         WINDOWS-1252 -t UTF-8"
    )]
    NotUtf8 {
        /// The first invalid byte, from 1.
        byte: usize,
    },
    /// A text has a NUL byte.
    #[error("a NUL byte at byte {byte} of the row: the file is damaged or binary; remove it")]
    Nul {
        /// The byte, from 1.
        byte: usize,
    },
    /// The row is not valid JSON.
    #[error("invalid JSON at column {column}: {message}")]
    Json {
        /// The column in bytes, from 1.
        column: usize,
        /// The message of the parser, and the fix.
        message: String,
    },
    /// The row is a JSON value of another type.
    #[error("a row must be a JSON string or object, not {found}")]
    NotARow {
        /// The type found.
        found: &'static str,
    },
    /// An array or object ends in the middle.
    #[error("a bracket is not closed: the file is cut off; copy it again")]
    Unclosed,
    /// Between the elements of an array is something else than a comma.
    #[error("expected {expected}: {fix}")]
    Separator {
        /// What is missing.
        expected: &'static str,
        /// How to fix it.
        fix: &'static str,
    },
    /// The first line of CSV does not name columns.
    #[error("the header {problem}: the first line must name each column once, for example prompt")]
    Header {
        /// What is wrong with it.
        problem: String,
    },
    /// A row of CSV has another number of cells than the header.
    #[error(
        "the row{} has not as many cells as the header ({found} instead of {expected}): put a \
         cell with a comma, a quote or a line break in quotes{}",
        .to_line.map(|line| format!(", which ends in line {line},")).unwrap_or_default(),
        .to_line.map(|_| ", and close each quote").unwrap_or_default()
    )]
    Ragged {
        /// Its last line, if it has several.
        to_line: Option<u64>,
        /// The number of cells.
        found: usize,
        /// The number of columns.
        expected: usize,
    },
    /// A quoted cell of CSV has text after its closing quote.
    #[error(
        "there is text after the closing quote of a cell: write a quote inside a cell twice, and \
         close each quote"
    )]
    AfterQuote,
    /// A quoted cell of CSV does not end.
    #[error("a quote is not closed: close it, and write a quote inside a cell twice")]
    Unquoted,
}

impl Problem for ReadProblem {
    fn ends_the_file(&self) -> bool {
        match self {
            Self::TooLong { .. }
            | Self::NotUtf8 { .. }
            | Self::Nul { .. }
            | Self::Json { .. }
            | Self::NotARow { .. }
            | Self::Ragged { .. } => false,
            Self::Open(_)
            | Self::NoFiles { .. }
            | Self::TwoFolders { .. }
            | Self::Twice { .. }
            | Self::Unreadable { .. }
            | Self::Read(_)
            | Self::Compressed { .. }
            | Self::Columns { .. }
            | Self::ColumnTypes(_)
            | Self::NoRows
            | Self::TooLarge { .. }
            | Self::SeveralLists { .. }
            | Self::Unclosed
            | Self::Separator { .. }
            | Self::Header { .. }
            // Rows may be joined.
            | Self::AfterQuote
            | Self::CellsTooLong { .. }
            | Self::Unquoted => true,
        }
    }

    fn kind(&self) -> String {
        match self {
            Self::NotUtf8 { .. } => "invalid UTF-8".to_owned(),
            Self::Nul { .. } => "a NUL byte".to_owned(),
            Self::Json { .. } => "invalid JSON".to_owned(),
            Self::Ragged { .. } => "the row has not as many cells as the header".to_owned(),
            other => other.to_string(),
        }
    }
}

/// Why rows cannot be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteFault {
    /// The file cannot be written to.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A changed row does not fit the columns of the file.
    #[error("the changed row does not fit the columns of the file")]
    Columns(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Rows of this kind of file cannot be written.
    #[error(
        "{} cannot be written as {kind}: convert it to one row per line first, for example \
         with pandas .to_json(orient=\"records\", lines=True)", .file.display()
    )]
    Kind {
        /// The file.
        file: PathBuf,
        /// The kind.
        kind: String,
    },
}

/// Faults that were found so far, grouped by what is wrong: the same kind of fault of many
/// rows is shown once, with the first row that has it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FaultGroups {
    groups: Vec<FaultGroup>,
    /// The number of faults in no group.
    more: u64,
}

/// Rows with the same fault.
#[derive(Debug, Clone, PartialEq, Eq)]
struct FaultGroup {
    /// Whether the file can be read without them. Faults of whole files are not grouped, so
    /// that each is named.
    of_rows: bool,
    kind: String,
    /// The file, the first row and what is wrong with it.
    first: String,
    count: u64,
}

impl FaultGroups {
    /// How many different faults are shown; the rest are counted.
    const SHOWN: usize = 20;

    /// Adds a fault.
    pub fn add<P: Problem>(&mut self, fault: &InputFault<P>) {
        let of_rows = fault.place.is_some() && !fault.problem.ends_the_file();
        let kind = fault.problem.kind();
        let same = |group: &&mut FaultGroup| group.of_rows && of_rows && group.kind == kind;
        if let Some(group) = self.groups.iter_mut().find(same) {
            group.count += 1;
        } else if self.groups.len() < Self::SHOWN {
            self.groups.push(FaultGroup { of_rows, kind, first: fault.to_string(), count: 1 });
        } else {
            self.more += 1;
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Whether the files can be read without the rows that are at fault.
    #[must_use]
    pub fn can_be_skipped(&self) -> bool {
        self.groups.iter().all(|group| group.of_rows)
    }

    /// The number of all faults.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.groups.iter().map(|group| group.count).sum::<u64>() + self.more
    }
}

impl std::fmt::Display for FaultGroups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, FaultGroup { first, count, .. }) in self.groups.iter().enumerate() {
            write!(f, "{}{first}", if at == 0 { "" } else { "\n" })?;
            match count - 1 {
                0 => {}
                1 => write!(f, " (and 1 more row)")?,
                more => write!(f, " (and {more} more rows)")?,
            }
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\n… and {more} more"),
        }
    }
}

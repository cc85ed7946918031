//! Rows of files: finds the files, detects their kinds and compression, and reads one row
//! after another as a JSON object. [`crate::format`] knows what the columns mean.
//!
//! | kind | memory |
//! | --- | --- |
//! | JSON Lines, JSON objects one after another, JSON array, CSV, TSV, plain text | one row |
//! | Parquet, Arrow | one page or batch |
//! | one JSON object that has the rows | the whole file, at most 1 GiB |
//!
//! Each may be compressed with gzip or zstd. The content decides between kinds where it is
//! unambiguous, and the name of the file otherwise.

pub mod fault;
pub mod file;
pub mod json_lines;
pub mod kind;
pub mod reader;
pub mod write;

mod columns;
mod delimited;
mod detect;
mod elements;
mod object;
mod parse;
mod refuse;

pub use fault::{FaultGroups, InputFault, Problem, ReadFault, ReadProblem, WriteFault};
pub use file::{Input, RowFile, files, files_of_each};
pub use kind::{Arrangement, Compression, FileKind, RowLayout};
pub(crate) use parse::type_name;
pub use reader::{Place, Row, RowReader};
pub use write::RowWriter;

use serde_json::{Map, Value};

/// A row as a JSON object: the values of its columns by name, in order. A JSON string and a
/// line of plain text are the column [`TEXT`].
pub type Object = Map<String, Value>;

/// The column of a row that is only a text.
pub const TEXT: &str = "text";

/// The longest row, in bytes.
pub const MAX_ROW: usize = 64 << 20;

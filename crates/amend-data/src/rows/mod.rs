//! Rows of files: finds the files, detects their kinds and compression, and reads one row
//! after another as a JSON object, in constant memory. [`crate::format`] knows what the
//! columns mean.

pub mod comparison;
pub mod fault;
pub mod file;
pub mod input;
pub mod json_lines;
pub mod reader;
pub mod row;

pub use fault::{ReadFault, ReadProblem};
pub use file::{FileKind, Input, RowFile, files};
pub use reader::{Place, Row, RowReader};

use serde_json::{Map, Value};

/// A row as a JSON object: the values of its columns by name, in order. A JSON string and a
/// line of plain text are the column [`TEXT`].
pub type Object = Map<String, Value>;

/// The column of a row that is only a text.
pub const TEXT: &str = "text";

//! Reads the rows of one file.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader};

use serde_json::Value;

use super::{FileKind, Object, ReadFault, ReadProblem, RowFile, TEXT};

/// A row of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Where it stands in the file.
    pub place: Place,
    /// Its columns.
    pub object: Object,
}

/// The place of a row in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The line on which it begins, from 1.
    Line(u64),
    /// Its number, from 1, in a file without lines.
    Row(u64),
}

impl fmt::Display for Place {
    /// What follows the name of the file in messages: `:12` or ` row 12`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => write!(f, ":{line}"),
            Self::Row(row) => write!(f, " row {row}"),
        }
    }
}

/// Reads the rows of a file, one after another. A row that is at fault does not end the
/// file unless [`ReadProblem::ends_the_file`].
pub struct RowReader {
    name: String,
    kind: FileKind,
    lines: BufReader<File>,
    line: u64,
}

impl RowReader {
    /// Opens a file and detects its kind from its first bytes and its name.
    ///
    /// # Errors
    /// The file cannot be opened, or is of no kind that can be read.
    pub fn open(file: &RowFile) -> Result<Self, ReadFault> {
        let fault = |problem| ReadFault { file: file.name.clone(), place: None, problem };
        let opened = File::open(&file.path).map_err(|error| fault(ReadProblem::Open(error)))?;
        let kind = match file.path.extension() {
            Some(extension) if extension == "txt" => FileKind::Text,
            _ => FileKind::Lines,
        };
        Ok(Self { name: file.name.clone(), kind, lines: BufReader::new(opened), line: 0 })
    }

    /// The kind of the file.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        self.kind
    }

    fn row(&self, line: &str) -> Result<Object, ReadProblem> {
        let text = |text: String| Object::from_iter([(TEXT.to_owned(), Value::String(text))]);
        if self.kind == FileKind::Text {
            return Ok(text(line.to_owned()));
        }
        match serde_json::from_str(line) {
            Ok(Value::Object(object)) => Ok(object),
            Ok(Value::String(string)) => Ok(text(string)),
            Ok(_) => Err(ReadProblem::NotARow { found: "another value" }),
            Err(error) => {
                Err(ReadProblem::Json { column: error.column(), message: error.to_string() })
            }
        }
    }
}

impl Iterator for RowReader {
    type Item = Result<Row, ReadFault>;

    fn next(&mut self) -> Option<Self::Item> {
        let mut line = String::new();
        loop {
            line.clear();
            self.line += 1;
            let place = Place::Line(self.line);
            let fault =
                |problem| ReadFault { file: self.name.clone(), place: Some(place), problem };
            match self.lines.read_line(&mut line) {
                Ok(0) => return None,
                Ok(_) if line.trim().is_empty() => {}
                Ok(_) => {
                    let row = self.row(line.trim());
                    return Some(row.map(|object| Row { place, object }).map_err(fault));
                }
                Err(error) => return Some(Err(fault(ReadProblem::Read(error)))),
            }
        }
    }
}

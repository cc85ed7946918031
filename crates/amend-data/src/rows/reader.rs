//! Reads the rows of one file.

use std::fmt;
use std::io::{BufRead, Read};

use arrow_array::RecordBatch;

use super::columns::{Columns, InBatch};
use super::delimited::Delimited;
use super::detect::{self, Content, Detected, Stream, read_problem};
use super::elements::{Around, Elements};
use super::fault::{Problem, ReadFault, ReadProblem};
use super::file::{RowFile, whole};
use super::kind::{Arrangement, FileKind, RowLayout};
use super::object::{List, ObjectFile, ObjectRow};
use super::{MAX_ROW, Object, parse};

/// A row of a file.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// Where it stands in the file.
    pub place: Place,
    /// Its columns.
    pub object: Object,
    /// The row as it is in the file, if it is asked for.
    pub(super) original: Original,
}

/// A row as it is in the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Original {
    /// It is not known.
    #[default]
    None,
    /// A text, without the line break after it.
    Text(String),
    /// A batch and the position of the row in it.
    Batch(RecordBatch, usize),
}

/// The place of a row in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// The line on which it begins, from 1.
    Line(u64),
    /// Its number, from 1, in a file without lines.
    Row(u64),
}

impl Place {
    /// The number of the line or the row.
    #[must_use]
    pub fn number(self) -> u64 {
        match self {
            Self::Line(number) | Self::Row(number) => number,
        }
    }
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
/// file unless [`ReadProblem::ends_the_file`]. A file without rows is a fault.
pub struct RowReader {
    name: String,
    kind: FileKind,
    rows: Rows,
    with_originals: bool,
    any: bool,
    ended: bool,
}

/// The rows of each layout.
pub(super) enum Rows {
    Lines(Lines),
    Elements(Elements<Stream>),
    List(Box<ObjectFile>, List),
    Object(std::vec::IntoIter<ObjectRow>),
    Delimited(Box<Delimited>),
    Columns(Box<Columns>),
}

impl RowReader {
    /// Opens a file and detects its kind from its first bytes and its name.
    ///
    /// # Errors
    /// The file cannot be opened, or is of no kind that can be read.
    pub fn open(file: &RowFile) -> Result<Self, ReadFault> {
        Self::new(&file.name, detect::open(file))
    }

    /// Reads a stream with this name in messages. Rows of JSON Lines are read as they arrive;
    /// for another kind, its first 64 KiB or all of it are needed.
    ///
    /// # Errors
    /// The stream cannot be read, or is of no kind that can be read.
    pub fn from_stream(
        name: &str,
        stream: impl BufRead + Send + 'static,
    ) -> Result<Self, ReadFault> {
        Self::new(name, detect::open_stream(Box::new(stream)))
    }

    fn new(name: &str, detected: Result<Detected, ReadProblem>) -> Result<Self, ReadFault> {
        let read = || {
            let Detected { kind, content } = detected?;
            let rows = Rows::new(&kind.layout, content).map_err(|problem| named(&kind, problem))?;
            Ok((kind, rows))
        };
        let (kind, rows) = read().map_err(|problem| whole(name.to_owned(), problem))?;
        let name = name.to_owned();
        Ok(Self { name, kind, rows, with_originals: false, any: false, ended: false })
    }

    /// Keeps each row as it is in the file, for [`RowWriter`](super::RowWriter).
    #[must_use]
    pub fn with_originals(mut self) -> Self {
        self.with_originals = true;
        self
    }

    /// The name of the file in messages.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The kind of the file.
    #[must_use]
    pub fn kind(&self) -> FileKind {
        self.kind.clone()
    }

    pub(super) fn rows(&self) -> &Rows {
        &self.rows
    }
}

/// Names the compression in a fault of a compressed file.
fn named(kind: &FileKind, problem: ReadProblem) -> ReadProblem {
    match problem {
        ReadProblem::Read(error) => read_problem(kind.compression, error),
        problem => problem,
    }
}

impl Iterator for RowReader {
    type Item = Result<Row, ReadFault>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.ended {
            return None;
        }
        let (place, row) = match self.rows.next(&self.kind.layout, self.with_originals) {
            Some((place, row)) => (Some(place), row.map_err(|problem| named(&self.kind, problem))),
            None if self.any => return None,
            None => (None, Err(ReadProblem::NoRows)),
        };
        self.any = true;
        Some(row.map_err(|problem| {
            self.ended = problem.ends_the_file();
            ReadFault { file: self.name.clone(), place, problem }
        }))
    }
}

impl Rows {
    fn new(layout: &RowLayout, content: Content) -> Result<Self, ReadProblem> {
        Ok(match content {
            Content::Object(object)
                if matches!(layout, RowLayout::Object(Arrangement::List(_))) =>
            {
                let list = object.list();
                Self::List(Box::new(object), list)
            }
            Content::Object(object) => Self::Object(object.rows()?.into_iter()),
            Content::File(file) => Self::Columns(Box::new(Columns::open(file, layout)?)),
            Content::Stream(stream) => match layout {
                RowLayout::Delimited(delimiter) => {
                    Self::Delimited(Box::new(Delimited::new(stream, *delimiter)?))
                }
                RowLayout::Array => Self::Elements(Elements::new(stream, Around::Array, 1)),
                RowLayout::Values => Self::Elements(Elements::new(stream, Around::Nothing, 1)),
                _ => Self::Lines(Lines::new(stream)),
            },
        })
    }

    /// The next row, with its original if `keep`, and its place.
    fn next(
        &mut self,
        layout: &RowLayout,
        keep: bool,
    ) -> Option<(Place, Result<Row, ReadProblem>)> {
        let (place, object, source) = match self {
            Self::Lines(lines) => {
                let (line, result) = lines.next()?;
                let text = lines.bytes.trim_ascii();
                let object = result.and_then(|()| match layout {
                    RowLayout::Text => {
                        parse::plain(text).map(|text| parse::text_row(text.to_owned()))
                    }
                    _ => parse::row(text, line),
                });
                (Place::Line(line), object, Source::Text(&lines.bytes))
            }
            Self::Elements(elements) => {
                let (line, result) = elements.next()?;
                let object = result.and_then(|()| parse::row(&elements.bytes, line));
                (Place::Line(line), object, Source::Text(&elements.bytes))
            }
            Self::List(_, elements) => {
                let (line, result) = elements.next()?;
                let object = result.and_then(|()| parse::row(&elements.bytes, line));
                (Place::Line(line), object.map(without_index), Source::Text(&elements.bytes))
            }
            Self::Object(rows) => {
                return Some(match rows.next()? {
                    Ok(row) => (row.place, Ok(row)),
                    Err((place, problem)) => (place, Err(problem)),
                });
            }
            Self::Delimited(delimited) => {
                let (line, object) = delimited.next()?;
                (Place::Line(line), object, Source::Text(&delimited.original))
            }
            Self::Columns(columns) => {
                let (number, object) = columns.next()?;
                let batch = if keep { columns.original() } else { None };
                (Place::Row(number), object, Source::Batch(batch))
            }
        };
        let row = object.and_then(|object| {
            let original = if keep { source.original()? } else { Original::None };
            Ok(Row { place, object, original })
        });
        Some((place, row))
    }
}

/// Where a row comes from.
enum Source<'a> {
    /// The text of the row.
    Text(&'a [u8]),
    /// The batch of the row, if it is asked for.
    Batch(Option<InBatch>),
}

impl Source<'_> {
    fn original(self) -> Result<Original, ReadProblem> {
        Ok(match self {
            Self::Text(text) => Original::Text(parse::utf8(text)?.to_owned()),
            Self::Batch(Some((batch, at))) => Original::Batch(batch, at),
            Self::Batch(None) => Original::None,
        })
    }
}

/// The row itself, where the list is an answer of the dataset viewer, which wraps each.
fn without_index(mut object: Object) -> Object {
    if object.contains_key("row_idx")
        && let Some(serde_json::Value::Object(row)) = object.get_mut("row")
    {
        return std::mem::take(row);
    }
    object
}

/// The lines of a file that are not blank.
pub(super) struct Lines {
    input: Stream,
    line: u64,
    /// The most bytes of a line.
    limit: usize,
    /// The last line, without its line break.
    bytes: Vec<u8>,
}

impl Lines {
    fn new(input: Stream) -> Self {
        Self { input, line: 0, limit: MAX_ROW, bytes: Vec::new() }
    }

    /// Reads the next line into `bytes`, and returns its number.
    fn next(&mut self) -> Option<(u64, Result<(), ReadProblem>)> {
        loop {
            self.bytes.clear();
            self.line += 1;
            let result = match self.line() {
                Ok(None) => return None,
                Ok(Some(true)) if self.bytes.trim_ascii().is_empty() => continue,
                Ok(Some(true)) => Ok(()),
                Ok(Some(false)) => Err(ReadProblem::TooLong { limit: self.limit }),
                Err(error) => Err(ReadProblem::Read(error)),
            };
            return Some((self.line, result));
        }
    }

    /// Reads a line. Returns `None` at the end of the file, and false if the line is too
    /// long; the rest of it is then skipped.
    fn line(&mut self) -> std::io::Result<Option<bool>> {
        // The line break may have two bytes.
        let most = self.limit + 2;
        let read = (&mut self.input).take(most as u64).read_until(b'\n', &mut self.bytes)?;
        if read == 0 {
            return Ok(None);
        }
        let whole = read < most || self.bytes.ends_with(b"\n");
        while self.bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            self.bytes.pop();
        }
        let fits = whole && self.bytes.len() <= self.limit;
        if !whole {
            self.input.skip_until(b'\n')?;
        }
        Ok(Some(fits))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_that_is_too_long_is_skipped() {
        let mut lines = Lines::new(Box::new(&b"12345\r\n\n1234567\n12345\n123456"[..]));
        lines.limit = 5;
        let mut found = Vec::new();
        while let Some((line, result)) = lines.next() {
            found.push((line, result.is_ok()));
        }
        assert_eq!(found, [(1, true), (3, false), (4, true), (5, false)]);
    }
}

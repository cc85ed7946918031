//! Reads CSV and TSV. The first line names the columns. A cell is a string; an empty one is
//! null; one that is a JSON list of objects, such as turns, is that list.

use std::collections::HashSet;
use std::io::{self, Read};

use csv::ByteRecord;
use serde_json::Value;

use super::detect::Stream;
use super::fault::ReadProblem;
use super::{MAX_ROW, Object, parse};

/// The longest name of a column, in bytes.
const MAX_NAME: usize = 200;

/// A reader of rows of cells.
pub(super) struct Delimited {
    reader: csv::Reader<Kept>,
    record: ByteRecord,
    delimiter: u8,
    /// The line of the next byte.
    line: u64,
    /// Whether the last byte was the first half of `\r\n`, or a line break of its own.
    halved: bool,
    /// Whether what follows cannot be read.
    ended: bool,
    /// The names of the columns.
    pub columns: Vec<String>,
    /// The header as it is in the file, with its line break.
    pub header: String,
    /// The text of the last row, without its line break.
    pub original: Vec<u8>,
}

/// Keeps what is read until it is taken, so that rows can be copied as they are.
struct Kept {
    inner: Stream,
    bytes: Vec<u8>,
    /// How many of `bytes` are taken.
    taken: usize,
    /// The position in the file of the first byte that is not taken.
    position: u64,
    /// The most bytes of a row.
    limit: usize,
}

impl Read for Kept {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.bytes.drain(..self.taken);
        self.taken = 0;
        if self.bytes.len() > self.limit {
            return Err(io::Error::from(io::ErrorKind::FileTooLarge));
        }
        let read = self.inner.read(buffer)?;
        self.bytes.extend_from_slice(&buffer[..read]);
        Ok(read)
    }
}

impl Kept {
    /// Takes the bytes up to a position in the file.
    fn take(&mut self, end: u64, taken: &mut Vec<u8>) {
        let rest = self.rest();
        let length = usize::try_from(end - self.position).unwrap_or(usize::MAX).min(rest.len());
        taken.clear();
        taken.extend_from_slice(&rest[..length]);
        self.taken += length;
        self.position = end;
    }

    /// What is read and not taken.
    fn rest(&self) -> &[u8] {
        &self.bytes[self.taken..]
    }
}

/// The number of line breaks: `\n`, or `\r` without it.
fn line_breaks(bytes: &[u8]) -> u64 {
    let alone = |at: usize| bytes[at] == b'\r' && bytes.get(at + 1) != Some(&b'\n');
    (0..bytes.len()).filter(|&at| bytes[at] == b'\n' || alone(at)).count() as u64
}

fn is_break(byte: &u8) -> bool {
    matches!(byte, b'\n' | b'\r')
}

impl Delimited {
    /// Reads the header.
    ///
    /// # Errors
    /// The header cannot be read, or does not name the columns.
    pub fn new(stream: Stream, delimiter: u8) -> Result<Self, ReadProblem> {
        let kept = Kept { inner: stream, bytes: Vec::new(), taken: 0, position: 0, limit: MAX_ROW };
        let reader = csv::ReaderBuilder::new()
            .delimiter(delimiter)
            .has_headers(false)
            .flexible(true)
            .buffer_capacity(64 << 10)
            .from_reader(kept);
        let mut rows = Self {
            reader,
            record: ByteRecord::new(),
            delimiter,
            line: 1,
            halved: false,
            ended: false,
            columns: Vec::new(),
            header: String::new(),
            original: Vec::new(),
        };
        match rows.record()? {
            None => Ok(rows),
            Some(_) => {
                rows.columns = columns(&rows.record)?;
                let end = match rows.reader.get_ref().rest().first() {
                    Some(b'\n') if rows.original.ends_with(b"\r") => "\r\n",
                    _ => "\n",
                };
                let text = parse::utf8(rows.original.trim_ascii_end())?;
                rows.header = format!("{text}{end}");
                Ok(rows)
            }
        }
    }

    /// Reads the next record. Returns the line on which it begins.
    fn record(&mut self) -> Result<Option<u64>, ReadProblem> {
        match self.reader.read_byte_record(&mut self.record) {
            Ok(true) => {}
            Ok(false) => return Ok(None),
            Err(error) => {
                return Err(match error.into_kind() {
                    csv::ErrorKind::Io(error) if error.kind() == io::ErrorKind::FileTooLarge => {
                        let kept = self.reader.get_ref();
                        wrong_quote(kept.rest(), self.delimiter)
                            .unwrap_or(ReadProblem::CellsTooLong { limit: kept.limit })
                    }
                    csv::ErrorKind::Io(error) => ReadProblem::Read(error),
                    other => ReadProblem::Read(io::Error::other(format!("{other:?}"))),
                });
            }
        }
        let end = self.reader.position().byte();
        self.reader.get_mut().take(end, &mut self.original);
        let blank = self.original.iter().take_while(|byte| is_break(byte)).count();
        let second_half = self.halved && self.original.first() == Some(&b'\n');
        self.line -= u64::from(second_half);
        let line = self.line + line_breaks(&self.original[..blank]);
        self.line += line_breaks(&self.original);
        self.halved = self.original.ends_with(b"\r");
        self.original.drain(..blank);
        Ok(Some(line))
    }

    /// Reads the next row. Returns the line on which it begins.
    pub fn next(&mut self) -> Option<(u64, Result<Object, ReadProblem>)> {
        if self.ended {
            return None;
        }
        let line = match self.record() {
            Ok(line) => line?,
            Err(problem) => {
                self.ended = true;
                return Some((self.line, Err(problem)));
            }
        };
        while self.original.last().is_some_and(is_break) {
            self.original.pop();
        }
        Some((line, self.row(line)))
    }

    /// The row that was read, which begins on a line.
    fn row(&self, line: u64) -> Result<Object, ReadProblem> {
        if let Some(problem) = wrong_quote(&self.original, self.delimiter) {
            return Err(problem);
        }
        let (found, expected) = (self.record.len(), self.columns.len());
        if found != expected {
            let breaks = line_breaks(&self.original);
            let to_line = if breaks > 0 { Some(line + breaks) } else { None };
            return Err(ReadProblem::Ragged { to_line, found, expected });
        }
        let mut row = Object::new();
        for (column, cell) in self.columns.iter().zip(&self.record) {
            let cell = parse::plain(cell)?;
            let value = if cell.is_empty() { Value::Null } else { cell_value(cell) };
            row.insert(column.clone(), value);
        }
        parse_text_lists(&mut row);
        Ok(row)
    }
}

/// What is wrong with the quotes of a row: a quoted cell that does not end before the file
/// does, or something between its closing quote and the next delimiter. The CSV reader would
/// accept both, and join rows.
fn wrong_quote(text: &[u8], delimiter: u8) -> Option<ReadProblem> {
    let (mut in_quotes, mut begins) = (false, true);
    let mut bytes = text.iter().peekable();
    while let Some(&byte) = bytes.next() {
        if !in_quotes {
            in_quotes = begins && byte == b'"';
            begins = byte == delimiter || is_break(&byte);
            continue;
        }
        // A quote inside a cell is written twice.
        if byte != b'"' || bytes.next_if(|&&next| next == b'"').is_some() {
            continue;
        }
        in_quotes = false;
        if bytes.peek().is_some_and(|&&next| next != delimiter && !is_break(&next)) {
            return Some(ReadProblem::AfterQuote);
        }
    }
    if in_quotes { Some(ReadProblem::Unquoted) } else { None }
}

/// The value of a cell that is not empty.
fn cell_value(cell: &str) -> Value {
    let trimmed = cell.trim();
    if trimmed.starts_with('[')
        && trimmed.ends_with(']')
        && trimmed[1..].trim_start().starts_with('{')
    {
        match parse::value(trimmed) {
            Ok(Value::Array(values)) if values.iter().all(Value::is_object) => {
                return Value::Array(values);
            }
            _ => {}
        }
    }
    Value::String(cell.to_owned())
}

/// The columns of the turns of a prompt and of the answers to each of two models, as Chatbot
/// Arena writes them.
const ARENA: [&str; 3] = ["prompt", "response_a", "response_b"];

/// Parses the cells of [`ARENA`] that are lists of texts, if the row has all three columns.
fn parse_text_lists(row: &mut Object) {
    let mut lists = Vec::new();
    for column in ARENA {
        let cell = row.get(column).and_then(Value::as_str).unwrap_or_default().trim();
        let Ok(Value::Array(values)) = parse::value(cell) else { return };
        if !values.iter().all(|value| value.is_string() || value.is_null()) {
            return;
        }
        lists.push((column, values));
    }
    for (column, values) in lists {
        row.insert(column.to_owned(), Value::Array(values));
    }
}

/// The names of the columns.
fn columns(header: &ByteRecord) -> Result<Vec<String>, ReadProblem> {
    let mut columns = Vec::new();
    let mut seen = HashSet::new();
    for (at, cell) in header.iter().enumerate() {
        let name = parse::plain(cell)?.trim();
        let problem = if name.is_empty() && at == 0 && header.len() > 1 {
            // pandas writes the labels of rows in a column without a name.
            columns.push("Unnamed: 0".to_owned());
            continue;
        } else if name.is_empty() {
            format!("has no name for column {}", at + 1)
        } else if name.len() > MAX_NAME || name.contains('\n') {
            "looks like data, not like names of columns".to_owned()
        } else if name.parse::<f64>().is_ok() {
            format!("names a column {name:?}, which looks like data")
        } else if !seen.insert(name.to_owned()) {
            format!("names the column {name:?} twice")
        } else {
            columns.push(name.to_owned());
            continue;
        };
        return Err(ReadProblem::Header { problem });
    }
    Ok(columns)
}

/// The cells of the first line, by a delimiter.
fn first_cells(text: &[u8], delimiter: u8) -> Option<Vec<Vec<u8>>> {
    records(text, delimiter).into_iter().next()
}

/// The cells of the first two rows.
fn records(text: &[u8], delimiter: u8) -> Vec<Vec<Vec<u8>>> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(delimiter)
        .has_headers(false)
        .flexible(true)
        .from_reader(text);
    let records = reader.byte_records().take(2).map_while(Result::ok);
    records.map(|record| record.iter().map(<[u8]>::to_vec).collect()).collect()
}

/// The delimiter of a file named `.csv`: a comma, or a semicolon or tab if the header has
/// no comma.
pub(super) fn delimiter(text: &[u8]) -> u8 {
    let several =
        |delimiter: &u8| first_cells(text, *delimiter).is_some_and(|cells| cells.len() > 1);
    [b',', b';', b'\t'].into_iter().find(several).unwrap_or(b',')
}

/// The names of a single column by which CSV is recognised.
const NAMES: [&str; 14] = [
    "prompt",
    "prompts",
    "goal",
    "goals",
    "instruction",
    "instructions",
    "question",
    "questions",
    "query",
    "text",
    "input",
    "behavior",
    "behaviour",
    "user_prompt",
];

/// Recognises CSV and TSV that its name does not announce: the first row has names, and the
/// second has as many cells. A single column is recognised by a usual name.
pub(super) fn recognise(text: &[u8]) -> Option<u8> {
    let delimiter = delimiter(text);
    let records = records(text, delimiter);
    let [header, first] = records.as_slice() else { return None };
    let fits = header.len() == 1 || first.len() == header.len();
    if fits && is_header(header) { Some(delimiter) } else { None }
}

/// Whether the second row may go on after a text that begins with names of columns.
pub(super) fn is_cut(text: &[u8]) -> bool {
    let delimiter = delimiter(text);
    let records = records(text, delimiter);
    let header = records.first().is_some_and(|header| is_header(header));
    let rest = text.splitn(2, |&byte| byte == b'\n').nth(1).unwrap_or_default();
    header && (wrong_quote(rest, delimiter).is_some() || !rest.contains(&b'\n'))
}

/// Whether cells are the names of columns.
fn is_header(cells: &[Vec<u8>]) -> bool {
    let names: Vec<&str> = cells.iter().map_while(|cell| std::str::from_utf8(cell).ok()).collect();
    let distinct: HashSet<&&str> = names.iter().collect();
    let are_names = match names.as_slice() {
        [name] => NAMES.iter().any(|known| name.eq_ignore_ascii_case(known)),
        _ => names.iter().all(|name| is_name(name)),
    };
    are_names && names.len() == cells.len() && distinct.len() == names.len()
}

/// Whether a text is written like the name of a column.
fn is_name(text: &str) -> bool {
    let part =
        |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | ':' | '/' | '(' | ')' | ' ');
    text.len() <= 40
        && text.starts_with(|c: char| c.is_alphabetic() || c == '_')
        && text.split(' ').count() <= 3
        && text.trim() == text
        && text.chars().all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(text: &'static str) -> Delimited {
        Delimited::new(Box::new(text.as_bytes()), b',').unwrap()
    }

    #[test]
    fn every_row_knows_its_line_and_text() {
        for text in ["a,b\n\n\"x\ny\",1\nz,2", "a,b\r\n\r\n\"x\ny\",1\r\nz,2\r\n"] {
            let mut rows = rows(text);
            for (line, original) in [(3, "\"x\ny\",1"), (5, "z,2")] {
                let (found, row) = rows.next().unwrap();
                assert!(row.is_ok());
                assert_eq!((found, rows.original.as_slice()), (line, original.as_bytes()));
            }
            assert!(rows.next().is_none());
        }
        let mut old = rows("a\rx\ry\r");
        assert_eq!((old.next().unwrap().0, old.next().unwrap().0), (2, 3));
    }

    #[test]
    fn an_open_quote_ends_at_the_limit() {
        let text: String = format!("a\nx\n\"y\n{}", "z\n".repeat(100_000));
        let mut rows = Delimited::new(Box::new(std::io::Cursor::new(text)), b',').unwrap();
        rows.reader.get_mut().limit = 100_000;
        assert!(matches!(rows.next(), Some((2, Ok(_)))));
        assert!(matches!(rows.next(), Some((3, Err(ReadProblem::Unquoted)))));
        assert!(rows.next().is_none());
    }

    #[test]
    fn names_of_columns_are_recognised() {
        for (text, expected) in [
            ("prompt,response\na,b\n", Some(b',')),
            ("prompt;response\n\"a, b\";c\n", Some(b';')),
            ("question\tanswer (long)\nHello, you\tb\n", Some(b'\t')),
            ("goal\nDo, it\n", Some(b',')),
            ("prompt,response\n", None),
            ("Hello, world\nBye, now\n", None),
            ("Write a long poem about it,please\nYes,no\n", None),
            ("one,two\nthree\n", None),
            ("same,same\na,b\n", None),
            ("Question?\nAnother\n", None),
            ("Question\nhello\n", Some(b',')),
            ("\"prompt\"\n\"a\"\n", Some(b',')),
        ] {
            assert_eq!(recognise(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn quotes_end_with_their_cell() {
        for (text, expected) in [
            ("a,\"b", Some("a quote is not closed")),
            ("\"a\"\"", Some("a quote is not closed")),
            ("\"a\"\"b\",c", None),
            ("5\" pipe,b", None),
            ("a,\"b\nc\"", None),
            ("a,\"b,2\n\"c\",3", Some("there is text after the closing quote")),
            ("\"a\" ,b", Some("there is text after the closing quote")),
        ] {
            let problem = wrong_quote(text.as_bytes(), b',').map(|problem| problem.to_string());
            let begins =
                |expected: &str| problem.as_ref().is_some_and(|it| it.starts_with(expected));
            assert!(expected.map_or(problem.is_none(), begins), "{text}: {problem:?}");
        }
    }
}

//! Input rows: reads JSON lines or plain text into items, and reports every error.
//!
//! A file named `.jsonl`, `.ndjson` or `.json` has one JSON value per line. A file named
//! `.txt` has one prompt per line. Any other input, including standard input, is JSON
//! lines if its first row starts with `{` or `"`, and plain text otherwise. Blank lines
//! are skipped.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::comparison;
use super::row::{self, InputRow, RowProblem};
use amend_core::random::Stream;
use amend_core::record::{Item, Keys};

/// The longest line, in bytes.
pub const MAX_LINE: usize = 8 << 20;
/// The most rows in a run.
pub const MAX_ROWS: usize = 10_000_000;

/// The most errors that are kept and shown; further errors are counted.
const SHOWN: usize = 20;

/// A source of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Standard input, written `-`.
    Stdin,
    /// A file.
    Path(PathBuf),
}

impl From<PathBuf> for Input {
    fn from(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::Stdin } else { Self::Path(path) }
    }
}

impl Input {
    /// The name in messages and in the manifest.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::Path(path) => path.display().to_string(),
        }
    }
}

/// The errors of an input, in order.
#[derive(Debug, Default, thiserror::Error)]
pub struct InputErrors {
    /// The first errors, at most 20.
    pub first: Vec<InputError>,
    /// The number of errors after those.
    pub more: u64,
}

impl InputErrors {
    /// Adds an error: keeps it if it is one of the first, counts it otherwise.
    fn add(&mut self, error: InputError) {
        if self.first.len() < SHOWN {
            self.first.push(error);
        } else {
            self.more += 1;
        }
    }
}

impl std::fmt::Display for InputErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, error) in self.first.iter().enumerate() {
            write!(f, "{}{error}", if at == 0 { "" } else { "\n" })?;
        }
        match self.more {
            0 => Ok(()),
            more => write!(f, "\n… and {more} more"),
        }
    }
}

/// An error in the input.
#[derive(Debug)]
pub struct InputError {
    /// The file, as named by the user.
    pub file: String,
    /// The line, from 1. `None` if the error is about the whole file.
    pub line: Option<u64>,
    /// The problem.
    pub problem: RowProblem,
}

impl std::fmt::Display for InputError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.problem),
            None => write!(f, "{}: {}", self.file, self.problem),
        }
    }
}

/// Reads all rows of `inputs`. `field` is the key of the prompt; without it, the keys in
/// [`row::PROMPTS`] are tried.
///
/// # Errors
/// The errors in all inputs.
pub fn read(inputs: &[Input], field: Option<&str>) -> Result<Vec<Item>, InputErrors> {
    Reader::new(prompts(field), MAX_LINE, MAX_ROWS).inputs(inputs)
}

/// Reads rows with two responses to compare (see [`comparison`]). `stream` draws whether
/// the chosen or the rejected response becomes response A.
///
/// # Errors
/// The errors in all inputs.
pub fn read_comparisons(
    inputs: &[Input],
    field: Option<&str>,
    stream: Stream,
) -> Result<Vec<Item>, InputErrors> {
    Reader::new(comparisons(field, stream), MAX_LINE, MAX_ROWS).inputs(inputs)
}

/// Reads one input as comparisons if its first row has a response to compare, and as
/// prompts otherwise. See [`read_comparisons`] and [`read`].
///
/// # Errors
/// The errors in the input.
pub fn read_either(
    input: &Input,
    field: Option<&str>,
    stream: Stream,
) -> Result<Vec<Item>, InputErrors> {
    Reader::new(either(field, stream), MAX_LINE, MAX_ROWS).inputs(std::slice::from_ref(input))
}

/// A parser of rows: from the text, the format and the number of a row.
trait Parse: Fn(&str, Format, u64) -> Result<Vec<InputRow>, RowProblem> {}
impl<F: Fn(&str, Format, u64) -> Result<Vec<InputRow>, RowProblem>> Parse for F {}

/// Returns a parser of comparisons.
fn comparisons(field: Option<&str>, stream: Stream) -> impl Parse {
    move |text: &str, format, row| {
        let chosen_first = stream.bits(row).is_multiple_of(2);
        comparison::json(text, field, format == Format::Json { guessed: true }, chosen_first)
    }
}

/// Returns a parser of comparisons or prompts that decides by the first row. The decision
/// is made while parsing, because a pipe can't be read twice.
fn either(field: Option<&str>, stream: Stream) -> impl Parse {
    let (comparisons, prompts) = (comparisons(field, stream), prompts(field));
    let compares = OnceCell::new();
    move |text: &str, format, row| match compares.get_or_init(|| comparison::is_comparison(text)) {
        true => comparisons(text, format, row),
        false => prompts(text, format, row),
    }
}

/// Returns a parser of prompts.
fn prompts(field: Option<&str>) -> impl Parse {
    move |text: &str, format, _| match format {
        Format::Json { guessed } => Ok(vec![row::json(text, field, guessed)?]),
        Format::Plain => Ok(vec![row::plain(text)]),
    }
}

/// The format of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// One JSON value per line. `guessed` means that the first row decided, not the file
    /// name.
    Json { guessed: bool },
    /// One prompt per line.
    Plain,
}

impl Format {
    /// The format by the extension of a file. `None` if unknown.
    fn from_name(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" | "json" => Some(Self::Json { guessed: false }),
            "txt" => Some(Self::Plain),
            _ => None,
        }
    }

    /// Guesses the format from the first row of a file.
    fn guess(row: &[u8]) -> Self {
        match row.first() {
            Some(b'{' | b'"') => Self::Json { guessed: true },
            _ => Self::Plain,
        }
    }
}

/// Collects the items and the errors of all inputs.
struct Reader<F> {
    parse: F,
    max_line: usize,
    max_rows: usize,
    /// The number of rows so far.
    rows: usize,
    keys: Keys,
    items: Vec<Item>,
    errors: InputErrors,
}

impl<F: Parse> Reader<F> {
    fn new(parse: F, max_line: usize, max_rows: usize) -> Self {
        let (keys, items, errors) = Default::default();
        Self { parse, max_line, max_rows, rows: 0, keys, items, errors }
    }

    fn inputs(mut self, inputs: &[Input]) -> Result<Vec<Item>, InputErrors> {
        for input in inputs {
            let name = input.name();
            match input {
                Input::Stdin => self.source(&name, None, io::stdin().lock()),
                Input::Path(path) => match File::open(path) {
                    Ok(file) => self.source(&name, Format::from_name(path), BufReader::new(file)),
                    Err(error) => self.error(&name, None, RowProblem::Open(error)),
                },
            }
        }
        self.finish()
    }

    fn error(&mut self, file: &str, line: Option<u64>, problem: RowProblem) {
        self.errors.add(InputError { file: file.to_owned(), line, problem });
    }

    fn finish(self) -> Result<Vec<Item>, InputErrors> {
        if self.errors.first.is_empty() { Ok(self.items) } else { Err(self.errors) }
    }

    /// Reads one input to its end.
    fn source(&mut self, name: &str, mut format: Option<Format>, mut input: impl BufRead) {
        let mut rows = 0_usize;
        let mut bytes = Vec::new();
        for line in 1.. {
            bytes.clear();
            let whole = match next_line(&mut input, self.max_line, &mut bytes) {
                Ok(Some(whole)) => whole,
                Ok(None) => break,
                Err(error) => return self.error(name, Some(line), RowProblem::Read(error)),
            };
            let text = if line == 1 { without_mark(&bytes) } else { &bytes }.trim_ascii();
            if text.is_empty() && whole {
                continue;
            }
            rows += 1;
            if self.rows >= self.max_rows {
                let problem = RowProblem::TooManyRows { limit: self.max_rows };
                return self.error(name, Some(line), problem);
            }
            self.rows += 1;
            let format = *format.get_or_insert_with(|| Format::guess(text));
            if !whole {
                self.error(name, Some(line), RowProblem::LineTooLong { limit: self.max_line });
                continue;
            }
            match self.row(text, format) {
                Ok(()) => {}
                Err(problem) => {
                    // If the file is one JSON array, every line is an error. Report one.
                    let is_array = rows == 1 && matches!(problem, RowProblem::Array);
                    self.error(name, Some(line), problem);
                    if is_array {
                        return;
                    }
                }
            }
        }
        if rows == 0 {
            self.error(name, None, RowProblem::NoRows);
        }
    }

    fn row(&mut self, line: &[u8], format: Format) -> Result<(), RowProblem> {
        let text = std::str::from_utf8(line)
            .map_err(|error| RowProblem::NotUtf8 { byte: error.valid_up_to() + 1 })?;
        let number = self.rows as u64;
        for row in (self.parse)(text, format, number)? {
            let InputRow { messages, response, response_b, id, metadata } = row;
            let key = self.keys.next(&messages, response.as_deref(), response_b.as_deref());
            self.items.push(Item {
                key,
                row: number,
                id,
                messages,
                response,
                response_b,
                metadata,
            });
        }
        Ok(())
    }
}

/// Reads a line of at most `limit` bytes into `bytes`. Returns `None` at the end of the
/// input, and false if the line is longer; the rest of the line is then skipped.
fn next_line(
    input: &mut impl BufRead,
    limit: usize,
    bytes: &mut Vec<u8>,
) -> io::Result<Option<bool>> {
    let most = u64::try_from(limit).unwrap_or(u64::MAX).saturating_add(1);
    if io::Read::take(&mut *input, most).read_until(b'\n', bytes)? == 0 {
        return Ok(None);
    }
    let whole = bytes.len() <= limit || bytes.ends_with(b"\n");
    if !whole {
        input.skip_until(b'\n')?;
    }
    Ok(Some(whole))
}

/// Strips the byte order mark that some editors write.
fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line)
}

#[cfg(test)]
mod tests;

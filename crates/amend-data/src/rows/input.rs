//! Input rows: JSON lines or plain text in, items out, every fault named.
//!
//! A file named `.jsonl`, `.ndjson` or `.json` holds a JSON value a line, one
//! named `.txt` a prompt a line; anything else, standard input too, is JSON
//! lines if its first row starts with `{` or `"`. Blank lines are skipped.

use std::cell::OnceCell;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::path::{Path, PathBuf};

use super::comparison;
use super::row::{self, Problem, Row};
use amend_core::random::Stream;
use amend_core::record::{Item, Keys};

/// The longest line read, in bytes.
pub const MAX_LINE: usize = 8 << 20;
/// The most rows of one run.
pub const MAX_ROWS: usize = 10_000_000;

/// How many errors are shown; the others are counted.
const SHOWN: usize = 20;

/// Where rows come from.
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
    /// What messages and the manifest call it.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::Path(path) => path.display().to_string(),
        }
    }
}

/// Everything wrong with the input, in order.
#[derive(Debug, thiserror::Error)]
pub struct InputErrors(pub Vec<InputError>);

impl std::fmt::Display for InputErrors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, error) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}{error}", if at == 0 { "" } else { "\n" })?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n… and {more} more"),
        }
    }
}

/// One thing wrong with the input.
#[derive(Debug)]
pub struct InputError {
    /// The file, as the user named it.
    pub file: String,
    /// The line, from 1; none where the file as a whole is at fault.
    pub line: Option<u64>,
    /// What is wrong.
    pub problem: Problem,
}

impl std::fmt::Display for InputError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.line {
            Some(line) => write!(f, "{}:{line}: {}", self.file, self.problem),
            None => write!(f, "{}: {}", self.file, self.problem),
        }
    }
}

/// Reads every row of `inputs`. `field` names the key that holds the prompt;
/// without it the known names are tried (see [`row::PROMPTS`]).
///
/// # Errors
/// Everything wrong in all inputs, if anything is.
pub fn read(inputs: &[Input], field: Option<&str>) -> Result<Vec<Item>, InputErrors> {
    Reader::new(prompts(field), MAX_LINE, MAX_ROWS).inputs(inputs)
}

/// Reads rows that bring two answers to compare (see [`comparison`]). `stream`
/// draws which of a chosen and a rejected answer is named first.
///
/// # Errors
/// Everything wrong in all inputs, if anything is.
pub fn read_comparisons(
    inputs: &[Input],
    field: Option<&str>,
    stream: Stream,
) -> Result<Vec<Item>, InputErrors> {
    Reader::new(comparisons(field, stream), MAX_LINE, MAX_ROWS).inputs(inputs)
}

/// Reads one input whose rows bring two answers to compare if the first one does,
/// and prompts otherwise: see [`read_comparisons`] and [`read`].
///
/// # Errors
/// Everything wrong in it, if anything is.
pub fn read_either(
    input: &Input,
    field: Option<&str>,
    stream: Stream,
) -> Result<Vec<Item>, InputErrors> {
    Reader::new(either(field, stream), MAX_LINE, MAX_ROWS).inputs(std::slice::from_ref(input))
}

/// How a row is read.
trait Parse: Fn(&str, Format, u64) -> Result<Vec<Row>, Problem> {}
impl<F: Fn(&str, Format, u64) -> Result<Vec<Row>, Problem>> Parse for F {}

/// How comparisons are read from a row.
fn comparisons(field: Option<&str>, stream: Stream) -> impl Parse {
    move |text: &str, format, row| {
        let chosen_first = stream.bits(row).is_multiple_of(2);
        comparison::json(text, field, format == Format::Json { guessed: true }, chosen_first)
    }
}

/// How rows are read that are all what the first one is. It is not looked at twice:
/// what comes by a pipe is gone once it is read.
fn either(field: Option<&str>, stream: Stream) -> impl Parse {
    let (comparisons, prompts) = (comparisons(field, stream), prompts(field));
    let compares = OnceCell::new();
    move |text: &str, format, row| match compares.get_or_init(|| comparison::is_meant(text)) {
        true => comparisons(text, format, row),
        false => prompts(text, format, row),
    }
}

/// How prompts are read from a row.
fn prompts(field: Option<&str>) -> impl Parse {
    move |text: &str, format, _| match format {
        Format::Json { guessed } => Ok(vec![row::json(text, field, guessed)?]),
        Format::Plain => Ok(vec![row::plain(text)]),
    }
}

/// How a file's lines are read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    /// A JSON value a line. `guessed` from the first row, not from the name.
    Json { guessed: bool },
    /// A prompt a line.
    Plain,
}

impl Format {
    /// What a file's name promises.
    fn of(path: &Path) -> Option<Self> {
        match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
            "jsonl" | "ndjson" | "json" => Some(Self::Json { guessed: false }),
            "txt" => Some(Self::Plain),
            _ => None,
        }
    }

    /// What a file's first row looks like.
    fn guess(row: &[u8]) -> Self {
        match row.first() {
            Some(b'{' | b'"') => Self::Json { guessed: true },
            _ => Self::Plain,
        }
    }
}

/// Collects items and faults over all inputs. `parse` makes items of a row's
/// text, its file's format and its number.
struct Reader<F> {
    parse: F,
    max_line: usize,
    max_rows: usize,
    /// Rows met so far.
    rows: usize,
    keys: Keys,
    items: Vec<Item>,
    errors: Vec<InputError>,
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
                    Ok(file) => self.source(&name, Format::of(path), BufReader::new(file)),
                    Err(error) => self.fault(&name, None, Problem::Open(error)),
                },
            }
        }
        self.finish()
    }

    fn fault(&mut self, file: &str, line: Option<u64>, problem: Problem) {
        self.errors.push(InputError { file: file.to_owned(), line, problem });
    }

    fn finish(self) -> Result<Vec<Item>, InputErrors> {
        if self.errors.is_empty() { Ok(self.items) } else { Err(InputErrors(self.errors)) }
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
                Err(error) => return self.fault(name, Some(line), Problem::Read(error)),
            };
            let text = if line == 1 { without_mark(&bytes) } else { &bytes }.trim_ascii();
            if text.is_empty() && whole {
                continue;
            }
            rows += 1;
            if self.rows >= self.max_rows {
                let problem = Problem::TooManyRows { limit: self.max_rows };
                return self.fault(name, Some(line), problem);
            }
            self.rows += 1;
            let format = *format.get_or_insert_with(|| Format::guess(text));
            if !whole {
                self.fault(name, Some(line), Problem::LineTooLong { limit: self.max_line });
                continue;
            }
            match self.row(text, format) {
                Ok(()) => {}
                Err(problem) => {
                    // A file that is one array has as many faults as lines; one is enough.
                    let hopeless = rows == 1 && matches!(problem, Problem::Array);
                    self.fault(name, Some(line), problem);
                    if hopeless {
                        return;
                    }
                }
            }
        }
        if rows == 0 {
            self.fault(name, None, Problem::NoRows);
        }
    }

    fn row(&mut self, line: &[u8], format: Format) -> Result<(), Problem> {
        let text = std::str::from_utf8(line)
            .map_err(|error| Problem::NotUtf8 { byte: error.valid_up_to() + 1 })?;
        let number = self.rows as u64;
        for row in (self.parse)(text, format, number)? {
            let Row { messages, response, rival, id, metadata } = row;
            let key = self.keys.next(&messages, response.as_deref(), rival.as_deref());
            self.items.push(Item { key, row: number, id, messages, response, rival, metadata });
        }
        Ok(())
    }
}

/// Reads a line of at most `limit` bytes into `bytes`. None at the end; false
/// where the line is longer: its rest is skipped.
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

/// Without the byte order mark some editors put first.
fn without_mark(line: &[u8]) -> &[u8] {
    line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line)
}

#[cfg(test)]
mod tests;

//! Splits a JSON array, or JSON objects one after another, into the texts of its rows, so
//! that one row is in memory at a time and each knows its line.

use std::io::BufRead;

use super::MAX_ROW;
use super::fault::ReadProblem;

/// Finds the end of a JSON value without parsing it.
#[derive(Debug, Default)]
pub(super) struct Scanner {
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The number of line breaks so far.
    lines: u64,
}

/// Where a value ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    /// After its closing bracket.
    Bracket,
    /// Before a comma or the closing bracket of the array around it.
    Comma,
}

impl Scanner {
    /// Scans the next bytes of a value. Returns where it ends, if it does.
    fn scan(&mut self, bytes: &[u8], end: End) -> Option<usize> {
        let mut at = 0;
        while at < bytes.len() {
            if self.escaped {
                self.escaped = false;
            } else if self.in_string {
                let plain = |byte: &u8| !matches!(byte, b'"' | b'\\' | b'\n');
                at += bytes[at..].iter().take_while(|byte| plain(byte)).count();
                match bytes.get(at) {
                    Some(b'"') => self.in_string = false,
                    Some(b'\\') => self.escaped = true,
                    Some(_) => self.lines += 1,
                    None => return None,
                }
            } else {
                match bytes[at] {
                    b'"' => self.in_string = true,
                    b'\n' => self.lines += 1,
                    b',' if self.depth == 0 => return Some(at),
                    b'{' | b'[' => self.depth += 1,
                    b'}' | b']' if self.depth == 0 => return Some(at),
                    b'}' | b']' => {
                        self.depth -= 1;
                        if self.depth == 0 && end == End::Bracket {
                            return Some(at + 1);
                        }
                    }
                    _ => {}
                }
            }
            at += 1;
        }
        None
    }
}

/// Where the object or array at the start of `text` ends.
pub(super) fn end_of_value(text: &[u8]) -> Option<usize> {
    Scanner::default().scan(text, End::Bracket)
}

/// The text of the first element of an array, which begins with its bracket.
pub(super) fn first_element(array: &[u8]) -> &[u8] {
    let elements = array.get(1..).unwrap_or_default();
    let end = Scanner::default().scan(elements, End::Comma).unwrap_or(elements.len());
    elements[..end].trim_ascii()
}

/// What surrounds the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Around {
    /// An array, which is the whole file.
    Array,
    /// An array inside another value: what follows it is not looked at.
    List,
    /// Nothing: one object follows another.
    Nothing,
}

/// The texts of rows.
pub(super) struct Elements<R> {
    input: R,
    around: Around,
    line: u64,
    begun: bool,
    closed: bool,
    /// The most bytes of a row.
    limit: usize,
    /// The text of the last row.
    pub bytes: Vec<u8>,
}

impl<R: BufRead> Elements<R> {
    /// Splits `input`, which begins on `line`.
    pub fn new(input: R, around: Around, line: u64) -> Self {
        Self { input, around, line, begun: false, closed: false, limit: MAX_ROW, bytes: Vec::new() }
    }

    /// Reads the text of the next row into `bytes`. Returns the line on which it begins, and
    /// its problem if it has one; `None` after the last row.
    pub fn next(&mut self) -> Option<(u64, Result<(), ReadProblem>)> {
        let read = match self.around {
            Around::Array | Around::List => self.element(),
            Around::Nothing => self.value(),
        };
        match read {
            Ok(line) => Some((line?, Ok(()))),
            Err(problem) => Some((self.line, Err(problem))),
        }
    }

    fn element(&mut self) -> Result<Option<u64>, ReadProblem> {
        if self.closed {
            let after = self.next_byte()?;
            if after.is_some() && self.around == Around::Array {
                return Err(ReadProblem::Separator {
                    expected: "the end of the file after the array",
                    fix: "join arrays with jq -s add",
                });
            }
            return Ok(None);
        }
        if !self.begun {
            self.begun = true;
            self.next_byte()?;
            self.input.consume(1);
            if self.next_byte()? == Some(b']') {
                self.input.consume(1);
                self.closed = true;
                return self.element();
            }
        }
        self.next_byte()?;
        let line = self.line;
        let fits = self.scan(End::Comma)?;
        match self.next_byte()? {
            Some(b',') => {}
            Some(b']') => self.closed = true,
            _ => {
                return Err(ReadProblem::Separator {
                    expected: "a comma or ] after a row",
                    fix: "close brackets in the order in which they were opened",
                });
            }
        }
        self.input.consume(1);
        if fits { Ok(Some(line)) } else { Err(ReadProblem::TooLong { limit: self.limit }) }
    }

    fn value(&mut self) -> Result<Option<u64>, ReadProblem> {
        match self.next_byte()? {
            None => return Ok(None),
            Some(b'{') => {}
            Some(b',') => {
                return Err(ReadProblem::Separator {
                    expected: "an object instead of a comma",
                    fix: "put [ before the first row and ] after the last",
                });
            }
            Some(_) => {
                return Err(ReadProblem::Separator {
                    expected: "an object",
                    fix: "write each row as a JSON object",
                });
            }
        }
        let line = self.line;
        let fits = self.scan(End::Bracket)?;
        if fits { Ok(Some(line)) } else { Err(ReadProblem::TooLong { limit: self.limit }) }
    }

    /// The next byte that is not white space, which stays in the input.
    fn next_byte(&mut self) -> Result<Option<u8>, ReadProblem> {
        loop {
            let bytes = self.input.fill_buf().map_err(ReadProblem::Read)?;
            if bytes.is_empty() {
                return Ok(None);
            }
            let blank = bytes.iter().take_while(|byte| byte.is_ascii_whitespace()).count();
            self.line += lines(&bytes[..blank]);
            if let Some(&byte) = bytes.get(blank) {
                self.input.consume(blank);
                return Ok(Some(byte));
            }
            self.input.consume(blank);
        }
    }

    /// Reads a value into `bytes`. Returns whether it is within the limit.
    fn scan(&mut self, end: End) -> Result<bool, ReadProblem> {
        self.bytes.clear();
        let mut scanner = Scanner::default();
        let mut fits = true;
        loop {
            let bytes = self.input.fill_buf().map_err(ReadProblem::Read)?;
            if bytes.is_empty() {
                return Err(ReadProblem::Unclosed);
            }
            let ended = scanner.scan(bytes, end);
            let length = ended.unwrap_or(bytes.len());
            fits &= self.bytes.len() + length <= self.limit;
            if fits {
                self.bytes.extend_from_slice(&bytes[..length]);
            }
            self.input.consume(length);
            if ended.is_some() {
                break;
            }
        }
        self.line += scanner.lines;
        let length = self.bytes.trim_ascii_end().len();
        self.bytes.truncate(length);
        Ok(fits)
    }
}

/// The number of line breaks.
pub(super) fn lines(bytes: &[u8]) -> u64 {
    bytes.iter().filter(|&&byte| byte == b'\n').count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rows::Problem;

    /// Splits `text`, one byte of it in the buffer at a time and then all at once.
    fn split(text: &str, around: Around) -> Vec<String> {
        let all = |input: &mut dyn BufRead| {
            let mut elements = Elements::new(input, around, 1);
            let mut rows = Vec::new();
            while let Some((line, result)) = elements.next() {
                let text = String::from_utf8_lossy(&elements.bytes);
                match result {
                    Ok(()) => rows.push(format!("{line} {text}")),
                    Err(problem) => {
                        rows.push(format!("{line} {problem}"));
                        if problem.ends_the_file() {
                            break;
                        }
                    }
                }
            }
            rows
        };
        let whole = all(&mut text.as_bytes());
        assert_eq!(all(&mut std::io::BufReader::with_capacity(1, text.as_bytes())), whole);
        whole
    }

    #[test]
    fn elements_of_an_array_know_their_line() {
        let text = " \n[{\"a\": \"x, ]\\\"\"},\n\n {\"b\":\n [1, {}]} , \"s\",3\n]\n";
        let rows = ["2 {\"a\": \"x, ]\\\"\"}", "4 {\"b\":\n [1, {}]}", "5 \"s\"", "5 3"];
        assert_eq!(split(text, Around::Array), rows);
        assert_eq!(split("[ \n]", Around::Array), [""; 0]);
        assert_eq!(split("[1] trailing", Around::List), ["1 1"]);
    }

    #[test]
    fn a_row_that_is_too_long_is_skipped() {
        let mut elements = Elements::new(&b"[12345,\n123456,1]"[..], Around::Array, 1);
        elements.limit = 5;
        assert!(matches!(elements.next(), Some((1, Ok(())))));
        assert!(matches!(elements.next(), Some((2, Err(ReadProblem::TooLong { limit: 5 })))));
        assert!(matches!(elements.next(), Some((2, Ok(())))));
        assert!(elements.next().is_none());
    }

    #[test]
    fn objects_follow_one_another() {
        let rows = ["1 {\n\"a\": {}}", "3 {}", "3 {}"];
        assert_eq!(split("{\n\"a\": {}}\n{} {}\n", Around::Nothing), rows);
    }

    #[test]
    fn broken_arrays_end_with_a_fault() {
        let unclosed = "1 a bracket is not closed: the file is cut off; copy it again";
        for (text, around, expected) in [
            ("[{}", Around::Array, vec![unclosed]),
            ("[{}, {\"a\": \"", Around::Array, vec!["1 {}", unclosed]),
            (
                "[{}}",
                Around::Array,
                vec![
                    "1 expected a comma or ] after a row: close brackets in the order in which they were opened",
                ],
            ),
            (
                "[1]\n[2]",
                Around::Array,
                vec![
                    "1 1",
                    "2 expected the end of the file after the array: join arrays with jq -s add",
                ],
            ),
            (
                "{},\n{}",
                Around::Nothing,
                vec![
                    "1 {}",
                    "1 expected an object instead of a comma: put [ before the first row and ] after the last",
                ],
            ),
            (
                "{} x",
                Around::Nothing,
                vec!["1 {}", "1 expected an object: write each row as a JSON object"],
            ),
        ] {
            assert_eq!(split(text, around), expected);
        }
    }
}

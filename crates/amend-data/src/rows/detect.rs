//! Detects the kind of a file from its first bytes and its name. The content decides where
//! it is unambiguous, so a file named `.jsonl` may be an array or CSV.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read, Seek};
use std::path::Path;

use flate2::bufread::MultiGzDecoder;

use super::elements::end_of_value;
use super::fault::ReadProblem;
use super::file::RowFile;
use super::kind::{Arrangement, Compression, FileKind, RowLayout};
use super::object::{self, ObjectFile};
use super::refuse::{is_arrow_stream, refuse};
use super::{MAX_ROW, delimited};

/// How many bytes are looked at first.
const PEEK: usize = 64 << 10;

/// The largest JSON object that is read as a whole, in bytes.
const MAX_OBJECT: usize = 1 << 30;

/// A decompressed stream of bytes.
pub(super) type Stream = Box<dyn BufRead + Send>;

/// A file of a known kind.
pub(super) struct Detected {
    pub kind: FileKind,
    pub content: Content,
}

/// The content of a file, decompressed and without a byte order mark.
pub(super) enum Content {
    /// Everything, from the start.
    Stream(Stream),
    /// A file that is read from its end.
    File(File),
    /// An object that was read as a whole.
    Object(ObjectFile),
}

/// The start of a stream that is not at its end yet.
struct Start {
    bytes: Vec<u8>,
    rest: Stream,
    /// Whether `bytes` are everything, or what follows cannot be read.
    whole: bool,
    /// Why what follows cannot be read.
    failed: Option<io::Error>,
}

impl Start {
    /// Reads until there are `length` bytes, or to the end.
    fn fill(&mut self, length: usize) {
        let missing = length.saturating_sub(self.bytes.len());
        if missing > 0 && !self.whole {
            match (&mut self.rest).take(missing as u64).read_to_end(&mut self.bytes) {
                Ok(read) => self.whole = read < missing,
                Err(error) => {
                    self.whole = true;
                    self.failed = Some(error);
                }
            }
        }
    }

    /// Reads the first line that is not blank, and returns whether it can only be a row of JSON
    /// Lines.
    fn begins_with_row(&mut self) -> bool {
        let mut at = 0;
        while !self.whole && self.bytes[at..].trim_ascii().is_empty() {
            at = self.bytes.len();
            let mut limited = (&mut self.rest).take(MAX_ROW as u64);
            if let Err(error) = limited.read_until(b'\n', &mut self.bytes) {
                self.failed = Some(error);
            }
            self.whole = self.failed.is_some() || self.bytes.len() == at;
        }
        let line = self.bytes[at..].trim_ascii();
        is_only_row(line.strip_prefix("\u{feff}".as_bytes()).unwrap_or(line))
    }

    /// Reads as much again, but not more than `limit` bytes. Returns false if there is no
    /// more.
    fn grow(&mut self, limit: usize) -> bool {
        let before = self.bytes.len();
        self.fill((before * 2).clamp(PEEK, limit));
        self.bytes.len() > before
    }

    /// Everything from the start. It ends with the failure, if there was one, so that the
    /// rows before it are read.
    fn stream(self) -> Stream {
        let start = Cursor::new(self.bytes);
        match self.failed {
            Some(error) => Box::new(start.chain(Failed(error))),
            None if self.whole => Box::new(start),
            None => Box::new(start.chain(self.rest)),
        }
    }
}

/// A stream that cannot be read.
struct Failed(io::Error);

impl Read for Failed {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::Error::new(self.0.kind(), self.0.to_string()))
    }
}

impl BufRead for Failed {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        Err(io::Error::new(self.0.kind(), self.0.to_string()))
    }

    fn consume(&mut self, _: usize) {}
}

/// Opens a file and detects its kind.
///
/// # Errors
/// The file cannot be opened or read, or is of no kind that can be read.
pub(super) fn open(file: &RowFile) -> Result<Detected, ReadProblem> {
    let opened = File::open(&file.path).map_err(ReadProblem::Open)?;
    let input = Box::new(BufReader::with_capacity(PEEK, opened));
    detect(input, &file.extension(), Some(&file.path))
}

/// Detects the kind of a stream. If its first row is one of JSON Lines, nothing after that row
/// is read. Otherwise, this waits for as much as is needed.
///
/// # Errors
/// The stream cannot be read, or is of no kind that can be read.
pub(super) fn open_stream(input: Stream) -> Result<Detected, ReadProblem> {
    detect(input, "", None)
}

/// Detects the kind of a file with an extension, or of a stream that has no path.
fn detect(
    mut input: Stream,
    extension: &str,
    path: Option<&Path>,
) -> Result<Detected, ReadProblem> {
    let mut magic = Vec::new();
    (&mut input).take(4).read_until(b'\n', &mut magic).map_err(ReadProblem::Open)?;
    let compression = match magic.as_slice() {
        [0x1f, 0x8b, ..] => Some(Compression::Gzip),
        // The second is a frame that readers skip.
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Some(Compression::Zstd),
        _ => None,
    };
    let failed = |error| read_problem(compression, error);
    let input = Cursor::new(magic).chain(input);
    let rest: Stream = match compression {
        None => Box::new(input),
        Some(Compression::Gzip) => {
            Box::new(BufReader::with_capacity(PEEK, MultiGzDecoder::new(input)))
        }
        Some(Compression::Zstd) => {
            let decoder = zstd::Decoder::with_buffer(input).map_err(failed)?;
            Box::new(BufReader::with_capacity(PEEK, decoder))
        }
    };
    let mut start = Start { bytes: Vec::new(), rest, whole: false, failed: None };
    let begins_with_row = path.is_none() && start.begins_with_row();
    if !begins_with_row {
        start.fill(PEEK);
    }
    refuse(&start.bytes, extension)?;
    let columns = if start.bytes.starts_with(b"PAR1") {
        Some(RowLayout::Parquet)
    } else if start.bytes.starts_with(b"ARROW1") || is_arrow_stream(&start.bytes) {
        Some(RowLayout::Arrow)
    } else {
        None
    };
    if let Some(layout) = columns {
        let content = match path {
            Some(path) if compression.is_none() => File::open(path).map_err(ReadProblem::Open)?,
            _ => {
                let mut content = tempfile::tempfile().map_err(ReadProblem::Read)?;
                io::copy(&mut start.stream(), &mut content).map_err(failed)?;
                content.rewind().map_err(ReadProblem::Read)?;
                content
            }
        };
        return Ok(Detected {
            kind: FileKind { layout, compression },
            content: Content::File(content),
        });
    }
    if start.bytes.starts_with("\u{feff}".as_bytes()) {
        start.bytes.drain(..3);
    }
    let layout = match begins_with_row {
        true => RowLayout::Lines,
        false => text_layout(&mut start, extension),
    };
    let (layout, content) = match layout {
        RowLayout::Object(_) => {
            start.fill(MAX_OBJECT + 1);
            if let Some(error) = start.failed {
                return Err(failed(error));
            }
            if start.bytes.len() > MAX_OBJECT {
                return Err(ReadProblem::TooLarge { limit: MAX_OBJECT });
            }
            match object::read(start.bytes)? {
                // A single line is a row of JSON Lines.
                object if object.arrangement == Arrangement::Row && object.is_one_line() => {
                    (RowLayout::Lines, Content::Stream(Box::new(Cursor::new(object.into_text()))))
                }
                object => (RowLayout::Object(object.arrangement.clone()), Content::Object(object)),
            }
        }
        layout => (layout, Content::Stream(start.stream())),
    };
    Ok(Detected { kind: FileKind { layout, compression }, content })
}

/// The problem of a stream that cannot be read.
pub(super) fn read_problem(compression: Option<Compression>, error: io::Error) -> ReadProblem {
    match compression {
        Some(compression) => ReadProblem::Compressed { compression: compression.name(), error },
        None => ReadProblem::Read(error),
    }
}

/// The layout of a text. [`RowLayout::Object`] stands for any arrangement.
fn text_layout(start: &mut Start, extension: &str) -> RowLayout {
    while start.bytes.trim_ascii_start().is_empty() && start.grow(MAX_ROW) {}
    while is_undecided(start.bytes.trim_ascii_start()) && start.grow(MAX_ROW) {}
    let text = start.bytes.trim_ascii_start();
    let by_name = || match extension {
        "csv" => RowLayout::Delimited(delimited::delimiter(text)),
        "tsv" | "tab" => RowLayout::Delimited(b'\t'),
        "jsonl" | "ndjson" | "json" | "jsonlines" => RowLayout::Lines,
        _ => RowLayout::Text,
    };
    let json = !matches!(extension, "csv" | "tsv" | "tab" | "txt");
    let named_json = matches!(by_name(), RowLayout::Lines);
    // A quoted name of a column is also a JSON string.
    let is_header = !named_json && delimited::recognise(text).is_some();
    match text.first() {
        Some(b'{') if json || is_json_line(text) => object_layout(start),
        Some(b'[') if named_json || starts_array(text) => RowLayout::Array,
        Some(b'"') if json && is_json_line(text) && !is_header => RowLayout::Lines,
        None | Some(b'{' | b'[') => by_name(),
        Some(_) => match (by_name(), delimited::recognise(text)) {
            (RowLayout::Lines | RowLayout::Text, Some(delimiter)) if extension != "txt" => {
                RowLayout::Delimited(delimiter)
            }
            (layout, _) => layout,
        },
    }
}

/// Whether more of a text is needed to tell strings, rows of cells and plain text apart: a
/// quoted text goes on, or the row after a header.
fn is_undecided(text: &[u8]) -> bool {
    match text.first() {
        Some(b'{' | b'[') | None => false,
        Some(b'"') if !text.contains(&b'\n') => true,
        Some(_) => delimited::is_cut(text),
    }
}

/// Whether the first line is a JSON value.
fn is_json_line(text: &[u8]) -> bool {
    let line = text.split(|&byte| byte == b'\n').next().unwrap_or_default();
    serde_json::from_slice::<&serde_json::value::RawValue>(line).is_ok()
}

/// Whether the first line of a text can only be a row of JSON Lines, so that it need not be known
/// what follows. It may be a row that is at fault.
fn is_only_row(line: &[u8]) -> bool {
    match line.first() {
        Some(b'{') if is_json_line(line) => match object::read(line.to_vec()) {
            Ok(object) => object.arrangement == Arrangement::Row,
            Err(_) => false,
        },
        Some(b'{') => {
            line.ends_with(b"}") && end_of_value(line).is_none_or(|end| end == line.len())
        }
        // A quoted name of a column is also a JSON string.
        Some(b'"') => {
            is_json_line(line) && delimited::recognise(&[line, b"\nrow\n"].concat()).is_none()
        }
        _ => false,
    }
}

/// Whether a text begins like an array of rows, rather than with a word in brackets.
fn starts_array(text: &[u8]) -> bool {
    matches!(text[1..].trim_ascii_start().first(), Some(b'{' | b'"' | b']'))
}

/// The layout of a text that begins with an object: one object per line, one after another,
/// or a single one.
fn object_layout(start: &mut Start) -> RowLayout {
    let before = start.bytes.len() - start.bytes.trim_ascii_start().len();
    loop {
        let text = &start.bytes[before..];
        let line = text.iter().position(|&byte| byte == b'\n');
        let end = end_of_value(text);
        if let Some(line) = line
            && end.is_none_or(|end| end > line)
            && !continues(&text[..line], &text[line..])
        {
            return RowLayout::Lines;
        }
        let Some(end) = end else {
            if start.grow(MAX_ROW) {
                continue;
            }
            // Cut off, or very long.
            let object = line.is_some() || !start.whole;
            return if object { RowLayout::Object(Arrangement::Row) } else { RowLayout::Lines };
        };
        let is_alone = text[end..].trim_ascii_start().is_empty();
        match is_alone {
            true if start.grow(MAX_ROW) => {}
            true => return RowLayout::Object(Arrangement::Row),
            false if line.is_some_and(|line| line >= end) => return RowLayout::Lines,
            false => return RowLayout::Values,
        }
    }
}

/// Whether a value goes on after its first line, rather than that it is cut off there.
fn continues(line: &[u8], rest: &[u8]) -> bool {
    matches!(line.trim_ascii_end().last(), Some(b'{' | b'[' | b',' | b':'))
        || matches!(rest.trim_ascii_start().first(), Some(b',' | b'}' | b']' | b':'))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream that has no more than its first bytes yet: to wait for more would be a deadlock.
    struct NoMore;

    impl Read for NoMore {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            panic!("more than the first row is read");
        }
    }

    impl BufRead for NoMore {
        fn fill_buf(&mut self) -> io::Result<&[u8]> {
            panic!("more than the first row is read");
        }

        fn consume(&mut self, _: usize) {}
    }

    #[test]
    fn the_first_row_of_json_lines_is_enough() {
        for text in [
            "\"Why?\"\n",
            "\n \n{\"prompt\": \"Why?\"}\r\n",
            "\u{feff}{\"messages\": [{\"role\": \"user\", \"content\": \"Why?\"}]}\n",
            "{\"prompt\": \"Why?\", \"tags\": [\"a\"]}\n",
            "{\"prompt\": oops}\n",
            "{\"prompt\": \"Why?}\n",
            "{}\n",
        ] {
            let stream = Box::new(Cursor::new(text).chain(NoMore));
            let detected = open_stream(stream).unwrap();
            assert_eq!(detected.kind.layout, RowLayout::Lines, "{text}");
        }
    }

    #[test]
    fn other_kinds_are_what_they_are_in_a_file() {
        for text in [
            "\"prompt\"\n\"Why?\"\n",
            "prompt,id\nWhy?,1\n",
            "[{\"prompt\": \"Why?\"}]\n",
            "{\"prompt\": [\"Why?\", \"How?\"]}\n",
            "{\"data\": [{\"prompt\": \"Why?\"}]}\n",
            "{\n\"prompt\": \"Why?\"}\n{\"prompt\": \"How?\"}\n",
            "{\"prompt\": \"Why?\"} {\"prompt\": \"How?\"}\n",
            "Why?\nHow?\n",
            "",
        ] {
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), text).unwrap();
            let of_file = open(&RowFile::new(file.path())).unwrap();
            let of_stream = open_stream(Box::new(text.as_bytes())).unwrap();
            assert_eq!(of_stream.kind, of_file.kind, "{text}");
        }
    }

    #[test]
    fn a_compressed_stream_is_decompressed() {
        let rows = b"\"Why?\"\n\"How?\"\n";
        let packed = zstd::encode_all(&rows[..], 1).unwrap();
        let detected = open_stream(Box::new(Cursor::new(packed))).unwrap();
        assert_eq!(detected.kind.to_string(), "JSON Lines, zstd");
        let Content::Stream(mut stream) = detected.content else { panic!("not a stream") };
        let mut text = Vec::new();
        stream.read_to_end(&mut text).unwrap();
        assert_eq!(text, rows);
    }
}

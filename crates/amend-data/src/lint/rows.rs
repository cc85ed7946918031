//! Reads and writes rows: JSON lines, a JSON array, or Parquet. A file is read as a
//! stream and written in the same form. Unchanged rows are copied as they are.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_json::{ArrayWriter, ReaderBuilder};
use arrow_schema::{ArrowError, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde::Deserializer;
use serde::de::{self, DeserializeSeed, SeqAccess, Visitor};
use serde_json::Value;

use crate::format::example::Object;
use crate::rows::json_lines;

/// The longest line read, in bytes.
const MAX_LINE: u64 = 64 << 20;

/// How many rows of a Parquet file are in memory at once.
const BATCH: usize = 512;

/// A row of a file.
#[derive(Debug)]
pub(super) struct LintRow<'a> {
    /// The line number in JSON lines, else the row's number from 1.
    pub number: u64,
    /// The row's content.
    pub object: Object,
    /// The row as it is in the file.
    raw: Raw<'a>,
}

#[derive(Debug)]
enum Raw<'a> {
    Line(&'a str),
    Element,
    Batch(&'a RecordBatch, usize),
}

impl LintRow<'_> {
    /// Creates a row without its original text.
    pub fn from_object(number: u64, object: Object) -> Self {
        LintRow { number, object, raw: Raw::Element }
    }
}

/// The form of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Form {
    /// One JSON object per line.
    Lines,
    /// One JSON array of objects.
    Array,
    /// Parquet with this schema.
    Parquet(SchemaRef),
}

/// The reason why rows cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum RowsError {
    /// The file cannot be read or written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// A row is not a JSON object.
    #[error("row {row}: {message}")]
    Row {
        /// The row's line or number.
        row: u64,
        /// What is wrong, and how to fix it.
        message: String,
    },
    /// An error of the Parquet library.
    #[error("the file is not readable as Parquet")]
    Parquet(#[from] ParquetError),
    /// An error of the Arrow library.
    #[error("the columns cannot be converted to JSON and back")]
    Arrow(#[from] ArrowError),
}

/// Detects the form of the file at `path`: Parquet by its magic number, an array by
/// its first character.
///
/// # Errors
/// Fails if the file cannot be read or is invalid Parquet.
pub(super) fn form(path: &Path) -> Result<Form, RowsError> {
    let mut reader = BufReader::new(File::open(path)?);
    loop {
        let bytes = reader.fill_buf()?;
        if bytes.starts_with(b"PAR1") {
            let builder = ParquetRecordBatchReaderBuilder::try_new(File::open(path)?)?;
            return Ok(Form::Parquet(Arc::clone(builder.schema())));
        }
        let skipped = bytes.len();
        match bytes.trim_ascii_start().first() {
            Some(b'[') => return Ok(Form::Array),
            None if skipped > 0 => reader.consume(skipped),
            _ => return Ok(Form::Lines),
        }
    }
}

/// Receives each row. An error stops reading.
type Each<'f, E> = &'f mut dyn FnMut(LintRow<'_>) -> Result<(), E>;

/// Reads the rows of a file, one after another.
///
/// # Errors
/// Fails if the file cannot be read, a row is not a JSON object, or `each` fails.
pub(super) fn read<E: From<RowsError>>(
    path: &Path,
    form: &Form,
    each: Each<'_, E>,
) -> Result<(), E> {
    let file = File::open(path).map_err(RowsError::Io)?;
    match form {
        Form::Lines => lines(BufReader::new(file), each),
        Form::Array => array(BufReader::new(file), each),
        Form::Parquet(_) => parquet(file, each),
    }
}

fn lines<E: From<RowsError>>(mut input: impl BufRead, each: Each<'_, E>) -> Result<(), E> {
    let mut bytes = Vec::new();
    for row in 1.. {
        bytes.clear();
        let read = input.by_ref().take(MAX_LINE + 1).read_until(b'\n', &mut bytes);
        if read.map_err(RowsError::Io)? == 0 {
            break;
        }
        let fault = |message: String| RowsError::Row { row, message };
        if bytes.len() as u64 > MAX_LINE {
            return Err(
                fault(format!("longer than {MAX_LINE} bytes: write one row per line")).into()
            );
        }
        let line = bytes.strip_prefix("\u{feff}".as_bytes()).filter(|_| row == 1);
        let text = std::str::from_utf8(line.unwrap_or(&bytes))
            .map_err(|error| fault(format!("not UTF-8 at byte {}", error.valid_up_to() + 1)))?;
        let text = text.trim_end_matches(['\n', '\r']);
        if text.trim().is_empty() {
            continue;
        }
        let object = serde_json::from_str(text).map_err(|error| {
            // The parser sees one line at a time, so its own "line 1" is useless.
            let place = format!("line {} column", error.line());
            let message = error.to_string().replace(&place, "column");
            fault(format!("not a JSON object: {message}; write one object per line"))
        })?;
        each(LintRow { number: row, object, raw: Raw::Line(text) })?;
    }
    Ok(())
}

/// Passes on each element of an array as soon as it is parsed.
struct Elements<'f, 'e, E> {
    each: Each<'f, E>,
    /// The error of `each`, if it failed: the parser can carry only errors of its own
    /// type.
    ended: &'e mut Option<E>,
}

impl<'de, E> DeserializeSeed<'de> for Elements<'_, '_, E> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, E> Visitor<'de> for Elements<'_, '_, E> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of objects")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let mut number = 0;
        loop {
            let element = elements.next_element::<Object>();
            number += 1;
            let element =
                element.map_err(|error| de::Error::custom(format!("row {number}: {error}")))?;
            let Some(object) = element else { return Ok(()) };
            if let Err(error) = (self.each)(LintRow::from_object(number, object)) {
                *self.ended = Some(error);
                return Err(de::Error::custom("ended"));
            }
        }
    }
}

fn array<E: From<RowsError>>(input: impl Read, each: Each<'_, E>) -> Result<(), E> {
    let mut ended = None;
    let mut parser = serde_json::Deserializer::from_reader(input);
    let elements = Elements { each, ended: &mut ended };
    let done = elements.deserialize(&mut parser).and_then(|()| parser.end());
    match (ended, done) {
        (Some(error), _) => Err(error),
        (None, Err(error)) if error.is_io() => Err(RowsError::Io(error.into()).into()),
        (None, Err(error)) => {
            let message = format!("not a JSON object: {error}");
            Err(RowsError::Row { row: error.line() as u64, message }.into())
        }
        (None, Ok(())) => Ok(()),
    }
}

fn parquet<E: From<RowsError>>(file: File, each: Each<'_, E>) -> Result<(), E> {
    let builder = ParquetRecordBatchReaderBuilder::try_new(file).map_err(RowsError::from)?;
    let reader = builder.with_batch_size(BATCH).build().map_err(RowsError::from)?;
    let mut number = 0;
    for batch in reader {
        let batch = batch.map_err(RowsError::from)?;
        for (at, object) in objects(&batch)?.into_iter().enumerate() {
            number += 1;
            each(LintRow { number, object, raw: Raw::Batch(&batch, at) })?;
        }
    }
    Ok(())
}

/// Converts the rows of a batch to JSON. Null values are kept, so that every row has
/// the same keys.
fn objects(batch: &RecordBatch) -> Result<Vec<Object>, RowsError> {
    let builder = arrow_json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer: ArrayWriter<Vec<u8>> = builder.build(Vec::new());
    writer.write(batch)?;
    writer.finish()?;
    serde_json::from_slice(&writer.into_inner())
        .map_err(|error| RowsError::Arrow(ArrowError::JsonError(error.to_string())))
}

/// Writes rows in the form they were read in.
pub(super) enum Writer<'a> {
    /// JSON lines.
    Lines(&'a mut (dyn Write + Send)),
    /// A JSON array, and whether it already has an element.
    Array(&'a mut (dyn Write + Send), bool),
    /// Parquet.
    Parquet(Box<Columns<'a>>),
}

/// A Parquet file being written, and the pending rows of the last batch.
pub(super) struct Columns<'a> {
    writer: ArrowWriter<&'a mut (dyn Write + Send)>,
    schema: SchemaRef,
    pending: Option<(RecordBatch, usize, usize)>,
}

impl<'a> Writer<'a> {
    /// Starts a file.
    ///
    /// # Errors
    /// Fails if `out` cannot be written to.
    pub fn new(form: &Form, out: &'a mut (dyn Write + Send)) -> Result<Self, RowsError> {
        Ok(match form {
            Form::Lines => Self::Lines(out),
            Form::Array => Self::Array(out, false),
            Form::Parquet(schema) => {
                let compression = Compression::ZSTD(ZstdLevel::default());
                let properties = WriterProperties::builder().set_compression(compression).build();
                let schema = Arc::clone(schema);
                let writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties))?;
                Self::Parquet(Box::new(Columns { writer, schema, pending: None }))
            }
        })
    }

    /// Writes a row unchanged, or as `edited`.
    ///
    /// # Errors
    /// Fails if `out` cannot be written to, or an edited row does not fit the columns.
    pub fn write(&mut self, row: &LintRow<'_>, edited: Option<&Object>) -> Result<(), RowsError> {
        let object = edited.unwrap_or(&row.object);
        match (self, &row.raw) {
            (Self::Lines(out), Raw::Line(line)) if edited.is_none() => {
                writeln!(out, "{}", json_lines::escaped(line))?;
            }
            (Self::Lines(out), _) => json_lines::write(*out, object)?,
            (Self::Array(out, begun), _) => {
                let before = if *begun { ",\n" } else { "[\n" };
                write!(out, "{before}{}", Value::Object(object.clone()))?;
                *begun = true;
            }
            (Self::Parquet(columns), Raw::Batch(batch, at)) if edited.is_none() => {
                columns.keep(batch, *at)?;
            }
            (Self::Parquet(columns), _) => columns.put(object)?,
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Fails if `out` cannot be written to.
    pub fn finish(self) -> Result<(), RowsError> {
        match self {
            Self::Lines(_) => {}
            Self::Array(out, begun) => writeln!(out, "{}", if begun { "\n]" } else { "[]" })?,
            Self::Parquet(mut columns) => {
                columns.flush()?;
                columns.writer.close()?;
            }
        }
        Ok(())
    }
}

impl Columns<'_> {
    /// Writes an unchanged row of a batch, together with its neighbours.
    fn keep(&mut self, batch: &RecordBatch, at: usize) -> Result<(), RowsError> {
        if let Some((pending, from, length)) = &mut self.pending
            && same_batch(pending, batch)
            && *from + *length == at
        {
            *length += 1;
            return Ok(());
        }
        self.flush()?;
        self.pending = Some((batch.clone(), at, 1));
        Ok(())
    }

    /// Writes a changed row.
    fn put(&mut self, object: &Object) -> Result<(), RowsError> {
        self.flush()?;
        let mut decoder = ReaderBuilder::new(Arc::clone(&self.schema)).build_decoder()?;
        decoder.serialize(std::slice::from_ref(object))?;
        if let Some(batch) = decoder.flush()? {
            self.writer.write(&batch)?;
        }
        Ok(())
    }

    fn flush(&mut self) -> Result<(), RowsError> {
        if let Some((batch, from, length)) = self.pending.take() {
            self.writer.write(&batch.slice(from, length))?;
        }
        Ok(())
    }
}

/// Whether two batches are the same: they share the memory of their first column.
fn same_batch(a: &RecordBatch, b: &RecordBatch) -> bool {
    match (a.columns().first(), b.columns().first()) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

#[cfg(test)]
mod tests;

//! Writes rows in the kind of file they were read from. Rows that are not changed are copied
//! as they are.

use std::io::{self, Write};
use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_ipc::writer::FileWriter;
use arrow_json::ReaderBuilder;
use arrow_schema::{ArrowError, SchemaRef};
use flate2::write::GzEncoder;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression as ParquetCompression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use super::fault::WriteFault;
use super::kind::{Arrangement, Compression, RowLayout};
use super::reader::{Original, Row, RowReader, Rows};
use super::{Object, RowFile, TEXT, json_lines};

/// Writes rows in the kind of file that a [`RowReader`] reads.
pub struct RowWriter<'a> {
    format: Format<'a>,
}

/// How rows are written.
enum Format<'a> {
    /// One JSON value per line.
    Lines(Sink<'a>),
    /// One text per line.
    Text(Sink<'a>),
    /// Elements of an array, with what follows the last one, and whether there is one yet.
    Array { out: Sink<'a>, after: Arc<[u8]>, begun: bool },
    /// A single row.
    Single(Sink<'a>),
    /// Cells.
    Delimited { out: Sink<'a>, delimiter: u8, columns: Vec<String>, line_break: &'static str },
    /// Parquet or Arrow.
    Batches(Box<Batches<'a>>),
}

/// Compresses what is written.
enum Sink<'a> {
    Plain(&'a mut (dyn Write + Send)),
    Gzip(GzEncoder<&'a mut (dyn Write + Send)>),
    Zstd(zstd::Encoder<'static, &'a mut (dyn Write + Send)>),
}

impl<'a> Sink<'a> {
    fn new(out: &'a mut (dyn Write + Send), compression: Option<Compression>) -> io::Result<Self> {
        Ok(match compression {
            None => Self::Plain(out),
            Some(Compression::Gzip) => {
                Self::Gzip(GzEncoder::new(out, flate2::Compression::default()))
            }
            Some(Compression::Zstd) => Self::Zstd(zstd::Encoder::new(out, 0)?),
        })
    }

    fn finish(self) -> io::Result<()> {
        match self {
            Self::Plain(_) => {}
            Self::Gzip(encoder) => {
                encoder.finish()?;
            }
            Self::Zstd(encoder) => {
                encoder.finish()?;
            }
        }
        Ok(())
    }
}

impl Write for Sink<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(out) => out.write(bytes),
            Self::Gzip(out) => out.write(bytes),
            Self::Zstd(out) => out.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Self::Plain(out) => out.flush(),
            Self::Gzip(out) => out.flush(),
            Self::Zstd(out) => out.flush(),
        }
    }
}

impl<'a> RowWriter<'a> {
    /// Starts a file of the kind that `reader` reads. `file` is the file read.
    ///
    /// # Errors
    /// Fails if `out` cannot be written to, or files of this kind are not written.
    pub fn new(
        reader: &RowReader,
        file: &RowFile,
        out: &'a mut (dyn Write + Send),
    ) -> Result<Self, WriteFault> {
        let kind = reader.kind();
        let mut out = Sink::new(out, kind.compression)?;
        let format = match (reader.rows(), &kind.layout) {
            (Rows::Lines(_), RowLayout::Text) => Format::Text(out),
            (Rows::Elements(_), RowLayout::Array) => {
                out.write_all(b"[\n")?;
                Format::Array { out, after: b"]\n"[..].into(), begun: false }
            }
            (Rows::Lines(_) | Rows::Elements(_), _) => Format::Lines(out),
            (Rows::List(object, _), _) => {
                let (before, after) = object.around_list();
                out.write_all(&before)?;
                out.write_all(b"\n")?;
                Format::Array { out, after, begun: false }
            }
            (Rows::Object(_), RowLayout::Object(Arrangement::Row)) => Format::Single(out),
            (Rows::Object(_), _) => {
                return Err(WriteFault::Kind { file: file.path.clone(), kind: kind.to_string() });
            }
            (Rows::Delimited(rows), layout) => {
                let delimiter = if let RowLayout::Delimited(byte) = layout { *byte } else { b',' };
                out.write_all(rows.header.as_bytes())?;
                let line_break = if rows.header.ends_with("\r\n") { "\r\n" } else { "\n" };
                Format::Delimited { out, delimiter, columns: rows.columns.clone(), line_break }
            }
            (Rows::Columns(columns), layout) => {
                let schema = Arc::clone(&columns.schema);
                Format::Batches(Box::new(Batches::new(schema, layout, out)?))
            }
        };
        Ok(Self { format })
    }

    /// Writes a row unchanged, or as `edited`. The reader of the row must keep originals.
    ///
    /// # Errors
    /// Fails if `out` cannot be written to, or an edited row does not fit the columns.
    pub fn write(&mut self, row: &Row, edited: Option<&Object>) -> Result<(), WriteFault> {
        let object = edited.unwrap_or(&row.object);
        let original = match (&row.original, edited) {
            (Original::Text(text), None) => Some(text.as_str()),
            _ => None,
        };
        match &mut self.format {
            Format::Lines(out) | Format::Single(out) => {
                writeln!(out, "{}", json_lines::escaped(&json(row, edited)))?;
            }
            Format::Text(out) => match original {
                Some(text) => writeln!(out, "{text}")?,
                None => {
                    let text = object.get(TEXT).and_then(Value::as_str).unwrap_or_default();
                    writeln!(out, "{}", text.replace(['\n', '\r'], " "))?;
                }
            },
            Format::Array { out, begun, .. } => {
                let before = if *begun { ",\n" } else { "" };
                write!(out, "{before}{}", json(row, edited))?;
                *begun = true;
            }
            Format::Delimited { out, delimiter, columns, line_break } => {
                match original {
                    Some(text) => out.write_all(text.as_bytes())?,
                    None => out.write_all(&cells(columns, object, *delimiter)?)?,
                }
                out.write_all(line_break.as_bytes())?;
            }
            Format::Batches(batches) => match (&row.original, edited) {
                (Original::Batch(batch, at), None) => batches.keep(batch, *at)?,
                _ => batches.put(object)?,
            },
        }
        Ok(())
    }

    /// Ends the file.
    ///
    /// # Errors
    /// Fails if `out` cannot be written to.
    pub fn finish(self) -> Result<(), WriteFault> {
        match self.format {
            Format::Lines(out)
            | Format::Text(out)
            | Format::Single(out)
            | Format::Delimited { out, .. } => out.finish()?,
            Format::Array { mut out, after, begun } => {
                out.write_all(if begun { b"\n" } else { b"" })?;
                out.write_all(&after)?;
                out.finish()?;
            }
            Format::Batches(batches) => batches.finish()?,
        }
        Ok(())
    }
}

/// The JSON text of a row: its original, or the object. A row that is a string in the file
/// stays one.
fn json(row: &Row, edited: Option<&Object>) -> String {
    match (&row.original, edited) {
        (Original::Text(text), None) => text.clone(),
        (Original::Text(text), Some(object)) if text.trim_start().starts_with('"') => {
            object.get(TEXT).map(Value::to_string).unwrap_or_default()
        }
        (_, edited) => Value::Object(edited.unwrap_or(&row.object).clone()).to_string(),
    }
}

/// The cells of a row, without the line break after them.
fn cells(columns: &[String], object: &Object, delimiter: u8) -> Result<Vec<u8>, WriteFault> {
    let mut writer = csv::WriterBuilder::new().delimiter(delimiter).from_writer(Vec::new());
    let cell = |column: &String| match object.get(column) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
    };
    writer.write_record(columns.iter().map(cell)).map_err(io::Error::from)?;
    let mut text = writer.into_inner().map_err(|error| error.into_error())?;
    if text.ends_with(b"\n") {
        text.pop();
    }
    Ok(text)
}

/// A file of columns being written, and the pending rows of the last batch.
struct Batches<'a> {
    writer: BatchWriter<'a>,
    schema: SchemaRef,
    pending: Option<(RecordBatch, usize, usize)>,
}

enum BatchWriter<'a> {
    Parquet(ArrowWriter<Sink<'a>>),
    Arrow(FileWriter<Sink<'a>>),
}

fn unfit(error: ArrowError) -> WriteFault {
    WriteFault::Columns(Box::new(error))
}

impl<'a> Batches<'a> {
    fn new(schema: SchemaRef, layout: &RowLayout, out: Sink<'a>) -> Result<Self, WriteFault> {
        let writer = if *layout == RowLayout::Parquet {
            let compression = ParquetCompression::ZSTD(ZstdLevel::default());
            let properties = WriterProperties::builder().set_compression(compression).build();
            let writer = ArrowWriter::try_new(out, Arc::clone(&schema), Some(properties));
            BatchWriter::Parquet(writer.map_err(|error| WriteFault::Columns(Box::new(error)))?)
        } else {
            BatchWriter::Arrow(FileWriter::try_new(out, &schema).map_err(unfit)?)
        };
        Ok(Self { writer, schema, pending: None })
    }

    /// Writes an unchanged row of a batch, together with its neighbours.
    fn keep(&mut self, batch: &RecordBatch, at: usize) -> Result<(), WriteFault> {
        if let Some((pending, from, length)) = &mut self.pending
            && is_same_batch(pending, batch)
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
    fn put(&mut self, object: &Object) -> Result<(), WriteFault> {
        self.flush()?;
        let mut decoder =
            ReaderBuilder::new(Arc::clone(&self.schema)).build_decoder().map_err(unfit)?;
        decoder.serialize(std::slice::from_ref(object)).map_err(unfit)?;
        match decoder.flush().map_err(unfit)? {
            Some(batch) => self.write(&batch),
            None => Ok(()),
        }
    }

    fn flush(&mut self) -> Result<(), WriteFault> {
        match self.pending.take() {
            Some((batch, from, length)) => self.write(&batch.slice(from, length)),
            None => Ok(()),
        }
    }

    fn write(&mut self, batch: &RecordBatch) -> Result<(), WriteFault> {
        match &mut self.writer {
            BatchWriter::Parquet(writer) => {
                writer.write(batch).map_err(|error| WriteFault::Columns(Box::new(error)))
            }
            BatchWriter::Arrow(writer) => writer.write(batch).map_err(unfit),
        }
    }

    fn finish(mut self) -> Result<(), WriteFault> {
        self.flush()?;
        let out = match self.writer {
            BatchWriter::Parquet(writer) => {
                writer.into_inner().map_err(|error| WriteFault::Columns(Box::new(error)))?
            }
            BatchWriter::Arrow(mut writer) => {
                writer.finish().map_err(unfit)?;
                writer.into_inner().map_err(unfit)?
            }
        };
        out.finish()?;
        Ok(())
    }
}

/// Whether two batches are the same: they share the memory of their first column.
fn is_same_batch(a: &RecordBatch, b: &RecordBatch) -> bool {
    match (a.columns().first(), b.columns().first()) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b),
        _ => false,
    }
}

#[cfg(test)]
mod tests;

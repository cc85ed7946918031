//! Sinks that write rows as JSON Lines or Parquet. A sink holds at most one batch of
//! rows.

use std::fmt;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use arrow_json::reader::{Decoder, ReaderBuilder};
use arrow_schema::{ArrowError, DataType, Fields, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use serde_json::Value;

use super::ExportError;
use crate::format::cells;
use crate::format::write::ExportRow;
use crate::rows::json_lines;

/// The file format of an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum FileFormat {
    /// JSON Lines: one object per line.
    #[default]
    Jsonl,
    /// Parquet, compressed with zstd.
    Parquet,
}

impl FileFormat {
    /// All file formats.
    pub const ALL: [Self; 2] = [Self::Jsonl, Self::Parquet];

    /// The name of the format, which is also the file extension.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Parquet => "parquet",
        }
    }

    /// Finds a format by its name, ignoring case.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|format| format.as_str().eq_ignore_ascii_case(name))
    }

    /// The format that a file's extension names.
    #[must_use]
    pub fn from_path(path: &Path) -> Option<Self> {
        Self::named(path.extension()?.to_str()?)
    }
}

impl fmt::Display for FileFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The columns of an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ColumnSet {
    /// Those of the format and those of the origin.
    #[default]
    All,
    /// Those of the format alone: some trainers reject others.
    Plain,
}

impl ColumnSet {
    /// Both sets.
    pub const ALL: [Self; 2] = [Self::All, Self::Plain];

    /// The name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Plain => "plain",
        }
    }

    /// Finds a set by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|columns| columns.as_str() == name)
    }
}

impl fmt::Display for ColumnSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Writes rows, in order.
pub(super) trait Sink {
    /// Writes a row.
    fn write(&mut self, row: ExportRow) -> Result<(), ExportError>;
    /// Writes the rows that are still in memory.
    fn finish(self: Box<Self>) -> Result<(), ExportError>;
}

/// Writes JSON Lines.
pub(super) struct Jsonl<W>(W);

impl<W: Write> Jsonl<W> {
    pub fn new(out: W) -> Self {
        Self(out)
    }
}

impl<W: Write> Sink for Jsonl<W> {
    fn write(&mut self, row: ExportRow) -> Result<(), ExportError> {
        Ok(json_lines::write(&mut self.0, &row)?)
    }

    fn finish(mut self: Box<Self>) -> Result<(), ExportError> {
        Ok(self.0.flush()?)
    }
}

/// Replaces free-form values by their JSON text and passes rows on, so that every
/// column has one type. Leaves out columns that are not in the schema, if those of the origin
/// are not wanted.
pub(super) struct Typed<S> {
    schema: Schema,
    columns: ColumnSet,
    inner: Box<S>,
}

impl<S: Sink> Typed<S> {
    pub fn new(schema: &Schema, columns: ColumnSet, inner: S) -> Self {
        Self { schema: schema.clone(), columns, inner: Box::new(inner) }
    }
}

impl<S: Sink> Sink for Typed<S> {
    fn write(&mut self, mut row: ExportRow) -> Result<(), ExportError> {
        free_form_as_text(&mut row, self.schema.fields());
        if self.columns == ColumnSet::Plain {
            row.retain(|name, _| self.schema.field_with_name(name).is_ok());
        }
        self.inner.write(row)
    }

    fn finish(self: Box<Self>) -> Result<(), ExportError> {
        self.inner.finish()
    }
}

/// Replaces values that are not texts by their JSON text in all columns of texts,
/// also within records and lists.
fn free_form_as_text(row: &mut ExportRow, columns: &Fields) {
    for column in columns {
        let Some(value) = row.get_mut(column.name()) else { continue };
        match (column.data_type(), value) {
            (DataType::Utf8, Value::String(_) | Value::Null) => {}
            (DataType::Utf8, value) => *value = Value::String(value.to_string()),
            (DataType::Struct(columns), Value::Object(record)) => {
                free_form_as_text(record, columns);
            }
            (DataType::List(item), Value::Array(records)) => {
                let DataType::Struct(columns) = item.data_type() else { continue };
                for record in records.iter_mut().filter_map(Value::as_object_mut) {
                    free_form_as_text(record, columns);
                }
            }
            _ => {}
        }
    }
}

/// The number of rows in a batch.
const BATCH_ROWS: usize = 2048;
/// The most bytes of text in a batch, for long rows.
const BATCH_BYTES: usize = 8 << 20;
/// The size of a row group in encoded bytes: the writer holds one in memory.
const GROUP_BYTES: usize = 16 << 20;

/// Writes Parquet.
pub(super) struct Parquet<W: Write + Send> {
    decoder: Decoder,
    writer: ArrowWriter<W>,
    rows: Vec<ExportRow>,
    /// The estimated size of `rows`.
    bytes: usize,
}

impl<W: Write + Send> Parquet<W> {
    pub fn new(schema: Schema, out: W) -> Result<Self, ExportError> {
        let schema = Arc::new(schema);
        let properties = WriterProperties::builder()
            .set_compression(Compression::ZSTD(ZstdLevel::default()))
            .set_created_by(format!("amend {}", env!("CARGO_PKG_VERSION")))
            .build();
        // Strict: a value without a column is a bug in the format.
        let decoder = ReaderBuilder::new(schema.clone()).with_strict_mode(true).build_decoder();
        Ok(Self {
            decoder: decoder.map_err(encoding)?,
            writer: ArrowWriter::try_new(out, schema, Some(properties)).map_err(writing)?,
            rows: Vec::new(),
            bytes: 0,
        })
    }

    fn encode(&mut self) -> Result<(), ExportError> {
        self.decoder.serialize(&self.rows).map_err(encoding)?;
        self.rows.clear();
        self.bytes = 0;
        if let Some(batch) = self.decoder.flush().map_err(encoding)? {
            self.writer.write(&batch).map_err(writing)?;
        }
        if self.writer.in_progress_size() >= GROUP_BYTES {
            self.writer.flush().map_err(writing)?;
        }
        Ok(())
    }
}

impl<W: Write + Send> Sink for Parquet<W> {
    fn write(&mut self, row: ExportRow) -> Result<(), ExportError> {
        self.bytes += cells::size(&row);
        self.rows.push(row);
        if self.rows.len() >= BATCH_ROWS || self.bytes >= BATCH_BYTES {
            self.encode()?;
        }
        Ok(())
    }

    fn finish(mut self: Box<Self>) -> Result<(), ExportError> {
        self.encode()?;
        self.writer.finish().map_err(writing)?;
        Ok(self.writer.inner_mut().flush()?)
    }
}

fn encoding(source: ArrowError) -> ExportError {
    ExportError::Parquet(source.into())
}

/// Unwraps a failed write, so that it is reported as for JSON Lines.
fn writing(error: ParquetError) -> ExportError {
    match error {
        ParquetError::External(source) => match source.downcast::<io::Error>() {
            Ok(source) => ExportError::Write(*source),
            Err(source) => ExportError::Parquet(ParquetError::External(source)),
        },
        error => ExportError::Parquet(error),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::format::cells::{flag, free_form, integer, record, records, texts};

    #[test]
    fn free_form_values_become_text_at_any_depth() {
        let columns = vec![
            free_form("any"),
            free_form("text"),
            free_form("none"),
            texts("texts"),
            flag("flag"),
            record("one", vec![free_form("any"), integer("n")]),
            records("many", vec![record("inner", vec![free_form("any")])]),
        ];
        let mut row = json!({
            "any": {"a": [1, "b"]}, "text": "{}", "none": null, "texts": ["x"], "flag": true,
            "one": {"any": 0.5, "n": 1}, "many": [{"inner": {"any": [{}]}}, {"inner": {"any": "t"}}],
        });
        free_form_as_text(row.as_object_mut().unwrap(), &columns.into());
        let expected = json!({
            "any": r#"{"a":[1,"b"]}"#, "text": "{}", "none": null, "texts": ["x"], "flag": true,
            "one": {"any": "0.5", "n": 1},
            "many": [{"inner": {"any": "[{}]"}}, {"inner": {"any": "t"}}],
        });
        assert_eq!(row, expected);
    }
}

//! Reads Parquet and Arrow, a batch of rows at a time.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufReader, Read, Seek};
use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StringArray, make_array};
use arrow_ipc::reader::{FileReader, StreamReader};
use arrow_json::ArrayWriter;
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;

use super::fault::ReadProblem;
use super::kind::RowLayout;
use super::{Object, parse};

/// How many rows of a Parquet file are in memory at once.
const BATCH: usize = 512;

/// Rows of a file of columns.
pub(super) struct Columns {
    batches: Box<dyn Iterator<Item = Result<RecordBatch, ArrowError>> + Send>,
    kind: &'static str,
    pub schema: SchemaRef,
    /// The current batch, as a file of Arrow may have larger ones than are converted at once.
    batch: Option<(RecordBatch, usize)>,
    /// The batch of the rows that are converted.
    converted: Option<RecordBatch>,
    rows: std::iter::Enumerate<std::vec::IntoIter<Object>>,
    number: u64,
}

/// A batch and the position of a row in it.
pub(super) type InBatch = (RecordBatch, usize);

impl Columns {
    /// Opens a file.
    ///
    /// # Errors
    /// The file is damaged.
    pub fn open(mut file: File, layout: &RowLayout) -> Result<Self, ReadProblem> {
        let kind = if *layout == RowLayout::Parquet { "Parquet" } else { "Arrow" };
        let failed = |message: String| ReadProblem::Columns { kind, message };
        let (batches, schema): (Box<dyn Iterator<Item = _> + Send>, _) =
            if *layout == RowLayout::Parquet {
                let builder = ParquetRecordBatchReaderBuilder::try_new(file)
                    .map_err(|error| failed(error.to_string()))?;
                let reader = builder
                    .with_batch_size(BATCH)
                    .build()
                    .map_err(|error| failed(error.to_string()))?;
                let schema = arrow_array::RecordBatchReader::schema(&reader);
                (Box::new(reader), schema)
            } else if is_ipc_file(&mut file).map_err(ReadProblem::Read)? {
                let reader = FileReader::try_new(BufReader::new(file), None)
                    .map_err(|error| failed(error.to_string()))?;
                let schema = reader.schema();
                (Box::new(reader), schema)
            } else {
                let reader = StreamReader::try_new(BufReader::new(file), None)
                    .map_err(|error| failed(error.to_string()))?;
                let schema = reader.schema();
                (Box::new(reader), schema)
            };
        let mut names = HashSet::new();
        if let Some(field) = schema.fields().iter().find(|field| !names.insert(field.name())) {
            let message = format!("two columns are named {:?}", field.name());
            return Err(ReadProblem::ColumnTypes(message));
        }
        let rows = Vec::new().into_iter().enumerate();
        Ok(Self { batches, kind, schema, batch: None, converted: None, rows, number: 0 })
    }

    /// The next row and its number, from 1.
    pub fn next(&mut self) -> Option<(u64, Result<Object, ReadProblem>)> {
        loop {
            if let Some((_, object)) = self.rows.next() {
                self.number += 1;
                return Some((self.number, Ok(object)));
            }
            let (batch, from) = match self.batch.take() {
                Some(batch) => batch,
                None => match self.batches.next()? {
                    Ok(batch) => (batch, 0),
                    Err(error) => {
                        let message = error.to_string();
                        let problem = ReadProblem::Columns { kind: self.kind, message };
                        return Some((self.number + 1, Err(problem)));
                    }
                },
            };
            let length = BATCH.min(batch.num_rows() - from);
            if length == 0 {
                continue;
            }
            let slice = batch.slice(from, length);
            self.batch = Some((batch, from + length));
            match objects(&slice) {
                Ok(objects) => {
                    self.converted = Some(slice);
                    self.rows = objects.into_iter().enumerate();
                }
                Err(problem) => return Some((self.number + 1, Err(problem))),
            }
        }
    }

    /// The batch of the last row, and its position in it.
    pub fn original(&self) -> Option<InBatch> {
        let batch = self.converted.as_ref()?;
        let at = batch.num_rows().checked_sub(self.rows.len() + 1)?;
        Some((batch.clone(), at))
    }
}

/// Whether a file of Arrow is an IPC file rather than a stream.
fn is_ipc_file(file: &mut File) -> std::io::Result<bool> {
    let mut start = [0; 6];
    file.read_exact(&mut start)?;
    file.rewind()?;
    Ok(&start == b"ARROW1")
}

/// Converts the rows of a batch to JSON. Null values are kept, so that every row has the
/// same keys.
fn objects(batch: &RecordBatch) -> Result<Vec<Object>, ReadProblem> {
    let builder = arrow_json::WriterBuilder::new().with_explicit_nulls(true);
    let mut writer: ArrayWriter<Vec<u8>> = builder.build(Vec::new());
    let unfit = |error: ArrowError| ReadProblem::ColumnTypes(error.to_string());
    writer.write(&writable(batch)?).map_err(unfit)?;
    writer.finish().map_err(unfit)?;
    let text = writer.into_inner();
    let unfit = |error: serde_json::Error| ReadProblem::ColumnTypes(error.to_string());
    let value = parse::value(parse::utf8(&text)?).map_err(unfit)?;
    serde_json::from_value(value).map_err(unfit)
}

/// The batch with columns that can be written as JSON: binary columns become text, and times
/// in a named zone become times in UTC.
///
/// # Errors
/// A binary column is not UTF-8.
fn writable(batch: &RecordBatch) -> Result<RecordBatch, ReadProblem> {
    let unfit = |error: ArrowError| ReadProblem::ColumnTypes(error.to_string());
    let schema = batch.schema();
    let mut fields = Vec::new();
    let mut columns = Vec::new();
    for (field, column) in schema.fields().iter().zip(batch.columns()) {
        let column = match field.data_type() {
            DataType::Binary => texts(field, column.as_binary::<i32>().iter())?,
            DataType::LargeBinary => texts(field, column.as_binary::<i64>().iter())?,
            DataType::BinaryView => texts(field, column.as_binary_view().iter())?,
            DataType::Timestamp(unit, Some(_)) => {
                let in_utc = DataType::Timestamp(*unit, Some("+00:00".into()));
                let data = column.to_data().into_builder().data_type(in_utc);
                make_array(data.build().map_err(unfit)?)
            }
            _ => Arc::clone(column),
        };
        let changed = field.as_ref().clone().with_data_type(column.data_type().clone());
        fields.push(changed);
        columns.push(column);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
    RecordBatch::try_new_with_options(Arc::new(Schema::new(fields)), columns, &options)
        .map_err(unfit)
}

/// A binary column as text.
///
/// # Errors
/// A value is not UTF-8.
fn texts<'a>(
    field: &Field,
    values: impl Iterator<Item = Option<&'a [u8]>>,
) -> Result<ArrayRef, ReadProblem> {
    let text = |value: Option<&'a [u8]>| value.map(std::str::from_utf8).transpose();
    let texts: Result<StringArray, _> = values.map(text).collect();
    match texts {
        Ok(texts) => Ok(Arc::new(texts)),
        Err(_) => {
            let message = format!("the column {:?} is binary", field.name());
            Err(ReadProblem::ColumnTypes(message))
        }
    }
}

#[cfg(test)]
mod tests {
    use arrow_array::{BinaryArray, TimestampMillisecondArray};
    use serde_json::{Value, json};

    use super::*;

    fn rows(columns: Vec<(&str, ArrayRef)>) -> Result<Value, String> {
        let batch = RecordBatch::try_from_iter(columns).unwrap();
        let objects = objects(&batch).map_err(|problem| problem.to_string())?;
        Ok(serde_json::to_value(objects).unwrap())
    }

    #[test]
    fn binary_texts_are_texts_and_times_are_in_utc() {
        let texts: ArrayRef = Arc::new(BinaryArray::from_opt_vec(vec![Some("é".as_bytes()), None]));
        let times = TimestampMillisecondArray::from(vec![0, 1]).with_timezone("Europe/Berlin");
        let found = rows(vec![("text", texts), ("time", Arc::new(times))]).unwrap();
        let time = found[0]["time"].as_str().unwrap();
        assert!(time.starts_with("1970-01-01T00:00:00"), "{time}");
        assert_eq!([&found[0]["text"], &found[1]["text"]], [&json!("é"), &Value::Null]);
        let image: ArrayRef = Arc::new(BinaryArray::from_vec(vec![b"\xff\xd8"]));
        assert!(rows(vec![("image", image)]).unwrap_err().contains("\"image\" is binary"));
    }
}

use std::path::PathBuf;

use serde_json::json;

use super::*;

struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join("data");
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// All rows, with their numbers.
fn all(path: &Path) -> Result<Vec<(u64, Value)>, RowsError> {
    let mut rows = Vec::new();
    read(path, &form(path)?, &mut |row: LintRow<'_>| {
        rows.push((row.number, Value::Object(row.object)));
        Ok::<(), RowsError>(())
    })?;
    Ok(rows)
}

/// The file without row 2 and with "edited" in row 3.
fn rewritten(path: &Path) -> Vec<u8> {
    let form = form(path).unwrap();
    let mut out = Vec::new();
    let mut writer = Writer::new(&form, &mut out).unwrap();
    read(path, &form, &mut |row: LintRow<'_>| match row.number {
        2 => Ok(()),
        3 => {
            let mut edited = row.object.clone();
            edited["a"] = json!("edited");
            writer.write(&row, Some(&edited))
        }
        _ => writer.write(&row, None),
    })
    .unwrap();
    writer.finish().unwrap();
    out
}

#[test]
fn unchanged_lines_keep_their_number_and_text() {
    let place = Place::new();
    let path = place.write("\u{feff}{\"a\" : \"x\"}\r\n\n{\"a\":\"y\"}\n{\"b\": 1.50}");
    assert_eq!(
        all(&path).unwrap(),
        [(1, json!({"a": "x"})), (3, json!({"a": "y"})), (4, json!({"b": 1.5}))]
    );
    let text = String::from_utf8(rewritten(&path)).unwrap();
    assert_eq!(text, "{\"a\" : \"x\"}\n{\"a\":\"edited\"}\n{\"b\": 1.50}\n");
}

#[test]
fn arrays_are_read_and_written_by_element() {
    let place = Place::new();
    let path = place.write(" \n[{\"a\": \"x\"},\n {\"a\": \"y\"}, {\"a\": \"z\"}]\n");
    let rows = all(&path).unwrap();
    assert_eq!(rows.iter().map(|row| row.0).collect::<Vec<_>>(), [1, 2, 3]);
    let text = String::from_utf8(rewritten(&path)).unwrap();
    assert_eq!(text, "[\n{\"a\":\"x\"},\n{\"a\":\"edited\"}\n]\n");
    assert_eq!(all(&place.write("[]")).unwrap(), []);
}

#[test]
fn invalid_rows_are_reported_with_their_number() {
    let place = Place::new();
    for (content, message) in [
        ("{}\n{\"a\"\n", "row 2: not a JSON object"),
        ("\"text\"\n", "row 1: not a JSON object"),
        ("{}\n\u{e9}", "row 2: not a JSON object"),
        ("[{}, 3]", "row 1: not a JSON object: row 2: "),
        ("[{}", "row 1: not a JSON object"),
    ] {
        let error = all(&place.write(content)).unwrap_err().to_string();
        assert!(error.starts_with(message), "{error}");
    }
    let error = all(&place.write(b"{}\n{\"a\": \"\xff\"}")).unwrap_err().to_string();
    assert_eq!(error, "row 2: not UTF-8 at byte 8");
    assert!(matches!(all(&place.write("PAR1")), Err(RowsError::Parquet(_))));
}

/// A Parquet file of rows with nested columns.
fn parquet_file(rows: &[Value], compression: Compression) -> Vec<u8> {
    use arrow_schema::{DataType, Field, Fields, Schema};
    let turn = Fields::from(vec![
        Field::new("role", DataType::Utf8, true),
        Field::new("content", DataType::Utf8, true),
    ]);
    let item = Field::new("item", DataType::Struct(turn), true);
    let schema = Arc::new(Schema::new(vec![
        Field::new("a", DataType::Utf8, true),
        Field::new("turns", DataType::List(Arc::new(item)), true),
        Field::new("n", DataType::Int64, true),
    ]));
    let mut decoder = ReaderBuilder::new(Arc::clone(&schema)).build_decoder().unwrap();
    decoder.serialize(rows).unwrap();
    let batch = decoder.flush().unwrap().unwrap();
    let properties = WriterProperties::builder().set_compression(compression).build();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, schema, Some(properties)).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
    bytes
}

#[test]
fn parquet_keeps_rows_and_nested_columns() {
    let place = Place::new();
    let turns = json!([{"role": "user", "content": "é"}, {"role": null, "content": ""}]);
    let rows: Vec<Value> = (1..=1300)
        .map(|n| json!({"a": format!("row {n}"), "turns": turns, "n": if n == 5 { None } else { Some(n) }}))
        .collect();
    for compression in [Compression::SNAPPY, Compression::ZSTD(ZstdLevel::default())] {
        let path = place.write(parquet_file(&rows, compression));
        let read: Vec<Value> = all(&path).unwrap().into_iter().map(|row| row.1).collect();
        assert_eq!(read, rows);
        let path = place.write(rewritten(&path));
        let mut expected = rows.clone();
        expected[2]["a"] = json!("edited");
        expected.remove(1);
        let read: Vec<Value> = all(&path).unwrap().into_iter().map(|row| row.1).collect();
        assert_eq!(read, expected);
    }
}

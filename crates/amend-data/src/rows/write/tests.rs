use std::io::Read as _;
use std::path::{Path, PathBuf};

use serde_json::json;

use super::*;
use crate::rows::{Input, files};

struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.0.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

fn open(path: &Path) -> (RowFile, RowReader) {
    let file = files(&[Input::Path(path.to_owned())]).unwrap().remove(0);
    let reader = RowReader::open(&file).unwrap();
    (file, reader)
}

/// The rows of a file.
fn rows(path: &Path) -> Vec<Value> {
    open(path).1.map(|row| Value::Object(row.unwrap().object)).collect()
}

/// The file without its second row and with "edited" as the first column of the third.
fn rewritten(path: &Path) -> Result<Vec<u8>, WriteFault> {
    let (file, reader) = open(path);
    let mut out = Vec::new();
    let mut writer = RowWriter::new(&reader, &file, &mut out)?;
    for (number, row) in (1..).zip(reader.with_originals()) {
        // A file without rows is a fault.
        let Ok(row) = row else { continue };
        match number {
            2 => {}
            3 => {
                let mut edited = row.object.clone();
                *edited.values_mut().next().unwrap() = json!("edited,\n\"x\"");
                writer.write(&row, Some(&edited))?;
            }
            _ => writer.write(&row, None)?,
        }
    }
    writer.finish()?;
    Ok(out)
}

#[test]
fn unchanged_rows_of_texts_are_copied_byte_for_byte() {
    let folder = Folder::new();
    for (name, content, expected) in [
        (
            "lines.jsonl",
            "\u{feff}{\"a\" : \"x\"}\r\n\n{\"a\":\"y\"}\n{\"a\":\"z\"}\n{\"b\": 1.50}",
            "{\"a\" : \"x\"}\n{\"a\":\"edited,\\n\\\"x\\\"\"}\n{\"b\": 1.50}\n",
        ),
        ("strings.jsonl", "\"x\"\n\"y\"\n\"z\"\n", "\"x\"\n\"edited,\\n\\\"x\\\"\"\n"),
        ("text.txt", "one \ntwo\nthree\n", "one \nedited, \"x\"\n"),
        (
            "array.json",
            " [{\"a\" : \"x\"},\n {\"a\": \"y\"}, {\"a\": \"z\"}, {\n  \"a\": 1.50 }]\n",
            "[\n{\"a\" : \"x\"},\n{\"a\":\"edited,\\n\\\"x\\\"\"},\n{\n  \"a\": 1.50 }\n]\n",
        ),
        ("empty.json", "[]", "[\n]\n"),
        (
            "wrapper.json",
            "{\"v\": 1, \"data\": [ {\"a\" : 1}, {\"a\": 2}], \"w\": []}\n",
            "{\"v\": 1, \"data\": [\n{\"a\" : 1}\n], \"w\": []}\n",
        ),
        ("row.json", "{\n  \"a\": 1.50\n}\n", "{\n  \"a\": 1.50\n}\n"),
        (
            "windows.csv",
            "\u{feff}a;b\r\n\"x\";\"1;\"\r\ny;2\r\nz;3\r\n\"q\r\nr\";4",
            "a;b\r\n\"x\";\"1;\"\r\n\"edited,\n\"\"x\"\"\";3\r\n\"q\r\nr\";4\r\n",
        ),
        ("cells.tsv", "a\tb\nx\t\ny\t\nz\t\n", "a\tb\nx\t\n\"edited,\n\"\"x\"\"\"\t\n"),
    ] {
        let path = folder.write(name, content);
        let text = String::from_utf8(rewritten(&path).unwrap_or_default()).unwrap();
        assert_eq!(text, expected, "{name}");
    }
}

#[test]
fn a_list_in_a_changed_row_of_csv_reads_back_equal() {
    let folder = Folder::new();
    let turns = r#""[{""role"": ""user"", ""content"": ""a, b""}]""#;
    let path = folder.write("t.csv", format!("a,turns\nx,{turns}\ny,{turns}\nz,{turns}\n"));
    let before = rows(&path);
    let after = rows(&folder.write("after.csv", rewritten(&path).unwrap()));
    assert_eq!(after[1]["turns"], before[2]["turns"]);
    assert!(after[1]["turns"].is_array());
    assert_eq!(after[0], before[0]);
}

#[test]
fn compressed_files_are_written_compressed() {
    let folder = Folder::new();
    let plain = folder.write("a.jsonl", "{\"a\":1}\n{\"a\":2}\n");
    let expected = rewritten(&plain).unwrap();
    let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(b"{\"a\":1}\n{\"a\":2}\n").unwrap();
    let path = folder.write("a.jsonl.gz", gzip.finish().unwrap());
    let mut text = Vec::new();
    let written = rewritten(&path).unwrap();
    flate2::read::GzDecoder::new(written.as_slice()).read_to_end(&mut text).unwrap();
    assert_eq!(text, expected);
    let path =
        folder.write("a.jsonl.zst", zstd::encode_all(&b"{\"a\":1}\n{\"a\":2}\n"[..], 0).unwrap());
    assert_eq!(zstd::decode_all(rewritten(&path).unwrap().as_slice()).unwrap(), expected);
}

/// A batch of rows with nested columns.
fn batch(rows: &[Value]) -> RecordBatch {
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
    let mut decoder = ReaderBuilder::new(schema).build_decoder().unwrap();
    decoder.serialize(rows).unwrap();
    decoder.flush().unwrap().unwrap()
}

#[test]
fn files_of_columns_keep_rows_and_nested_columns() {
    let folder = Folder::new();
    let turns = json!([{"role": "user", "content": "é"}, {"role": null, "content": ""}]);
    let all: Vec<Value> = (1..=1300)
        .map(|n| json!({"a": format!("row {n}"), "turns": turns, "n": if n == 5 { None } else { Some(n) }}))
        .collect();
    let batch = batch(&all);
    for layout in [RowLayout::Parquet, RowLayout::Arrow] {
        let mut bytes = Vec::new();
        let sink = Sink::Plain(&mut bytes);
        let mut batches = Batches::new(batch.schema(), &layout, sink).unwrap();
        batches.write(&batch).unwrap();
        batches.finish().unwrap();
        let path = folder.write("data", bytes);
        assert_eq!(rows(&path), all);
        let path = folder.write("data", rewritten(&path).unwrap());
        let mut expected = all.clone();
        expected[2]["a"] = json!("edited,\n\"x\"");
        expected.remove(1);
        assert_eq!(rows(&path), expected);
    }
}

#[test]
fn tables_in_one_object_are_not_written() {
    let folder = Folder::new();
    let path = folder.write("t.json", r#"{"a": {"0": "x", "1": "y"}}"#);
    let error = rewritten(&path).unwrap_err().to_string();
    assert!(error.contains("cannot be written as JSON object of columns: convert it"), "{error}");
}

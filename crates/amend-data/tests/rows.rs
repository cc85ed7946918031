//! Reads every file in `tests/testdata/rows` and compares its kind, rows and faults with those in
//! `tests/testdata/rows.expected`. Each file is one kind of file or one trap. After an intended
//! change run `UPDATE_EXPECT=1 cargo test -p amend-data --test rows` and read the difference.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use amend_data::rows::{Input, RowFile, RowReader, RowWriter, files};
use serde_json::Value;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/testdata")
}

fn named(path: &Path) -> RowFile {
    let mut file = files(&[Input::Path(path.to_owned())]).unwrap().remove(0);
    file.name = path.file_name().unwrap().to_string_lossy().into_owned();
    file
}

/// The kind of a file, and each row or fault, one a line.
fn read(file: &RowFile) -> String {
    let mut text = format!("## {}\n", file.name);
    match RowReader::open(file) {
        Err(fault) => writeln!(text, "{fault}").unwrap(),
        Ok(reader) => {
            writeln!(text, "{}", reader.kind()).unwrap();
            for row in reader {
                match row {
                    Ok(row) => writeln!(text, "{}: {}", row.place, Value::Object(row.object)),
                    Err(fault) => writeln!(text, "{fault}"),
                }
                .unwrap();
            }
        }
    }
    text
}

/// All files, in the order of their names.
fn all() -> Vec<PathBuf> {
    let entries = fs::read_dir(data().join("rows")).unwrap();
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

#[test]
fn every_file_has_the_expected_rows() {
    let found: Vec<String> = all().iter().map(|path| read(&named(path))).collect();
    let found = found.join("\n");
    let path = data().join("rows.expected");
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    for (found, expected) in found.split("## ").zip(expected.split("## ")) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn what_is_copied_unchanged_reads_the_same() {
    for path in all() {
        let file = named(&path);
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join(path.file_name().unwrap());
        let Ok(reader) = RowReader::open(&file) else { continue };
        let mut out = Vec::new();
        let Ok(mut writer) = RowWriter::new(&reader, &file, &mut out) else { continue };
        let mut sound = true;
        for row in reader.with_originals() {
            match row {
                Ok(row) => writer.write(&row, None).unwrap(),
                Err(_) => sound = false,
            }
        }
        writer.finish().unwrap();
        if !sound {
            continue;
        }
        fs::write(&copy, &out).unwrap();
        // Blank lines are left out, so later rows move up.
        let without_lines = |text: String| -> Vec<String> {
            let row = |line: &str| {
                line.trim_start_matches(|c: char| c == ':' || c.is_ascii_digit()).to_owned()
            };
            text.lines().map(row).collect()
        };
        assert_eq!(without_lines(read(&named(&copy))), without_lines(read(&file)));
    }
}

//! Reads the rows in `tests/shapes`, each shape in a file, and compares the examples with
//! the file beside it. `UPDATE_EXPECT=1` writes these files, and the table of shapes in
//! `docs/formats.md`.

use std::path::{Path, PathBuf};
use std::{env, fs};

use amend_data::format::example::{Answers, Example, ExampleTurn};
use amend_data::format::write::FORMATS;
use amend_data::format::{Columns, Object, SHAPES, table};
use serde_json::Value;

/// Compares a text with a file, or writes the file.
fn expect(path: &Path, text: &str) {
    if env::var_os("UPDATE_EXPECT").is_some() {
        fs::write(path, text).unwrap();
    }
    let expected = fs::read_to_string(path).unwrap_or_default();
    assert_eq!(text, expected, "{} is stale: run again with UPDATE_EXPECT=1", path.display());
}

/// Turns in a few words: the role, the text, and what else a turn has.
fn turns(turns: &[ExampleTurn]) -> String {
    let turn = |turn: &ExampleTurn| {
        let mut shown = format!("{}: {}", turn.role, turn.text);
        if turn.continues {
            shown.insert(0, '+');
        }
        for (name, value) in [
            ("thought", turn.thought.clone()),
            ("calls", turn.tool_calls.as_ref().map(Value::to_string)),
            ("name", turn.name.clone()),
            ("id", turn.tool_call_id.clone()),
        ] {
            if let Some(value) = value {
                shown += &format!(" ({name}: {value})");
            }
        }
        shown
    };
    if turns.is_empty() {
        return "(nothing)".to_owned();
    }
    turns.iter().map(turn).collect::<Vec<_>>().join(" / ")
}

fn show(name: &str, example: &Example, row: &Object) -> String {
    let mut lines = vec![name.to_owned(), format!("  prompt: {}", turns(&example.prompt))];
    match &example.answers {
        Answers::None => {}
        Answers::Pair { chosen, rejected } => {
            lines.push(format!("  chosen: {}", turns(chosen)));
            lines.push(format!("  rejected: {}", turns(rejected)));
        }
        Answers::Single { answer, label } => {
            lines.push(format!("  answer: {}", turns(answer)));
            lines.extend(label.map(|label| format!("  label: {label}")));
        }
        Answers::Comparison { a, b, label } => {
            lines.push(format!("  a: {}", turns(a)));
            lines.push(format!("  b: {}", turns(b)));
            lines.extend(label.map(|label| format!("  label: {}", label.as_str())));
        }
    }
    for (name, value) in [
        ("mismatch", example.mismatch.map(str::to_owned)),
        ("critique", example.critique.clone()),
        ("category", example.category.clone()),
    ] {
        lines.extend(value.map(|value| format!("  {name}: {value}")));
    }
    let unused = row.keys().filter(|key| !example.used.contains(key));
    let unused: Vec<&str> = unused.map(String::as_str).collect();
    if !unused.is_empty() {
        lines.push(format!("  metadata: {}", unused.join(", ")));
    }
    lines.join("\n")
}

/// Checks that every text is in its places of the row.
fn check_places(mut example: Example, row: &Object) {
    let row = Value::Object(row.clone());
    example.each_turn_mut(|turn| {
        for place in &turn.places {
            let text = row.pointer(&place.pointer).unwrap().as_str().unwrap_or_default();
            assert!(text[place.start..].starts_with(&turn.text), "{place:?} in {row}");
        }
    });
}

#[test]
fn every_shape_is_read_as_expected() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/shapes");
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let mut read = Vec::new();
    for path in files {
        let mut shown = String::new();
        for line in fs::read_to_string(&path).unwrap().lines() {
            let row: Object = serde_json::from_str(line).unwrap();
            let columns = Columns::default();
            let example = columns.recognise(&row).and_then(|(shape, name)| {
                read.push(shape.facts().name);
                Ok((name, columns.read(shape, &row)?))
            });
            match example {
                Ok((name, example)) => {
                    shown += &format!("{}\n", show(name, &example, &row));
                    check_places(example, &row);
                }
                Err(fault) => shown += &format!("fault: {fault}\n"),
            }
        }
        expect(&path.with_extension("expected"), &shown);
    }
    for shape in SHAPES.iter().map(|shape| shape.facts()) {
        let is_read = read.contains(&shape.name);
        assert_eq!(is_read, !shape.kind.commands().is_empty(), "no rows of {}", shape.name);
    }
}

#[test]
fn the_documentation_has_the_table_of_shapes() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats.md");
    let text = fs::read_to_string(&path).unwrap();
    let [begin, end] = ["<!-- shapes -->\n\n", "\n<!-- end of shapes -->"];
    let from = text.find(begin).unwrap() + begin.len();
    let to = text.find(end).unwrap();
    expect(&path, &format!("{}{}{}", &text[..from], table(), &text[to..]));
}

#[test]
fn the_documentation_lists_every_export_format() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formats.md");
    let text = fs::read_to_string(&path).unwrap();
    let (_, table) = text.split_once("| `--format` | read by | its columns |\n").unwrap();
    let rows = table.lines().skip(1).take_while(|line| line.starts_with("| "));
    let listed: Vec<&str> = rows.map(|line| line.split('`').nth(1).unwrap()).collect();
    let formats: Vec<&str> = FORMATS.iter().map(|format| format.name).collect();
    assert_eq!(listed, formats);
}

//! Sends every small file of rows that the library's tests have, of each kind and of each
//! shape, through the commands: they must use or report each row that the library reads.

use std::path::{Path, PathBuf};
use std::thread;

use crate::common::{Place, Ran};
use amend_data::rows::{Input, Problem, RowReader, files};
use serde_json::Value;

/// The files, those of shapes and those of kinds.
fn every_file() -> Vec<PathBuf> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/amend-data/tests");
    let mut paths = Vec::new();
    for folder in ["shapes", "testdata/rows"] {
        for entry in std::fs::read_dir(tests.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|extension| extension != "expected") {
                paths.push(path);
            }
        }
    }
    paths.sort();
    assert!(paths.len() > 100, "{}", paths.len());
    paths
}

/// The number of rows of a file, with those that are at fault, or why it cannot be read.
fn rows(path: &Path) -> Result<u64, String> {
    let file = files(&[Input::Path(path.to_owned())]).unwrap().remove(0);
    let reader = RowReader::open(&file).map_err(|fault| fault.problem.to_string())?;
    let mut rows = 0;
    for row in reader {
        match row {
            Err(fault) if fault.problem.ends_the_file() => return Err(fault.problem.to_string()),
            _ => rows += 1,
        }
    }
    Ok(rows)
}

/// The number after a word at the beginning of a line.
fn number(text: &str, word: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(word));
    line.map_or(0, |rest| rest.split_whitespace().next().unwrap().parse().unwrap())
}

/// The number of rows that a command has skipped.
fn skipped(ran: &Ran) -> u64 {
    let lines = ran.err.lines();
    let counts = lines.filter_map(|line| {
        line.strip_suffix(" rows skipped")
            .or(line.strip_suffix(" row skipped"))?
            .parse::<u64>()
            .ok()
    });
    counts.sum()
}

/// Checks what a command says about a file. `used` finds the number of rows that it uses.
fn check(path: &Path, ran: &Ran, used: impl Fn(&str) -> u64) {
    let shown = format!("{}: {ran:?}", path.display());
    match rows(path) {
        Err(problem) => {
            assert_eq!(ran.code, Some(2), "{shown}");
            let first = problem.lines().next().unwrap();
            // An error may be shown with another cause.
            let is_shown = ran.err.contains(first) || ran.err.contains("has no rows");
            assert!(is_shown, "{problem} is missing in {shown}");
        }
        Ok(rows) if ran.code == Some(2) => {
            assert!(ran.err.contains(&format!("all {rows} rows are at fault")), "{rows} {shown}");
        }
        Ok(rows) => assert_eq!(used(&ran.out) + skipped(ran), rows, "{shown}"),
    }
}

#[test]
fn commands_use_or_report_every_row_of_every_file() {
    let paths = every_file();
    thread::scope(|scope| {
        for part in paths.chunks(paths.len().div_ceil(2)) {
            scope.spawn(move || {
                let place = Place::new();
                for path in part {
                    let name = path.display();
                    let ran =
                        place.run(&mut place.small(&format!("run {name} --dry-run --skip-bad")));
                    check(path, &ran, |out| number(out, "items "));
                    let ran =
                        place.run(&mut place.small(&format!("judge {name} --dry-run --skip-bad")));
                    let pairs =
                        |out: &str| number(out, "pairs ") - number(out, "with an injection ");
                    check(path, &ran, pairs);
                    let ran =
                        place.run(&mut place.amend(&format!("lint {name} --json --skip-bad")));
                    check(path, &ran, |out| {
                        let report: Value = serde_json::from_str(out).unwrap();
                        report["rows"].as_u64().unwrap()
                    });
                }
            });
        }
    });
}

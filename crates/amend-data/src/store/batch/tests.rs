use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use super::*;
use crate::store::run_dir::files::BATCH_REPLIES;

fn line(id: &str, text: &str) -> Value {
    json!({"custom_id": id, "response": {"body": {"choices": [{"text": text}]}}})
}

fn parse(line: &[u8]) -> Result<Value, serde_json::Error> {
    let text = String::from_utf8_lossy(line).replace("NaN", "null");
    serde_json::from_str(&text)
}

fn results(folder: &Path, text: &str) -> Result<ResultFile, BatchError> {
    let path = folder.join("results.jsonl");
    fs::write(&path, text).unwrap();
    ResultFile::open(&path, parse)
}

fn message<T>(result: Result<T, BatchError>, folder: &Path) -> String {
    match result {
        Ok(_) => panic!("no error"),
        Err(error) => error.to_string().replace(&folder.display().to_string(), "DIR"),
    }
}

#[test]
fn kept_results_are_there_when_the_run_continues() {
    let folder = tempfile::tempdir().unwrap();
    let mut replies = Replies::open(folder.path()).unwrap();
    assert_eq!(replies.get("a").unwrap(), None);
    replies.keep("a", &line("a", "é\n")).unwrap();
    replies.keep_refused(vec!["top_k".to_owned()]).unwrap();
    assert_eq!(replies.get("a").unwrap(), Some(line("a", "é\n")));
    replies.keep("b", &line("b", "two")).unwrap();
    replies.keep_refused(vec!["seed".to_owned(), "top_k".to_owned()]).unwrap();
    replies.sync().unwrap();
    drop(replies);
    let mut replies = Replies::open(folder.path()).unwrap();
    assert_eq!(replies.refused(), ["seed", "top_k"]);
    replies.keep("c", &line("c", "three")).unwrap();
    for (id, text) in [("a", "é\n"), ("b", "two"), ("c", "three")] {
        assert_eq!(replies.get(id).unwrap(), Some(line(id, text)));
    }
    replies.delete().unwrap();
    assert!(!folder.path().join(BATCH_REPLIES).exists());
}

#[test]
fn a_partial_last_line_is_cut_off_and_a_changed_byte_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(BATCH_REPLIES);
    let mut replies = Replies::open(folder.path()).unwrap();
    replies.keep("a", &line("a", "one")).unwrap();
    replies.keep("b", &line("b", "two")).unwrap();
    replies.sync().unwrap();
    let whole = fs::read(&path).unwrap();
    for length in 0..whole.len() {
        fs::write(&path, &whole[..length]).unwrap();
        let mut replies = Replies::open(folder.path()).unwrap();
        let lines = whole[..length].iter().filter(|byte| **byte == b'\n').count();
        assert_eq!(replies.get("a").unwrap().is_some(), lines > 0);
        assert_eq!(replies.get("b").unwrap(), None);
        replies.keep("b", &line("b", "again")).unwrap();
        replies.sync().unwrap();
        assert_eq!(replies.get("b").unwrap(), Some(line("b", "again")));
    }
    for at in 0..whole.len() {
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&path, &changed).unwrap();
        // Without its newline, a last line is taken for one that a crash cut off.
        match Replies::open(folder.path()) {
            Err(error) => assert!(matches!(error, BatchError::Damaged { .. }), "{at}: {error}"),
            Ok(mut replies) => {
                assert_eq!(at, whole.len() - 1);
                assert_eq!(replies.get("b").unwrap(), None);
            }
        }
    }
}

#[test]
fn results_are_found_in_any_order_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "{}\n\n{}\r\n{{\"custom_id\":\"x\",\"log\":NaN}}\n{}\n{}",
        line("c", "3"),
        line("a", "1"),
        line("a", "other"),
        line("late", "without a newline")
    );
    let mut file = results(folder.path(), &text).unwrap();
    assert_eq!(file.get("a").unwrap(), Some(line("a", "1")));
    assert_eq!(file.get("b").unwrap(), None);
    assert_eq!(file.get("late").unwrap(), Some(line("late", "without a newline")));
    assert_eq!(file.get("x").unwrap(), Some(json!({"custom_id": "x", "log": null})));
    assert_eq!((file.count(), file.used()), (5, 3));
    let mut replies = Replies::open(folder.path()).unwrap();
    assert_eq!(file.unknown(&replies), 1);
    replies.keep("c", &line("c", "3")).unwrap();
    assert_eq!(file.unknown(&replies), 0);
}

#[test]
fn a_line_that_is_no_result_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let whole = line("a", "1").to_string();
    for (text, expected) in [
        (format!("{whole}\n{}", &whole[..30]), "2 is not a result of a batch: the line is cut off"),
        (format!("\n{{\"id\":1}}\n{whole}"), "2 is not a result of a batch: it has no custom_id"),
        ("<html>".to_owned(), "1 is not a result of a batch: expected value"),
    ] {
        let error = message(results(folder.path(), &text), folder.path());
        assert!(error.starts_with(&format!("DIR/results.jsonl:{expected}")), "{error}");
        assert!(error.ends_with("; nothing was taken"), "{error}");
    }
}

fn outbox(folder: &Path, ids: &[&str]) -> Outbox {
    let mut outbox = Outbox::new(folder).unwrap();
    for id in ids {
        outbox.add(id, &format!("line {id}")).unwrap();
    }
    outbox
}

#[test]
fn requests_fill_files_up_to_their_limits() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let all = FileLimits { requests: u64::MAX, bytes: u64::MAX };
    for (limits, expected) in [
        (all, vec!["line a\nline b\nline c\n"]),
        (FileLimits { requests: 2, ..all }, vec!["line a\nline b\n", "line c\n"]),
        (FileLimits { bytes: 14, ..all }, vec!["line a\nline b\n", "line c\n"]),
        (FileLimits { bytes: 1, ..all }, vec!["line a\n", "line b\n", "line c\n"]),
    ] {
        let mut outbox = outbox(folder.path(), &["a", "b", "c"]);
        let files = outbox.write(&path, limits).unwrap();
        let texts: Vec<_> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
        assert_eq!(texts, expected);
        for file in files {
            fs::remove_file(file).unwrap();
        }
    }
    let mut outbox = outbox(folder.path(), &["a", "b"]);
    let files = outbox.write(&path, FileLimits { requests: 1, ..all }).unwrap();
    let names: Vec<_> = files.iter().map(|file| file.file_name().unwrap()).collect();
    assert_eq!(names, ["out.jsonl", "out.part2.jsonl"]);
    let error = message(outbox.write(&path, all), folder.path());
    assert!(error.starts_with("DIR/out.part2.jsonl is left from other requests"), "{error}");
}

#[test]
fn a_request_is_written_once_if_it_is_still_needed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("out.jsonl");
    let limits = FileLimits { requests: 9, bytes: 99 };
    let mut outbox = outbox(folder.path(), &["a", "b", "a", "c"]);
    outbox.remove("a");
    outbox.remove("c");
    outbox.remove("unknown");
    assert_eq!(outbox.count(), 2);
    outbox.write(&path, limits).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), "line a\nline b\n");
    outbox.remove("a");
    outbox.remove("b");
    assert_eq!(outbox.count(), 0);
    fs::remove_file(&path).unwrap();
    assert_eq!(outbox.write(&path, limits).unwrap(), Vec::<PathBuf>::new());
    assert!(!path.exists());
}

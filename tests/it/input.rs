//! Tests of how commands read their input: kinds of files, `--map`, `--field`, `--skip-bad`.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::common::{Place, Ran};
use amend_data::store::run_dir::RunDir;
use serde_json::Value;

/// A gzip file with the line `{"prompt": "Why is it dark?"}`.
const GZIP: &[u8] = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xab\x56\x2a\x28\xca\xcf\x2d\x28\x51\xb2\x52\x50\x0a\xcf\xa8\x54\xc8\x2c\x56\xc8\x2c\x51\x48\x49\x2c\xca\xb6\x57\xaa\xe5\x02\x00\x68\xc2\x1c\xec\x1e\x00\x00\x00";

fn with_stdin(place: &Place, command: &mut Command, text: &str) -> Ran {
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let text = |bytes| {
        let text = String::from_utf8(bytes).unwrap();
        text.replace(&place.path("").display().to_string(), "PLACE/")
    };
    Ran { code: output.status.code(), out: text(output.stdout), err: text(output.stderr) }
}

/// What `amend check` prints about an input.
fn checked(place: &Place, line: &str) -> String {
    let ran = place.run(&mut place.amend(&format!("check {line}")));
    assert_eq!(ran.code, Some(0), "{line}: {}", ran.err);
    format!("{}{}", ran.err, ran.out)
}

#[test]
fn every_kind_of_file_is_described_in_a_line() {
    let place = Place::new();
    place.write("goals.csv", "goal,target\n\"Say \"\"hello\"\",\nplease\",Sure\nWhy?,Because\n");
    place.write("in.jsonl.gz", GZIP);
    place.write("list.json", "[\n{\"prompt\": \"a\"},\n\"b\"\n]\n");
    std::fs::create_dir(place.path("folder")).unwrap();
    place.write("folder/a.tsv", "Prompt\tid\none\t1\n");
    place.write("folder/b.jsonl", "{\"prompt\": \"two\", \"response\": \"2\"}\n");
    assert_eq!(
        checked(&place, "goals.csv in.jsonl.gz list.json folder"),
        "goals.csv: CSV, 2 rows, prompt column: goal\n\
         in.jsonl.gz: JSON Lines, gzip, 1 row, prompt column: prompt\n\
         list.json: JSON array, 2 rows, prompt columns: prompt, text\n\
         folder: 2 files, TSV and JSON Lines, 2 rows, prompt columns: Prompt, prompt, response \
         column: response\n\
         next: amend run goals.csv in.jsonl.gz list.json folder --out DIR\n\
         goals.csv: 2 input rows\n\
         in.jsonl.gz: 1 input row\n\
         list.json: 2 input rows\n\
         folder: 2 input rows\n"
    );
}

#[test]
fn the_prompt_of_a_table_is_the_mapped_column() {
    let place = Place::new();
    place.write("in.csv", "number,task,gold,who\n1,\"Why, then?\",Yes,ada\n2,How?,No,bob\n");
    for flags in ["--field task", "--map prompt=task"] {
        let out = flags.replace(['-', ' ', '='], "");
        let ran = place.run(&mut place.small(&format!("run in.csv {flags} --out {out}")));
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert!(ran.err.starts_with("in.csv: CSV, 2 rows, prompt column: task\n"), "{}", ran.err);
        let run = RunDir::open(&place.path(&out)).unwrap();
        let mut prompts = Vec::new();
        for trajectory in run.trajectories().unwrap() {
            let item = trajectory.unwrap().item;
            assert!(item.metadata.contains_key("who"), "{item:?}");
            prompts.push(item.messages[0].content.clone());
        }
        prompts.sort();
        assert_eq!(prompts, ["How?", "Why, then?"]);
    }
    let answered = place
        .run(&mut place.small("run in.csv --map prompt=task,response=gold,id=number --dry-run"));
    assert_eq!(answered.code, Some(0), "{}", answered.err);
    assert!(answered.out.contains("with a given answer    2\n"), "{}", answered.out);
    for (flags, message) in [
        (
            "--map prompt=question",
            "--map names the column \"question\", but the columns are \"number\", \"task\"",
        ),
        ("--map label=better --field task", "in.csv: --map names the column \"better\""),
        ("--map goal=task", "unknown name \"goal\""),
    ] {
        let ran = place.run(&mut place.small(&format!("run in.csv {flags} --dry-run")));
        assert_eq!(ran.code, Some(2), "{flags}");
        assert!(ran.err.contains(message), "{}", ran.err);
    }
}

#[test]
fn standard_input_is_read_by_its_first_bytes() {
    let place = Place::new();
    for (text, note) in [
        ("\"Why?\"\n\"How?\"\n", "JSON Lines, 2 rows, prompt column: text"),
        ("[{\"prompt\": \"Why?\"}]", "JSON array, 1 row, prompt column: prompt"),
        ("Why is it so?\nHow?\nWho?\n", "plain text, 3 rows"),
    ] {
        let ran = with_stdin(&place, &mut place.small("run - --dry-run"), text);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert_eq!(ran.err, format!("standard input: {note}\nnext: amend run - --out DIR\n"));
    }
}

#[test]
fn skipped_rows_are_counted_and_recorded_in_the_run() {
    let place = Place::new();
    place.write("in.jsonl", "\"Why?\"\n7\n{\"x\": 1}\n8\n\"How?\"\n");
    let refused = place.run(&mut place.small("run in.jsonl --out r"));
    assert_eq!(refused.code, Some(2));
    assert!(
        refused.err.contains(
            "in.jsonl:2: a row must be a JSON string or object, not a number (and 1 more row)"
        ),
        "{}",
        refused.err
    );
    assert!(
        refused.err.ends_with("help: to continue without these rows, pass --skip-bad\n"),
        "{}",
        refused.err
    );
    let ran = place.run(&mut place.small("run in.jsonl --out r --skip-bad"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains("3 rows skipped\n  2: a row must be"), "{}", ran.err);
    assert!(ran.err.contains("2 of 2 items done"), "{}", ran.err);
    let run = RunDir::open(&place.path("r")).unwrap();
    assert_eq!((run.manifest().input.rows, run.manifest().input.skipped), (2, 3));
    let skipped = std::fs::read_to_string(place.path("r/skipped.jsonl")).unwrap();
    let lines: Vec<Value> =
        skipped.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let places: Vec<_> = lines.iter().map(|line| (&line["file"], &line["line"])).collect();
    let file = Value::from("in.jsonl");
    assert_eq!(places, [(&file, &2.into()), (&file, &3.into()), (&file, &4.into())]);
    // Rows that are still at fault are skipped again on resume.
    let again = place.run(&mut place.small("run in.jsonl --out r --skip-bad --resume"));
    assert!(again.err.contains("nothing left to compute"), "{}", again.err);

    place.write("bad.jsonl", "7\n");
    let nothing = place.run(&mut place.small("run bad.jsonl --out s --skip-bad"));
    assert_eq!(nothing.code, Some(2), "{}", nothing.err);
    assert!(nothing.err.contains("all 1 rows are at fault"), "{}", nothing.err);
}

#[test]
fn a_preference_file_gives_prompts_to_run_and_pairs_to_judge() {
    let place = Place::new();
    place.write(
        "pairs.jsonl",
        "{\"prompt\": \"Why?\", \"chosen\": \"So.\", \"rejected\": \"No.\", \"category\": \"x\"}\n\
         {\"prompt\": \"How?\", \"a\": \"So.\", \"b\": \"No.\", \"label\": \"tie\", \"category\": \"y\"}\n\
         {\"prompt\": \"Who?\", \"a\": \"Me.\", \"b\": \"You.\"}\n",
    );
    let ran = place.run(&mut place.small("run pairs.jsonl --dry-run"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.err.contains(
            "columns chosen, rejected, a, b were not used: the prompt itself is answered"
        ),
        "{}",
        ran.err
    );
    let dry = place.run(&mut place.small("judge pairs.jsonl --dry-run"));
    assert_eq!(dry.code, Some(0), "{}", dry.err);
    for line in [
        "pairs                  3\n",
        "labelled               1\n",
        "ties                   1\n",
        "without a label        1\n",
        "x: 1 pair, 1 labelled, 0 ties\n",
        "requests               6 (2 per pair)\n",
    ] {
        assert!(dry.out.contains(line), "{}", dry.out);
    }
    assert!(dry.out.contains("prompts                ") && dry.out.contains(" tokens (min "));
    place.write("prompts.jsonl", "{\"prompt\": \"Why?\", \"response\": \"So.\"}\n");
    let refused = place.run(&mut place.small("judge prompts.jsonl --dry-run"));
    assert_eq!(refused.code, Some(2));
    assert!(refused.err.contains("no two answers to compare"), "{}", refused.err);
}

#[test]
fn the_directory_of_a_run_is_no_input() {
    let place = Place::new();
    place.write("in.jsonl", "\"Why?\"\n");
    let ran = place.run(&mut place.small("run in.jsonl --out r"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for line in ["run r --dry-run", "run in.jsonl r --dry-run", "score r", "check r"] {
        let ran = place.run(&mut place.small(line));
        assert!(ran.code.is_some_and(|code| code > 0), "{line}");
        assert!(ran.err.contains("r is a run directory"), "{line}: {}", ran.err);
        assert!(ran.err.contains("help: to use its results: amend export r"), "{}", ran.err);
    }
}

#[test]
fn the_pipe_maps_columns_and_keeps_the_order_around_skipped_rows() {
    let place = Place::new();
    let rows = "{\"task\": \"Why?\", \"n\": 1}\n7\n{\"task\": \"How?\", \"n\": 3}\n";
    let ran = with_stdin(&place, &mut place.small("--jsonl --map prompt=task --skip-bad"), rows);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.starts_with("standard input: JSON Lines, 3 rows, prompt column: task\n"));
    let records: Vec<Value> =
        ran.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let numbers: Vec<_> = records.iter().map(|record| &record["metadata"]["n"]).collect();
    assert_eq!(numbers, [1, 3], "{}", ran.out);
    let refused = with_stdin(&place, &mut place.small("--skip-bad"), "Why?");
    assert!(refused.err.contains("pass --jsonl to read rows"), "{}", refused.err);
}

//! Tests of `amend judge`.

use std::time::{Duration, Instant};

use crate::common::Place;
use amend_core::stats::sigmoid;
use serde_json::Value;

const ROWS: &str = r#"{"id": "bees", "prompt": "What do bees make?", "a": "Bees make honey and wax.", "b": "Cars.", "label": "a"}
{"id": "sky", "prompt": "What colour is a clear sky?", "a": "It is green.", "b": "It is blue by day.", "label": "b"}
{"id": "sum", "prompt": "What is 2 + 2?", "chosen": "4", "rejected": "It is about 5, I think."}
{"prompt": [{"role": "user", "content": "Say hello."}], "a": "Hello!", "b": "No."}
"#;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn rows_are_judged_printed_and_written() {
    let place = Place::new();
    place.write("rows.jsonl", ROWS);
    let ran = place.run(&mut place.small("judge rows.jsonl --json --plot plot.svg --out r"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(ran.out, std::fs::read_to_string(place.path("r/verdicts.jsonl")).unwrap());
    let rows = lines(&ran.out);
    assert_eq!(rows.len(), 4);
    for row in &rows {
        let number = |key: &str| row[key].as_f64().unwrap();
        let [first, second] = [0, 1].map(|at| row["orders"][at].as_f64().unwrap());
        // Without calibration, the margin is the mean of both orders.
        assert!((number("margin") - (first + second) / 2.0).abs() < 1e-9, "{row}");
        assert!((number("p") - sigmoid(number("margin"))).abs() < 1e-9, "{row}");
        assert!((0.0..=1.0).contains(&number("mass")), "{row}");
    }
    assert_eq!(rows[0]["id"], "bees");
    assert_eq!(rows[3]["label"], Value::Null);
    let figures = std::fs::read_to_string(place.path("r/figures.json")).unwrap();
    let figures: Value = serde_json::from_str(&figures).unwrap();
    let labels: u64 = (0..3).map(|at| figures["labelled"]["labels"][at].as_u64().unwrap()).sum();
    assert_eq!((figures["rows"].as_u64(), labels), (Some(4), 3));
    assert!(std::fs::read_to_string(place.path("plot.svg")).unwrap().starts_with("<svg"));

    // A corrected label changes a figure, but it is the same run.
    place.write("rows.jsonl", ROWS.replacen(r#""label": "a""#, r#""label": "b""#, 1));
    let again = place.run(&mut place.small("judge rows.jsonl --json --out r --resume"));
    assert!(again.err.contains("nothing left to compute"), "{}", again.err);
    let relabelled = ran.out.replacen(r#""label":"a""#, r#""label":"b""#, 1);
    assert_eq!((again.code, again.out), (Some(0), relabelled), "{}", again.err);

    // The table has a line for each of a few rows. Without --out, no run is kept.
    let ran = place.run(&mut place.small("judge rows.jsonl --principle kind --overall"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.out.contains("\nbees ") && ran.out.contains("\n  kind "), "{}", ran.out);
    assert!(ran.out.contains("4 rows judged by "), "{}", ran.out);
    assert!(!ran.err.contains("the run is in"), "{}", ran.err);
}

#[test]
fn reasons_precede_the_verdict() {
    let place = Place::new();
    place.write("rows.jsonl", ROWS);
    place.write(
        "reasons.toml",
        "[constitution]\nname = \"r\"\nextends = [\"small.toml\"]\n\
         [judge]\nreasons = 1\nmode = \"clamped\"\n[sampling.judge]\nmax_tokens = 8\n",
    );
    let line = "judge rows.jsonl -c reasons.toml --json --limit 2 --out r";
    let ran = place.run(&mut place.small(line));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let rows = lines(&ran.out);
    assert_eq!(rows.len(), 2);
    for row in &rows {
        assert!((0.4..=0.6).contains(&row["p"].as_f64().unwrap()), "{row}");
    }
    // Two orders of two rows, with at most eight tokens of reasons each.
    let (summary, _) = ran.err.split_once(" tokens decoded").unwrap();
    let decoded: u64 = summary.rsplit(' ').next().unwrap().parse().unwrap();
    assert!((4..=32).contains(&decoded), "{}", ran.err);
}

#[test]
fn a_killed_and_resumed_judge_gives_the_same_verdicts() {
    let place = Place::new();
    // Enough rows that the kill after the first one comes before the last one.
    let row = |row| {
        format!("{{\"prompt\": \"Is {row} odd?\", \"a\": \"Yes.\", \"b\": \"No, {row}.\"}}\n")
    };
    place.write("rows.jsonl", (1..=40).map(row).collect::<String>());
    let line = "judge rows.jsonl --reproducible --parallel 1 --out";
    let whole = place.run(&mut place.small(&format!("{line} whole")));
    assert_eq!(whole.code, Some(0), "{}", whole.err);

    let mut child = place.small(&format!("{line} cut")).spawn().unwrap();
    let start = Instant::now();
    let journal = || std::fs::read_to_string(place.path("cut/journal.jsonl")).unwrap_or_default();
    while !journal().contains(r#""type":"end""#) {
        assert!(start.elapsed() < Duration::from_secs(120), "no row ends");
        std::thread::sleep(Duration::from_millis(2));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(!place.path("cut/verdicts.jsonl").exists(), "the process was killed before its end");
    let resumed = place.run(&mut place.small(&format!("{line} cut --resume")));
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    let verdicts =
        |run: &str| std::fs::read_to_string(place.path(&format!("{run}/verdicts.jsonl"))).unwrap();
    assert_eq!(verdicts("cut"), verdicts("whole"));
    assert_eq!(resumed.out, whole.out);

    // Different questions make a different run.
    let other = place.run(&mut place.small(&format!("{line} cut --resume --principles")));
    assert_eq!(other.code, Some(2));
    assert!(other.err.contains("procedure.compare.overall: was true, is false"), "{}", other.err);
    let marked = place.run(&mut place.small(&format!("{line} cut --resume --fence none")));
    assert!(marked.err.contains("fence_style: was \"delimiter\", is \"none\""), "{}", marked.err);
}

#[test]
fn errors_are_printed_with_help() {
    let place = Place::new();
    place.write("rows.jsonl", ROWS);
    place
        .write("bad.jsonl", "{\"prompt\": \"Why?\", \"a\": \"x\"}\n{\"a\": \"x\", \"b\": \"y\"}\n");
    let error = |line: &str| {
        let ran = place.run(&mut place.amend(line));
        assert_eq!(ran.code, Some(2), "{line}");
        ran.err
    };
    insta::assert_snapshot!(error("judge bad.jsonl"), @r#"
    error: bad.jsonl:1: no two answers to compare among the columns "prompt", "a": name them with --map chosen=COLUMN,rejected=COLUMN, or with --map a=COLUMN,b=COLUMN if it is not known which is better
    bad.jsonl:2: no known shape of rows has the columns "a", "b": say which column is which with --map, for example --map prompt=COLUMN, --map prompt=COLUMN,response=COLUMN, --map prompt=COLUMN,chosen=COLUMN,rejected=COLUMN or --map prompt=COLUMN,a=COLUMN,b=COLUMN,label=COLUMN
    help: to continue without these rows, pass --skip-bad
    "#);
    insta::assert_snapshot!(error("judge rows.jsonl -c small.toml --principle kin"), @r#"
    rows.jsonl: JSON Lines, 4 rows, prompt column: prompt, chosen column: chosen, rejected column: rejected, a column: a, b column: b
    error: the constitution has no principle "kin"
    help: did you mean "kind"?
    "#);
    insta::assert_snapshot!(error("judge rows.jsonl --principles --principle kind").lines().next().unwrap(), @"error: the argument '--principles' cannot be used with '--principle <ID>'");
}

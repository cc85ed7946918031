//! Tests of `amend score`: its arithmetic, and answers scored with tiny models.

use crate::common::{Place, tiny_model_path};
use amend_core::stats::softplus;
use serde_json::Value;

const PAIRS: &str = r#"{"id": "bees", "prompt": "What do bees make?", "chosen": "Bees make honey and wax.", "rejected": "Bees make cars and shoes."}
{"id": "sky", "prompt": "What colour is a clear sky?", "a": "Green.", "b": "It is blue by day.", "label": "b"}
{"id": "even", "prompt": "Say hello.", "a": "Hello!", "b": "Hi!", "label": "tie"}
{"id": "café", "prompt": [{"role": "user", "content": "Où est le café ?"}], "chosen": [{"role": "assistant", "content": "Là-bas, à gauche."}], "rejected": [{"role": "assistant", "content": "☕"}]}
"#;

fn lines(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn the_arithmetic_needs_no_model() {
    let place = Place::new();
    for (numbers, expected) in [
        // The documented losses, at β 0.1.
        ("-4.2 -6.8", "margin  0.2600\nloss    0.5716\n"),
        ("-7.0 -4.0", "margin  -0.3000\nloss    0.8544\n"),
        // (−10 + 11) − (−12 + 11.5) = 1.5
        ("-10 -12 -11 -11.5 --beta 0.5", "margin  0.7500\nloss    0.3869\n"),
    ] {
        let ran = place.run(&mut place.amend(&format!("score --loss {numbers}")));
        assert_eq!((ran.code, &*ran.out), (Some(0), expected), "{}", ran.err);
    }
    let ran = place.run(&mut place.amend("score --json --loss -4.2 -6.8"));
    let loss: Value = serde_json::from_str(&ran.out).unwrap();
    assert!((loss["margin"].as_f64().unwrap() - 0.26).abs() < 1e-12, "{loss}");
    assert_eq!(loss["reference"], Value::Null);
}

#[test]
fn invalid_arguments_are_rejected() {
    let place = Place::new();
    place.write("ties.jsonl", r#"{"prompt": "Hi", "a": "Hello!", "b": "Hi!", "label": "tie"}"#);
    place.write("pairs.jsonl", PAIRS);
    for (arguments, expected) in [
        ("score", "required"),
        ("score --loss -1", "2 values required"),
        ("score --loss -1 -2 -3", "two numbers or four, not 3"),
        ("score --loss -1 inf", "inf is not a log-probability"),
        ("score --loss -1 -2 --beta 0", "--beta 0 is out of range"),
        ("score ties.jsonl -m m.gguf", "no row has a preference"),
        ("score pairs.jsonl", "no model is given"),
        ("score pairs.jsonl -m http://127.0.0.1:1/v1", "does not report the log-probability"),
        (
            "score pairs.jsonl -m m.gguf --reference http://127.0.0.1:1/v1",
            "does not report the log-probability",
        ),
    ] {
        let ran = place.run(&mut place.amend(arguments));
        assert_eq!((ran.code, &*ran.out), (Some(2), ""), "{arguments}: {}", ran.err);
        assert!(ran.err.contains(expected), "{arguments}: {}", ran.err);
    }
}

#[test]
fn pairs_are_scored_printed_and_resumed() {
    let place = Place::new();
    place.write("pairs.jsonl", PAIRS);
    let score = |rest: &str| place.run(&mut place.small(&format!("score pairs.jsonl {rest}")));
    let ran = score("--json --out run");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let rows = lines(&ran.out);
    let ids: Vec<&str> = rows.iter().map(|row| row["id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["bees", "sky", "café"]);
    for row in &rows {
        let number = |side: &str, key: &str| row[side][key].as_f64().unwrap();
        for side in ["chosen", "rejected"] {
            assert!(number(side, "log_prob") < 0.0, "{row}");
            let mean = number(side, "log_prob") / number(side, "tokens");
            assert!((number(side, "per_token") - mean).abs() < 1e-9, "{row}");
        }
        let margin = 0.1 * (number("chosen", "log_prob") - number("rejected", "log_prob"));
        assert!((row["margin"].as_f64().unwrap() - margin).abs() < 1e-9, "{row}");
        let loss = softplus(-margin);
        assert!((row["loss"].as_f64().unwrap() - loss).abs() < 1e-9, "{row}");
    }
    assert_eq!(std::fs::read_to_string(place.path("run/scores.jsonl")).unwrap(), ran.out);
    let again = score("--json --out run --resume");
    assert_eq!((again.code, &again.out), (Some(0), &ran.out), "{}", again.err);
    assert!(again.err.contains("nothing left to compute"), "{}", again.err);
    // A different β changes only the arithmetic on the same log-probabilities.
    let other = score("--beta 0.2 --out run --resume");
    assert!(other.out.contains("3 pairs scored, 1 left out"), "{}", other.out);
    assert!(other.out.contains("β 0.2") && other.out.contains("\nbees "), "{}", other.out);
    assert!(other.err.contains("nothing left to compute"), "{}", other.err);
    // So does a corrected label, which exchanges chosen and rejected.
    place.write("pairs.jsonl", PAIRS.replace(r#""label": "b""#, r#""label": "a""#));
    let swapped = score("--json --out run --resume");
    assert!(swapped.err.contains("nothing left to compute"), "{}", swapped.err);
    let swapped = lines(&swapped.out);
    assert_eq!((&swapped[0], &swapped[2]), (&rows[0], &rows[2]));
    assert_eq!(swapped[1]["chosen"], rows[1]["rejected"]);
    assert_eq!(swapped[1]["margin"].as_f64().unwrap(), -rows[1]["margin"].as_f64().unwrap());
    // A row that is now a tie is not scored, so this is a different run.
    place.write("pairs.jsonl", PAIRS.replace(r#""label": "b""#, r#""label": "tie""#));
    let fewer = score("--json --out run --resume");
    assert_eq!(fewer.code, Some(2), "{}", fewer.err);
    assert!(fewer.err.contains("input.rows: was 3, is 2"), "{}", fewer.err);
}

#[test]
fn the_reference_is_subtracted() {
    let place = Place::new();
    place.write("pairs.jsonl", PAIRS);
    let score = |policy: &str, reference: &str| {
        let mut command = place.amend("score pairs.jsonl --json -t 1");
        command.args(["-c", "small.toml"]).arg("-m").arg(tiny_model_path(policy));
        command.arg("--reference").arg(tiny_model_path(reference));
        let ran = place.run(&mut command);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        assert!(ran.err.contains("against the reference"), "{}", ran.err);
        lines(&ran.out)
    };
    let rows = score("llama", "qwen2");
    let number = |value: &Value| value.as_f64().unwrap();
    for row in &rows {
        let gain = |side: &str| {
            number(&row[side]["log_prob"]) - number(&row["reference"][side]["log_prob"])
        };
        let margin = 0.1 * (gain("chosen") - gain("rejected"));
        assert!(margin.abs() > 1e-3, "{row}");
        assert!((number(&row["margin"]) - margin).abs() < 1e-9, "{row}");
    }
    // Against itself as the reference, a model has a margin of zero and a loss of ln 2.
    for row in score("llama", "llama") {
        assert!(number(&row["margin"]).abs() < 1e-4, "{row}");
        assert!((number(&row["loss"]) - std::f64::consts::LN_2).abs() < 1e-4, "{row}");
    }
}

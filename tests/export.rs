//! `amend export` through the command line: on a run made without a model, and
//! on one of the real model.

mod common;

use std::collections::BTreeMap;

use amend_core::chat::{Message, Role};
use amend_core::model::{Finish, Usage};
use amend_core::record::Item;
use amend_core::record::Outcome;
use amend_core::record::{Step, StepKind, Stop};
use amend_data::export::FORMATS;
use amend_data::store::journal::Record;
use amend_data::store::manifest::{FORMAT, Hashed, InputSummary, Manifest};
use amend_data::store::run_dir::RunDir;
use common::{Place, Ran};
use serde_json::{Value, json};

/// A place with a run `r` of thirty items: a first answer and two revisions each.
fn place() -> Place {
    place_of(json!({}), |row, round| format!("answer {round} to {row}"))
}

/// A place with a run `r` of thirty items whose answers are `text`, and whose
/// constitution says so much of exports.
fn place_of(export: Value, text: impl Fn(u64, usize) -> String) -> Place {
    let place = Place::new();
    let manifest = Manifest {
        command: "run".to_owned(),
        judge_model: None,
        format: FORMAT,
        amend: env!("CARGO_PKG_VERSION").to_owned(),
        model: json!({"name": "tiny", "sha256": "00ff"}),
        constitution: Hashed::json(json!({
            "name": "small", "version": "1.0.0", "loop": {"rounds": 2},
            "principles": [{"id": "kind", "category": "manners", "principle": "Be kind."}],
            "export": export,
        })),
        templates: BTreeMap::new(),
        input: InputSummary::new(Vec::new(), &[]),
        limit: None,
        seed: 7,
        fence: "f3a9".to_owned(),
        fence_style: "delimiter".to_owned(),
        procedure: json!({"revise": {"judging": false}}),
        reproducible: false,
        settings: json!({}),
    };
    let mut run = RunDir::create(&place.path("r"), &manifest).unwrap();
    for row in 1..=30 {
        let key = format!("k{row}");
        for (round, kind) in
            [StepKind::Generate, StepKind::Revise, StepKind::Revise].into_iter().enumerate()
        {
            let principle = (kind == StepKind::Revise).then(|| "kind".to_owned());
            let text = text(row, round);
            let (finish, usage) = (Some(Finish::Stop), Usage::default());
            let step = Step { principle, text, finish, usage, ..Step::new(kind, round as u32) };
            run.append(&Record::Step { item: key.clone(), step }).unwrap();
        }
        let messages = vec![Message::new(Role::User, format!("What is {row} like?"))];
        let metadata = serde_json::Map::new();
        let item = Item { key, row, id: None, messages, response: None, rival: None, metadata };
        let outcome = Outcome::Done { stop: Stop::Rounds };
        run.append(&Record::End { item, outcome }).unwrap();
    }
    place
}

fn run(place: &Place, arguments: &str) -> Ran {
    place.run(&mut place.amend(&format!("export r {arguments}")))
}

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_file_is_what_its_name_says() {
    let place = place();
    let ran = run(&place, "");
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), "30 pairs written\n"));
    let [chosen, rejected] = ["chosen", "rejected"].map(|side| rows(&ran.out)[29][side].clone());
    assert_eq!(chosen, json!([{"role": "assistant", "content": "answer 2 to 30"}]));
    assert_eq!(rejected, json!([{"role": "assistant", "content": "answer 0 to 30"}]));

    for (arguments, parquet) in [
        ("-o pairs.parquet", true),
        ("-o pairs.jsonl", false),
        ("-o pairs", false),
        ("-o pairs.PARQUET", true),
        ("-o pairs.data --file-format parquet", true),
    ] {
        let ran = run(&place, arguments);
        assert_eq!((ran.code, ran.out.as_str()), (Some(0), ""), "{arguments}: {}", ran.err);
        let file = arguments.split_whitespace().nth(1).unwrap();
        let bytes = std::fs::read(place.path(file)).unwrap();
        assert_eq!(bytes.starts_with(b"PAR1") && bytes.ends_with(b"PAR1"), parquet, "{arguments}");
    }
}

#[test]
fn which_answers_are_paired_is_asked_for() {
    let place = place();
    for (arguments, told) in [
        ("--which adjacent", "60 pairs written\n"),
        ("--which all", "90 pairs written\n"),
        ("--format kto", "60 labelled answers written\n"),
        ("--format sft", "30 answers written\n"),
        ("--format sft-steps", "90 steps written\n"),
        ("--format trajectories", "30 trajectories written\n"),
    ] {
        let ran = run(&place, arguments);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), told), "{arguments}");
        let count: usize = told.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(rows(&ran.out).len(), count);
    }
}

/// A run of whose items the third announces its revision, and whose constitution
/// leaves out such.
fn announcing() -> Place {
    place_of(json!({"drop": ["chatty-prefix"]}), |row, round| match (row, round) {
        (3, 2) => "Sure! Here is the revised answer:\n\nanswer 2 to 3".to_owned(),
        _ => format!("answer {round} to {row}"),
    })
}

#[test]
fn what_lint_would_find_is_left_out_counted_and_told() {
    let place = announcing();
    let lint =
        |file: &str| place.run(&mut place.amend(&format!("lint {file} --skip near-duplicate")));

    // Nothing is lost: without the filter every row is there.
    let ran = run(&place, "--drop none -o whole.jsonl");
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), "30 pairs written\n"));
    assert!(!place.path("whole.jsonl.removed.jsonl").exists());
    let linted = lint("whole.jsonl");
    assert!(linted.code == Some(1) && linted.out.contains("chatty-prefix"), "{}", linted.out);

    let ran = run(&place, "-o pairs.jsonl --json");
    let told = "29 pairs written, 1 left out by chatty-prefix\n";
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), told));
    let record: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        record,
        json!({
            "out": "pairs.jsonl", "format": "trl", "file_format": "jsonl", "which": "last",
            "written": 29, "splits": {}, "left_out": {}, "filtered": {"chatty-prefix": 1},
            "log": "pairs.jsonl.removed.jsonl",
        })
    );
    let pairs = std::fs::read_to_string(place.path("pairs.jsonl")).unwrap();
    assert_eq!(rows(&pairs).len(), 29);
    assert!(!pairs.contains("answer 2 to 3\""), "{pairs}");
    let log = std::fs::read_to_string(place.path("pairs.jsonl.removed.jsonl")).unwrap();
    let [log] = rows(&log).try_into().unwrap();
    assert_eq!((&log["row"], &log["finding"]), (&json!(3), &json!("chatty-prefix")));
    let linted = lint("pairs.jsonl");
    assert_eq!(linted.code, Some(0), "{}", linted.out);

    let ran = run(&place, "--card --licence mit --split train=0.5,test=0.5 -o data --json");
    let record: Value = serde_json::from_str(&ran.out).unwrap();
    let rows = |split: &str| record["splits"][split].as_u64().unwrap();
    assert_eq!(rows("train") + rows("test"), 29);
    assert_eq!(record["log"], "data.removed.jsonl");
    assert!(place.path("data.removed.jsonl").exists());
    let card = std::fs::read_to_string(place.path("data/README.md")).unwrap();
    let told = "\n| left out by the filter `chatty-prefix`: a wanted answer opens by announcing";
    assert!(card.contains(told), "{card}");
}

#[cfg(unix)]
#[test]
fn the_log_that_is_told_is_the_one_that_was_written() {
    let place = announcing();
    let log = |arguments: &str| {
        let ran = run(&place, &format!("{arguments} --json"));
        assert_eq!(ran.code, Some(0), "{arguments}: {}", ran.err);
        let mut record: Value = serde_json::from_str(&ran.out).unwrap();
        record["log"].take()
    };
    assert_eq!(log("-o /dev/null"), Value::Null);
    assert_eq!(log("--drop none -o whole.jsonl"), Value::Null);

    // Beside the folder itself, wherever a link to it is.
    std::fs::create_dir_all(place.path("there/real")).unwrap();
    std::os::unix::fs::symlink(place.path("there/real"), place.path("link")).unwrap();
    let written = log("-o link");
    assert_eq!(written, "PLACE/there/real.removed.jsonl");
    assert!(place.path("there/real.removed.jsonl").exists());
    assert!(!place.path("link.removed.jsonl").exists());
    assert!(place.path("link/train.jsonl").exists());
}

#[test]
fn a_log_of_an_earlier_export_goes_with_it() {
    let place = announcing();
    let log = place.path("pairs.jsonl.removed.jsonl");
    for (arguments, logged) in [("", true), ("--drop none", false), ("--drop secret", true)] {
        let ran = run(&place, &format!("{arguments} -o pairs.jsonl"));
        assert_eq!((ran.code, log.exists()), (Some(0), logged), "{arguments}: {}", ran.err);
    }
}

#[test]
fn every_format_that_trainers_read_is_filtered() {
    let place = announcing();
    for format in FORMATS {
        let count = |flags: &str| {
            rows(&run(&place, &format!("--format {} {flags}", format.name)).out).len()
        };
        let left_out = usize::from(format.trains());
        let (whole, filtered) = (count("--drop none"), count(""));
        assert_eq!(whole - filtered, left_out, "{}: {whole} and {filtered}", format.name);
    }
}

#[test]
fn a_filter_has_what_it_needs_or_is_refused() {
    let place = place();
    let model = common::model_path();
    place.write("eval.jsonl", "{\"prompt\": \"What is 7 like?\"}\n");
    for (arguments, told) in [
        (
            format!("--drop chosen-cut -m {} --max-length 8", model.display()),
            "0 pairs written, 30 left out by chosen-cut\n",
        ),
        (format!("--drop chosen-cut -m {}", model.display()), "30 pairs written\n"),
        (
            "--drop evaluation-leak --eval eval.jsonl".to_owned(),
            "29 pairs written, 1 left out by evaluation-leak\n",
        ),
    ] {
        let ran = run(&place, &arguments);
        assert_eq!((ran.code, ran.err.as_str()), (Some(0), told), "{arguments}");
    }
    for (arguments, told) in [
        (
            "--drop chosen-cut",
            "error: chosen-cut counts tokens: pass the trainer's --tokenizer tokenizer.json, or -m \
             MODEL.gguf\n",
        ),
        (
            "--drop evaluation-leak",
            "error: evaluation-leak compares with evaluation files: name them with --eval\n",
        ),
        (
            "--drop empty,none",
            "error: --drop none leaves nothing out, and other findings are named beside it\n\
             help: name either none or findings\n",
        ),
        (
            "--drop none --tokenizer no.json --max-length 8 --eval no.jsonl",
            "error: no finding leaves rows out of this export, and only findings use --tokenizer, \
             --max-length, --eval\n\
             help: name the findings with --drop, such as chosen-cut, or take out --tokenizer, \
             --max-length, --eval\n",
        ),
        (
            "--format trajectories -m no.gguf",
            "error: no finding leaves rows out of this export, and only findings use -m\n\
             help: take out -m\n",
        ),
        (
            "--drop empty --format trajectories",
            "error: trajectories is the record of a run, and nothing is left out of it\n\
             help: take out --drop, or export in a trainer's format\n",
        ),
    ] {
        let ran = run(&place, &format!("{arguments} -o x"));
        assert_eq!((ran.code, ran.err.as_str()), (Some(2), told), "{arguments}");
        assert!(!place.path("x").exists() && !place.path("x.removed.jsonl").exists());
    }
    for arguments in ["--drop length-bias", "--drop split-leak", "--json"] {
        assert_eq!(run(&place, arguments).code, Some(2), "{arguments}");
    }
    // A model for other commands is none of an export's business.
    let ran = place.run(place.amend("export r").env("AMEND_MODEL", "no.gguf"));
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), "30 pairs written\n"));
}

#[test]
fn splits_are_files_of_a_folder_and_the_seed_decides() {
    let place = place();
    let flags = "--format trl-standard --split train=0.7,test=0.3";
    let read = |file: &str| std::fs::read_to_string(place.path(file)).unwrap();
    for (folder, seed) in [("a", 1), ("b", 1), ("c", 2)] {
        let ran = run(&place, &format!("{flags} --seed {seed} -o {folder}"));
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let [train, test] =
            ["train", "test"].map(|split| rows(&read(&format!("{folder}/{split}.jsonl"))).len());
        assert_eq!(ran.err, format!("30 pairs written (train {train}, test {test})\n"));
        assert_eq!(train + test, 30);
    }
    assert_eq!(read("a/test.jsonl"), read("b/test.jsonl"));
    assert_ne!(read("a/test.jsonl"), read("c/test.jsonl"));
}

#[test]
fn a_card_makes_a_folder_ready_for_upload() {
    let place = place();
    let ran = run(&place, "--card --licence cc-by-4.0 -o data");
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), "30 pairs written\n"));
    let mut files: Vec<_> = (std::fs::read_dir(place.path("data")).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["README.md", "train.parquet"]);
    let card = std::fs::read_to_string(place.path("data/README.md")).unwrap();
    assert!(card.starts_with("---\nlicense: cc-by-4.0\n"), "{card}");
    assert!(card.contains("\n    path: train.parquet\n"), "{card}");

    // An empty folder is taken, a slash makes one, what holds something is not touched.
    std::fs::create_dir(place.path("empty")).unwrap();
    assert_eq!(run(&place, "-o empty").code, Some(0));
    assert_eq!(run(&place, "--file-format parquet -o slash/").code, Some(0));
    assert!(place.path("empty/train.jsonl").exists() && place.path("slash/train.parquet").exists());
    let again = run(&place, "-o empty");
    assert_eq!(again.code, Some(2));
    insta::assert_snapshot!(
        again.err,
        @"error: empty is there and not empty: choose a new folder, or remove it"
    );
}

#[test]
fn a_run_of_the_engine_goes_into_every_format() {
    let place = Place::new();
    place.write("in.jsonl", "{\"prompt\": \"Is it?\", \"response\": \"It is.\", \"id\": \"x\"}\n");
    // Long enough to come to an end, greedy, so that it is the same every time.
    let made = place.run(&mut place.small("run in.jsonl --out r -n 100 --temp 0"));
    assert_eq!(made.code, Some(0), "{}", made.err);
    for format in FORMATS {
        let ran = run(&place, &format!("--format {}", format.name));
        assert_eq!(ran.code, Some(0), "{}: {}", format.name, ran.err);
        let rows = rows(&ran.out);
        if format.name == "constitutional-ai" && rows.is_empty() {
            // It alone shows the critique, which may be cut off here.
            assert!(ran.err.contains("a side was cut off by max_tokens"), "{}", ran.err);
            continue;
        }
        let [row, ..] = rows.as_slice() else { panic!("{}: no row", format.name) };
        assert_eq!(row["id"], "x", "{}", format.name);
    }
    assert_eq!(run(&place, "--card --licence mit -o data").code, Some(0));
    let card = std::fs::read_to_string(place.path("data/README.md")).unwrap();
    let manifest = RunDir::open(&place.path("r")).unwrap().manifest().clone();
    let model = |key: &str| manifest.model[key].as_str().unwrap().to_owned();
    for told in [
        format!("\n| model | {} |\n", model("name")),
        format!("\n| model's SHA-256 | `{}` |\n", model("sha256")),
        "\n| constitution | small 1.0.0 |\n".to_owned(),
        "\n| principles of a round | 1, chosen by `random` |\n".to_owned(),
        "\n- **Kindness** (`kind`, manners): The answer is kind.\n".to_owned(),
        "\n| critique | ".to_owned(),
    ] {
        assert!(card.contains(&told), "no {told:?} in\n{card}");
    }
}

#[test]
fn what_makes_no_sense_is_refused_before_anything_is_written() {
    let place = place();
    for (arguments, told) in [
        (
            "--card -o x",
            "error: a card names the licence of the data, and amend does not guess it\n\
             help: pass --licence ID, such as cc-by-4.0; mind the terms of the model and the \
             prompts\n",
        ),
        (
            "--card --licence CC -o x",
            "error: \"CC\" is no licence identifier: these have small letters, digits, `.` and \
             `-`, as apache-2.0, cc-by-4.0 or other\n",
        ),
        (
            "--format kto --which all -o x",
            "error: kto takes the last pair of an item only, not all\n",
        ),
        (
            "--split train=0.9999999,test=0.0000001 -o x",
            "error: the split \"test\" would be empty: give it a larger share, or make more rows\n",
        ),
        (
            "--split train=0.5 -o x",
            "error: invalid value 'train=0.5' for '--split <NAME=SHARE,…>': the shares add up to \
             0.5, not to 1\n\nFor more information, try '--help'.\n",
        ),
    ] {
        let ran = run(&place, arguments);
        assert_eq!((ran.code, ran.err.as_str()), (Some(2), told), "{arguments}");
        assert!(!place.path("x").exists(), "{arguments}");
    }
    for arguments in ["--card --licence mit", "--split train=1", "--format csv", "--licence mit"] {
        assert_eq!(run(&place, arguments).code, Some(2), "{arguments}");
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let place = place();
    for file_format in ["jsonl", "parquet"] {
        let mut command = place.amend(&format!("export r --file-format {file_format}"));
        let mut child = command.spawn().unwrap();
        drop(child.stdout.take());
        let output = child.wait_with_output().unwrap();
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!((output.status.code(), &*err), (Some(0), ""), "{file_format}");
    }
}

//! `amend export` on the command line, with a synthetic run and with a run of a tiny model.

use std::collections::BTreeMap;

use crate::common::{Place, Ran, tiny_model_path};
use amend_core::chat::{Message, Role};
use amend_core::constitution;
use amend_core::model::{Finish, Usage};
use amend_core::record::Item;
use amend_core::record::Outcome;
use amend_core::record::{Step, StepKind, Stop};
use amend_data::export::FORMATS;
use amend_data::store::journal::Record;
use amend_data::store::manifest::{FORMAT, Hashed, InputSummary, Manifest};
use amend_data::store::run_dir::RunDir;
use serde_json::{Value, json};

/// A place with a run `r` of thirty items. Each has a first answer and two revisions.
fn place() -> Place {
    place_with(&[], |row, round| format!("answer {round} to {row}"))
}

/// A place with a run `r` of thirty items with the answers `text`. Exports drop the rows
/// with findings of the lint rules in `drop`.
fn place_with(drop: &[&str], text: impl Fn(u64, usize) -> String) -> Place {
    let place = Place::new();
    let constitution = format!(
        "constitution = {{ name = 'small', version = '1.0.0' }}\nloop.rounds = 2\n\
         judge.enabled = false\nexport.drop = {drop:?}\n[[principle]]\nid = 'kind'\n\
         category = 'manners'\nprinciple = 'Be kind.'\n"
    );
    let constitution = constitution::parse("small.toml", &constitution).unwrap();
    let manifest = Manifest {
        command: "run".to_owned(),
        judge_model: None,
        student_model: None,
        format: FORMAT,
        amend: env!("CARGO_PKG_VERSION").to_owned(),
        model: json!({"name": "tiny", "sha256": "00ff"}),
        constitution: Hashed::constitution(constitution),
        templates: BTreeMap::new(),
        input: InputSummary::new(Vec::new(), &[]),
        shard: None,
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
        let item =
            Item { key, row, id: None, messages, response: None, response_b: None, metadata };
        let outcome = Outcome::Done { stop: Stop::Rounds };
        run.append(&Record::End { item, outcome }).unwrap();
    }
    place
}

fn run(place: &Place, arguments: &str) -> Ran {
    place.run(&mut place.amend(&format!("export r {arguments}")))
}

/// What exports of pairs add: the constitution has no judge.
const NOTE: &str = "note: no verdict checked them: the constitution disables the judge\n";

fn rows(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn no_output_replaces_a_record_of_the_run() {
    let place = place();
    let journal = std::fs::read(place.path("r/journal.jsonl")).unwrap();
    for line in [
        "export r -o r/journal.jsonl",
        "export r -o r/manifest.json",
        "report r -o r/journal.jsonl",
    ] {
        let ran = place.run(&mut place.amend(line));
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{line}: {}", ran.err);
        assert!(ran.err.contains("is a record of the run and must not be replaced"), "{}", ran.err);
    }
    assert_eq!(std::fs::read(place.path("r/journal.jsonl")).unwrap(), journal);
    assert_eq!(run(&place, "-o r/pairs.jsonl").code, Some(0));
}

#[test]
fn the_file_name_decides_the_format() {
    let place = place();
    let ran = run(&place, "");
    assert_eq!((ran.code, ran.err), (Some(0), format!("30 pairs written\n{NOTE}")));
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
fn the_flags_decide_which_rows_are_written() {
    let place = place();
    for (arguments, message) in [
        ("--which adjacent", "60 pairs written\n"),
        ("--which all", "90 pairs written\n"),
        ("--format kto", "60 labelled answers written\n"),
        ("--format sft", "30 answers written\n"),
        ("--format sft-steps", "90 steps written\n"),
        ("--format trajectories", "30 trajectories written\n"),
    ] {
        let ran = run(&place, arguments);
        let note =
            if message.contains("pairs") || message.contains("labelled") { NOTE } else { "" };
        let expected = format!("{message}{note}");
        assert_eq!((ran.code, ran.err), (Some(0), expected), "{arguments}");
        let count: usize = message.split(' ').next().unwrap().parse().unwrap();
        assert_eq!(rows(&ran.out).len(), count);
    }
}

/// A place with a run in which the third item announces its revision, and whose
/// constitution drops such rows.
fn announcing() -> Place {
    place_with(&["chatty-prefix"], |row, round| match (row, round) {
        (3, 2) => "Sure! Here is the revised answer:\n\nanswer 2 to 3".to_owned(),
        _ => format!("answer {round} to {row}"),
    })
}

#[test]
fn filtered_rows_are_removed_counted_and_logged() {
    let place = announcing();
    let lint =
        |file: &str| place.run(&mut place.amend(&format!("lint {file} --skip near-duplicate")));

    // Without the filter, all rows are written.
    let ran = run(&place, "--allow all -o whole.jsonl");
    let err = format!("30 pairs written\n{NOTE}next: amend lint whole.jsonl\n");
    assert_eq!((ran.code, ran.err), (Some(0), err));
    assert!(!place.path("whole.jsonl.removed.jsonl").exists());
    let linted = lint("whole.jsonl");
    assert!(linted.code == Some(1) && linted.out.contains("chatty-prefix"), "{}", linted.out);

    let ran = run(&place, "-o pairs.jsonl --json");
    let message = "29 pairs written, 1 left out: chatty-prefix (a chosen answer starts by introducing \
                   a revision (\"Sure! Here is the revised answer:\"))\n";
    assert_eq!(
        (ran.code, ran.err),
        (Some(0), format!("{message}{NOTE}next: amend lint pairs.jsonl\n"))
    );
    let record: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(
        record,
        json!({
            "out": "pairs.jsonl", "format": "trl", "file_format": "jsonl", "which": "last",
            "columns": "all", "reasoning": "drop", "written": 29, "with_thoughts": 0,
            "without_thoughts": 0, "splits": {}, "left_out": {}, "filtered": {"chatty-prefix": 1},
            "unchecked": 29, "unended": 0, "duplicate_ids": 0,
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
    assert!(card.contains("\n| removed by the filter `chatty-prefix`: "), "{card}");
}

#[test]
fn spoilt_rows_are_left_out_unless_they_are_allowed() {
    // The third item announces its revision, the fourth shows a mark of its prompts.
    let place = place_with(&[], |row, round| match (row, round) {
        (3, 2) => "Sure! Here is the revised answer:\n\nanswer 2 to 3".to_owned(),
        (4, 2) => "answer 2 to 4 [/answer 3f9c2a81]".to_owned(),
        _ => format!("answer {round} to {row}"),
    });
    for (arguments, written) in [
        ("", 28),
        ("--allow chatty-prefix", 29),
        ("--allow chatty-prefix,delimiter-marks", 30),
        ("--allow all", 30),
        ("--drop none", 28),
        ("--drop chatty-prefix --allow all", 29),
        ("--format sft", 28),
    ] {
        let ran = run(&place, arguments);
        assert_eq!(
            (ran.code, rows(&ran.out).len()),
            (Some(0), written),
            "{arguments}: {}",
            ran.err
        );
    }
    let ran = run(&place, "");
    let lines: Vec<&str> = ran.err.lines().map(|line| line.split(" (").next().unwrap()).collect();
    assert_eq!(
        lines,
        [
            "28 pairs written, 2 left out:",
            "  1  chatty-prefix",
            "  1  delimiter-marks",
            NOTE.trim_end()
        ]
    );
    // lint finds the same in the run.
    let linted = place.run(&mut place.amend("lint r --json --skip near-duplicate"));
    let report: Value = serde_json::from_str(&linted.out).unwrap();
    let found = report["findings"].as_array().unwrap().iter();
    let found: Vec<_> = found.map(|finding| (&finding["name"], &finding["count"])).collect();
    let one = json!(1);
    let names = [json!("delimiter-marks"), json!("chatty-prefix")];
    assert_eq!(found, [(&names[0], &one), (&names[1], &one)]);
}

#[cfg(unix)]
#[test]
fn the_reported_log_is_the_written_one() {
    let place = announcing();
    let log = |arguments: &str| {
        let ran = run(&place, &format!("{arguments} --json"));
        assert_eq!(ran.code, Some(0), "{arguments}: {}", ran.err);
        let mut record: Value = serde_json::from_str(&ran.out).unwrap();
        record["log"].take()
    };
    assert_eq!(log("-o /dev/null"), Value::Null);
    assert_eq!(log("--allow all -o whole.jsonl"), Value::Null);

    // The log is next to the folder itself, not next to a link to it.
    std::fs::create_dir_all(place.path("there/real")).unwrap();
    std::os::unix::fs::symlink(place.path("there/real"), place.path("link")).unwrap();
    let written = log("-o link");
    assert_eq!(written, "PLACE/there/real.removed.jsonl");
    assert!(place.path("there/real.removed.jsonl").exists());
    assert!(!place.path("link.removed.jsonl").exists());
    assert!(place.path("link/train.jsonl").exists());
}

#[test]
fn an_unfiltered_export_removes_the_earlier_log() {
    let place = announcing();
    let log = place.path("pairs.jsonl.removed.jsonl");
    for (arguments, logged) in [("", true), ("--allow all", false), ("--drop secret", true)] {
        let ran = run(&place, &format!("{arguments} -o pairs.jsonl"));
        assert_eq!((ran.code, log.exists()), (Some(0), logged), "{arguments}: {}", ran.err);
    }
}

#[test]
fn all_training_formats_are_filtered() {
    let place = announcing();
    for format in FORMATS {
        let count = |flags: &str| {
            rows(&run(&place, &format!("--format {} {flags}", format.name)).out).len()
        };
        // The prompt of a step asks for the revision that the answer announces.
        let left_out = usize::from(format.trains() && format.name != "sft-steps");
        let (whole, filtered) =
            (count(if format.trains() { "--allow all" } else { "" }), count(""));
        assert_eq!(whole - filtered, left_out, "{}: {whole} and {filtered}", format.name);
    }
}

#[test]
fn a_filter_without_its_inputs_is_rejected() {
    let place = place();
    let model = tiny_model_path("words");
    place.write("eval.jsonl", "{\"prompt\": \"What is 7 like?\"}\n");
    for (arguments, message) in [
        (format!("--drop chosen-cut -m {}", model.display()), "30 pairs written\n"),
        (
            "--drop evaluation-leak --eval eval.jsonl".to_owned(),
            "29 pairs written, 1 left out: evaluation-leak (a prompt nearly repeats a prompt of the \
             evaluation files, or shares 13 words in a row with one)\n",
        ),
    ] {
        let ran = run(&place, &arguments);
        assert_eq!((ran.code, ran.err), (Some(0), format!("{message}{NOTE}")), "{arguments}");
    }
    for (arguments, message) in [
        (
            "--drop chosen-cut",
            "error: chosen-cut needs token counts: pass the trainer's --tokenizer tokenizer.json, or \
             -m MODEL.gguf\n",
        ),
        (
            "--drop evaluation-leak",
            "error: evaluation-leak needs evaluation files: name them with --eval\n",
        ),
        (
            "--drop empty,none",
            "error: --drop none adds no finding, but findings are given too\n\
             help: pass either none or findings\n",
        ),
        (
            "--drop none --tokenizer no.json --max-length 8 --eval no.jsonl",
            "error: no finding that leaves out rows needs --tokenizer, --max-length, --eval, so it would \
             have no effect\n\
             help: name a finding that needs it with --drop, such as chosen-cut, or omit --tokenizer, \
             --max-length, --eval\n",
        ),
        (
            "--format trajectories -m no.gguf",
            "error: no finding that leaves out rows needs -m, so it would have no effect\n\
             help: omit -m\n",
        ),
        (
            "--drop empty --format trajectories",
            "error: --drop does not apply to trajectories: it is the complete record of a run\n\
             help: omit --drop, or export in a trainer's format\n",
        ),
    ] {
        let ran = run(&place, &format!("{arguments} -o x"));
        assert_eq!((ran.code, ran.err.as_str()), (Some(2), message), "{arguments}");
        assert!(!place.path("x").exists() && !place.path("x.removed.jsonl").exists());
    }
    for arguments in [
        "--drop length-bias",
        "--drop split-leak",
        "--json",
        "--drop secret --allow secret",
        "--policy keep --format sft",
        "--policy keep --format trajectories",
        "--columns plain --format trajectories",
        "--allow all --format trajectories",
        "--policy never",
    ] {
        assert_eq!(run(&place, arguments).code, Some(2), "{arguments}");
    }
    // The model of other commands does not matter to an export.
    let ran = place.run(place.amend("export r").env("AMEND_MODEL", "no.gguf"));
    assert_eq!((ran.code, ran.err), (Some(0), format!("30 pairs written\n{NOTE}")));
}

#[test]
fn splits_are_files_and_depend_on_the_seed() {
    let place = place();
    let flags = "--format trl-standard --split train=0.7,test=0.3";
    let read = |file: &str| std::fs::read_to_string(place.path(file)).unwrap();
    for (folder, seed) in [("a", 1), ("b", 1), ("c", 2)] {
        let ran = run(&place, &format!("{flags} --seed {seed} -o {folder}"));
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let [train, test] =
            ["train", "test"].map(|split| rows(&read(&format!("{folder}/{split}.jsonl"))).len());
        let written = format!("30 pairs written (train {train}, test {test})\n");
        assert_eq!(ran.err, format!("{written}{NOTE}next: amend lint {folder}\n"));
        assert_eq!(train + test, 30);
    }
    assert_eq!(read("a/test.jsonl"), read("b/test.jsonl"));
    assert_ne!(read("a/test.jsonl"), read("c/test.jsonl"));
}

#[test]
fn a_card_makes_a_folder_ready_for_upload() {
    let place = place();
    let ran = run(&place, "--card --licence cc-by-4.0 -o data");
    let err = format!("30 pairs written\n{NOTE}next: amend lint data\n");
    assert_eq!((ran.code, ran.err), (Some(0), err));
    let mut files: Vec<_> = (std::fs::read_dir(place.path("data")).unwrap())
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    assert_eq!(files, ["README.md", "train.parquet"]);
    let card = std::fs::read_to_string(place.path("data/README.md")).unwrap();
    assert!(card.starts_with("---\nlicense: cc-by-4.0\n"), "{card}");
    assert!(card.contains("\n    path: train.parquet\n"), "{card}");

    // An empty folder is used, a slash makes a folder, a folder with files is an error.
    std::fs::create_dir(place.path("empty")).unwrap();
    assert_eq!(run(&place, "-o empty").code, Some(0));
    assert_eq!(run(&place, "--file-format parquet -o slash/").code, Some(0));
    assert!(place.path("empty/train.jsonl").exists() && place.path("slash/train.parquet").exists());
    let again = run(&place, "-o empty");
    assert_eq!(again.code, Some(2));
    insta::assert_snapshot!(
        again.err,
        @"error: empty already exists and is not empty: choose a new folder, or remove it"
    );
}

#[test]
fn a_run_of_the_engine_exports_to_every_format() {
    let place = Place::new();
    place.write("in.jsonl", "{\"prompt\": \"Is it?\", \"response\": \"It is.\", \"id\": \"x\"}\n");
    // Greedy and long enough to end, so that the result is deterministic.
    let made = place.run(&mut place.small("run in.jsonl --out r -n 100 --temp 0"));
    assert_eq!(made.code, Some(0), "{}", made.err);
    for format in FORMATS {
        let ran = run(&place, &format!("--format {}", format.name));
        let rows = rows(&ran.out);
        if format.name == "constitutional-ai" && rows.is_empty() {
            // Only this format needs a complete critique, which may be cut off here.
            assert!(ran.err.contains("a side was cut off by max_tokens"), "{}", ran.err);
            assert_eq!(ran.code, Some(1));
            continue;
        }
        assert_eq!(ran.code, Some(0), "{}: {}", format.name, ran.err);
        let [row, ..] = rows.as_slice() else { panic!("{}: no row", format.name) };
        assert_eq!(row["id"], "x", "{}", format.name);
    }
    assert_eq!(run(&place, "--card --licence mit -o data").code, Some(0));
    let card = std::fs::read_to_string(place.path("data/README.md")).unwrap();
    let manifest = RunDir::open(&place.path("r")).unwrap().manifest().clone();
    let model = |key: &str| manifest.model[key].as_str().unwrap().to_owned();
    for line in [
        format!("\n| model | {} |\n", model("name")),
        format!("\n| model's SHA-256 | `{}` |\n", model("sha256")),
        "\n| constitution | small 1.0.0 |\n".to_owned(),
        "\n| principles per round | 1, selected by `random` |\n".to_owned(),
        "\n- **Kindness** (`kind`, manners): The answer is kind.\n".to_owned(),
        "\n| critique | ".to_owned(),
    ] {
        assert!(card.contains(&line), "no {line:?} in\n{card}");
    }
}

#[test]
fn invalid_arguments_are_rejected_before_anything_is_written() {
    let place = place();
    for (arguments, message) in [
        (
            "--card -o x",
            "error: --card needs the licence of the data\n\
             help: pass --licence ID, such as cc-by-4.0; check the terms of the model and the \
             prompts\n",
        ),
        (
            "--card --licence CC -o x",
            "error: \"CC\" is not a licence identifier: use lower-case letters, digits, `.` and \
             `-`, for example apache-2.0, cc-by-4.0 or other\n",
        ),
        (
            "--format kto --which all -o x",
            "error: the format kto supports only `--which last`, not `all`\n",
        ),
        (
            "--split train=0.9999999,test=0.0000001 -o x",
            "error: the split \"test\" would be empty: give it a larger share, or generate more \
             rows\n",
        ),
        (
            "--split train=0.5 -o x",
            "error: invalid value 'train=0.5' for '--split <NAME=SHARE,…>': the shares add up to \
             0.5: they must add up to 1\n\nFor more information, try '--help'.\n",
        ),
    ] {
        let ran = run(&place, arguments);
        assert_eq!((ran.code, ran.err.as_str()), (Some(2), message), "{arguments}");
        assert!(!place.path("x").exists(), "{arguments}");
    }
    for arguments in ["--card --licence mit", "--split train=1", "--format csv", "--licence mit"] {
        assert_eq!(run(&place, arguments).code, Some(2), "{arguments}");
    }
}

#[test]
fn a_closed_stdout_is_not_an_error() {
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

//! Tests of `amend lint` through the command line: it reports planted faults, reports
//! nothing about sound data, and writes the cleaned copy.

use std::collections::BTreeMap;
use std::fs;

use crate::common::{Place, Ran, tiny_model_path};
use serde_json::{Value, json};

/// A sound pair whose texts are unlike those of other rows.
fn sound(row: usize) -> Value {
    let words = |salt: usize| -> String {
        (0..12).map(|word| format!("w{} ", (row * 31 + salt * 7919 + word * 101) % 9973)).collect()
    };
    json!({
        "prompt": [{"role": "user", "content": format!("Question {row}: {}?", words(1))}],
        "chosen": [{"role": "assistant", "content": words(2)}],
        "rejected": [{"role": "assistant", "content": words(3)}],
    })
}

fn chosen(row: usize, text: &str) -> Value {
    let mut value = sound(row);
    value["chosen"][0]["content"] = json!(text);
    value
}

fn lines(rows: &[Value]) -> String {
    rows.iter().map(|row| format!("{row}\n")).collect()
}

/// The count of each finding by name, and the rows of its examples.
fn findings(ran: &Ran) -> BTreeMap<String, (u64, Vec<u64>)> {
    let report: Value = serde_json::from_str(&ran.out).expect(&ran.err);
    report["findings"]
        .as_array()
        .unwrap()
        .iter()
        .map(|finding| {
            let examples = finding["examples"].as_array().unwrap();
            let rows = examples.iter().map(|example| example["row"].as_u64().unwrap()).collect();
            let name = finding["name"].as_str().unwrap().to_owned();
            (name, (finding["count"].as_u64().unwrap(), rows))
        })
        .collect()
}

/// The number of sound rows: so few that short answers among the faults make no length
/// bias.
const SOUND: usize = 9;

/// Sound rows followed by one row for each fault, and the name and row of each fault.
fn planted() -> (Vec<Value>, Vec<(&'static str, u64)>) {
    let mut rows: Vec<Value> = (1..=SOUND).map(sound).collect();
    let mut faults = Vec::new();
    let mut plant = |name, row: Value| {
        rows.push(row);
        faults.push((name, rows.len() as u64));
    };
    plant("empty", chosen(11, " \n"));
    let mut same = sound(12);
    same["rejected"] = same["chosen"].clone();
    plant("same-sides", same);
    let mut roles = sound(13);
    roles["prompt"][0]["role"] = json!("assistant");
    plant("roles", roles);
    plant("template-tokens", chosen(14, "An answer.<|im_end|>"));
    plant(
        "chatty-prefix",
        chosen(15, "Sure! Here is the revised answer:\n\nAn answer of its own."),
    );
    plant("leaked-critique", chosen(16, "The assistant's last response was rude. Here is tea."));
    let mut noise = sound(17);
    noise["margin"] = json!(-1.5);
    plant("label-noise", noise);
    let token = ["hf_", "aBcDeFgHiJkLmNoPqRsTuVwXyZaBcDeFgH"].concat();
    plant("secret", chosen(18, &format!("Use {token} to log in.")));
    plant("personal-data", chosen(19, "Ask jo.doe@gmail.com about it."));
    plant("near-duplicate", {
        let mut twin = sound(3);
        twin["chosen"][0]["content"] =
            json!(twin["chosen"][0]["content"].as_str().unwrap().to_uppercase());
        twin
    });
    (rows, faults)
}

#[test]
fn only_planted_faults_are_reported() {
    let place = Place::new();
    let (rows, faults) = planted();
    place.write("sound.jsonl", lines(&rows[..SOUND]));
    let ran = place.run(&mut place.amend("lint sound.jsonl --json --fail-on warn"));
    assert_eq!((ran.code, findings(&ran).len()), (Some(0), 0), "{}", ran.out);
    place.write("faults.jsonl", lines(&rows));
    let ran = place.run(&mut place.amend("lint faults.jsonl --json"));
    assert_eq!(ran.code, Some(1));
    let expected: BTreeMap<String, (u64, Vec<u64>)> =
        faults.iter().map(|&(name, row)| (name.to_owned(), (1, vec![row]))).collect();
    assert_eq!(findings(&ran), expected);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["format"], "TRL preference, conversational");
    assert_eq!((report["rows"].as_u64(), report["unit"].as_str()), (Some(19), Some("words")));
}

#[test]
fn fix_writes_a_cleaned_copy_and_a_log() {
    let place = Place::new();
    let (rows, faults) = planted();
    let text = lines(&rows);
    place.write("in.jsonl", &text);
    let ran = place.run(&mut place.amend("lint in.jsonl --fix out.jsonl"));
    assert_eq!(ran.code, Some(0), "everything is fixed: {}{}", ran.out, ran.err);
    assert_eq!(fs::read_to_string(place.path("in.jsonl")).unwrap(), text, "the input is unchanged");

    let mut expected: Vec<Value> = rows[..SOUND].to_vec();
    expected.push(chosen(15, "An answer of its own."));
    expected.push(chosen(18, "Use [access token] to log in."));
    expected.push(chosen(19, "Ask [email] about it."));
    assert_eq!(fs::read_to_string(place.path("out.jsonl")).unwrap(), lines(&expected));

    let log = fs::read_to_string(place.path("out.jsonl.removed.jsonl")).unwrap();
    let logged: Vec<(String, u64, bool)> = log
        .lines()
        .map(|line| {
            let entry: Value = serde_json::from_str(line).unwrap();
            let name = entry["finding"].as_str().unwrap().to_owned();
            (name, entry["row"].as_u64().unwrap(), entry["done"] == "edited")
        })
        .collect();
    let edits = ["chatty-prefix", "secret", "personal-data"];
    let expected: Vec<(String, u64, bool)> =
        faults.iter().map(|&(name, row)| (name.to_owned(), row, edits.contains(&name))).collect();
    assert_eq!(logged, expected);

    let again = place.run(&mut place.amend("lint out.jsonl --json --fail-on warn"));
    assert_eq!((again.code, findings(&again).len()), (Some(0), 0), "{}", again.out);
    let occupied = place.run(&mut place.amend("lint in.jsonl --fix out.jsonl"));
    assert_eq!(occupied.code, Some(2));
    assert!(occupied.err.contains("out.jsonl already exists"), "{}", occupied.err);
    let onto_itself = place.run(&mut place.amend("lint in.jsonl --fix in.jsonl"));
    assert_eq!(onto_itself.code, Some(2));
}

#[test]
fn fix_repeats_until_a_row_has_no_faults() {
    let place = Place::new();
    let mut row = chosen(1, "Sure, here is the revised answer: Tea.");
    row["rejected"][0]["content"] = json!("Tea.");
    place.write("in.jsonl", lines(&[sound(2), row]));
    let ran = place.run(&mut place.amend("lint in.jsonl --fix out.jsonl"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(fs::read_to_string(place.path("out.jsonl")).unwrap(), lines(&[sound(2)]));
}

#[test]
fn skip_and_fail_on_decide_the_exit_code() {
    let place = Place::new();
    place.write("in.jsonl", lines(&[sound(1), chosen(2, "Ask jo.doe@gmail.com about it.")]));
    for (arguments, code) in [
        ("", 0),
        ("--fail-on warn", 1),
        ("--fail-on warn --skip personal-data", 0),
        ("--fail-on warn --fix out.jsonl", 0),
        ("--skip no-such-finding", 2),
        ("--max-length 5", 2),
    ] {
        let ran = place.run(&mut place.amend(&format!("lint in.jsonl {arguments}")));
        assert_eq!(ran.code, Some(code), "{arguments}: {}{}", ran.out, ran.err);
    }
}

#[test]
fn leaks_between_splits_and_evaluation_files_are_removed() {
    let place = Place::new();
    fs::create_dir(place.path("set")).unwrap();
    place.write("set/train.jsonl", lines(&[sound(1), sound(2), sound(3)]));
    place.write("set/test.jsonl", lines(&[sound(2), sound(4)]));
    place.write(
        "eval.jsonl",
        format!("{}\n", json!({"question": sound(3)["prompt"][0]["content"]})),
    );
    let ran = place.run(&mut place.amend("lint set --eval eval.jsonl --fix out --json"));
    let expected = [("evaluation-leak", 3), ("split-leak", 2)];
    let expected: BTreeMap<String, (u64, Vec<u64>)> =
        expected.into_iter().map(|(name, row)| (name.to_owned(), (1, vec![row]))).collect();
    assert_eq!(findings(&ran), expected);
    let read = |name: &str| fs::read_to_string(place.path(name)).unwrap();
    assert_eq!(read("out/train.jsonl"), lines(&[sound(1)]));
    assert_eq!(read("out/test.jsonl"), lines(&[sound(2), sound(4)]));
    assert_eq!(read("out.removed.jsonl").lines().count(), 2);
}

#[test]
fn separators_of_lines_are_escaped_in_a_cleaned_copy() {
    let place = Place::new();
    let unchanged = chosen(1, "one\u{2028}two");
    let changed = chosen(2, "Revised answer: one\u{85}two");
    place.write("in.jsonl", lines(&[unchanged.clone(), changed]));
    let ran = place.run(&mut place.amend("lint in.jsonl --fix out.jsonl"));
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    let copy = fs::read_to_string(place.path("out.jsonl")).unwrap();
    assert!(!copy.contains(['\u{2028}', '\u{85}']), "{copy}");
    let rows: Vec<Value> = copy.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(rows[0], unchanged);
    assert_eq!(rows[1]["chosen"][0]["content"], "one\u{85}two");
}

#[cfg(unix)]
#[test]
fn fix_copies_more_shards_than_files_may_be_open() {
    let place = Place::new();
    fs::create_dir(place.path("set")).unwrap();
    for shard in 1..=100 {
        place.write(&format!("set/train-{shard:05}.jsonl"), lines(&[sound(shard)]));
    }
    // The shell lowers the limit for this one process.
    let amend = place.amend("");
    let mut limited = std::process::Command::new("sh");
    limited
        .args(["-c", "ulimit -n 40 && exec \"$0\" lint set --fix out"])
        .arg(amend.get_program())
        .current_dir(place.path(""))
        .stdin(std::process::Stdio::null());
    let ran = place.run(&mut limited);
    assert_eq!(ran.code, Some(0), "{}{}", ran.out, ran.err);
    for shard in 1..=100 {
        let copied = fs::read_to_string(place.path(&format!("out/train-{shard:05}.jsonl")));
        assert_eq!(copied.unwrap(), lines(&[sound(shard)]));
    }
    let temporary = fs::read_dir(place.path("")).unwrap().filter(|entry| {
        entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(".amend-")
    });
    assert_eq!(temporary.count(), 0);
}

#[test]
fn imbalances_of_the_data_set_are_reported_and_not_fixed() {
    let place = Place::new();
    let rows: Vec<Value> = (1..=30)
        .map(|row| {
            let long = sound(row)["chosen"][0]["content"].as_str().unwrap().repeat(2);
            let refusal = format!("I'm sorry, but I can't help with that. {long}");
            chosen(row, if row <= 6 { &refusal } else { &long })
        })
        .collect();
    place.write("in.jsonl", lines(&rows));
    let ran = place.run(&mut place.amend("lint in.jsonl --json --fix out.jsonl --fail-on warn"));
    assert_eq!(ran.code, Some(1), "no single row is at fault, so nothing is fixed");
    let findings = findings(&ran);
    let counts: Vec<_> =
        findings.iter().map(|(name, (count, _))| (name.as_str(), *count)).collect();
    assert_eq!(counts, [("length-bias", 30), ("refusal-bias", 6)]);
    assert_eq!(fs::read_to_string(place.path("out.jsonl")).unwrap(), lines(&rows));
}

#[test]
fn unreadable_data_is_reported_and_writes_no_copy() {
    let place = Place::new();
    fs::create_dir(place.path("empty")).unwrap();
    place.write("none.jsonl", "\n");
    place.write("strange.jsonl", "{\"text\": 1, \"topic\": 2}\n");
    place.write("broken.jsonl", format!("{}\n{{\"prompt\"\n", sound(1)));
    place.write(
        "types.jsonl",
        format!("{}\n{}\n", sound(1), json!({"prompt": "q", "chosen": 1, "rejected": "w"})),
    );
    place.write("questions.jsonl", "{\"topic\": 2}\n");
    place.write("fine.jsonl", lines(&[sound(1)]));
    let errors: String = [
        "lint nowhere.jsonl",
        "lint empty",
        "lint none.jsonl",
        "lint strange.jsonl",
        "lint broken.jsonl",
        "lint types.jsonl",
        "lint types.jsonl --fix out.jsonl",
        "lint fine.jsonl --eval questions.jsonl",
        "lint fine.jsonl --tokenizer strange.jsonl",
        "lint fine.jsonl -m strange.jsonl",
    ]
    .into_iter()
    .map(|line| {
        let ran = place.run(&mut place.amend(line));
        assert_eq!((ran.out.as_str(), ran.code.is_some_and(|code| code > 1)), ("", true), "{line}");
        format!("$ amend {line}\n{}", ran.err)
    })
    .collect();
    insta::assert_snapshot!(errors, @r#"
    $ amend lint nowhere.jsonl
    error: nowhere.jsonl: failed to open: No such file or directory (os error 2)
    $ amend lint empty
    error: empty: the folder has no data files (.jsonl, .ndjson, .json, .csv, .tsv, .parquet, .arrow, .feather, .jsonlines)
    $ amend lint none.jsonl
    error: none.jsonl has no rows
    $ amend lint strange.jsonl
    error: strange.jsonl:1: /text must be a text, not a number: change it, or remove the row
    help: to continue without these rows, pass --skip-bad
    $ amend lint broken.jsonl
    error: broken.jsonl:2: invalid JSON at column 9: EOF while parsing an object: it is cut off, or a quote or bracket is not closed
    help: to continue without these rows, pass --skip-bad
    $ amend lint types.jsonl
    error: types.jsonl:2: /chosen must be a text, not a number: change it, or remove the row
    help: to continue without these rows, pass --skip-bad
    $ amend lint types.jsonl --fix out.jsonl
    error: types.jsonl:2: /chosen must be a text, not a number: change it, or remove the row
    help: to continue without these rows, pass --skip-bad
    $ amend lint fine.jsonl --eval questions.jsonl
    error: questions.jsonl:1: no prompt in the row of an evaluation file: name its column prompt
    $ amend lint fine.jsonl --tokenizer strange.jsonl
    error: failed to load tokenizer strange.jsonl: expected `,` or `}` at line 1 column 8
    $ amend lint fine.jsonl -m strange.jsonl
    error: failed to load the vocabulary of strange.jsonl: it is not a GGUF file
    help: pass a GGUF file: -m MODEL.gguf, or set AMEND_MODEL
    "#);
    assert!(!place.path("out.jsonl").exists(), "there is no partial copy");
    assert!(!place.path("out.jsonl.removed.jsonl").exists());

    fs::create_dir(place.path("set")).unwrap();
    place.write("set/test.jsonl", lines(&[sound(1)]));
    place.write("set/train.jsonl", "{\"prompt\": 1, \"chosen\": 2, \"rejected\": 3}\n");
    let ran = place.run(&mut place.amend("lint set --fix out"));
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    assert!(!place.path("out").exists(), "one split is not copied without the other");
}

#[test]
fn all_faulty_rows_are_reported_and_equal_faults_once() {
    let place = Place::new();
    let wrong = json!({"prompt": "q", "chosen": 1, "rejected": "w"});
    let text = format!("{}\n{{\"prompt\"\n{wrong}\n{}\n{wrong}\n[]\n{wrong}\n", sound(1), sound(2));
    place.write("in.jsonl", text);
    let ran = place.run(&mut place.amend("lint in.jsonl"));
    insta::assert_snapshot!(ran.err, @r#"
    error: in.jsonl:2: invalid JSON at column 9: EOF while parsing an object: it is cut off, or a quote or bracket is not closed
    in.jsonl:3: /chosen must be a text, not a number: change it, or remove the row (and 2 more rows)
    in.jsonl:6: a row must be a JSON string or object, not a list
    help: to continue without these rows, pass --skip-bad
    "#);
}

#[test]
fn csv_from_standard_input_is_cleaned_as_csv() {
    let place = Place::new();
    let csv = "prompt,chosen,rejected\n\
               \"Why, exactly?\",\"Because it rains, mostly.\",No idea at all.\n\
               How is that?,Revised answer: it \"just\" is.,Nobody can say.\n";
    place.write("in.csv", csv);
    let input = fs::File::open(place.path("in.csv")).unwrap();
    let mut command = place.amend("lint - --fix out.csv --json");
    let ran = place.run(command.stdin(input));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert_eq!(findings(&ran)["chatty-prefix"], (1, vec![3]));
    let expected = csv.replace("Revised answer: it \"just\" is.", "\"It \"\"just\"\" is.\"");
    let written = fs::read_to_string(place.path("out.csv")).unwrap();
    assert_eq!(written.to_lowercase(), expected.to_lowercase());
}

#[test]
fn text_report() {
    let place = Place::new();
    let mut rows = vec![sound(1), sound(2)];
    rows.push(chosen(3, "Revised answer: tea."));
    rows.push(chosen(4, "Ask jo.doe@gmail.com about it."));
    place.write("in.jsonl", lines(&rows));
    let ran = place.run(&mut place.amend("lint in.jsonl --fix out.jsonl"));
    insta::assert_snapshot!(ran.out, @r#"
    in.jsonl: TRL preference, conversational
      rows      4 (in 4)
      lengths   chosen 8 ± 5 words, rejected 12 ± 0, d -1.22
      refusals  chosen 0 of 4 (0 %), rejected 0 of 4 (0 %)
      note      truncation is not checked and lengths are in words: pass the trainer's --tokenizer or -m

    error  chatty-prefix   1 row   25.0 %
           a chosen answer starts by introducing a revision ("Sure! Here is the revised answer:")
           line 3: Revised answer: tea.
           fix: the introduction is cut off, or the row is removed if it has no clear end

    warn   personal-data   1 row   25.0 %
           a text contains what looks like an e-mail address, a telephone number or an account
           line 4: chosen: email jo.d…
           fix: it is replaced by its kind in brackets

    out.jsonl: 2 rows unchanged, 2 changed, 0 left out; the log is out.jsonl.removed.jsonl
    "#);
}

#[test]
fn lengths_are_in_tokens_with_a_model_vocabulary() {
    let place = Place::new();
    let long = "word ".repeat(120);
    let mut twin = chosen(2, &format!("{long} left"));
    twin["rejected"][0]["content"] = json!(format!("{long} right"));
    place.write("in.jsonl", lines(&[sound(1), twin, chosen(3, "See <repo_name> there.")]));
    let mut command = place.small("lint in.jsonl --json --max-length 200 -m");
    let ran = place.run(command.arg(tiny_model_path("words")));
    let expected = [("chosen-cut", 2), ("identical-after-truncation", 2), ("template-tokens", 3)];
    let expected: BTreeMap<String, (u64, Vec<u64>)> =
        expected.into_iter().map(|(name, row)| (name.to_owned(), (1, vec![row]))).collect();
    assert_eq!(findings(&ran), expected, "{}", ran.out);
    assert_eq!(serde_json::from_str::<Value>(&ran.out).unwrap()["unit"], "tokens");
}

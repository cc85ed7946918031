//! Tests of `amend judge`.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::common::made::{self, Words};
use crate::common::{Place, tiny_model_path};
use amend_core::stats::sigmoid;
use amend_data::store::run_dir::RunDir;
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
fn ties_the_opposite_and_votes_are_settings_and_flags_and_their_runs_are_compared() {
    let place = Place::new();
    place.write("rows.jsonl", ROWS.to_owned() + TIES);
    let judge = |out: &str, flags: &str| {
        let line = format!("judge rows.jsonl --json --out {out} {flags}");
        let ran = place.run(&mut place.small(&line));
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        lines(&ran.out)
    };
    // The tiny model writes anything, so that labels have little mass.
    place.write("own.toml", settings("mass_floor = 0.0\n"));
    let plain = judge("plain", "-c own.toml");
    assert!(plain.iter().all(|row| row.get("p_tie").is_none() && row["tied"] == false));
    place.write("set.toml", settings("mass_floor = 0.0\nties = \"label\"\nask_opposite = true\n"));
    let by_file = judge("file", "-c set.toml");
    let by_flag = judge("flag", "-c own.toml --ties label --ask-opposite");
    assert_eq!(by_file, by_flag);
    for row in &by_file {
        assert!((0.0..=1.0).contains(&row["p_tie"].as_f64().unwrap()), "{row}");
    }
    // One vote in each order: they agree by ln 5, or the verdict is a tie.
    let mut agree = 0;
    for (row, plain) in judge("votes", "-c own.toml --combine counts").iter().zip(&plain) {
        let [first, second] = [0, 1].map(|at| plain["orders"][at].as_f64().unwrap());
        let expected = if first * second > 0.0 { 5_f64.ln() } else { 0.0 };
        agree += usize::from(first * second > 0.0);
        assert!((row["margin"].as_f64().unwrap().abs() - expected).abs() < 1e-9, "{row} {plain}");
        assert_eq!(row["tied"], expected == 0.0, "{row}");
    }
    assert!(agree < plain.len(), "no verdict is a tie");

    // A changed setting is another run.
    let again = "judge rows.jsonl -c own.toml --out flag --resume";
    let ran = place.run(&mut place.small(again));
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("judge.ask_opposite"), "{}", ran.err);

    // Two runs are compared row by row. The opposite doubles the requests.
    let ran = place.run(&mut place.amend("diff plain flag --json"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let diff: Value = serde_json::from_str(&ran.out).unwrap();
    let change = |measure: &str| {
        let changes = diff["changes"].as_array().unwrap();
        changes.iter().find(|change| change["measure"] == measure).unwrap().clone()
    };
    assert_eq!(change("accuracy")["difference"]["n"], 3);
    assert_eq!(change("accuracy with ties")["difference"]["n"], 5);
    let prompts = change("prompt");
    assert!(prompts["after"].as_f64() > prompts["before"].as_f64().map(|n| 1.8 * n), "{prompts}");

    // A judge template without these questions is refused.
    place.write("prompts/judge.j2", "{% call turn(\"user\") %}{{ answers | join }}?{% endcall %}");
    for (flag, variable) in [("--ties label", "tie_label"), ("--ask-opposite", "asks_opposite")] {
        let ran = place.run(&mut place.small(&format!("judge rows.jsonl {flag}")));
        let expected = format!("the judge template \"judge\" ignores `{variable}`");
        assert!(ran.code == Some(2) && ran.err.contains(&expected), "{}", ran.err);
    }
}

/// Rows whose answers are equally good.
const TIES: &str = r#"{"prompt": "What do cows eat?", "a": "Cows eat grass.", "b": "Grass is what cows eat.", "label": "tie"}
{"prompt": "What is a noun?", "a": "A word for a thing.", "b": "A word that names a thing.", "label": "tie"}
"#;

/// A constitution with these keys in `[judge]`.
fn settings(keys: &str) -> String {
    format!("[constitution]\nname = \"own\"\nextends = [\"small.toml\"]\n[judge]\n{keys}")
}

#[test]
fn a_least_margin_is_fitted_to_labels_that_are_ties_and_applied_with_the_calibration() {
    let place = Place::new();
    let row = |at: usize| {
        let label = ["a", "b", "tie"][at % 3];
        format!(
            "{{\"prompt\": \"Is {at} odd?\", \"a\": \"Yes.\", \"b\": \"No, {at}.\", \
             \"label\": {label:?}}}\n"
        )
    };
    place.write("rows.jsonl", (0..24).map(row).collect::<String>());
    place.write("own.toml", settings("mass_floor = 0.0\n"));
    let fit = place.run(&mut place.small("judge rows.jsonl -c own.toml --fit fit.toml --out r"));
    assert_eq!(fit.code, Some(0), "{}", fit.err);
    assert!(fit.out.contains("change of accuracy with ties"), "{}", fit.out);
    let text = std::fs::read_to_string(place.path("fit.toml")).unwrap();
    let fitted: toml::Table = text.parse().unwrap();
    let least = fitted["judge"]["min_margin"].as_float().unwrap();
    let line = "judge rows.jsonl -c own.toml --calibration fit.toml --json --out s";
    let ran = place.run(&mut place.small(line));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for row in lines(&ran.out) {
        let margin = row["margin"].as_f64().unwrap();
        assert_eq!(row["tied"], margin.abs() < least || margin == 0.0, "{row}");
    }
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

/// A constitution whose judge decides which pairs are exported. Labels need no mass, since
/// the tiny models write anything.
const JUDGED: &str = "[constitution]\nname = \"judged\"\nextends = [\"small.toml\"]\n\
                      [judge]\npolicy = \"drop\"\nmass_floor = 0.0\n";

/// A place with a run `r` of four items with short texts.
fn place_with_run() -> Place {
    let place = Place::new();
    place.write("judged.toml", JUDGED);
    let words = |word: &str| Words {
        prompt: format!("Say {word}."),
        answer: format!("No {word}."),
        critique: "It is rude.".to_owned(),
        revision: format!("Here is {word} for you."),
        category: word.to_owned(),
    };
    made::write(&place.path("r"), "of words", &["tea", "milk", "sun", "rain"].map(words));
    place
}

/// The program with other models as judges.
fn other(place: &Place, arguments: &str) -> Command {
    let mut command = place.small(arguments);
    command.env_remove("AMEND_MODEL");
    command
}

fn judge_flag(name: &str) -> String {
    format!("--judge-model {}", tiny_model_path(name).display())
}

/// The decisive log-odds of the exported rows, by id.
fn margins(place: &Place, flags: &str) -> Vec<(String, f64)> {
    let ran = place.run(&mut place.amend(&format!("export r --drop none {flags}")));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let rows = lines(&ran.out);
    let margin = |row: &Value| {
        (row["id"].as_str().unwrap().to_owned(), row["verdict_margin"].as_f64().unwrap())
    };
    rows.iter().map(margin).collect()
}

#[test]
fn a_run_is_judged_again_and_every_command_can_use_the_verdicts() {
    let place = place_with_run();
    let line = format!("judge r -c judged.toml --name second {}", judge_flag("qwen2"));
    let ran = place.run(&mut other(&place, &line));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(
        ran.err.contains("next: amend export r --out pairs.jsonl --verdicts second\n"),
        "{}",
        ran.err
    );
    let verdicts = std::fs::read_to_string(place.path("r/verdicts/second/verdicts.jsonl")).unwrap();
    let verdicts = lines(&verdicts);
    assert!(verdicts.iter().any(|row| row["category"] == "tea"), "{verdicts:?}");
    // The verdicts are a recorded run of their own.
    let judge = RunDir::open(&place.path("r/verdicts/second")).unwrap();
    let judged = judge.manifest().input.run.as_ref().unwrap();
    assert_eq!(judged.sha256, RunDir::open(&place.path("r")).unwrap().hash());
    assert!(ran.err.contains("the run is in r/verdicts/second"), "{}", ran.err);

    let again = place.run(&mut other(&place, &line));
    assert_eq!(again.code, Some(2));
    assert!(again.err.contains("r already has verdicts named \"second\""), "{}", again.err);
    let resumed = place.run(&mut other(&place, &format!("{line} --resume")));
    assert_eq!(resumed.code, Some(0), "{}", resumed.err);
    assert!(resumed.err.contains("nothing left to compute"), "{}", resumed.err);

    // Each export has the pairs that its verdicts prefer.
    let preferred: Vec<f64> = verdicts
        .iter()
        .filter_map(|row| row["margin"].as_f64())
        .filter(|margin| *margin > 0.0)
        .collect();
    let exported = margins(&place, "--verdicts second");
    assert_eq!(exported.len(), preferred.len());
    for (_, margin) in &exported {
        assert!(preferred.contains(margin), "{margin} is not one of {preferred:?}");
    }
    let ran = place.run(&mut place.amend("export r --verdicts second --drop none"));
    assert!(lines(&ran.out).iter().all(|row| row["verdicts"] == "second"), "{}", ran.out);
    assert!(lines(&ran.out).iter().all(|row| row["disagreement"].is_null()), "{}", ran.out);

    let report = place.run(&mut place.amend("report r --verdicts second --out -"));
    assert!(report.out.contains("(verdicts second)"), "{}", report.err);
    let diff = place.run(&mut place.amend("diff r r --verdicts second --json"));
    assert_eq!(diff.code, Some(0), "{}", diff.err);
    assert!(diff.out.contains("\"verdicts\": [\n    \"second\"\n  ]"), "{}", diff.out);
    for line in ["lint r --verdicts second", "review r --summary --verdicts second"] {
        let ran = place.run(&mut place.amend(line));
        assert!(ran.code == Some(0) || ran.code == Some(1), "{line}: {}", ran.err);
    }
    let ran = place.run(&mut place.amend("export r --verdicts third"));
    assert_eq!(ran.code, Some(2));
    assert!(ran.err.contains("has no verdicts named \"third\": it has second"), "{}", ran.err);
}

#[test]
fn verdicts_of_a_run_that_grew_are_continued() {
    let place = place_with_run();
    let journal = std::fs::read_to_string(place.path("r/journal.jsonl")).unwrap();
    // Keep what was written until half of the items had ended.
    let ends: Vec<usize> = journal
        .split_inclusive('\n')
        .scan(0, |end, line| {
            *end += line.len();
            Some((line.contains("\"type\":\"end\""), *end))
        })
        .filter(|(is_end, _)| *is_end)
        .map(|(_, end)| end)
        .collect();
    place.write("r/journal.jsonl", &journal[..ends[1]]);
    let line = format!("judge r -c judged.toml --name n {}", judge_flag("qwen2"));
    let ran = place.run(&mut other(&place, &line));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let judged = || {
        let run = RunDir::open(&place.path("r/verdicts/n")).unwrap();
        run.trajectories().unwrap().count()
    };
    let before = judged();
    place.write("r/journal.jsonl", &journal);
    let ran = place.run(&mut place.amend("export r --verdicts n --out x.jsonl --drop none"));
    assert!(ran.err.contains("pairs have no verdict in \"n\""), "{}", ran.err);
    let ran = place.run(&mut other(&place, &format!("{line} --resume")));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(judged() > before, "{} after {before}", judged());
    let ran = place.run(&mut place.amend("export r --verdicts n --out y.jsonl --drop none"));
    assert!(!ran.err.contains("no verdict"), "{}", ran.err);
}

#[test]
fn a_panel_judges_files_and_runs_and_averages_its_judges() {
    let place = place_with_run();
    place.write("rows.jsonl", ROWS);
    let judges = format!("{} {}", judge_flag("qwen2"), judge_flag("llama"));
    let line = format!("judge rows.jsonl -c judged.toml --json --out p {judges}");
    let ran = place.run(&mut other(&place, &line));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let rows = lines(&ran.out);
    let of_judge = |number: u64| {
        let path = place.path(&format!("p/judge-{number}/verdicts.jsonl"));
        lines(&std::fs::read_to_string(path).unwrap())
    };
    let [one, two] = [1, 2].map(of_judge);
    for ((row, one), two) in rows.iter().zip(&one).zip(&two) {
        let number = |row: &Value, key: &str| row[key].as_f64().unwrap();
        let mean = (number(one, "margin") + number(two, "margin")) / 2.0;
        assert!((number(row, "margin") - mean).abs() < 1e-6, "{row}");
        // The standard deviation of two numbers is half of their distance.
        let apart = (number(one, "p") - number(two, "p")).abs() / 2.0;
        assert!((number(row, "disagreement") - apart).abs() < 1e-6, "{row}");
    }
    assert!(ran.err.contains("the panel ") && ran.err.contains("same verdict"), "{}", ran.err);
    let figures = std::fs::read_to_string(place.path("p/figures.json")).unwrap();
    let figures: Value = serde_json::from_str(&figures).unwrap();
    assert_eq!(figures["judges"].as_array().unwrap().len(), 2);
    assert_eq!(figures["agreement"].as_array().unwrap().len(), 1);
    let resumed = place.run(&mut other(&place, &format!("{line} --resume")));
    assert_eq!((resumed.code, &resumed.out), (Some(0), &ran.out), "{}", resumed.err);
    // A calibration for each judge: the second counts a tenth.
    place.write("plain.toml", "[judge.calibration]\ntemperature = 1.0\noffset = 0.0\n");
    place.write("cool.toml", "[judge.calibration]\ntemperature = 10.0\noffset = 0.0\n");
    let line = format!(
        "judge rows.jsonl -c judged.toml --json {judges} --calibration plain.toml --calibration \
         cool.toml"
    );
    let cool = place.run(&mut other(&place, &line));
    let margin = |rows: &[Value]| rows[0]["margin"].as_f64().unwrap();
    let expected = (margin(&one) + margin(&two) / 10.0) / 2.0;
    assert!((margin(&lines(&cool.out)) - expected).abs() < 1e-6, "{}", cool.err);

    let ran =
        place.run(&mut other(&place, &format!("judge r -c judged.toml --name both {judges}")));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let ran = place.run(&mut place.amend("export r --verdicts both --drop none"));
    let disagreements: Vec<f64> =
        lines(&ran.out).iter().map(|row| row["disagreement"].as_f64().unwrap()).collect();
    assert!(!disagreements.is_empty(), "{}", ran.err);
    let strict = "export r --verdicts both --drop none --max-disagreement 0 --out none.jsonl";
    let ran = place.run(&mut place.amend(strict));
    assert!(ran.err.contains("left out: the judges of the panel disagree"), "{}", ran.err);
}

#[test]
fn several_judges_and_verdicts_are_refused_where_they_have_no_effect() {
    let place = place_with_run();
    place.write("rows.jsonl", ROWS);
    place.write("prompts.jsonl", "\"Why?\"\n");
    let two = format!("{} {}", judge_flag("qwen2"), judge_flag("llama"));
    for (line, expected) in [
        (format!("run prompts.jsonl --out q {two}"), "2 judge models are given"),
        (format!("judge rows.jsonl {two} --fit f.toml"), "--fit is for one judge"),
        ("judge rows.jsonl --name n".to_owned(), "--name is for the verdicts on a run"),
        ("judge rows.jsonl --max-disagreement 0.1".to_owned(), "no effect with one judge"),
        ("judge rows.jsonl --calibration a --calibration b".to_owned(), "2 times for 1 judges"),
        ("judge r --out q".to_owned(), "the verdicts on a run are written to r/verdicts"),
        ("judge r rows.jsonl".to_owned(), "r is a run, which is judged on its own"),
        ("judge r --resume --name n".to_owned(), "has no verdicts named \"n\""),
        ("judge rows.jsonl --resume".to_owned(), "--resume needs the directory of the run"),
        ("judge r --name ../n".to_owned(), "a name has 1 to 64 letters"),
    ] {
        let ran = place.run(&mut place.small(&line));
        assert_eq!(ran.code, Some(2), "{line}: {}", ran.err);
        assert!(ran.err.contains(expected), "{line}: {}", ran.err);
    }
}

#[test]
fn a_dry_run_counts_the_input_once_and_the_cost_for_each_judge() {
    let place = place_with_run();
    let rows =
        ROWS.replace("\"label\": \"a\"", "\"label\": \"a\", \"topic\": [\"insects\", \"food\"]");
    place.write("rows.jsonl", &rows);
    let two = format!("{} {}", judge_flag("qwen2"), judge_flag("llama"));
    let line = format!("judge rows.jsonl -c judged.toml --dry-run --by topic {two}");
    let ran = place.run(&mut other(&place, &line));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let count = |start: &str| ran.out.lines().filter(|line| line.starts_with(start)).count();
    assert_eq!([count("pairs "), count("requests "), count("prompts ")], [1, 2, 2], "{}", ran.out);
    assert!(ran.out.contains("  insects, food: 1 pair, 1 labelled, 0 ties\n"), "{}", ran.out);
    assert!(ran.out.contains("judge 1: qwen2\n") && ran.out.contains("judge 2: llama\n"));
    let ran = place.run(&mut place.small("judge rows.jsonl -c judged.toml --by subject"));
    assert_eq!(ran.code, Some(2), "{}", ran.err);
    let expected = "error: no row has a value in the column \"subject\"\nhelp: pass one of topic\n";
    assert!(ran.err.ends_with(expected), "{}", ran.err);
}

#[test]
fn a_panel_that_cannot_begin_leaves_its_name_free() {
    let place = place_with_run();
    for flags in [
        format!("-c missing.toml {} {}", judge_flag("qwen2"), judge_flag("llama")),
        format!("-c judged.toml --judge-model missing.gguf {}", judge_flag("llama")),
    ] {
        let ran = place.run(&mut other(&place, &format!("judge r --name both {flags}")));
        assert_ne!(ran.code, Some(0), "{flags}");
        assert!(!place.path("r/verdicts/both").exists(), "{flags}: {}", ran.err);
    }
}

#[test]
fn verdicts_with_a_limit_are_continued_without_it() {
    let place = place_with_run();
    let judge = format!("judge r -c judged.toml --name some {}", judge_flag("qwen2"));
    let ran = place.run(&mut other(&place, &format!("{judge} --limit 1 --json")));
    assert_eq!((ran.code, lines(&ran.out).len()), (Some(0), 1), "{}", ran.err);
    let ran = place.run(&mut other(&place, &format!("{judge} --resume --json")));
    assert_eq!((ran.code, lines(&ran.out).len()), (Some(0), 4), "{}", ran.err);
}

#[test]
fn verdicts_are_no_run_to_judge_export_or_start_from() {
    let place = place_with_run();
    let judge = format!("judge r -c judged.toml --name some {}", judge_flag("qwen2"));
    let ran = place.run(&mut other(&place, &judge));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for (line, expected) in [
        ("judge r/verdicts/some", "is a run of amend judge, and a run of amend run is needed"),
        ("run --answers-from r/verdicts/some --out q", "a run of amend run is needed"),
        ("export r/verdicts/some", "help: export the run that was judged, with --verdicts NAME"),
    ] {
        let is_export = line.starts_with("export");
        let ran = place.run(&mut if is_export { place.amend(line) } else { place.small(line) });
        assert_eq!(ran.code, Some(2), "{line}: {}", ran.err);
        assert!(ran.err.contains(expected), "{line}: {}", ran.err);
    }
    assert!(!place.path("q").exists());
}

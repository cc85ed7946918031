//! Tests of `amend audit`.

use std::io::Write;

use crate::common::{Place, Ran};
use serde_json::{Value, json};

/// A principle, an exact copy of it, a slightly reworded one, and its opposite.
const RULES: &str = r#"
[constitution]
name = "copies"

[audit]
active = 0.0
min_items = 10
redundant = 0.6

[[principle]]
id = "kind"
principle = "The answer is kind and warm to the person who asks."

[[principle]]
id = "copy"
principle = "The answer is kind and warm to the person who asks."

[[principle]]
id = "reworded"
principle = "The answer is warm and kind to the person who asks."

[[principle]]
id = "unkind"
principle = "The answer is cold and unkind to the person who asks."
"#;

const SUBJECTS: [&str; 10] =
    ["tea", "bread", "bees", "rain", "maps", "stairs", "wool", "salt", "ferries", "lamps"];

/// Twenty short pairs.
pub fn pairs() -> String {
    let row = |at: usize| {
        let subject = SUBJECTS[at % 10];
        let kind = format!("Gladly! It is good that you ask about {subject}.");
        let curt = format!("Look {subject} up yourself.");
        let [a, b, label] =
            if at.is_multiple_of(2) { [kind, curt, "a".into()] } else { [curt, kind, "b".into()] };
        format!(
            "{{\"prompt\": \"{} {subject}?\", \"a\": \"{a}\", \"b\": \"{b}\", \"label\": \"{label}\"}}\n",
            if at < 10 { "What about" } else { "Tell me of" }
        )
    };
    (0..20).map(row).collect()
}

fn place() -> Place {
    let place = Place::new();
    place.write("rules.toml", RULES);
    place.write("pairs.jsonl", pairs());
    place
}

fn audit(place: &Place, run: &str) -> Value {
    let text = std::fs::read_to_string(place.path(&format!("{run}/audit.json"))).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// The prompt tokens of a run, including cached ones.
fn prompted(ran: &Ran) -> u64 {
    let (before, _) = ran.err.split_once(" prompt tokens").unwrap();
    before.rsplit(' ').next().unwrap().parse().unwrap()
}

pub fn correlation(audit: &Value, pair: [&str; 2]) -> f64 {
    let pairs = audit["pairs"].as_array().unwrap();
    let pair = pairs.iter().find(|entry| entry["principles"] == json!(pair)).unwrap();
    pair["correlation"]["value"].as_f64().unwrap()
}

#[test]
fn copies_are_reported_as_redundant() {
    let place = place();
    let ran =
        place.run(&mut place.small("audit rules.toml --on pairs.jsonl --out r --fail-on warn"));
    assert_eq!(ran.code, Some(1), "{}{}", ran.out, ran.err);
    assert!(ran.out.starts_with("20 items, 4 principles; findings: "), "{}", ran.out);
    assert!(ran.out.contains("  redundant\n"), "{}", ran.out);
    assert!(ran.err.contains("next: amend report r"), "{}", ran.err);
    let audit = audit(&place, "r");
    // The prompts of a copy are byte for byte the same.
    let copy = correlation(&audit, ["kind", "copy"]);
    assert!(copy > 0.99, "{copy}");
    let clusters = audit["clusters"].as_array().unwrap();
    let has =
        |cluster: &Value, id: &str| cluster["principles"].as_array().unwrap().contains(&id.into());
    assert!(
        clusters.iter().any(|cluster| has(cluster, "kind") && has(cluster, "copy")),
        "{clusters:?}"
    );

    let report = place.run(&mut place.amend("report r"));
    assert_eq!(report.code, Some(0), "{}", report.err);
    let html = std::fs::read_to_string(place.path("r/report.html")).unwrap();
    for title in ["Redundancy", "Conflict", "Figures by principle"] {
        assert!(html.contains(title), "no {title}");
    }

    let diff = place.run(&mut place.amend("diff rules.toml rules.toml --audits r r/audit.json"));
    assert_eq!(diff.out, "no difference\n\nin behaviour:\nnothing changed\n", "{}", diff.err);

    // Nothing changed since the baseline, so there is nothing to fail on.
    let line = "audit rules.toml --on pairs.jsonl --out r --resume --fail-on info --baseline r";
    let again = place.run(&mut place.small(line));
    assert_eq!(again.code, Some(0), "{}", again.err);
    assert_eq!(again.out, "nothing changed\n");
    assert!(again.err.contains("nothing left to compute"), "{}", again.err);
}

#[test]
fn reuse_asks_only_about_new_and_changed_principles() {
    let place = place();
    let line =
        |rest: &str| format!("audit rules.toml --on pairs.jsonl --limit 4 --fail-on error {rest}");
    let first = place.run(&mut place.small(&line("--out one")));
    assert!(matches!(first.code, Some(0 | 1)), "{}", first.err);
    let more = format!(
        "{}[[principle]]\nid = \"short\"\nprinciple = \"The answer is short.\"\n",
        RULES.replace("cold and unkind", "icy and unkind")
    );
    place.write("rules.toml", more);
    let second = place.run(&mut place.small(&line("--reuse one --out two")));
    assert!(matches!(second.code, Some(0 | 1)), "{}", second.err);
    // Five verdicts per item at first, then those of the new and the changed principle.
    let share = prompted(&second) as f64 / prompted(&first) as f64;
    assert!((0.36..0.44).contains(&share), "{share}");
    let [one, two] = ["one", "two"].map(|run| audit(&place, run));
    assert_eq!(two["principles"].as_array().unwrap().len(), 5);
    assert_eq!(correlation(&one, ["kind", "reworded"]), correlation(&two, ["kind", "reworded"]));

    let other = place.run(&mut place.small(&line("--reuse one --out three --seed 5")));
    assert_eq!(other.code, Some(2), "{}", other.err);
    assert!(other.err.contains("seed: was 0, is 5"), "{}", other.err);
    assert!(!place.path("three").exists());
}

#[test]
fn other_label_words_add_verdicts_without_recomputing_prefixes() {
    let place = place();
    let small = |rest: &str| {
        let line = format!("audit rules.toml --on pairs.jsonl --limit 2 {rest}");
        let ran = place.run(&mut place.small(&line));
        assert!(matches!(ran.code, Some(0 | 1)), "{}", ran.err);
        ran
    };
    small("--out plain");
    let words = "[audit]\nlabel_words = [['1', '2'], ['x', 'y'], ['zzqx', 'qqzx']]\n";
    place.write("rules.toml", RULES.replace("[audit]\n", words));
    // The reused audit has no other label words.
    let ran = small("--reuse plain --out words");
    assert!(ran.err.contains("label words zzqx/qqzx are left out: none of"), "{}", ran.err);
    let [plain, other] = ["plain", "words"].map(|run| audit(&place, run));
    let asked = |variant: &Value| variant["undecided"]["n"].as_u64();
    for (before, now) in
        plain["principles"].as_array().unwrap().iter().zip(other["principles"].as_array().unwrap())
    {
        assert_eq!((&before["label_words"], &now["position"]), (&json!([]), &before["position"]));
        let variants = now["label_words"].as_array().unwrap();
        let counts: Vec<_> = variants
            .iter()
            .map(|variant| (variant["name"].as_str().unwrap(), asked(variant)))
            .collect();
        let expected = [("1/2", Some(2)), ("x/y", Some(2)), ("zzqx/qqzx", None)];
        assert_eq!(counts, expected);
    }

    // Two items: overall, under four principles, and under these with two pairs of other
    // label words.
    let cost = |audit: &Value, key: &str| audit["cost"][key].as_u64().unwrap();
    assert_eq!([&plain, &other].map(|audit| cost(audit, "verdicts")), [10, 26]);
    for audit in [&plain, &other] {
        assert_eq!(cost(audit, "prefilled"), cost(audit, "ideal"));
        assert!(cost(audit, "prompt_tokens") > 2 * cost(audit, "prefilled"));
    }
    let more = ["prompt_tokens", "prefilled"].map(|key| cost(&other, key) - cost(&plain, key));
    assert_eq!(prompted(&ran), more[0]);
    assert!(ran.out.contains(", 1.00 times the minimum\n"), "{}", ran.out);
    let html = place.run(&mut place.amend("report words"));
    assert_eq!(html.code, Some(0), "{}", html.err);

    let again = small("--reuse plain --out words --resume");
    assert_eq!(again.out, ran.out);
    assert!(again.err.contains("nothing left to compute"), "{}", again.err);
}

#[test]
fn prompts_and_runs_can_be_audited() {
    let place = Place::new();
    place.write("prompts.txt", "Why is rain wet?\nWhere do bees sleep?\n");
    let line = "audit small.toml --on prompts.txt --json";
    let ran = place.run(&mut place.small(&format!("{line} --out a")));
    assert!(matches!(ran.code, Some(0 | 1)), "{}", ran.err);
    assert_eq!(ran.out, std::fs::read_to_string(place.path("a/audit.json")).unwrap());
    assert_eq!(audit(&place, "a")["items"], 2);
    let resumed = place.run(&mut place.small(&format!("{line} --out a --resume")));
    assert_eq!(resumed.out, ran.out);

    let run = place.run(&mut place.small("run prompts.txt --out revised"));
    assert_eq!(run.code, Some(0), "{}", run.err);
    let ran = place.run(&mut place.small("audit small.toml --on revised --json --out b"));
    assert!(matches!(ran.code, Some(0 | 1)), "{}", ran.err);
    assert_eq!(audit(&place, "b")["steering"]["revisions"], 2);
}

#[test]
fn mistakes_are_reported_with_their_fix() {
    let place = place();
    place.write("none.jsonl", "");
    place.write(
        "bad.toml",
        "[constitution]\nname = \"b\"\nextends = [\"rules.toml\"]\n[audit]\nactve = 1\n",
    );
    let error = |line: &str| {
        let ran = place.run(&mut place.small(line));
        assert_eq!(ran.code, Some(2), "{line}: {}", ran.err);
        ran.err
    };
    assert!(error("audit rules.toml --on none.jsonl").contains("none.jsonl"));
    assert!(
        error("audit rules.toml --on pairs.jsonl --baseline rules.toml")
            .contains("is not an audit")
    );
    assert!(error("audit bad.toml --on pairs.jsonl").contains("did you mean `active`"));
    assert!(
        error("audit rules.toml --on pairs.jsonl --reuse gone")
            .contains("gone is not a run directory")
    );
}

#[test]
fn piped_input_is_read_once() {
    let place = place();
    for (name, shown) in [("-", "standard input"), ("/dev/stdin", "/dev/stdin")] {
        let (reader, mut writer) = std::io::pipe().unwrap();
        // The second row is invalid as a pair, and valid as a prompt.
        let rows = pairs().lines().next().unwrap().to_owned() + "\n{\"prompt\": \"Why?\"}\n";
        writer.write_all(rows.as_bytes()).unwrap();
        drop(writer);
        let line = format!("audit rules.toml --on {name}");
        let ran = place.run(place.small(&line).stdin(reader));
        assert_eq!(ran.code, Some(2), "{line}: {}", ran.err);
        let expected =
            format!("error: {shown}:2: no two answers to compare among the columns \"prompt\"");
        assert!(ran.err.starts_with(&expected), "{line}: {}", ran.err);
    }
}

//! `amend trend`: series of evaluations of given answers.

use crate::common::{Place, Ran};
use serde_json::Value;

/// The number of items of the set.
const ITEMS: usize = 8;

const SCORED: &str = r#"
[constitution]
name = "scored"
extends = ["small.toml"]

[judge]
mass_floor = 0

[[dimension]]
id = "warmth"
question = "How warm is the answer?"
"#;

fn set(name: &str) -> String {
    let mut set = format!("[set]\nname = \"{name}\"\nversion = \"1\"\n");
    for item in 0..ITEMS {
        set += &format!(
            "[[item]]\nid = \"i{item}\"\nkind = \"normal\"\ncategory = \"talk\"\n\
             prompt = \"Name colour {item}.\"\ngood = \"Names one.\"\nbad = \"Names none.\"\n\
             expect = \"answer\"\n[item.checks]\nrequire = [[\"red\", \"blue\"]]\n"
        );
    }
    set
}

/// A place with the set `colours`.
fn place() -> Place {
    let place = Place::new();
    place.write("colours.toml", set("colours"));
    place.write("other.toml", set("other"));
    place.write("scored.toml", SCORED);
    place
}

/// Evaluates the answers `word` to all items, with a number that makes them those of `run`.
fn evaluate(place: &Place, run: &str, set: &str, word: &str) {
    let answers: String = (0..ITEMS)
        .map(|item| format!("{{\"id\": \"i{item}\", \"response\": \"{word} {run} {item}.\"}}\n"))
        .collect();
    place.write("given.jsonl", answers);
    let line = format!("eval {set}.toml -c scored.toml --responses given.jsonl --out {run}");
    let ran = place.run(&mut place.small(&line));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
}

/// The trend of runs. The scores of the tiny model differ a little with every word.
fn trend(place: &Place, arguments: &str) -> Ran {
    place.run(&mut place.amend(&format!("trend {arguments} --min-change warmth=1")))
}

#[test]
fn a_planted_drop_is_found_and_a_stable_series_is_not() {
    let place = place();
    for (run, word) in [("a", "Red"), ("b", "Blue"), ("c", "Red"), ("d<i>", "Green")] {
        evaluate(&place, run, "colours", word);
    }
    let stable = trend(&place, "a b c");
    assert_eq!(stable.code, Some(0), "{}{}", stable.out, stable.err);
    assert!(stable.out.starts_with("colours, 3 runs\n  1  a  8 answers"), "{}", stable.out);
    assert!(stable.out.ends_with("\nno finding\n"), "{}", stable.out);

    let ran = trend(&place, "a b c d<i> --report page.html");
    assert_eq!(ran.code, Some(1), "{}{}", ran.out, ran.err);
    let finding = "finding: checks fell to 0.000, out of the band ";
    assert!(ran.err.contains(finding), "{}", ran.err);
    assert!(ran.err.contains(" of the earlier runs, for the worse\n"), "{}", ran.err);
    assert!(ran.err.ends_with("next: open page.html in a browser\n"), "{}", ran.err);
    let checks = ran.out.lines().find(|line| line.starts_with("checks")).unwrap();
    let expected = "checks    1.00  1.00  1.00  ";
    assert!(checks.starts_with(expected) && checks.contains("-1.00  *"), "{}", ran.out);

    let html = std::fs::read_to_string(place.path("page.html")).unwrap();
    assert!(html.contains("<title>amend trend: colours</title>"), "{html}");
    assert!(html.contains("d&lt;i&gt;") && !html.contains("d<i>"));
    assert!(!html.contains("<script") && !html.contains("id=\"list\""));
    assert_eq!(html.matches("<svg").count(), 3, "checks, expected and warmth");

    let json = trend(&place, "a b c d<i> --json");
    assert_eq!(json.code, Some(1));
    let json: Value = serde_json::from_str(&json.out).unwrap();
    let finding = &json["findings"][0];
    assert_eq!(json["findings"].as_array().unwrap().len(), 1, "{json}");
    assert_eq!((&finding["kind"], &finding["measure"]), (&"shift".into(), &"checks".into()));
    assert_eq!((&finding["change"], &finding["is_worse"]), (&(-1.0).into(), &true.into()));
    assert_eq!(json["runs"][3]["name"], "d<i>");
    let measures = json["measures"].as_array().unwrap();
    let names: Vec<_> = measures.iter().map(|one| one["measure"].as_str().unwrap()).collect();
    assert_eq!(names, ["warmth", "checks", "expected"]);
    assert_eq!(measures[1]["points"][3]["interval"]["low"], 0.0);

    // Turned around, the change is for the better.
    let better = trend(&place, "d<i> a");
    assert_eq!(better.code, Some(1), "{}", better.err);
    assert!(better.err.contains("checks rose to 1.000"), "{}", better.err);
    assert!(better.err.ends_with("next: amend diff 'd<i>' a\n"), "{}", better.err);
    assert_eq!(trend(&place, "d<i> a --only-worse").code, Some(0));
    assert_eq!(trend(&place, "d<i> a --min-change checks=1.5").code, Some(0));
}

#[test]
fn runs_that_are_no_series_are_refused() {
    let place = place();
    evaluate(&place, "a", "colours", "Red");
    evaluate(&place, "b", "colours", "Blue");
    evaluate(&place, "c", "other", "Blue");
    place.write("in.jsonl", "\"Why?\"\n");
    let ran = place.run(&mut place.small("run in.jsonl -c small.toml --out loop"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    // An interrupted evaluation: the last item has no end.
    std::fs::create_dir(place.path("cut")).unwrap();
    std::fs::copy(place.path("a/manifest.json"), place.path("cut/manifest.json")).unwrap();
    let journal = std::fs::read_to_string(place.path("a/journal.jsonl")).unwrap();
    let lines: Vec<&str> = journal.split_inclusive('\n').collect();
    place.write("cut/journal.jsonl", lines[..lines.len() - 1].concat());
    let error = |line: &str| {
        let ran = place.run(&mut place.amend(&format!("trend {line}")));
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{line}: {}", ran.err);
        format!("$ amend trend {line}\n{}\n", ran.err)
    };
    let all: String = [
        "a",
        "a b ./a",
        "a nowhere",
        "a prompts",
        "loop a",
        "a cut",
        "c a",
        "a b --min-change warmht=1",
        "a b --min-change much",
    ]
    .map(error)
    .concat();
    insta::assert_snapshot!("trend-refused", all);
}

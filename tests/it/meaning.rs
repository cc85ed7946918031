//! Tests that need a model which understands text, so they run the example model. Tests
//! that do not depend on the meaning of a text belong in the module of their command, which
//! runs a tiny model.

use serde_json::Value;

use crate::common::Place;

/// A principle, and a slightly reworded copy of it.
const REWORDED: &str = r#"
[constitution]
name = "reworded"

[audit]
active = 0.0
min_items = 5

[[principle]]
id = "kind"
principle = "The answer is kind and warm to the person who asks."

[[principle]]
id = "reworded"
principle = "The answer is warm and kind to the person who asks."
"#;

#[test]
fn a_reworded_principle_is_judged_like_the_original() {
    let place = Place::new();
    place.write("reworded.toml", REWORDED);
    place.write("pairs.jsonl", crate::audit::pairs());
    let line = "audit reworded.toml --on pairs.jsonl --limit 6 --json --out r";
    let ran = place.run(&mut place.understanding(line));
    assert!(matches!(ran.code, Some(0 | 1)), "{}", ran.err);
    let audit: Value = serde_json::from_str(&ran.out).unwrap();
    let reworded = crate::audit::correlation(&audit, ["kind", "reworded"]);
    assert!(reworded > 0.6, "{reworded}");
}

#[test]
fn the_better_answer_has_the_larger_margin() {
    let place = Place::new();
    place.write(
        "pairs.jsonl",
        "{\"prompt\": \"What do bees make?\", \"chosen\": \"Bees make honey and wax.\", \
         \"rejected\": \"Bees make cars and shoes.\"}\n",
    );
    let ran = place.run(&mut place.understanding("score pairs.jsonl --json"));
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let row: Value = serde_json::from_str(&ran.out).unwrap();
    assert!(row["margin"].as_f64().unwrap() > 0.0, "{row}");
}

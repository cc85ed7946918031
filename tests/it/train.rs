//! `examples/train`, without the training: its files are valid, and what is measured is not
//! what is trained on.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::common::Place;
use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/train")
}

fn python(arguments: &[&Path]) {
    let output = Command::new("python3")
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(arguments)
        .output()
        .expect("python3 is needed, as for tests/run");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A place with the prompts and sets of the example.
fn place() -> Place {
    let place = Place::new();
    python(&[&folder().join("prompts.py"), &place.path("")]);
    place
}

/// The prompts of a file, without those that it repeats.
fn prompts(place: &Place, name: &str) -> BTreeSet<String> {
    let text = std::fs::read_to_string(place.path(name)).unwrap();
    let row = |line| serde_json::from_str::<Value>(line).unwrap();
    text.lines().map(|line| row(line)["prompt"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_constitution_and_the_sets_are_valid() {
    let place = place();
    let constitution = folder().join("short.toml");
    let ran = place.run(
        place
            .amend("check held-back.toml facts.toml prompts.jsonl held-back.jsonl")
            .arg(constitution),
    );
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    for line in [
        "held-back.toml: an evaluation set of 100 items, 100 prompts",
        "facts.toml: an evaluation set of 40 items, 40 prompts",
        "short.toml: a constitution of 1 principle",
    ] {
        assert!(ran.out.contains(line) || ran.err.contains(line), "{}{}", ran.out, ran.err);
    }
}

#[test]
fn no_held_back_prompt_is_trained_on() {
    let place = place();
    let trained = prompts(&place, "prompts.jsonl");
    let held_back = prompts(&place, "held-back.jsonl");
    assert_eq!((trained.len(), held_back.len()), (200, 100));
    assert_eq!(trained.intersection(&held_back).collect::<Vec<_>>(), Vec::<&String>::new());
}

#[test]
fn the_scripts_are_valid_python() {
    let place = Place::new();
    place.write(
        "parse.py",
        "import ast, sys\nfor path in sys.argv[1:]:\n    ast.parse(open(path).read(), path)\n",
    );
    let (train, weights) = (folder().join("train.py"), folder().join("weights.py"));
    python(&[&place.path("parse.py"), &train, &weights]);
}

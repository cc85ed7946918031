//! Precision and recall of the rules about spoilt pairs on labelled pairs.
//!
//! `model.jsonl` has 200 pairs of runs of the 135M example model, labelled by reading. The
//! rules were first chosen on the first [`FIRST`] of them, later with all in view, so none is
//! held out. `cases.jsonl` has hand-made pairs in several languages, more than half of them
//! sound; the ids of those that are known to be told apart wrongly end in `-known`. The tests
//! print the figures that docs/lint.md gives.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::super::check::SPOILT;
use super::*;
use crate::pairs::RevisedFrom;
use amend_core::prompt::{Delimiter, DelimiterStyle};

const MODEL: &str = include_str!("../../../tests/spoilt/model.jsonl");
/// The first pairs of the model, by which the bounds were chosen.
const FIRST: usize = 89;
const CASES: &str = include_str!("../../../tests/spoilt/cases.jsonl");

/// A labelled pair.
#[derive(Deserialize)]
struct Labelled {
    id: String,
    prompt: String,
    critique: Option<String>,
    chosen: String,
    rejected: String,
    /// The kinds of faults; empty for a sound pair.
    spoilt: Vec<String>,
    /// The style of the run's delimiter, if it is not the default.
    style: Option<String>,
    /// The run's delimiter, if it is not that of the hand-made pairs.
    fence: Option<String>,
}

/// The kind of fault that a rule is about, as labels name it.
const KINDS: [(&str, &str); 7] = [
    ("delimiter-marks", "marks"),
    ("repeats-critique", "critique"),
    ("repeats-example", "example"),
    ("repeats-request", "request"),
    ("chatty-prefix", "introduction"),
    ("leaked-critique", "mention"),
    ("declines-revision", "declines"),
];

/// Counts of one rule, or of all together.
#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Counted {
    labelled: u32,
    found: u32,
    /// Those that are both.
    right: u32,
}

impl Counted {
    fn add(&mut self, labelled: bool, found: bool) {
        self.labelled += u32::from(labelled);
        self.found += u32::from(found);
        self.right += u32::from(labelled && found);
    }

    fn precision(self) -> f64 {
        f64::from(self.right) / f64::from(self.found.max(1))
    }

    fn recall(self) -> f64 {
        f64::from(self.right) / f64::from(self.labelled.max(1))
    }
}

fn labelled(text: &str) -> Vec<Labelled> {
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// The rules that a labelled pair breaks.
fn found(pair: &Labelled) -> Vec<&'static str> {
    let mut background = Background::shipped();
    let style = match pair.style.as_deref() {
        Some("datamarking") => DelimiterStyle::Datamarking,
        _ => DelimiterStyle::Delimiter,
    };
    background.delimiter =
        Some(Delimiter::new(pair.fence.as_deref().unwrap_or("3f9c2a81")).unwrap().in_style(style));
    let examiner = Examiner::without_trainer(SPOILT.to_vec(), &Arc::new(background));
    let row = json!({"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected});
    let row: Object = serde_json::from_value(row).unwrap();
    let before = pair.rejected.clone();
    let revised = RevisedFrom { critique: pair.critique.clone(), before };
    let (_, example) = examiner.read(&Mapping::default(), &row, Some(&revised)).unwrap();
    examiner.hits(&example, &row).into_iter().map(|hit| hit.rule.name).collect()
}

/// Counts by rule, and under `any` whether a pair is spoilt at all.
fn measured<'a>(pairs: impl Iterator<Item = &'a Labelled>) -> BTreeMap<&'static str, Counted> {
    let mut counts: BTreeMap<&'static str, Counted> = BTreeMap::new();
    for pair in pairs {
        let found = found(pair);
        for (rule, kind) in KINDS {
            let labelled = pair.spoilt.iter().any(|spoilt| spoilt == kind);
            counts.entry(rule).or_default().add(labelled, found.contains(&rule));
        }
        counts.entry("any").or_default().add(!pair.spoilt.is_empty(), !found.is_empty());
        let kinds: Vec<&str> =
            KINDS.iter().filter(|(rule, _)| found.contains(rule)).map(|(_, kind)| *kind).collect();
        if kinds != pair.spoilt.iter().map(String::as_str).collect::<Vec<_>>() {
            println!(
                "{}: {:?}, found {found:?}: {:.120}",
                pair.id,
                pair.spoilt,
                pair.chosen.replace('\n', "⏎")
            );
        }
    }
    for (rule, counted) in &counts {
        println!(
            "{rule:18} precision {:.2} recall {:.2} {counted:?}",
            counted.precision(),
            counted.recall()
        );
    }
    counts
}

/// Checks the precision and recall of each rule against their floors.
#[track_caller]
fn assert_floors(counts: &BTreeMap<&'static str, Counted>, floors: &[(&str, f64, f64)]) {
    for &(rule, precision, recall) in floors {
        let counted = counts[rule];
        assert!(counted.precision() >= precision, "precision of {rule}: {counted:?}");
        assert!(counted.recall() >= recall, "recall of {rule}: {counted:?}");
    }
}

#[test]
fn spoilt_pairs_of_the_example_model_are_found() {
    let pairs = labelled(MODEL);
    assert_eq!(pairs.len(), 200);
    println!("first");
    let first = measured(pairs.iter().take(FIRST));
    assert_floors(&first, &[("any", 0.98, 0.86)]);
    println!("others");
    let others = measured(pairs.iter().skip(FIRST));
    assert_floors(&others, &[("any", 0.98, 0.81)]);
    println!("all");
    let all = measured(pairs.iter());
    assert_floors(
        &all,
        &[
            ("any", 0.98, 0.84),
            ("delimiter-marks", 1.0, 0.75),
            ("repeats-critique", 0.9, 0.79),
            ("repeats-request", 0.85, 0.6),
            ("chatty-prefix", 1.0, 0.4),
            ("leaked-critique", 0.9, 0.58),
        ],
    );
}

#[test]
fn hand_made_pairs_are_told_apart() {
    let pairs = labelled(CASES);
    measured(pairs.iter());
    for pair in &pairs {
        let is_told = pair.spoilt.is_empty() == found(pair).is_empty();
        assert_eq!(is_told, !pair.id.ends_with("-known"), "{}: {:?}", pair.id, found(pair));
    }
}

#[test]
fn answers_written_by_people_are_not_spoilt() {
    let mut checked = 0;
    for line in include_str!("../../../../../examples/pairs.jsonl").lines() {
        let row: Object = serde_json::from_str(line).unwrap();
        for [chosen, rejected] in [["a", "b"], ["b", "a"]] {
            let text = |key: &str| row[key].as_str().unwrap_or_default().to_owned();
            let pair = Labelled {
                id: text("id"),
                prompt: text("prompt"),
                critique: None,
                chosen: text(chosen),
                rejected: text(rejected),
                spoilt: Vec::new(),
                style: None,
                fence: None,
            };
            assert_eq!(found(&pair), [""; 0], "{}: {}", pair.id, pair.chosen);
            checked += 1;
        }
    }
    assert!(checked >= 50, "{checked}");
}

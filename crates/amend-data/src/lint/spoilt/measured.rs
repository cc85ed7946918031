//! Precision and recall of the rules about spoilt pairs on labelled pairs.
//!
//! `model.jsonl` has pairs of a run of the 135M example model, labelled by reading; every
//! second one was used to choose the bounds, and the others measure them. `cases.jsonl`
//! has hand-made pairs in several languages, half of them sound.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;

use super::super::check::SPOILT;
use super::*;
use crate::pairs::Revised;
use amend_core::prompt::{Delimiter, DelimiterStyle};

const MODEL: &str = include_str!("../../../tests/spoilt/model.jsonl");
/// The first pairs of the model, by which the bounds were chosen.
const TUNED: usize = 89;
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
    background.delimiter = Some(Delimiter::new(pair.fence.as_deref().unwrap_or("3f9c2a81")).unwrap().in_style(style));
    let examiner = Examiner::without_trainer(SPOILT.to_vec(), &Arc::new(background));
    let row = json!({"prompt": pair.prompt, "chosen": pair.chosen, "rejected": pair.rejected});
    let row: Object = serde_json::from_value(row).unwrap();
    let before = pair.rejected.clone();
    let revised = Revised { critique: pair.critique.clone(), before };
    let example = examiner.read(recognise(&row).unwrap().0, &row, Some(&revised)).unwrap();
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
        let kinds: Vec<&str> = KINDS
            .iter()
            .filter(|(rule, _)| found.contains(rule))
            .map(|(_, kind)| *kind)
            .collect();
        if kinds != pair.spoilt.iter().map(String::as_str).collect::<Vec<_>>() {
            println!("{}: {:?}, found {found:?}: {:.120}", pair.id, pair.spoilt, pair.chosen.replace('\n', "⏎"));
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

#[test]
fn spoilt_pairs_of_the_example_model_are_found() {
    let pairs = labelled(MODEL);
    println!("tuned on");
    measured(pairs.iter().take(TUNED));
    println!("held out");
    measured(pairs.iter().skip(TUNED));
}

#[test]
fn hand_made_pairs_are_told_apart() {
    measured(labelled(CASES).iter());
}

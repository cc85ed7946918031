//! The HHH comparisons of BIG-bench: an `input` and two answers, of which one has the score 1,
//! in `targets` (`choices` and `labels`) or as the keys of `target_scores`.

use serde_json::Value;

use super::example::{Answers, Example, ExampleTurn, Object};
use super::fault::RowFault;
use super::fields::{Fields, text};
use super::hh_rlhf::{is_transcript, turns};
use super::ranking::{Rated, best_and_worst, number};
use super::read::{RowKind, Shape, ShapeFacts};
use amend_core::record::Label;

/// `input` and two answers with scores.
#[derive(Debug)]
pub(super) struct Hhh;

static FACTS: ShapeFacts = ShapeFacts {
    name: "HHH alignment",
    about: "`input`: a text or a transcript; `targets.choices` with `targets.labels`, or `target_scores`",
    columns: &["targets", "target_scores"],
    used_by: "BIG-bench HHH alignment",
    labels: "0 or 1 for each answer; 1 is the better one",
    kind: RowKind::Pair,
    exports: &[],
};

impl Shape for Hhh {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let scored = row.get("target_scores").is_some_and(|scores| scores.is_object());
        let chosen = row.get("targets").is_some_and(|targets| targets.get("choices").is_some());
        (row.contains_key("input") && (scored || chosen)).then_some("HHH alignment")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut fields = Fields::new(row);
        let asked: ExampleTurn = fields.text("input", "user")?;
        let prompt = match is_transcript(&asked.text) {
            true => turns(&asked.text, "/input"),
            false => vec![asked],
        };
        let (rated, at) = match row.contains_key("targets") {
            true => (choices(fields.value("targets")?)?, "/targets/choices"),
            false => (scores(fields.value("target_scores")?)?, "/target_scores"),
        };
        let answers = match <[Rated; 2]>::try_from(rated) {
            Ok([(first, a), (second, b)]) => {
                let label = match first.total_cmp(&second) {
                    std::cmp::Ordering::Greater => Label::A,
                    std::cmp::Ordering::Less => Label::B,
                    std::cmp::Ordering::Equal => Label::Tie,
                };
                Answers::Comparison { a, b, label: Some(label) }
            }
            Err(rated) => best_and_worst(rated, at)?,
        };
        fields.example(prompt, answers, true)
    }
}

/// The answers in `targets`.
fn choices(targets: &Value) -> Result<Vec<Rated>, RowFault> {
    let list = |key: &str| {
        targets[key]
            .as_array()
            .ok_or_else(|| RowFault::wrong(&format!("/targets/{key}"), "a list", &targets[key]))
    };
    let (choices, labels) = (list("choices")?, list("labels")?);
    let fault = || RowFault::Type {
        pointer: "/targets/labels".to_owned(),
        expected: "a list with a number for each choice",
        found: "another one",
    };
    if choices.len() != labels.len() {
        return Err(fault());
    }
    let mut rated = Vec::new();
    for (at, choice) in choices.iter().enumerate() {
        let score = number(labels.get(at)).ok_or_else(fault)?;
        let at = format!("/targets/choices/{at}");
        rated.push((score, vec![text(choice, "assistant", &at)?]));
    }
    Ok(rated)
}

/// The answers in `target_scores`, which are keys and so have no place.
fn scores(scores: &Value) -> Result<Vec<Rated>, RowFault> {
    let mut rated = Vec::new();
    for (answer, score) in scores.as_object().into_iter().flatten() {
        let score = number(Some(score))
            .ok_or_else(|| RowFault::wrong("/target_scores", "an object of numbers", score))?;
        let turn = ExampleTurn { places: Vec::new(), ..ExampleTurn::new("assistant", answer, "") };
        rated.push((score, vec![turn]));
    }
    Ok(rated)
}

//! Questions and answers of Stack Exchange: `answers` with scores, or a pair of which
//! `response_j` has more votes than `response_k`.

use super::example::{Answers, Example, Object};
use super::fault::RowFault;
use super::fields::{Fields, text};
use super::ranking::{best_and_worst, number};
use super::read::{RowKind, Shape, ShapeFacts};

/// `question`, and `answers` with scores or `response_j` and `response_k`.
#[derive(Debug)]
pub(super) struct StackExchange;

static FACTS: ShapeFacts = ShapeFacts {
    name: "Stack Exchange",
    about: "`question`; `answers`: objects with `text` and `pm_score` (highest is best); or `response_j`, the better answer, and `response_k`",
    columns: &["answers", "response_j", "response_k"],
    used_by: "stack-exchange-preferences, stack-exchange-paired",
    labels: "",
    kind: RowKind::Pair,
    exports: &[],
};

impl Shape for StackExchange {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        if !row.contains_key("question") {
            return None;
        }
        if row.contains_key("response_j") && row.contains_key("response_k") {
            return Some("Stack Exchange pairs");
        }
        let answers = row.get("answers")?.as_array()?;
        answers.first()?.get("pm_score").map(|_| "Stack Exchange answers")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut fields = Fields::new(row);
        let prompt = vec![fields.text("question", "user")?];
        if row.contains_key("response_j") {
            let chosen = vec![fields.text("response_j", "assistant")?];
            let rejected = vec![fields.text("response_k", "assistant")?];
            return fields.example(prompt, Answers::Pair { chosen, rejected }, false);
        }
        let mut rated = Vec::new();
        for (at, entry) in fields.list("answers")?.iter().enumerate() {
            let score = number(entry.get("pm_score")).ok_or_else(|| {
                let at = format!("/answers/{at}/pm_score");
                RowFault::wrong(&at, "a number", &entry["pm_score"])
            })?;
            let at = format!("/answers/{at}/text");
            rated.push((score, vec![text(&entry["text"], "assistant", &at)?]));
        }
        let answers = best_and_worst(rated, "/answers")?;
        fields.example(prompt, answers, false)
    }
}

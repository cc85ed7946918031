//! Nectar: a transcript in `prompt`, and `answers` with ranks, of which 1 is the best.

use super::example::{Example, ExampleTurn, Object};
use super::fault::RowFault;
use super::fields::{Fields, text};
use super::hh_rlhf::{is_transcript, turns};
use super::ranking::{best_and_worst, number};
use super::read::{RowKind, Shape, ShapeFacts};

/// `prompt` and ranked `answers`.
#[derive(Debug)]
pub(super) struct Nectar;

static FACTS: ShapeFacts = ShapeFacts {
    name: "ranked answers",
    about: "`prompt`: a text or a transcript; `answers`: objects with `answer` and `rank` (lowest is best)",
    columns: &["answers"],
    used_by: "Nectar",
    labels: "",
    kind: RowKind::Pair,
    exports: &[],
};

impl Shape for Nectar {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let answers = row.get("answers")?.as_array()?;
        let ranked = answers.first()?.get("rank").is_some();
        (ranked && row.contains_key("prompt")).then_some("ranked answers (Nectar)")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut fields = Fields::new(row);
        let asked: ExampleTurn = fields.text("prompt", "user")?;
        let prompt = match is_transcript(&asked.text) {
            true => turns(&asked.text, "/prompt"),
            false => vec![asked],
        };
        let mut rated = Vec::new();
        for (at, entry) in fields.list("answers")?.iter().enumerate() {
            let rank = number(entry.get("rank")).ok_or_else(|| {
                RowFault::wrong(&format!("/answers/{at}/rank"), "a number", &entry["rank"])
            })?;
            let at = format!("/answers/{at}/answer");
            rated.push((-rank, vec![text(&entry["answer"], "assistant", &at)?]));
        }
        let answers = best_and_worst(rated, "/answers")?;
        fields.example(prompt, answers, true)
    }
}

//! Preferences for NeMo RL: a `context` and `completions` with ranks, of which the lowest is
//! the best. NeMo Aligner's and older NeMo RL data have `prompt`, `chosen_response` and
//! `rejected_response`.

use serde_json::json;

use super::cells::{conversation, integer, records, row, turns};
use super::example::{Answers, Example, Object};
use super::fault::RowFault;
use super::fields::{Fields, has, prompt_key, text_or_turns};
use super::ranking::{best_and_worst, number};
use super::read::{RowKind, Shape, ShapeFacts};
use super::thoughts::ThoughtPlace;
use super::write::{ExportFormat, Rows};

/// `context` and ranked `completions`, or `chosen_response` and `rejected_response`.
#[derive(Debug)]
pub(super) struct Nemo;

static FACTS: ShapeFacts = ShapeFacts {
    name: "NeMo preference",
    about: "`context`: turns; `completions`: objects with `rank` (lowest is best) and `completion`, turns; or `prompt`, `chosen_response`, `rejected_response`",
    columns: &["context", "completions", "chosen_response", "rejected_response"],
    used_by: "NeMo RL, NeMo Aligner",
    labels: "",
    kind: RowKind::Pair,
    exports: &["nemo"],
};

impl Shape for Nemo {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        if has(row, "context") && row.get("completions").is_some_and(|list| list.is_array()) {
            return Some("NeMo RL preference");
        }
        let both = ["chosen_response", "rejected_response"];
        both.iter().all(|key| row.contains_key(*key)).then_some("NeMo chosen and rejected response")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut fields = Fields::new(row);
        if row.contains_key("chosen_response") {
            let prompt = match prompt_key(row) {
                Some(key) => fields.prompt(key)?,
                None => Vec::new(),
            };
            let chosen = fields.text_or_turns("chosen_response", "assistant")?;
            let rejected = fields.text_or_turns("rejected_response", "assistant")?;
            return fields.example(prompt, Answers::Pair { chosen, rejected }, true);
        }
        let prompt = fields.text_or_turns("context", "user")?;
        let mut rated = Vec::new();
        for (at, entry) in fields.list("completions")?.iter().enumerate() {
            let rank = number(entry.get("rank")).ok_or_else(|| {
                RowFault::wrong(&format!("/completions/{at}/rank"), "a number", &entry["rank"])
            })?;
            let at = format!("/completions/{at}/completion");
            rated.push((-rank, text_or_turns(&entry["completion"], "assistant", &at)?));
        }
        let answers = best_and_worst(rated, "/completions")?;
        fields.example(prompt, answers, true)
    }
}

pub(super) const NEMO: ExportFormat = ExportFormat {
    name: "nemo",
    about: "NeMo RL preferences, ranked completions",
    columns: |_| {
        let completion = vec![integer("rank"), turns("completion")];
        vec![turns("context"), records("completions", completion)]
    },
    rows: Rows::Pairs(|pair, sides, _| {
        Ok(row([
            ("context", conversation(&pair.item.messages, [])),
            (
                "completions",
                json!([
                    {"rank": 0, "completion": [sides.chosen.turn()]},
                    {"rank": 1, "completion": [sides.rejected.turn()]},
                ]),
            ),
        ]))
    }),
    thoughts: ThoughtPlace::Nowhere,
    dataset_info: None,
};

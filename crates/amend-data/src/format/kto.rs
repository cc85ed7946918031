//! Unpaired preferences: a prompt and one answer with a label, as TRL's `KTOTrainer` reads
//! them. The export has two rows for each pair, the chosen response with the label true and
//! the rejected one with false.

use serde_json::json;

use super::cells::{answered_turns, conversation, flag, row, turns};
use super::completion;
use super::example::{Example, Object};
use super::fault::RowFault;
use super::fields::{ANSWERS, first, has_label, has_list, prompt_key};
use super::read::{RowKind, Shape, ShapeFacts};
use super::thoughts::ThoughtPlace;
use super::write::{ExportFormat, Rows};

/// A prompt, one answer and its label.
#[derive(Debug)]
pub(super) struct Kto;

static FACTS: ShapeFacts = ShapeFacts {
    name: "unpaired preference",
    about: "as prompt and completion, with `label`",
    columns: &[],
    used_by: "TRL KTO",
    labels: "`label` or `kto_tag`: true, false, 1, 0",
    kind: RowKind::Answer,
    exports: &["kto"],
};

impl Shape for Kto {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let answer = first(row, &ANSWERS)?;
        prompt_key(row)?;
        Some(match (has_label(row), has_list(row, answer)) {
            (true, false) => "TRL unpaired preference (KTO), standard",
            (true, true) => "TRL unpaired preference (KTO), conversational",
            (false, _) => return None,
        })
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        completion::read(row, true)
    }
}

pub(super) const KTO: ExportFormat = ExportFormat {
    name: "kto",
    about: "TRL unpaired preferences with labels",
    columns: |run| {
        vec![turns("prompt"), answered_turns("completion", run.thoughts.key()), flag("label")]
    },
    rows: Rows::Labels(|item, response, label| {
        Ok(row([
            ("prompt", conversation(&item.messages, [])),
            ("completion", json!([response.turn()])),
            ("label", json!(label)),
        ]))
    }),
    thoughts: ThoughtPlace::KeyAndKwargs,
    dataset_info: None,
};

//! One answer to a prompt: `prompt` and `completion` or `response`, as TRL's SFT and
//! KTO trainers read them. A `label` may mark the answer as chosen or rejected.

use super::fields::{example, first, has, has_label, has_list, label, some_text, text_or_turns};
use super::{RowFault, RowFormat};
use crate::format::example::{Answers, Example, Object};

/// `prompt` and one answer.
#[derive(Debug)]
pub(super) struct Unpaired;

/// The keys of an answer, the usual one first.
const ANSWERS: [&str; 4] = ["completion", "response", "answer", "output"];

impl RowFormat for Unpaired {
    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let answer = first(row, &ANSWERS)?;
        if !has(row, "prompt") {
            return None;
        }
        Some(match (has_label(row), has_list(row, answer)) {
            (true, false) => "TRL unpaired preference (KTO), standard",
            (true, true) => "TRL unpaired preference (KTO), conversational",
            (false, false) => "prompt and completion, standard",
            (false, true) => "prompt and completion, conversational",
        })
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let key = ANSWERS.into_iter().find(|key| row.contains_key(*key)).unwrap_or(ANSWERS[0]);
        let answer = text_or_turns(row, key, "assistant")?;
        let prompt = if has_list(row, "prompt") {
            text_or_turns(row, "prompt", "user")?
        } else {
            some_text(row, "prompt", "user")?.into_iter().collect()
        };
        let chat = has_list(row, "prompt") || has_list(row, key);
        Ok(example(row, prompt, Answers::Single { answer, label: label(row)? }, chat))
    }
}

//! Conversations under `messages` or ShareGPT's `conversations`. For SFT the last turn
//! is the answer, which a `label` or `kto_tag` may mark as chosen or rejected. If the
//! row has `chosen` and `rejected`, these follow the conversation.

use super::fields::{example, first, has_label, has_list, label, split_answer, turns};
use super::{RowFault, RowFormat};
use crate::format::example::{Answers, Example, Object};

/// A list of turns, and answers in or beside it.
#[derive(Debug)]
pub(super) struct Conversation;

const LISTS: [&str; 2] = ["messages", "conversations"];

impl RowFormat for Conversation {
    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let key = first(row, &LISTS).filter(|key| has_list(row, key))?;
        // If there is a prompt, the list repeats the chosen conversation.
        if row.contains_key("prompt") && row.contains_key("chosen") {
            return None;
        }
        let share = key == "conversations";
        Some(match (row.contains_key("chosen"), has_label(row)) {
            (true, _) if share => "LLaMA-Factory sharegpt ranking",
            (true, _) => "Axolotl chat_template.default",
            (false, true) => "LLaMA-Factory sharegpt KTO",
            (false, false) if share => "sharegpt SFT",
            (false, false) => "messages (SFT)",
        })
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let key = LISTS.into_iter().find(|key| row.contains_key(*key)).unwrap_or(LISTS[0]);
        let all = turns(row, key)?;
        if row.contains_key("chosen") {
            let (chosen, rejected) = (turns(row, "chosen")?, turns(row, "rejected")?);
            return Ok(example(row, all, Answers::Pair { chosen, rejected }, true));
        }
        let (prompt, answer) = split_answer(all);
        Ok(example(row, prompt, Answers::Single { answer, label: label(row)? }, true))
    }
}

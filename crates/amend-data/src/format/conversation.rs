//! Conversations as the OpenAI API has them: `messages`, or `conversation`. The last turn is
//! the answer, unless a column of its own has it. A `label` may mark it as chosen or rejected.

use super::example::{Answers, Example, Object};
use super::fault::RowFault;
use super::fields::{ANSWERS, Fields, first, has_label, has_list, split_answer};
use super::read::{RowKind, Shape, ShapeFacts};

/// A list of turns.
#[derive(Debug)]
pub(super) struct Conversation;

const LISTS: [&str; 2] = ["messages", "conversation"];

static FACTS: ShapeFacts = ShapeFacts {
    name: "messages",
    about: "`messages` (or `conversation`): turns with `role` (`system`, `developer`, `user`, \
            `assistant`, `tool`), `content` (a text or typed parts), `tool_calls`, and a thought \
            under `reasoning_content`, `thinking` or `reasoning`; the answer is the last turn, or \
            `response`, `completion`, `answer`",
    columns: &[],
    used_by: "OpenAI, TRL SFT, Axolotl, ms-swift; LMSYS-Chat-1M, WildChat, Capybara",
    labels: "`label` or `kto_tag`: true, false, 1, 0",
    kind: RowKind::Answer,
    exports: &[],
};

fn key(row: &Object) -> Option<&'static str> {
    LISTS.into_iter().find(|key| has_list(row, key))
}

impl Shape for Conversation {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        key(row)?;
        if ["chosen", "rejected"].into_iter().any(|key| row.contains_key(key)) {
            return None;
        }
        Some(if has_label(row) { "LLaMA-Factory sharegpt KTO" } else { "messages (SFT)" })
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        read_list(row, key(row).unwrap_or(LISTS[0]))
    }
}

/// Reads the conversation in the column `key`, with the answers in it or beside it.
pub(super) fn read_list(row: &Object, key: &str) -> Result<Example, RowFault> {
    let mut fields = Fields::new(row);
    let all = fields.prompt(key)?;
    if row.contains_key("chosen") {
        let chosen = fields.text_or_turns("chosen", "assistant")?;
        let rejected = fields.text_or_turns("rejected", "assistant")?;
        return fields.example(all, Answers::Pair { chosen, rejected }, true);
    }
    let (prompt, mut answer) = split_answer(all);
    if answer.is_empty()
        && let Some(key) = first(row, &ANSWERS)
    {
        answer = fields.text_or_turns(key, "assistant")?;
    }
    let label = fields.label()?;
    fields.example(prompt, Answers::Single { answer, label }, true)
}

//! Preference pairs: a prompt with `chosen` and `rejected`, as TRL, OpenRLHF and
//! Axolotl's `chatml.ultra` and `chatml.intel` read them. The sides are texts, or turns
//! that may repeat the prompt's.

use super::fields::{
    example, first, has, has_list, has_text, shared_prompt, some_text, text_or_turns,
};
use super::{RowFault, RowFormat};
use crate::format::example::{Answers, Example, Object};

/// `prompt` or `question`, `chosen` and `rejected`.
#[derive(Debug)]
pub(super) struct Preference;

impl RowFormat for Preference {
    fn recognise(&self, row: &Object) -> Option<&'static str> {
        if !(row.contains_key("chosen") && row.contains_key("rejected")) {
            return None;
        }
        let chosen_turns = has_list(row, "chosen");
        Some(match first(row, &["prompt", "question"]) {
            Some("question") => "Axolotl chatml.intel",
            _ if has(row, "init_prompt") => "constitutional-AI columns",
            Some(_) if has_list(row, "prompt") => "TRL preference, conversational",
            Some(_) if chosen_turns => "preference with whole conversations (Axolotl chatml.ultra)",
            Some(_) => "preference with texts (TRL standard, OpenRLHF)",
            None if chosen_turns => "TRL preference, conversational, implicit prompt",
            None => "TRL preference, standard, implicit prompt",
        })
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let chosen = text_or_turns(row, "chosen", "assistant")?;
        let rejected = text_or_turns(row, "rejected", "assistant")?;
        let chat = !has_text(row, "chosen");
        let key = first(row, &["prompt", "question"]).unwrap_or("prompt");
        if has_list(row, key) {
            let prompt = text_or_turns(row, key, "user")?;
            return Ok(example(row, prompt, Answers::Pair { chosen, rejected }, true));
        }
        let whole = chat && chosen.len().max(rejected.len()) > 1;
        if whole {
            let (prompt, answers, mismatch) = shared_prompt(chosen, rejected);
            return Ok(Example { mismatch, ..example(row, prompt, answers, chat) });
        }
        let prompt = [some_text(row, "system", "system")?, some_text(row, key, "user")?];
        let prompt = prompt.into_iter().flatten().collect();
        Ok(example(row, prompt, Answers::Pair { chosen, rejected }, chat || key == "question"))
    }
}

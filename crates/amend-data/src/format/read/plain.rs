//! Rows with only a prompt, and rows that are only a text.

use super::fields::{example, first, some_text, text_or_turns};
use super::{RowFault, RowFormat};
use crate::format::example::{Answers, Example, Object};

/// A prompt alone.
#[derive(Debug)]
pub(super) struct PromptOnly;

const PROMPTS: [&str; 7] =
    ["prompt", "instruction", "question", "query", "input", "text", "content"];

impl RowFormat for PromptOnly {
    fn recognise(&self, row: &Object) -> Option<&'static str> {
        first(row, &PROMPTS).map(|_| "prompts")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let key = first(row, &PROMPTS).unwrap_or(PROMPTS[0]);
        let mut prompt: Vec<_> = some_text(row, "system", "system")?.into_iter().collect();
        let mut used: Vec<String> = prompt.iter().map(|_| "system".to_owned()).collect();
        prompt.extend(text_or_turns(row, key, "user")?);
        used.push(key.to_owned());
        Ok(Example { used, ..example(row, prompt, Answers::None, false) })
    }
}

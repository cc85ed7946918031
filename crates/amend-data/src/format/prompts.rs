//! Rows with only a prompt, and rows that are only a text.

use super::example::{Answers, Example, Object};
use super::fault::RowFault;
use super::fields::{Fields, PROMPTS, has_list, prompt_key};
use super::read::{RowKind, Shape, ShapeFacts};

/// A prompt alone.
#[derive(Debug)]
pub(super) struct Prompts;

static FACTS: ShapeFacts = ShapeFacts {
    name: "prompts",
    about: "the first of `messages`, `conversations`, `conversation`, `prompt`, `instruction` \
            (with `input` or `context`), `question`, `query`, `input`, `text`, `content`, `goal`, \
            `behavior`, `forbidden_prompt`, `adversarial`, `vanilla`, `problem`, `user_input`, \
            `user_prompt`, `request`: a text or turns; `system`, `history`",
    columns: &["context"],
    used_by: "HarmBench, AdvBench, JailbreakBench, StrongREJECT, WildJailbreak, XSTest",
    labels: "",
    kind: RowKind::Prompt,
    exports: &[],
};

impl Shape for Prompts {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        prompt_key(row).map(|_| "prompts")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut fields = Fields::new(row);
        let key = prompt_key(row)
            .or_else(|| PROMPTS.into_iter().find(|key| row.contains_key(*key)))
            .unwrap_or("prompt");
        let prompt = fields.prompt(key)?;
        fields.example(prompt, Answers::None, has_list(row, key))
    }
}

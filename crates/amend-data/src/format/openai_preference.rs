//! Preferences for the OpenAI API's fine-tuning: the conversation in `input.messages`, and
//! the two answers as lists of one turn.

use serde_json::json;

use super::cells::{conversation, record, row, turns as turn_lists};
use super::example::{Answers, Example, Object};
use super::fault::RowFault;
use super::fields::{Fields, text_or_turns};
use super::read::{RowKind, Shape, ShapeFacts};
use super::thoughts::ThoughtPlace;
use super::write::{ExportFormat, Rows};

/// `input`, `preferred_output` and `non_preferred_output`.
#[derive(Debug)]
pub(super) struct OpenAiPreference;

static FACTS: ShapeFacts = ShapeFacts {
    name: "OpenAI preference",
    about: "`input.messages`: turns; `preferred_output`, `non_preferred_output`: lists of a turn",
    columns: &["preferred_output", "non_preferred_output"],
    used_by: "OpenAI, Together and Fireworks preference fine-tuning",
    labels: "",
    kind: RowKind::Pair,
    exports: &["openai-preference"],
};

impl Shape for OpenAiPreference {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let both = ["preferred_output", "non_preferred_output"];
        both.iter().all(|key| row.contains_key(*key)).then_some("OpenAI preference")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut fields = Fields::new(row);
        let input = fields.value("input")?;
        let (input, at) = match input.get("messages") {
            Some(messages) => (messages, "/input/messages"),
            None => (input, "/input"),
        };
        let prompt = text_or_turns(input, "user", at)?;
        let chosen = fields.text_or_turns("preferred_output", "assistant")?;
        let rejected = fields.text_or_turns("non_preferred_output", "assistant")?;
        fields.example(prompt, Answers::Pair { chosen, rejected }, true)
    }
}

pub(super) const OPENAI_PREFERENCE: ExportFormat = ExportFormat {
    name: "openai-preference",
    about: "OpenAI preference fine-tuning",
    columns: |_| {
        let input = record("input", vec![turn_lists("messages")]);
        vec![input, turn_lists("preferred_output"), turn_lists("non_preferred_output")]
    },
    rows: Rows::Pairs(|pair, sides, _| {
        Ok(row([
            ("input", json!({"messages": conversation(&pair.item.messages, [])})),
            ("preferred_output", json!([sides.chosen.turn()])),
            ("non_preferred_output", json!([sides.rejected.turn()])),
        ]))
    }),
    thoughts: ThoughtPlace::Nowhere,
    dataset_info: None,
};

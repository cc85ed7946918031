//! Preference pairs: a prompt with `chosen` and `rejected`, as TRL, OpenRLHF and most
//! datasets have them. The sides are texts, or turns that may repeat the prompt's.
//!
//! The exports are for TRL's `DPOTrainer`, `RewardTrainer` and similar trainers (`trl` with
//! turns, `trl-standard` with texts), for reward models (`reward`, with a margin that TRL's
//! `RewardTrainer` and OpenRLHF subtract from the difference of the two rewards), for
//! OpenRLHF, and plain texts with their policy and reviewer (`plain-preference`).

use arrow_schema::Field;
use serde_json::json;

use super::cells::{answered_turns, conversation, number, record, row, text, turns};
use super::example::{Answers, Example, ExampleTurn, Object};
use super::fault::RowFault;
use super::fields::{Fields, has_list, has_text, prompt_key, same, shared_prompt};
use super::read::{RowKind, Shape, ShapeFacts};
use super::thoughts::{Response, Sides, ThoughtPlace};
use super::write::{ExportFormat, ExportRow, Rows, lone_prompt};
use crate::pairs::{DropReason, Pair};

/// A prompt, `chosen` and `rejected`.
#[derive(Debug)]
pub(super) struct Preference;

static FACTS: ShapeFacts = ShapeFacts {
    name: "preference",
    about: "`prompt` (or `question`, `query`, `input`): a text or turns; `system`; `chosen`, \
            `rejected`: texts, turns, or whole conversations, then also without a prompt",
    columns: &[],
    used_by: "TRL, OpenRLHF, Axolotl; UltraFeedback binarized, RewardBench",
    labels: "",
    kind: RowKind::Pair,
    exports: &["trl", "trl-standard", "reward", "openrlhf", "plain-preference"],
};

impl Shape for Preference {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        if !(row.contains_key("chosen") && row.contains_key("rejected")) {
            return None;
        }
        let chosen_turns = has_list(row, "chosen");
        Some(match key(row) {
            Some(key) if has_list(row, key) => "TRL preference, conversational",
            Some(_) if chosen_turns => "preference with whole conversations (Axolotl chatml.ultra)",
            Some(_) => "preference with texts (TRL standard, OpenRLHF)",
            None if chosen_turns => "TRL preference, conversational, implicit prompt",
            None => "TRL preference, standard, implicit prompt",
        })
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        read(row, key(row).unwrap_or("prompt"))
    }
}

/// The column of the prompt. A list of messages beside a prompt repeats the chosen
/// conversation.
fn key(row: &Object) -> Option<&'static str> {
    if row.contains_key("prompt") { Some("prompt") } else { prompt_key(row) }
}

/// Reads the pair of a row whose prompt is in the column `key`.
pub(super) fn read(row: &Object, key: &str) -> Result<Example, RowFault> {
    let mut fields = Fields::new(row);
    let mut chosen = fields.text_or_turns("chosen", "assistant")?;
    let mut rejected = fields.text_or_turns("rejected", "assistant")?;
    let chat = !has_text(row, "chosen");
    if has_list(row, key) {
        let prompt = fields.prompt(key)?;
        for side in [&mut chosen, &mut rejected] {
            // The sides may repeat the prompt.
            if side.len() > prompt.len() && same(&side[..prompt.len()], &prompt) {
                side.drain(..prompt.len());
            }
        }
        return fields.example(prompt, Answers::Pair { chosen, rejected }, true);
    }
    if chat && chosen.len().max(rejected.len()) > 1 {
        let (prompt, answers, mut mismatch) = shared_prompt(chosen, rejected);
        let asked = fields.some_text(key, "user")?;
        if let Some(asked) = asked
            && !prompt.iter().any(|turn| turn.text.trim() == asked.text.trim())
        {
            mismatch = mismatch.or(Some("the prompt is not in the conversations"));
        }
        return Ok(Example { mismatch, ..fields.example(prompt, answers, chat)? });
    }
    let prompt: Vec<ExampleTurn> = match row.contains_key(key) {
        true => {
            fields.prompt(key)?.into_iter().filter(|turn| !turn.text.trim().is_empty()).collect()
        }
        false => Vec::new(),
    };
    let chat = chat || key == "question";
    fields.example(prompt, Answers::Pair { chosen, rejected }, chat)
}

pub(super) const CONVERSATIONAL: ExportFormat = ExportFormat {
    name: "trl",
    about: "TRL preferences, conversational",
    columns: |run| preference_columns(run.thoughts.key()).into(),
    rows: Rows::Pairs(|pair, sides, _| Ok(turns_apart(pair, sides))),
    thoughts: ThoughtPlace::KeyAndKwargs,
    dataset_info: None,
};

pub(super) const STANDARD: ExportFormat = ExportFormat {
    name: "trl-standard",
    about: "TRL preferences, plain texts",
    columns: |_| vec![text("prompt"), text("chosen"), text("rejected")],
    rows: Rows::Pairs(|pair, sides, _| texts_apart(pair, sides)),
    thoughts: ThoughtPlace::Nowhere,
    dataset_info: None,
};

/// The columns of the conversation and of the two responses.
fn preference_columns(thought_key: Option<&str>) -> [Field; 3] {
    let side = |name| answered_turns(name, thought_key);
    [turns("prompt"), side("chosen"), side("rejected")]
}

/// The conversation, and each response as one turn.
fn turns_apart(pair: &Pair<'_>, sides: &Sides<'_>) -> ExportRow {
    row([
        ("prompt", conversation(&pair.item.messages, [])),
        ("chosen", json!([sides.chosen.turn()])),
        ("rejected", json!([sides.rejected.turn()])),
    ])
}

/// The prompt of a conversation with one turn, and the two responses.
fn texts_apart(pair: &Pair<'_>, sides: &Sides<'_>) -> Result<ExportRow, DropReason> {
    Ok(row([
        ("prompt", json!(lone_prompt(pair.item)?)),
        ("chosen", json!(sides.chosen.text)),
        ("rejected", json!(sides.rejected.text)),
    ]))
}

/// The margin of a pair without a decided verdict. With it, the loss is the one
/// without margins.
const UNJUDGED: f64 = 0.0;

pub(super) const REWARD: ExportFormat = ExportFormat {
    name: "reward",
    about: "reward models, with a margin",
    columns: |run| {
        preference_columns(run.thoughts.key()).into_iter().chain([number("margin")]).collect()
    },
    rows: Rows::Pairs(|pair, sides, _| {
        let mut row = turns_apart(pair, sides);
        let margin = match &pair.judgement {
            Some(judgement) if !judgement.decisive.undecided => judgement.decisive.margin,
            _ => UNJUDGED,
        };
        row.insert("margin".to_owned(), json!(margin));
        Ok(row)
    }),
    thoughts: ThoughtPlace::KeyAndKwargs,
    dataset_info: None,
};

/// Whole conversations for OpenRLHF. Pass `--data.chosen_key`, `--data.rejected_key` and
/// `--data.apply_chat_template`.
pub(super) const OPENRLHF: ExportFormat = ExportFormat {
    name: "openrlhf",
    about: "OpenRLHF preferences, whole conversations",
    columns: |run| {
        vec![
            answered_turns("chosen", run.thoughts.key()),
            answered_turns("rejected", run.thoughts.key()),
        ]
    },
    rows: Rows::Pairs(|pair, sides, _| {
        let side = |side: &Response<'_>| conversation(&pair.item.messages, [side.turn()]);
        Ok(row([("chosen", side(&sides.chosen)), ("rejected", side(&sides.rejected))]))
    }),
    thoughts: ThoughtPlace::Key,
    dataset_info: None,
};

/// The reason is one of the columns of the origin.
pub(super) const PLAIN: ExportFormat = ExportFormat {
    name: "plain-preference",
    about: "prompt, two answers, reason, policy, reviewer",
    columns: |_| {
        let reviewer = record("reviewer", vec![text("kind"), text("name")]);
        vec![text("prompt"), text("chosen"), text("rejected"), text("policy"), reviewer]
    },
    rows: Rows::Pairs(|pair, sides, run| {
        let mut row = texts_apart(pair, sides)?;
        row.insert("policy".to_owned(), json!(run.policy()));
        row.insert("reviewer".to_owned(), json!({"kind": "model", "name": run.judge()}));
        Ok(row)
    }),
    thoughts: ThoughtPlace::Nowhere,
    dataset_info: None,
};

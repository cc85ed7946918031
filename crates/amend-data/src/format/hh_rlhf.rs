//! Transcripts as in Anthropic's hh-rlhf: each side is a whole conversation in one
//! text, in which `Human:` and `Assistant:` after a blank line begin a turn. The shape has
//! no system turns. Others keep the conversation in `prompt` and the answers apart.

use std::fmt::Write;

use serde_json::json;

use super::cells::{row, text};
use super::example::{Answers, Example, ExampleTurn, Object, TextPlace};
use super::fault::RowFault;
use super::fields::{ANSWERS, Fields, first, pointer, shared_prompt};
use super::read::{RowKind, Shape, ShapeFacts};
use super::thoughts::ThoughtPlace;
use super::write::{ExportFormat, Rows};
use crate::pairs::DropReason;
use amend_core::chat::{Message, Role};

/// `chosen` and `rejected`, or `prompt`, as transcripts.
#[derive(Debug)]
pub(super) struct HhRlhf;

static FACTS: ShapeFacts = ShapeFacts {
    name: "hh-rlhf",
    about: "`chosen`, `rejected`: transcripts with `Human:` and `Assistant:`; or the transcript \
            in `prompt`, with `chosen` and `rejected`, an answer, or nothing",
    columns: &[],
    used_by: "Anthropic hh-rlhf and its copies",
    labels: "",
    kind: RowKind::AnswerOrPair,
    exports: &["hh-rlhf"],
};

/// The texts that begin a turn, with its role.
const OPENERS: [(&str, &str); 2] = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")];

/// Whether a text is a transcript.
pub(super) fn is_transcript(text: &str) -> bool {
    let [(human, _), (assistant, _)] = OPENERS;
    text.starts_with(human) || (text.starts_with(human.trim_start()) && text.contains(assistant))
}

fn has_transcript(row: &Object, key: &str) -> bool {
    row.get(key).and_then(|value| value.as_str()).is_some_and(is_transcript)
}

impl Shape for HhRlhf {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        if has_transcript(row, "chosen") && row.contains_key("rejected") {
            return Some("hh-rlhf transcripts");
        }
        if !has_transcript(row, "prompt") {
            return None;
        }
        let pair = row.contains_key("chosen") && row.contains_key("rejected");
        Some(if pair { "hh-rlhf prompts with answers" } else { "hh-rlhf prompts" })
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let mut fields = Fields::new(row);
        if has_transcript(row, "chosen") {
            let mut side = |key: &str| {
                let value = fields.value(key)?;
                let text = value
                    .as_str()
                    .ok_or_else(|| RowFault::wrong(&pointer(key), "a transcript", value))?;
                Ok(turns(text, &pointer(key)))
            };
            let (chosen, rejected) = (side("chosen")?, side("rejected")?);
            let (prompt, answers, mismatch) = shared_prompt(chosen, rejected);
            // A prompt repeats the conversation.
            fields.mark("prompt");
            return Ok(Example { mismatch, ..fields.example(prompt, answers, true)? });
        }
        let prompt = turns(&fields.text("prompt", "user")?.text, "/prompt");
        let answers = if row.contains_key("chosen") {
            let chosen = continued(fields.text_or_turns("chosen", "assistant")?);
            let rejected = continued(fields.text_or_turns("rejected", "assistant")?);
            Answers::Pair { chosen, rejected }
        } else if let Some(key) = first(row, &ANSWERS) {
            let answer = continued(fields.text_or_turns(key, "assistant")?);
            Answers::Single { answer, label: fields.label()? }
        } else {
            Answers::None
        };
        fields.example(prompt, answers, true)
    }
}

/// An answer that continues a transcript: it begins with the space after `Assistant:`.
fn continued(mut answer: Vec<ExampleTurn>) -> Vec<ExampleTurn> {
    for turn in &mut answer {
        let text = turn.text.trim_start();
        let skipped = turn.text.len() - text.len();
        turn.text = text.trim_end().to_owned();
        turn.places.iter_mut().for_each(|place| place.start += skipped);
    }
    answer
}

/// The turns of a transcript. Text before the first opener becomes a turn without a
/// role. An empty turn at the end, which the answer continues, is left out.
pub(super) fn turns(transcript: &str, pointer: &str) -> Vec<ExampleTurn> {
    let mut openings: Vec<(usize, usize, &str)> = OPENERS
        .iter()
        .flat_map(|&(opener, role)| {
            let each = move |(at, _)| (at, at + opener.len(), role);
            transcript.match_indices(opener).map(each)
        })
        .collect();
    openings.sort_unstable();
    if openings.first().is_none_or(|&(at, ..)| at > 0) {
        // The first turn may lack the blank line before it.
        let start = OPENERS.iter().find(|(opener, _)| transcript.starts_with(opener.trim_start()));
        let start =
            start.map_or((0, 0, ""), |(opener, role)| (0, opener.trim_start().len(), *role));
        openings.insert(0, start);
    }
    let ends = openings.iter().skip(1).map(|&(at, ..)| at).chain([transcript.len()]);
    let turn = |(&(_, from, role), end): (&(usize, usize, &str), usize)| {
        let text = &transcript[from..end];
        let start = from + text.len() - text.trim_start().len();
        let place = TextPlace { pointer: pointer.to_owned(), start };
        let (role, text) = (role.to_owned(), text.trim().to_owned());
        ExampleTurn { role, text, places: vec![place], ..ExampleTurn::default() }
    };
    let mut turns: Vec<ExampleTurn> = openings.iter().zip(ends).map(turn).collect();
    turns.pop_if(|last| last.role == "assistant" && last.text.is_empty());
    turns
}

pub(super) const HH_RLHF: ExportFormat = ExportFormat {
    name: "hh-rlhf",
    about: "Anthropic hh-rlhf transcripts",
    columns: |_| vec![text("chosen"), text("rejected")],
    rows: Rows::Pairs(|pair, sides, _| {
        let side = |text: &str| transcript(&pair.item.messages, text);
        Ok(row([
            ("chosen", json!(side(&sides.chosen.text)?)),
            ("rejected", json!(side(&sides.rejected.text)?)),
        ]))
    }),
    thoughts: ThoughtPlace::Nowhere,
    dataset_info: None,
};

/// The transcript of a conversation and an answer. Fails if it would be read back as another
/// conversation.
fn transcript(messages: &[Message], answer: &str) -> Result<String, DropReason> {
    let mut text = String::new();
    let mut add = |speaker, content: &str| {
        if OPENERS.iter().any(|(opener, _)| content.contains(opener)) {
            return Err(DropReason::Conversation);
        }
        let _ = write!(text, "\n\n{speaker}: {content}"); // writing to a String can't fail
        Ok(())
    };
    for turn in messages {
        match turn.role {
            Role::User => add("Human", &turn.content)?,
            Role::Assistant => add("Assistant", &turn.content)?,
            Role::System | Role::Developer | Role::Tool => {
                return Err(DropReason::Conversation);
            }
        }
    }
    add("Assistant", answer)?;
    Ok(text)
}

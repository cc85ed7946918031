//! Transcripts as in Anthropic's hh-rlhf: each side is a whole conversation in one
//! text, in which `Human:` and `Assistant:` after a blank line begin a turn.

use super::fields::{example, has, shared_prompt, value, wrong};
use super::{RowFault, RowFormat};
use crate::format::example::{Example, ExampleTurn, Object, TextPlace};

/// `chosen` and `rejected`, both transcripts.
#[derive(Debug)]
pub(super) struct Transcript;

/// The texts that begin a turn, with its role.
const OPENERS: [(&str, &str); 2] = [("\n\nHuman:", "user"), ("\n\nAssistant:", "assistant")];

impl RowFormat for Transcript {
    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let opens = |key| row.get(key)?.as_str().map(|text| text.starts_with(OPENERS[0].0));
        let both = opens("chosen") == Some(true) && row.contains_key("rejected");
        (both && !has(row, "prompt")).then_some("hh-rlhf transcripts")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        let side = |key: &str| {
            let pointer = format!("/{key}");
            let value = value(row, key)?;
            let text = value.as_str().ok_or_else(|| wrong(&pointer, "a transcript", value))?;
            Ok(turns(text, &pointer))
        };
        let (prompt, answers, mismatch) = shared_prompt(side("chosen")?, side("rejected")?);
        Ok(Example { mismatch, ..example(row, prompt, answers, true) })
    }
}

/// The turns of a transcript. Text before the first opener becomes a turn without a
/// role.
fn turns(transcript: &str, pointer: &str) -> Vec<ExampleTurn> {
    let mut openings: Vec<(usize, usize, &str)> = OPENERS
        .iter()
        .flat_map(|&(opener, role)| {
            let each = move |(at, _)| (at, at + opener.len(), role);
            transcript.match_indices(opener).map(each)
        })
        .collect();
    openings.sort_unstable();
    if openings.first().is_none_or(|&(at, ..)| at > 0) {
        openings.insert(0, (0, 0, ""));
    }
    let ends = openings.iter().skip(1).map(|&(at, ..)| at).chain([transcript.len()]);
    let turn = |(&(_, from, role), end): (&(usize, usize, &str), usize)| {
        let text = &transcript[from..end];
        let start = from + text.len() - text.trim_start().len();
        let place = TextPlace { pointer: pointer.to_owned(), start };
        let (role, text) = (role.to_owned(), text.trim().to_owned());
        ExampleTurn { role, text, places: vec![place], ..ExampleTurn::default() }
    };
    openings.iter().zip(ends).map(turn).collect()
}

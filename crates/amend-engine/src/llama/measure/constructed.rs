//! Measures prompt lookup on constructed revisions, which keep a known share of their
//! answer.

use serde::Serialize;

use super::rig::Rig;
use crate::llama::kv::trie::Token;
use crate::llama::sampling::prompt_lookup::{LONGEST, PromptLookup};
use crate::llama::{LlamaSettings, Model};
use amend_core::model::EngineError;
use amend_core::random::Stream;

/// The number of tokens before the answer, and in the answer.
const BEFORE: usize = 448;
const ANSWER: usize = 160;

/// The period of the replacements: of each piece, the revision keeps the first tokens
/// and replaces the rest.
const PIECE: usize = 20;

/// The measurement of one constructed revision.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Constructed {
    /// The share of the answer's tokens that the revision keeps, in percent.
    pub kept_percent: usize,
    /// Tokens per second without and with prompt lookup.
    pub speed: [f64; 2],
    /// The number of draft tokens.
    pub drafted: usize,
    /// The number of accepted draft tokens.
    pub accepted: usize,
}

/// Computes a revision of random tokens that keeps `kept_percent` of its answer, as the
/// only sequence.
///
/// # Errors
/// llama.cpp can't create the context.
pub fn measure(
    model: &Model,
    settings: &LlamaSettings,
    kept_percent: usize,
) -> Result<Constructed, EngineError> {
    let settings = LlamaSettings { parallel: 1, ..settings.clone() };
    let mut rig = Rig::new(model, &settings)?;
    let (prompt, revision) = texts(kept_percent);
    let mut measured = Constructed { kept_percent, speed: [0.0; 2], drafted: 0, accepted: 0 };
    for (uses_lookup, speed) in [false, true].into_iter().zip(&mut measured.speed) {
        for position in 0..prompt.len() {
            rig.push(position, 0, false)?;
            if rig.room() == 0 || position + 1 == prompt.len() {
                rig.compute()?;
            }
        }
        let mut copying = PromptLookup::new(&prompt);
        let mut seconds = 0.0;
        let mut at = 0;
        while at < revision.len() {
            let most = (revision.len() - at - 1).min(LONGEST);
            let count =
                if uses_lookup { copying.best_length(&settings.costs, 1, 1, most) } else { 0 };
            let draft = copying.draft(count);
            for row in 0..=draft.len() {
                rig.push(prompt.len() + at + row, 0, true)?;
            }
            seconds += rig.compute()?;
            let accepted = draft.iter().zip(&revision[at..]).take_while(|(a, b)| a == b).count();
            measured.drafted += draft.len();
            measured.accepted += accepted;
            // The batch also gives the token after the last accepted one.
            for &token in &revision[at..=at + accepted] {
                copying.push(token);
            }
            at += accepted + 1;
            rig.cut(0, prompt.len() + at)?;
        }
        *speed = revision.len() as f64 / seconds;
        rig.cut(0, 0)?;
    }
    Ok(measured)
}

/// A prompt that ends with an answer, and a revision of the answer.
fn texts(kept_percent: usize) -> (Vec<Token>, Vec<Token>) {
    let tokens = |name: &str, count: usize| -> Vec<Token> {
        let stream = Stream::new(4).child(name);
        (0..count as u64).map(|at| (stream.bits(at) % 10_000) as Token).collect()
    };
    let answer = tokens("answer", ANSWER);
    let replaced = tokens("replaced", ANSWER);
    let is_kept = |at: usize| 100 * (at % PIECE) < kept_percent * PIECE;
    let revision =
        (0..ANSWER).map(|at| if is_kept(at) { answer[at] } else { replaced[at] }).collect();
    let mut prompt = tokens("before", BEFORE);
    prompt.extend(answer);
    (prompt, revision)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_revision_keeps_the_given_share() {
        for (percent, kept) in [(0, 0), (80, 128), (95, 152), (100, 160)] {
            let (prompt, revision) = texts(percent);
            assert_eq!((prompt.len(), revision.len()), (608, 160));
            let same = prompt[BEFORE..].iter().zip(&revision).filter(|(a, b)| a == b).count();
            assert_eq!(same, kept, "{percent}");
        }
    }
}

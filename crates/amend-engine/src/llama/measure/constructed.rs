//! Revisions whose text is given, computed with and without guesses: what
//! guessing is worth where a known share of the answer is kept.

use serde::Serialize;

use super::rig::Rig;
use crate::llama::kv::trie::Token;
use crate::llama::sampling::prompt_lookup::{Copying, LONGEST};
use crate::llama::{Model, Settings};
use amend_core::model::EngineError;
use amend_core::random::Stream;

/// Tokens before the answer, and tokens of the answer.
const BEFORE: usize = 448;
const ANSWER: usize = 160;

/// Tokens in which some are kept and the rest, in a row, are replaced.
const PIECE: usize = 20;

/// What came of one.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Constructed {
    /// The share of the answer's tokens that the revision keeps, in percent.
    pub kept_percent: usize,
    /// Tokens a second with no guesses, and with them.
    pub speed: [f64; 2],
    /// Tokens guessed.
    pub drafted: usize,
    /// Of these, the ones that came true.
    pub accepted: usize,
}

/// Computes a revision that keeps `kept_percent` of its answer, one sequence
/// alone, on tokens drawn at random.
///
/// # Errors
/// A context that can't be made.
pub fn measure(
    model: &Model,
    settings: &Settings,
    kept_percent: usize,
) -> Result<Constructed, EngineError> {
    let settings = Settings { parallel: 1, ..settings.clone() };
    let mut rig = Rig::new(model, &settings)?;
    let (prompt, revision) = texts(kept_percent);
    let mut found = Constructed { kept_percent, speed: [0.0; 2], drafted: 0, accepted: 0 };
    for (guessing, speed) in [false, true].into_iter().zip(&mut found.speed) {
        for position in 0..prompt.len() {
            rig.push(position, 0, false)?;
            if rig.room() == 0 || position + 1 == prompt.len() {
                rig.compute()?;
            }
        }
        let mut copying = Copying::new(&prompt);
        let mut seconds = 0.0;
        let mut at = 0;
        while at < revision.len() {
            let most = (revision.len() - at - 1).min(LONGEST);
            let count = if guessing { copying.worth(&settings.costs, 1, 1, most) } else { 0 };
            let guess = copying.guess(count);
            for row in 0..=guess.len() {
                rig.push(prompt.len() + at + row, 0, true)?;
            }
            seconds += rig.compute()?;
            let right = guess.iter().zip(&revision[at..]).take_while(|(a, b)| a == b).count();
            found.drafted += guess.len();
            found.accepted += right;
            // The token after the last right one is drawn as well.
            for &token in &revision[at..=at + right] {
                copying.push(token);
            }
            at += right + 1;
            rig.cut(0, prompt.len() + at)?;
        }
        *speed = revision.len() as f64 / seconds;
        rig.cut(0, 0)?;
    }
    Ok(found)
}

/// A prompt that ends with an answer, and the answer's revision.
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
    fn a_revision_keeps_the_share_it_says() {
        for (percent, kept) in [(0, 0), (80, 128), (95, 152), (100, 160)] {
            let (prompt, revision) = texts(percent);
            assert_eq!((prompt.len(), revision.len()), (608, 160));
            let same = prompt[BEFORE..].iter().zip(&revision).filter(|(a, b)| a == b).count();
            assert_eq!(same, kept, "{percent}");
        }
    }
}

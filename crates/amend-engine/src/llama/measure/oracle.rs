//! The least that a run of requests has to prefill.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::llama::kv::trie::Token;

/// The most prefixes that are remembered: 75 MB, and half as much again while
/// the set grows. Past them it starts anew, and counts what is under way at the
/// time twice.
const MOST: usize = 7 << 20;

/// A cache without limit: what would have to be computed if nothing were ever
/// computed twice.
#[derive(Debug, Default)]
pub struct Ideal {
    /// The hash of every prefix that was computed.
    prefixes: HashSet<u64>,
    /// Tokens of prompts that had to be computed.
    pub prefilled: u64,
    /// Σ of the positions at which tokens were decoded.
    pub decoded_positions: u64,
}

impl Ideal {
    /// Takes in a prompt whose tokens from `first_wanted` on are computed in any
    /// case. How many of its tokens have to be.
    pub fn prompt(&mut self, tokens: &[Token], first_wanted: usize) -> u32 {
        if self.prefixes.len() + tokens.len() > MOST {
            self.prefixes.clear();
        }
        let prefixes = prefixes(tokens).enumerate();
        let computed = prefixes
            .map(|(at, prefix)| u32::from(self.prefixes.insert(prefix) || at >= first_wanted))
            .sum();
        self.prefilled += u64::from(computed);
        computed
    }

    /// Takes in what was decoded after a prompt, at its end.
    pub fn decoded(&mut self, prompt: &[Token], decoded: &[Token]) {
        let positions = prompt.len()..prompt.len() + decoded.len();
        self.decoded_positions += positions.map(|position| position as u64).sum::<u64>();
        // The last token drawn was never computed.
        let Some((_, computed)) = decoded.split_last() else { return };
        self.prefixes.extend(prefixes(prompt.iter().chain(computed)).skip(prompt.len()));
    }
}

/// A hash of each prefix of some tokens.
fn prefixes<'t>(tokens: impl IntoIterator<Item = &'t Token>) -> impl Iterator<Item = u64> {
    tokens.into_iter().scan(0_u64, |prefix, token| {
        let mut hasher = DefaultHasher::new();
        (*prefix, token).hash(&mut hasher);
        *prefix = hasher.finish();
        Some(*prefix)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_computed_once() {
        let mut ideal = Ideal::default();
        assert_eq!(ideal.prompt(&[1, 2, 3, 4], 3), 4);
        // The last token is computed for its logits.
        assert_eq!(ideal.prompt(&[1, 2, 3, 4], 3), 1);
        assert_eq!(ideal.prompt(&[1, 2, 9, 4], 3), 2);
        assert_eq!(ideal.prompt(&[2, 3, 4], 2), 3);
        assert_eq!(ideal.prefilled, 10);
    }

    #[test]
    fn what_goes_on_from_a_decoded_text_finds_it_but_for_its_last_token() {
        let mut ideal = Ideal::default();
        ideal.prompt(&[1, 2], 1);
        ideal.decoded(&[1, 2], &[7, 8, 9]);
        assert_eq!(ideal.decoded_positions, 2 + 3 + 4);
        assert_eq!(ideal.prompt(&[1, 2, 7, 8, 9, 5], 5), 2);
    }
}

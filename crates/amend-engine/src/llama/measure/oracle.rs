//! The minimum number of tokens that a sequence of requests has to prefill.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};

use crate::llama::kv::trie::Token;

/// The maximum number of prefixes to remember: 75 MB, and half as much again while the set
/// grows. Beyond it the set is cleared, and prefixes of active requests count twice.
const MAX_PREFIXES: usize = 7 << 20;

/// An unlimited cache, which never computes a prefix twice.
#[derive(Debug, Default)]
pub struct OraclePrefill {
    /// The hash of every prefix that was computed.
    prefixes: HashSet<u64>,
    /// The number of prompt tokens that had to be computed.
    pub prefilled: u64,
    /// The sum of the positions at which tokens were decoded.
    pub decoded_positions: u64,
}

impl OraclePrefill {
    /// Adds a prompt whose tokens from `first_with_logits` on have to be computed in any case.
    /// Returns how many of its tokens have to be computed.
    pub fn add_prompt(&mut self, tokens: &[Token], first_with_logits: usize) -> u32 {
        if self.prefixes.len() + tokens.len() > MAX_PREFIXES {
            self.prefixes.clear();
        }
        let prefixes = prefixes(tokens).enumerate();
        let computed = prefixes
            .map(|(at, prefix)| u32::from(self.prefixes.insert(prefix) || at >= first_with_logits))
            .sum();
        self.prefilled += u64::from(computed);
        computed
    }

    /// Adds the tokens that were decoded after a prompt, once all are decoded.
    pub fn add_decoded(&mut self, prompt: &[Token], decoded: &[Token]) {
        let positions = prompt.len()..prompt.len() + decoded.len();
        self.decoded_positions += positions.map(|position| position as u64).sum::<u64>();
        // The last sampled token was never computed.
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
        let mut ideal = OraclePrefill::default();
        assert_eq!(ideal.add_prompt(&[1, 2, 3, 4], 3), 4);
        // The last token is computed for its logits.
        assert_eq!(ideal.add_prompt(&[1, 2, 3, 4], 3), 1);
        assert_eq!(ideal.add_prompt(&[1, 2, 9, 4], 3), 2);
        assert_eq!(ideal.add_prompt(&[2, 3, 4], 2), 3);
        assert_eq!(ideal.prefilled, 10);
    }

    #[test]
    fn a_continuation_finds_all_but_the_last_decoded_token() {
        let mut ideal = OraclePrefill::default();
        ideal.add_prompt(&[1, 2], 1);
        ideal.add_decoded(&[1, 2], &[7, 8, 9]);
        assert_eq!(ideal.decoded_positions, 2 + 3 + 4);
        assert_eq!(ideal.add_prompt(&[1, 2, 7, 8, 9, 5], 5), 2);
    }
}

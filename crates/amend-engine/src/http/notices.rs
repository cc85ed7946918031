//! What is reported once about a server, however often it occurs.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// Reports what a server does to texts.
#[derive(Debug, Default)]
pub struct Notices {
    /// Characters that were replaced, in total and in the reply that was reported.
    replaced: AtomicU64,
    reported: AtomicU64,
    prompts: Mutex<Prompts>,
    has_reported_budget: AtomicBool,
}

impl Notices {
    /// Counts characters that were replaced, and reports the first ones.
    pub fn replaced(&self, server: &str, characters: u64) {
        if characters > 0 && self.replaced.fetch_add(characters, Ordering::Relaxed) == 0 {
            self.reported.store(characters, Ordering::Relaxed);
            tracing::warn!(
                "a reply of {server} has {characters} characters that are no text (invalid UTF-8, \
                 half of a surrogate pair, or NUL): such characters are replaced by U+FFFD"
            );
        }
    }

    /// Reports at the end how many characters were replaced, if more were than was reported.
    pub fn summarise(&self) {
        let replaced = self.replaced.load(Ordering::Relaxed);
        if replaced > self.reported.load(Ordering::Relaxed) {
            tracing::warn!("{replaced} characters that are no text were replaced in all replies");
        }
    }

    /// Reports once that the server does not limit thoughts.
    pub fn unlimited_thoughts(&self, server: &str, remedy: &str) {
        if !self.has_reported_budget.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "{server} does not enforce the budget of thoughts for this model: a long thought \
                 takes the tokens of its answer, and the item fails (no_answer). To limit thoughts \
                 apart from answers, {remedy}"
            );
        }
    }

    /// Notes how many tokens the server counted in a prompt of some bytes, and reports once if
    /// it truncates prompts.
    pub fn prompt(&self, bytes: usize, tokens: u32, server: &str, remedy: &str) {
        let mut prompts = self.prompts.lock().unwrap_or_else(PoisonError::into_inner);
        if prompts.add(bytes, tokens) {
            tracing::warn!(
                "{server} truncates prompts: it counts {tokens} tokens in prompts of very different \
                 lengths. The model does not see all of them. To avoid that, {remedy}"
            );
        }
    }
}

/// How many prompts of different lengths must have the same number of tokens.
const WITNESSES: usize = 4;

/// The least number of tokens at which a server may truncate prompts.
const LEAST_CONTEXT: u32 = 256;

/// Watches for a server that truncates prompts: the longest ones then have the same number of
/// tokens, whatever their lengths.
#[derive(Debug, Default)]
struct Prompts {
    /// The largest number of tokens so far.
    most: u32,
    /// The lengths in bytes of the prompts with that number.
    lengths: HashSet<usize>,
    is_reported: bool,
}

impl Prompts {
    /// Adds a prompt. Returns whether it is certain from now on that prompts are truncated:
    /// several prompts have the largest number of tokens, and the longest of them has twice
    /// the length of the shortest. No text has so few bytes to a token by chance, again and
    /// again and to the token.
    fn add(&mut self, bytes: usize, tokens: u32) -> bool {
        if self.is_reported || tokens < LEAST_CONTEXT || tokens < self.most {
            return false;
        }
        if tokens > self.most {
            self.most = tokens;
            self.lengths.clear();
        }
        self.lengths.insert(bytes);
        let shortest = self.lengths.iter().min().copied().unwrap_or_default();
        let longest = self.lengths.iter().max().copied().unwrap_or_default();
        self.is_reported = self.lengths.len() >= WITNESSES && longest >= 2 * shortest;
        self.is_reported
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// After how many prompts it is certain that they are truncated.
    fn certain_after(prompts: impl IntoIterator<Item = (usize, u32)>) -> Option<usize> {
        let mut watch = Prompts::default();
        prompts.into_iter().position(|(bytes, tokens)| watch.add(bytes, tokens))
    }

    #[test]
    fn equal_counts_for_ever_longer_prompts_are_noticed() {
        let lengths = [4000, 9000, 12_000, 17_000, 20_000, 30_000];
        assert_eq!(
            certain_after(lengths.map(|bytes| (bytes, 2048.min(bytes as u32 / 4)))),
            Some(4)
        );
        // Once is enough.
        let mut watch = Prompts::default();
        let certain = lengths.iter().filter(|&&bytes| watch.add(bytes, 2048)).count();
        assert_eq!(certain, 1);
    }

    #[test]
    fn ordinary_counts_are_not_noticed() {
        // Prompts whose tokens grow with their lengths.
        assert_eq!(certain_after((1..200).map(|n| (n * 400, n as u32 * 100))), None);
        // The same prompt again and again.
        assert_eq!(certain_after((0..200).map(|_| (8000, 2048))), None);
        // Prompts of similar lengths that happen to have equal counts.
        assert_eq!(certain_after((0..200).map(|n| (8000 + n, 2048))), None);
        // A server that reports nothing.
        assert_eq!(certain_after((1..200).map(|n| (n * 400, 0))), None);
        // A server that reports the part outside its cache: all of the first prompt, then the
        // same question about ever longer ones.
        let first = std::iter::once((4000, 1000));
        assert_eq!(certain_after(first.chain((1..200).map(|n| (n * 400, 300)))), None);
    }
}

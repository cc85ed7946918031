//! Guesses at how a text goes on that repeats much of what came before it: what
//! followed the longest earlier occurrence of its last tokens (prompt-lookup
//! decoding, Saxena 2023). A revision repeats most of the answer it revises.
//!
//! Guessed tokens are computed in the same batch as the last token drawn, and
//! checked there: exact, whatever is guessed. Every token is drawn by the
//! ordinary sampler from the logits after the very tokens drawn before it, with
//! the random number of its own position. The logits after a guessed token are
//! used only once that token is the one drawn; else its row and all later ones
//! are thrown away. By induction over positions the draws are those made
//! without guesses, up to what batches of another shape round differently.

use crate::llama::kv::trie::Token;
use crate::llama::measure::costs::Costs;

/// The most tokens guessed at once: with the token drawn before them they make
/// a whole number of the four rows that weights packed for a CPU are read for.
pub const LONGEST: usize = 15;

/// The fewest tokens that must recur: a single one says little.
const LEAST: usize = 2;

/// How many tokens back a recurrence is told apart.
const FARTHEST: usize = 8;

/// Shares of guesses that came true, by length of the recurrence (see [`class`]):
/// where each text starts from. Counted over 1,368 guesses in revisions by
/// SmolLM2-135M-Instruct under the shipped `harmless`.
const USUAL: [f64; 5] = [0.5, 0.7, 0.88, 0.93, 0.97];

/// What a guess must be worth, in units of what its rows cost. Estimates leave out
/// the cells of other sequences that rows pass over: eight sequences were slower
/// by 6 % where guesses promised a gain of a tenth.
const SURE: f64 = 1.25;

/// How far one guess moves the share of its class.
const STEP: f64 = 0.125;

/// A text that may repeat itself or its prompt.
#[derive(Debug)]
pub struct Copying {
    /// The prompt and what was drawn.
    history: Vec<Token>,
    /// Where the last tokens occurred before, if they did.
    found: Option<Recurrence>,
    /// The share of guesses that came true, by class of recurrence.
    shares: [f64; USUAL.len()],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Recurrence {
    /// The place of the token that followed.
    next: usize,
    /// How many tokens recur.
    length: usize,
}

impl Copying {
    /// A text before its first token.
    #[must_use]
    pub fn new(prompt: &[Token]) -> Self {
        Self { history: prompt.to_vec(), found: None, shares: USUAL }
    }

    /// Takes in a drawn token. Guesses are judged by it whether or not they
    /// were computed, so that a text that begins to copy is noticed.
    pub fn push(&mut self, token: Token) {
        let goes_on = self.found.filter(|found| self.history[found.next] == token);
        if let Some(found) = self.found {
            let share = &mut self.shares[class(found.length)];
            let hit = f64::from(u8::from(goes_on.is_some()));
            *share += STEP * (hit - *share);
        }
        self.history.push(token);
        self.found = match goes_on {
            Some(Recurrence { next, length }) => {
                Some(Recurrence { next: next + 1, length: length + 1 })
            }
            None => recurrence(&self.history),
        };
    }

    /// The guess at the next tokens, at most `most`.
    #[must_use]
    pub fn guess(&self, most: usize) -> &[Token] {
        let Some(found) = self.found else { return &[] };
        let rest = &self.history[found.next..];
        &rest[..rest.len().min(most)]
    }

    /// How much of a guess of `most` tokens is worth its rows, in a batch of
    /// `rows` rows without it, of which `drawn` give a token each. The contexts of
    /// all are taken to be as long as this one.
    ///
    /// A guess of k tokens gives Σ_{j≤k} Π_{i≤j} p_i tokens more, p_i being the
    /// share that came true of guesses like its i-th. It is worth what those
    /// would cost drawn one by one, in batches of `drawn` rows, and costs the
    /// time its rows add. What else the batch computes is due with or without it.
    #[must_use]
    pub fn worth(&self, costs: &Costs, rows: usize, drawn: usize, most: usize) -> usize {
        let Some(found) = self.found else { return 0 };
        let most = most.min(self.history.len() - found.next);
        let cost = |rows| costs.of(rows, self.history.len());
        let drawn = drawn.max(1);
        let price = cost(drawn) / drawn as f64;
        let base = cost(rows);
        let mut best = (0.0, 0);
        let (mut all_true, mut expected) = (1.0, 0.0);
        for count in 1..=most {
            all_true *= self.shares[class(found.length + count - 1)];
            expected += all_true;
            let gain = expected * price - SURE * (cost(rows + count) - base);
            if gain > best.0 {
                best = (gain, count);
            }
        }
        best.1
    }
}

/// Recurrences of 2, 3, 4–7, 8–15 and more tokens.
fn class(length: usize) -> usize {
    match length {
        ..=2 => 0,
        3 => 1,
        4..=7 => 2,
        8..=15 => 3,
        _ => 4,
    }
}

/// The longest earlier occurrence of the last tokens; of equals the latest.
fn recurrence(history: &[Token]) -> Option<Recurrence> {
    let end = history.len();
    let mut best: Option<Recurrence> = None;
    for next in (LEAST..end).rev() {
        let length = (1..=FARTHEST.min(next))
            .take_while(|&back| history[next - back] == history[end - back])
            .count();
        if length >= best.map_or(LEAST, |best| best.length + 1) {
            best = Some(Recurrence { next, length });
            if length == FARTHEST {
                break;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(history: &[Token]) -> Copying {
        let (last, prompt) = history.split_last().unwrap();
        let mut copying = Copying::new(prompt);
        copying.push(*last);
        copying
    }

    #[test]
    fn the_guess_is_what_followed_the_longest_recurrence() {
        for (history, expected) in [
            // Nothing recurs, or a single token does.
            (&[1, 2, 3, 4][..], &[][..]),
            (&[1, 2, 3, 1], &[]),
            (&[1, 2, 3, 1, 2], &[3, 1, 2]),
            // The longer of two, though it is older; of equals the later.
            (&[9, 1, 2, 3, 8, 1, 2, 4, 9, 1, 2], &[3, 8, 1]),
            (&[1, 2, 3, 1, 2, 4, 1, 2], &[4, 1, 2]),
            // An occurrence may overlap the end.
            (&[5, 5, 5], &[5]),
        ] {
            assert_eq!(after(history).guess(3), expected, "{history:?}");
        }
    }

    #[test]
    fn a_recurrence_is_followed_while_it_holds() {
        let mut copying = Copying::new(&[1, 2, 3, 4, 5, 6, 7, 0, 1]);
        copying.push(2);
        assert_eq!(copying.guess(2), [3, 4]);
        copying.push(3);
        assert_eq!(copying.found, Some(Recurrence { next: 3, length: 3 }));
        // Another token, and the text goes on elsewhere.
        copying.push(6);
        assert!(copying.guess(2).is_empty());
        copying.push(7);
        assert_eq!(copying.guess(2), [0, 1]);
    }

    #[test]
    fn shares_move_towards_what_came_true() {
        let mut copying = after(&[1, 2, 3, 1, 2]);
        copying.push(3);
        assert_eq!(copying.shares[0], USUAL[0] + STEP * (1.0 - USUAL[0]));
        let mut copying = after(&[1, 2, 3, 1, 2]);
        copying.push(9);
        assert_eq!(copying.shares[0], USUAL[0] * (1.0 - STEP));
        assert_eq!(copying.shares[1..], USUAL[1..]);
    }

    /// The first row costs 10, each one more `row`.
    fn line(row: f64) -> Costs {
        let rows = vec![(1, 10.0), (101, 10.0 + 100.0 * row)];
        Costs { rows, depth: 0, per_token: 0.0, mixed: Vec::new() }
    }

    #[test]
    fn a_guess_is_as_long_as_pays() {
        let mut copying = after(&[1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2]);
        copying.shares = [0.5; USUAL.len()];
        // A row more costs nothing, as much as a token is worth, or in between:
        // with a price of 10, k tokens are worth 5, 7.5, 8.75, 9.375, and rows
        // count for 1.25 of their cost.
        for (row, expected) in [(0.0, 8), (10.0, 0), (4.5, 0), (3.5, 1), (1.6, 2), (0.8, 3)] {
            let costs = line(row);
            assert_eq!(copying.worth(&costs, 1, 1, 8), expected, "{row}");
        }
        // Beside others, a token is cheaper, and its guess worth less.
        let costs = line(1.0);
        assert_eq!(copying.worth(&costs, 10, 10, 8), 0);
        // Rows that prefill make no token dearer.
        assert_eq!(copying.worth(&costs, 1, 1, 8), copying.worth(&costs, 50, 1, 8));
        assert_eq!(copying.worth(&costs, 50, 10, 8), 0);
        // Behind a long context every row pays for attention: here 11 tokens at
        // 1 each, so that the price is 21 and a row more costs 11, that is 13.75;
        // Σ 21 · 0.9ⁱ − 13.75 is greatest after four.
        let deep = Costs { per_token: 1.0, ..line(0.0) };
        assert_eq!(copying.worth(&deep, 1, 1, 8), 0);
        copying.shares = [0.9; USUAL.len()];
        assert_eq!(copying.worth(&deep, 1, 1, 8), 4);
        let nothing = after(&[1, 2, 3]);
        assert_eq!(nothing.worth(&costs, 1, 1, 8), 0);
    }
}

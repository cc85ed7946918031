//! Prompt lookup: speculative decoding with draft tokens from the text itself (Saxena
//! 2023). The draft is what followed the longest earlier occurrence of the last tokens. A
//! revision repeats most of the answer that it revises.
//!
//! Draft tokens are computed in the same batch as the last sampled token. The result is
//! exact, whatever the draft is: the ordinary sampler samples every token from the logits
//! after the tokens actually sampled before it, with the random number of its position.
//! The logits after a draft token are used only if that token was sampled; otherwise its
//! row and all later ones are discarded. By induction over positions, the sampled tokens
//! are the same as without a draft, except for the rounding of batches of another shape.

use crate::llama::kv::trie::Token;
use crate::llama::measure::costs::Costs;

/// The maximum number of draft tokens in a batch. Together with the last sampled token
/// they make a multiple of four rows, for which repacked weights are read once on a CPU.
pub const LONGEST: usize = 15;

/// The minimum length of a recurrence: a single token predicts little.
const MIN_LENGTH: usize = 2;

/// The maximum length of a recurrence that is compared.
const MAX_LENGTH: usize = 8;

/// The initial acceptance rates of each text by the class of the recurrence (see
/// [`class`]). Counted over 1,368 draft tokens in revisions by SmolLM2-135M-Instruct under
/// the shipped constitution `harmless`.
const INITIAL_RATES: [f64; 5] = [0.5, 0.7, 0.88, 0.93, 0.97];

/// How much a draft must be worth in relation to the cost of its rows. The estimates
/// ignore that rows pass over the cells of other sequences: eight sequences were 6 %
/// slower where the estimated gain was 10 %.
const MARGIN: f64 = 1.25;

/// The weight of one token in the moving average of the acceptance rate.
const STEP: f64 = 0.125;

/// The prompt lookup of one text.
#[derive(Debug)]
pub struct PromptLookup {
    /// The tokens of the prompt and of the text.
    history: Vec<Token>,
    /// The earlier occurrence of the last tokens, if there is one.
    recurrence: Option<Recurrence>,
    /// The acceptance rate of draft tokens by class of recurrence.
    rates: [f64; INITIAL_RATES.len()],
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Recurrence {
    /// The index of the token that followed it.
    next: usize,
    /// The number of recurring tokens.
    length: usize,
}

impl PromptLookup {
    /// The lookup of a text before its first token.
    #[must_use]
    pub fn new(prompt: &[Token]) -> Self {
        Self { history: prompt.to_vec(), recurrence: None, rates: INITIAL_RATES }
    }

    /// Adds a sampled token. Updates the acceptance rate even if no draft was computed, so
    /// that a text that begins to repeat is noticed.
    pub fn push(&mut self, token: Token) {
        let previous = self.recurrence;
        self.history.push(token);
        let Some(Recurrence { next, length }) = previous else {
            self.recurrence = find_recurrence(&self.history);
            return;
        };
        let is_hit = self.history[next] == token;
        let rate = &mut self.rates[class(length)];
        *rate += STEP * (f64::from(u8::from(is_hit)) - *rate);
        self.recurrence = if is_hit {
            Some(Recurrence { next: next + 1, length: length + 1 })
        } else {
            find_recurrence(&self.history)
        };
    }

    /// The draft of the next tokens, at most `most`.
    #[must_use]
    pub fn draft(&self, most: usize) -> &[Token] {
        let Some(recurrence) = self.recurrence else { return &[] };
        let rest = &self.history[recurrence.next..];
        &rest[..rest.len().min(most)]
    }

    /// The number of draft tokens, at most `most`, with the greatest expected gain. The
    /// batch without them has `rows` rows, of which `drawn` give one token each. The
    /// contexts of all sequences are assumed to be as long as this one.
    ///
    /// A draft of k tokens gives Σ_{j≤k} Π_{i≤j} p_i more tokens on average, where p_i is
    /// the acceptance rate for its i-th token. Its value is the cost of decoding these
    /// tokens one by one in batches of `drawn` rows. Its cost is the time that its rows
    /// add. The rest of the batch is computed in any case.
    #[must_use]
    pub fn best_length(&self, costs: &Costs, rows: usize, drawn: usize, most: usize) -> usize {
        let Some(recurrence) = self.recurrence else { return 0 };
        let most = most.min(self.history.len() - recurrence.next);
        let cost = |rows| costs.cost(rows, self.history.len());
        let drawn = drawn.max(1);
        let price = cost(drawn) / drawn as f64;
        let base = cost(rows);
        let (mut best_gain, mut best_count) = (0.0, 0);
        let (mut all_accepted, mut expected) = (1.0, 0.0);
        for count in 1..=most {
            all_accepted *= self.rates[class(recurrence.length + count - 1)];
            expected += all_accepted;
            let gain = expected * price - MARGIN * (cost(rows + count) - base);
            if gain > best_gain {
                (best_gain, best_count) = (gain, count);
            }
        }
        best_count
    }
}

/// The class of a recurrence by its length: 2, 3, 4–7, 8–15 and more tokens.
fn class(length: usize) -> usize {
    match length {
        ..=2 => 0,
        3 => 1,
        4..=7 => 2,
        8..=15 => 3,
        _ => 4,
    }
}

/// The longest earlier occurrence of the last tokens; the latest one in case of a tie.
fn find_recurrence(history: &[Token]) -> Option<Recurrence> {
    let end = history.len();
    let mut best: Option<Recurrence> = None;
    for next in (MIN_LENGTH..end).rev() {
        let length = (1..=MAX_LENGTH.min(next))
            .take_while(|&back| history[next - back] == history[end - back])
            .count();
        if length >= best.map_or(MIN_LENGTH, |best| best.length + 1) {
            best = Some(Recurrence { next, length });
            if length == MAX_LENGTH {
                break;
            }
        }
    }
    best
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lookup(history: &[Token]) -> PromptLookup {
        let (last, prompt) = history.split_last().unwrap();
        let mut copying = PromptLookup::new(prompt);
        copying.push(*last);
        copying
    }

    #[test]
    fn the_draft_is_what_followed_the_longest_recurrence() {
        for (history, expected) in [
            // Nothing recurs, or only a single token.
            (&[1, 2, 3, 4][..], &[][..]),
            (&[1, 2, 3, 1], &[]),
            (&[1, 2, 3, 1, 2], &[3, 1, 2]),
            // The longer of two, although it is older; the later one in case of a tie.
            (&[9, 1, 2, 3, 8, 1, 2, 4, 9, 1, 2], &[3, 8, 1]),
            (&[1, 2, 3, 1, 2, 4, 1, 2], &[4, 1, 2]),
            // An occurrence may overlap the end.
            (&[5, 5, 5], &[5]),
        ] {
            assert_eq!(lookup(history).draft(3), expected, "{history:?}");
        }
    }

    #[test]
    fn a_recurrence_grows_until_a_token_differs() {
        let mut copying = PromptLookup::new(&[1, 2, 3, 4, 5, 6, 7, 0, 1]);
        copying.push(2);
        assert_eq!(copying.draft(2), [3, 4]);
        copying.push(3);
        assert_eq!(copying.recurrence, Some(Recurrence { next: 3, length: 3 }));
        // After another token, a recurrence at another place is found.
        copying.push(6);
        assert!(copying.draft(2).is_empty());
        copying.push(7);
        assert_eq!(copying.draft(2), [0, 1]);
    }

    #[test]
    fn acceptance_rates_are_updated() {
        let mut copying = lookup(&[1, 2, 3, 1, 2]);
        copying.push(3);
        assert_eq!(copying.rates[0], INITIAL_RATES[0] + STEP * (1.0 - INITIAL_RATES[0]));
        let mut copying = lookup(&[1, 2, 3, 1, 2]);
        copying.push(9);
        assert_eq!(copying.rates[0], INITIAL_RATES[0] * (1.0 - STEP));
        assert_eq!(copying.rates[1..], INITIAL_RATES[1..]);
    }

    /// The first row costs 10, each further one `row`.
    fn linear_costs(row: f64) -> Costs {
        let rows = vec![(1, 10.0), (101, 10.0 + 100.0 * row)];
        Costs { rows, depth: 0, per_token: 0.0, mixed: Vec::new() }
    }

    #[test]
    fn a_draft_is_as_long_as_it_pays() {
        let mut copying = lookup(&[1, 2, 3, 4, 5, 6, 7, 8, 0, 1, 2]);
        copying.rates = [0.5; INITIAL_RATES.len()];
        // A further row costs nothing, as much as a token, or something in between:
        // with a price of 10, k tokens are worth 5, 7.5, 8.75 and 9.375, and rows count
        // for 1.25 times their cost.
        for (row, expected) in [(0.0, 8), (10.0, 0), (4.5, 0), (3.5, 1), (1.6, 2), (0.8, 3)] {
            let costs = linear_costs(row);
            assert_eq!(copying.best_length(&costs, 1, 1, 8), expected, "{row}");
        }
        // In a larger batch a token is cheaper, so that a draft is worth less.
        let costs = linear_costs(1.0);
        assert_eq!(copying.best_length(&costs, 10, 10, 8), 0);
        // Rows that prefill don't change the price of a token.
        assert_eq!(copying.best_length(&costs, 1, 1, 8), copying.best_length(&costs, 50, 1, 8));
        assert_eq!(copying.best_length(&costs, 50, 10, 8), 0);
        // After a long context every row pays for attention: here to 11 tokens at 1
        // each, so that the price is 21 and a further row costs 11, which counts as
        // 13.75. Σ 21 · 0.9ⁱ − 13.75 is greatest after four.
        let deep = Costs { per_token: 1.0, ..linear_costs(0.0) };
        assert_eq!(copying.best_length(&deep, 1, 1, 8), 0);
        copying.rates = [0.9; INITIAL_RATES.len()];
        assert_eq!(copying.best_length(&deep, 1, 1, 8), 4);
        let no_recurrence = lookup(&[1, 2, 3]);
        assert_eq!(no_recurrence.best_length(&costs, 1, 1, 8), 0);
    }
}

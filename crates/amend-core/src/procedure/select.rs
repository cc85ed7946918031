//! The choice of the principles that a round applies. It is a pure function of the
//! item's random stream and of how many principles the item has applied so far, so
//! that a resumed loop makes the same choices as an uninterrupted one.
//!
//! `random` and `weighted` deal the principles like a deck of cards: each once, in a
//! newly drawn order, before any is dealt again. A round that applies more
//! principles than there are therefore repeats one only after all have been used.
//! At the boundary of two decks, the same principle may come twice in a row.

use crate::constitution::{Constitution, Principle, Select};
use crate::random::Stream;

/// How many principles a round applies.
pub(super) fn per_round(constitution: &Constitution) -> usize {
    let count = constitution.principles.len();
    if count == 0 || constitution.plan.select == Select::All {
        return count;
    }
    usize::try_from(constitution.plan.principles_per_round).unwrap_or(usize::MAX)
}

/// The index of the principle that an item applies after `used` others.
/// `principles` must not be empty.
pub(super) fn principle(
    select: Select,
    principles: &[Principle],
    stream: Stream,
    used: usize,
) -> usize {
    let (deck, position) = (used / principles.len(), used % principles.len());
    match select {
        // The worst is chosen by the gate, not here.
        Select::All | Select::RoundRobin | Select::Worst => position,
        Select::Random => deal(principles.iter().map(|_| 1.0), stream, deck, position),
        Select::Weighted => {
            deal(principles.iter().map(|principle| principle.weight), stream, deck, position)
        }
    }
}

/// The card at a position of a deck. Cards are drawn without replacement, with a
/// probability proportional to their weight among the cards left.
fn deal(weights: impl Iterator<Item = f64>, stream: Stream, deck: usize, position: usize) -> usize {
    let mut left: Vec<(usize, f64)> = weights.enumerate().collect();
    let first = deck * left.len();
    for at in first..first + position {
        left.remove(draw(&left, stream.uniform(at as u64)));
    }
    left[draw(&left, stream.uniform((first + position) as u64))].0
}

/// The position in `left` of the card that a uniform number in [0, 1) selects.
fn draw(left: &[(usize, f64)], uniform: f64) -> usize {
    let mut rest = uniform * left.iter().map(|&(_, weight)| weight).sum::<f64>();
    left.iter()
        .position(|&(_, weight)| {
            rest -= weight;
            rest < 0.0
        })
        // Rounding may leave a small rest after the last weight.
        .unwrap_or(left.len() - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn principles(weights: &[f64]) -> Vec<Principle> {
        weights
            .iter()
            .map(|&weight| Principle {
                id: String::new(),
                title: String::new(),
                category: String::new(),
                weight,
                principle: String::new(),
                critique: String::new(),
                revise: String::new(),
                judge: String::new(),
                opposite: None,
                applies_when: String::new(),
                paraphrases: Vec::new(),
                labels: None,
                examples: Vec::new(),
            })
            .collect()
    }

    fn order(select: Select, weights: &[f64], stream: Stream, count: usize) -> Vec<usize> {
        let principles = principles(weights);
        (0..count).map(|used| principle(select, &principles, stream, used)).collect()
    }

    #[test]
    fn each_deck_contains_every_principle_once() {
        for seed in 0..200 {
            let stream = Stream::new(seed);
            for (select, weights) in [
                (Select::Random, [1.0; 5]),
                (Select::Weighted, [0.01, 3.0, 1e9, 1e-9, 1.0]),
                (Select::All, [1.0; 5]),
                (Select::RoundRobin, [1.0; 5]),
            ] {
                for deck in order(select, &weights, stream, 15).chunks(5) {
                    let mut sorted = deck.to_vec();
                    sorted.sort_unstable();
                    assert_eq!(sorted, [0, 1, 2, 3, 4], "{select:?} {seed}");
                }
            }
        }
    }

    #[test]
    fn successive_decks_differ_in_order() {
        let decks = order(Select::Random, &[1.0; 12], Stream::new(3), 24);
        assert_ne!(decks[..12], decks[12..]);
    }

    /// Frequencies over 20,000 items lie within 4.5 standard errors (0.016 at most)
    /// of the expected ones.
    #[test]
    fn weights_set_the_probabilities_of_the_first_two_draws() {
        const ITEMS: u32 = 20_000;
        let weights = [1.0, 2.0, 5.0];
        let principles = principles(&weights);
        for (select, weights) in [(Select::Weighted, weights), (Select::Random, [1.0; 3])] {
            let total: f64 = weights.iter().sum();
            let mut pairs = [[0_u32; 3]; 3];
            for item in 0..ITEMS {
                let stream = Stream::new(u64::from(item));
                let first = principle(select, &principles, stream, 0);
                pairs[first][principle(select, &principles, stream, 1)] += 1;
            }
            for first in 0..3 {
                for second in 0..3 {
                    let expected = if first == second {
                        0.0
                    } else {
                        weights[first] / total * weights[second] / (total - weights[first])
                    };
                    let frequency = f64::from(pairs[first][second]) / f64::from(ITEMS);
                    let error = (expected * (1.0 - expected) / f64::from(ITEMS)).sqrt();
                    assert!(
                        (frequency - expected).abs() <= 4.5 * error,
                        "{select:?} {first} {second}: {frequency}, expected {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn draw_at_the_upper_end_selects_the_last_card() {
        let left = [(0, 0.1), (1, 0.2), (2, 0.3)];
        assert_eq!(draw(&left, 1.0), 2);
        assert_eq!(draw(&left, 0.0), 0);
    }
}

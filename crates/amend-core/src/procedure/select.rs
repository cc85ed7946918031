//! Which principle is applied when: a pure function of the item's stream and of
//! how many principles it has applied so far, so that a resumed loop selects as
//! the unbroken one.
//!
//! `random` and `weighted` deal the principles out like a deck: each once, in an
//! order drawn afresh, before any comes again. So a round that applies more
//! principles than there are repeats one only after all were used; where one
//! deck ends and the next begins, the same principle may come twice in a row.

use crate::constitution::{Constitution, Principle, Select};
use crate::random::Stream;

/// How many principles a round applies.
pub(super) fn per_round(constitution: &Constitution) -> usize {
    let count = constitution.principles.len();
    match constitution.plan.select {
        Select::All => count,
        _ if count == 0 => 0,
        _ => usize::try_from(constitution.plan.principles_per_round).unwrap_or(usize::MAX),
    }
}

/// The index of the principle an item applies after `used` others. There is at
/// least one principle.
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
        Select::Weighted => deal(principles.iter().map(|p| p.weight), stream, deck, position),
    }
}

/// The card at a position of a deck, drawn without replacement and with
/// probability proportional to weight among those left.
fn deal(weights: impl Iterator<Item = f64>, stream: Stream, deck: usize, position: usize) -> usize {
    let mut left: Vec<(usize, f64)> = weights.enumerate().collect();
    let first = deck * left.len();
    for at in first..first + position {
        left.remove(draw(&left, stream.uniform(at as u64)));
    }
    left[draw(&left, stream.uniform((first + position) as u64))].0
}

/// Where a number in [0, 1) falls among the weights left.
fn draw(left: &[(usize, f64)], uniform: f64) -> usize {
    let mut rest = uniform * left.iter().map(|&(_, weight)| weight).sum::<f64>();
    left.iter()
        .position(|&(_, weight)| {
            rest -= weight;
            rest < 0.0
        })
        // Rounding may leave a crumb at the end.
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
    fn every_deck_holds_each_principle_once() {
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
    fn decks_are_shuffled_afresh() {
        let decks = order(Select::Random, &[1.0; 12], Stream::new(3), 24);
        assert_ne!(decks[..12], decks[12..]);
    }

    /// Frequencies over 20,000 items lie within 4.5 standard errors (0.016 at
    /// most) of what they should be.
    #[test]
    fn weights_give_the_odds_of_the_first_two_draws() {
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
                    let found = f64::from(pairs[first][second]) / f64::from(ITEMS);
                    let error = (expected * (1.0 - expected) / f64::from(ITEMS)).sqrt();
                    assert!(
                        (found - expected).abs() <= 4.5 * error,
                        "{select:?} {first} {second}: {found} for {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn a_number_at_the_very_end_falls_on_the_last() {
        let left = [(0, 0.1), (1, 0.2), (2, 0.3)];
        assert_eq!(draw(&left, 1.0), 2);
        assert_eq!(draw(&left, 0.0), 0);
    }
}

//! What every figure of an audit is computed from: the decided scores, the
//! bounds, and the bootstrap.

use crate::audit::{Better, Input};
use amend_core::constitution::Thresholds;
use amend_core::stats::Bootstrap;

/// A checked input with its decided scores.
pub(super) struct Context<'a> {
    pub(super) input: &'a Input,
    pub(super) thresholds: &'a Thresholds,
    pub(super) bootstrap: Bootstrap,
    /// Log-odds by principle and item; `None` where not asked or undecided.
    scores: Vec<Vec<Option<f64>>>,
}

impl<'a> Context<'a> {
    pub(super) fn new(input: &'a Input, thresholds: &'a Thresholds, bootstrap: Bootstrap) -> Self {
        let scores = input
            .scores
            .iter()
            .map(|row| row.iter().map(|score| score.as_ref()?.decided(thresholds.mass_floor)))
            .map(Iterator::collect)
            .collect();
        Self { input, thresholds, bootstrap, scores }
    }

    /// The indices of all principles.
    pub(super) fn principles(&self) -> std::ops::Range<usize> {
        0..self.input.principles.len()
    }

    /// The indices of all items.
    pub(super) fn items(&self) -> std::ops::Range<usize> {
        0..self.input.items.len()
    }

    /// The id of a principle.
    pub(super) fn id(&self, principle: usize) -> String {
        self.input.principles[principle].id.clone()
    }

    /// The key of an item.
    pub(super) fn key(&self, item: usize) -> String {
        self.input.items[item].key.clone()
    }

    /// A principle's log-odds for an item.
    pub(super) fn score(&self, principle: usize, item: usize) -> Option<f64> {
        self.scores[principle][item]
    }

    /// A principle's log-odds for an item, if it is active on it.
    pub(super) fn active(&self, principle: usize, item: usize) -> Option<f64> {
        self.score(principle, item).filter(|score| score.abs() > self.thresholds.active)
    }

    /// The items that a principle decided, with its log-odds.
    pub(super) fn decided(&self, principle: usize) -> impl Iterator<Item = (usize, f64)> {
        let row = self.scores[principle].iter().enumerate();
        row.filter_map(|(item, score)| Some((item, (*score)?)))
    }

    /// Which answer to an item is better, where that is known.
    pub(super) fn label(&self, item: usize) -> Option<Better> {
        self.input.items[item].label
    }
}

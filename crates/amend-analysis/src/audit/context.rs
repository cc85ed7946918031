//! The basis of every figure of an audit: the decided scores, the bounds, the
//! bootstrap, and a parallel map.

use std::num::NonZero;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use crate::audit::{AuditInput, Better};
use amend_core::constitution::Thresholds;
use amend_core::stats::Bootstrap;

/// A checked input with its decided scores.
pub(super) struct AuditContext<'a> {
    pub(super) input: &'a AuditInput,
    pub(super) thresholds: &'a Thresholds,
    pub(super) bootstrap: Bootstrap,
    /// The log-odds by principle and item; `None` if not asked or undecided.
    scores: Vec<Vec<Option<f64>>>,
}

impl<'a> AuditContext<'a> {
    pub(super) fn new(
        input: &'a AuditInput,
        thresholds: &'a Thresholds,
        bootstrap: Bootstrap,
    ) -> Self {
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

    /// The better answer to an item, if it is known.
    pub(super) fn label(&self, item: usize) -> Option<Better> {
        self.input.items[item].label
    }
}

/// Computes `value(0)` to `value(count - 1)` on all cores, in this order. The result
/// does not depend on the number of cores.
pub(super) fn parallel<T: Send>(count: usize, value: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    parallel_on(threads, count, value)
}

fn parallel_on<T: Send>(threads: usize, count: usize, value: impl Fn(usize) -> T + Sync) -> Vec<T> {
    let next = AtomicUsize::new(0);
    let work = || {
        let mut computed = Vec::new();
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            if at >= count {
                return computed;
            }
            computed.push((at, value(at)));
        }
    };
    let mut computed = thread::scope(|scope| {
        let others: Vec<_> = (1..threads.min(count)).map(|_| scope.spawn(work)).collect();
        let mut computed = work();
        for other in others {
            match other.join() {
                Ok(values) => computed.extend(values),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        computed
    });
    computed.sort_unstable_by_key(|(at, _)| *at);
    computed.into_iter().map(|(_, value)| value).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parallel_values_keep_their_order() {
        for threads in [1, 2, 5] {
            for count in [0, 1, 2, 100] {
                let expected: Vec<usize> = (0..count).map(|at| at * at).collect();
                assert_eq!(parallel_on(threads, count, |at| at * at), expected);
            }
        }
    }
}

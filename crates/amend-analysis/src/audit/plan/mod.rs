//! Plans an audit: which pairs of answers the judge compares, by which questions. Then
//! turns the verdicts into the audit's input.
//!
//! [`read`] reads cases from files and runs, a [`AuditPlan`] turns cases into items, and
//! [`Questions`] holds the questions about each item. After a driver has judged the
//! items, [`AuditPlan::input`] turns the verdicts into the input of [`crate::audit`].
//! [`Reuse`] takes verdicts from an earlier audit.

mod cases;
mod questions;
mod reuse;
mod scores;
#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

pub use cases::{Case, CasesError, ReadCases, Revised, read};
pub use questions::Questions;
pub use reuse::{Reuse, ReuseError};

use amend_core::random::Stream;
use amend_core::record::{Item, Keys};

/// Cases, and the items that the judge compares for them.
#[derive(Debug)]
pub struct AuditPlan {
    subjects: Vec<Subject>,
    items: Vec<Item>,
}

/// A case, and the item keys of its pairs of answers.
#[derive(Debug)]
struct Subject {
    case: Case,
    key: String,
    /// Whether the two answers are the same, so that the judge is not asked.
    same: bool,
    /// For each revision, the key of the item that compares it with the answer before
    /// it; `None` if it changed nothing.
    revisions: Vec<Option<String>>,
}

impl AuditPlan {
    /// Creates the items of the cases. Each item has the row number of its case. A pair
    /// of answers that is also a revision makes one item.
    #[must_use]
    pub fn new(cases: Vec<Case>) -> Self {
        let mut keys = Keys::default();
        let mut survey = Self { subjects: Vec::new(), items: Vec::new() };
        for (row, case) in (1..).zip(cases) {
            let mut asked: HashMap<[Option<String>; 2], String> = HashMap::new();
            let mut ask = |[x, y]: [Option<&str>; 2]| {
                let owned = [x, y].map(|text| text.map(str::to_owned));
                let key = asked.entry(owned.clone()).or_insert_with(|| {
                    let key = keys.next(&case.item.messages, x, y);
                    if !same([x, y]) {
                        let ([response, response_b], key) = (owned, key.clone());
                        survey.items.push(Item {
                            key,
                            row,
                            response,
                            response_b,
                            ..case.item.clone()
                        });
                    }
                    key
                });
                key.clone()
            };
            let pair = [case.item.response.as_deref(), case.item.response_b.as_deref()];
            let key = ask(pair);
            let revisions = case.revisions.iter().map(|revision| {
                let pair = [Some(&*revision.after), Some(&*revision.before)];
                (!same(pair)).then(|| ask(pair))
            });
            let revisions = revisions.collect();
            survey.subjects.push(Subject { same: same(pair), key, revisions, case });
        }
        survey
    }

    /// The items, in order.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Takes the items out, so that the driver holds the only copy. [`AuditPlan::input`]
    /// does not need them.
    pub fn take_items(&mut self) -> Vec<Item> {
        std::mem::take(&mut self.items)
    }

    /// Whether answers have to be generated first.
    #[must_use]
    pub fn generates(&self) -> bool {
        self.items.iter().any(|item| item.response.is_none() || item.response_b.is_none())
    }
}

/// Whether both answers exist and are the same except for white space around them.
fn same(pair: [Option<&str>; 2]) -> bool {
    matches!(pair, [Some(x), Some(y)] if x.trim() == y.trim())
}

/// Keeps a uniform random sample of `count` cases, in their order.
pub fn sample(cases: &mut Vec<Case>, count: usize, stream: Stream) {
    let mut order: Vec<usize> = (0..cases.len()).collect();
    order.sort_by_key(|&at| stream.bits(at as u64));
    let drawn: HashSet<usize> = order.into_iter().take(count).collect();
    let mut at = 0;
    cases.retain(|_| {
        let keep = drawn.contains(&at);
        at += 1;
        keep
    });
}

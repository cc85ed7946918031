//! From data to an audit and back: which pairs of answers a judge is asked about,
//! and what its verdicts say about the principles.
//!
//! [`read`] makes cases of files and runs, a [`Survey`] makes items of cases, and
//! [`Questions`] says what is asked about each. Once a driver has taken the items
//! through, [`Survey::input`] makes of the answered ones what [`crate::audit`]
//! computes from. [`Reuse`] takes verdicts from an audit made before.

mod cases;
mod questions;
mod reuse;
mod scores;
#[cfg(test)]
mod tests;

use std::collections::HashMap;

pub use cases::{Case, ReadError, Revised, read};
pub use questions::Questions;
pub use reuse::{Reuse, ReuseError};

use amend_core::random::Stream;
use amend_core::record::{Item, Keys};

/// Cases with the items to ask about.
#[derive(Debug)]
pub struct Survey {
    subjects: Vec<Subject>,
    items: Vec<Item>,
}

/// A case, and by which keys its pairs of answers are asked about.
#[derive(Debug)]
struct Subject {
    case: Case,
    key: String,
    /// Its two answers are the same: nothing is asked.
    same: bool,
    /// For each revision, the item that compares it with the answer before; none
    /// where it changed nothing.
    revisions: Vec<Option<String>>,
}

impl Survey {
    /// The items of some cases, each numbered by its case. A revision that is
    /// its case's pair of answers is asked about once.
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
                        let ([response, rival], key) = (owned, key.clone());
                        survey.items.push(Item { key, row, response, rival, ..case.item.clone() });
                    }
                    key
                });
                key.clone()
            };
            let pair = [case.item.response.as_deref(), case.item.rival.as_deref()];
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

    /// What to ask about, in order.
    #[must_use]
    pub fn items(&self) -> &[Item] {
        &self.items
    }

    /// Whether answers have to be made first.
    #[must_use]
    pub fn generates(&self) -> bool {
        self.items.iter().any(|item| item.response.is_none() || item.rival.is_none())
    }
}

/// Whether both answers are there and say the same, blank ends aside.
fn same(pair: [Option<&str>; 2]) -> bool {
    matches!(pair, [Some(x), Some(y)] if x.trim() == y.trim())
}

/// As many of the cases, drawn evenly, in their order.
pub fn sample(cases: &mut Vec<Case>, count: usize, stream: Stream) {
    let mut drawn: Vec<usize> = (0..cases.len()).collect();
    drawn.sort_by_key(|&at| stream.bits(at as u64));
    drawn.truncate(count);
    let mut at = 0;
    cases.retain(|_| {
        at += 1;
        drawn.contains(&(at - 1))
    });
}

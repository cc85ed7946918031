//! What is asked about each pair of answers: which is better on the whole, under
//! each principle, and under each other wording of one.

use std::collections::HashSet;

use crate::constitution::{Constitution, Principle};
use crate::trajectory::Procedure;

/// A constitution with every wording as a principle of its own.
#[derive(Debug, Clone)]
pub struct Questions {
    constitution: Constitution,
    /// How many of its principles are as written; the others are wordings.
    written: usize,
    /// Of each wording, the index of its principle.
    wordings: Vec<usize>,
}

impl Questions {
    /// The questions of a constitution.
    #[must_use]
    pub fn new(mut constitution: Constitution) -> Self {
        let written = constitution.principles.len();
        let mut wordings = Vec::new();
        for at in 0..written {
            let principle = constitution.principles[at].clone();
            for (number, text) in (2..).zip(&principle.paraphrases) {
                // `~` is in no id that a file can give.
                let id = format!("{}~{number}", principle.id);
                constitution.principles.push(principle.reworded(id, text));
                wordings.push(at);
            }
        }
        Self { constitution, written, wordings }
    }

    /// The constitution to drive with.
    #[must_use]
    pub fn constitution(&self) -> &Constitution {
        &self.constitution
    }

    /// The principles as written.
    pub(super) fn principles(&self) -> &[Principle] {
        &self.constitution.principles[..self.written]
    }

    /// The other wordings, each with the index of its principle.
    pub(super) fn wordings(&self) -> impl Iterator<Item = (usize, &Principle)> {
        self.wordings.iter().copied().zip(&self.constitution.principles[self.written..])
    }

    /// Asks all of it; about the principles in `first` before the others.
    #[must_use]
    pub fn procedure(&self, first: &[String]) -> Procedure {
        let principles = &self.constitution.principles;
        let place = |id: &String| principles.iter().position(|principle| principle.id == *id);
        let early: Vec<usize> = first.iter().filter_map(place).collect();
        let done: HashSet<usize> = early.iter().copied().collect();
        let late = (0..principles.len()).filter(|at| !done.contains(at));
        let principles = early.into_iter().chain(late).collect();
        Procedure::Compare { principles, overall: true }
    }
}

//! What is asked about each pair of answers: which is better on the whole, under
//! each principle, under each other wording of one, and under each with other
//! words for the answers.

use std::collections::HashSet;

use amend_core::constitution::{Constitution, Principle};
use amend_core::procedure::Procedure;

/// A constitution with every other way to ask for a principle as a principle of
/// its own.
#[derive(Debug, Clone)]
pub struct Questions {
    constitution: Constitution,
    /// How many of its principles are as written; the others are variants.
    written: usize,
    /// Of each variant, the index of its principle.
    of: Vec<usize>,
}

impl Questions {
    /// The questions of a constitution.
    #[must_use]
    pub fn new(mut constitution: Constitution) -> Self {
        let written = constitution.principles.clone();
        let mut of = Vec::new();
        let mut add = |at, variant| {
            constitution.principles.push(variant);
            of.push(at);
        };
        // Neither `~` nor `@` is in an id that a file can give.
        for (at, principle) in written.iter().enumerate() {
            for (number, text) in (2..).zip(&principle.paraphrases) {
                add(at, principle.reworded(format!("{}~{number}", principle.id), text));
            }
        }
        // One pair of words after the other: what is called the same shares a prefix.
        for words in &constitution.audit.label_words {
            for (at, principle) in written.iter().enumerate() {
                let id = format!("{}@{}", principle.id, words.join("/"));
                add(at, principle.relabelled(id, words));
            }
        }
        Self { constitution, written: written.len(), of }
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

    /// The other ways to ask, each with the index of its principle.
    pub(super) fn variants(&self) -> impl Iterator<Item = (usize, &Principle)> {
        self.of.iter().copied().zip(&self.constitution.principles[self.written..])
    }

    /// Asks all of it but what is called by `unsaid` words; about the principles in
    /// `first` before the others.
    #[must_use]
    pub fn procedure(&self, first: &[String], unsaid: &[&[String; 2]]) -> Procedure {
        let principles = &self.constitution.principles;
        let place = |id: &String| principles.iter().position(|principle| principle.id == *id);
        let early: Vec<usize> = first.iter().filter_map(place).collect();
        let done: HashSet<usize> = early.iter().copied().collect();
        let late = (0..principles.len()).filter(|at| !done.contains(at));
        let said = |at: &usize| match &principles[*at].labels {
            Some(words) => !unsaid.contains(&words),
            None => true,
        };
        let principles = early.into_iter().chain(late).filter(said).collect();
        Procedure::Compare { principles, overall: true }
    }
}

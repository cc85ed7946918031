//! The questions about each pair of answers: which answer is better overall, under each
//! principle, under each paraphrase of a principle, and under each principle with other
//! label words.

use std::collections::HashSet;

use amend_core::constitution::{Constitution, Principle};
use amend_core::procedure::Procedure;

/// A constitution in which every variant of a principle is a separate principle. A
/// variant is a paraphrase, or the principle with other label words.
#[derive(Debug, Clone)]
pub struct Questions {
    constitution: Constitution,
    /// The number of principles as written; the others are variants.
    written: usize,
    /// The index of each variant's principle.
    variant_of: Vec<usize>,
}

impl Questions {
    /// The questions of a constitution.
    #[must_use]
    pub fn new(mut constitution: Constitution) -> Self {
        let written = constitution.principles.clone();
        let mut variant_of = Vec::new();
        let mut add = |at, variant| {
            constitution.principles.push(variant);
            variant_of.push(at);
        };
        // Ids in a constitution file contain neither `~` nor `@`.
        for (at, principle) in written.iter().enumerate() {
            for (number, text) in (2..).zip(&principle.paraphrases) {
                add(at, principle.reworded(format!("{}~{number}", principle.id), text));
            }
        }
        // One pair of words after the other: questions with the same words share a prefix.
        for words in &constitution.audit.label_words {
            for (at, principle) in written.iter().enumerate() {
                let id = format!("{}@{}", principle.id, words.join("/"));
                add(at, principle.relabelled(id, words));
            }
        }
        Self { constitution, written: written.len(), variant_of }
    }

    /// The constitution to run the judge with.
    #[must_use]
    pub fn constitution(&self) -> &Constitution {
        &self.constitution
    }

    /// The principles as written.
    pub(super) fn principles(&self) -> &[Principle] {
        &self.constitution.principles[..self.written]
    }

    /// The variants, each with the index of its principle.
    pub(super) fn variants(&self) -> impl Iterator<Item = (usize, &Principle)> {
        self.variant_of.iter().copied().zip(&self.constitution.principles[self.written..])
    }

    /// The procedure that asks all questions except those with `excluded` label words.
    /// The principles in `first` come before the others.
    #[must_use]
    pub fn procedure(&self, first: &[String], excluded: &[&[String; 2]]) -> Procedure {
        let principles = &self.constitution.principles;
        let index = |id: &String| principles.iter().position(|principle| principle.id == *id);
        let early: Vec<usize> = first.iter().filter_map(index).collect();
        let done: HashSet<usize> = early.iter().copied().collect();
        let late = (0..principles.len()).filter(|at| !done.contains(at));
        let included = |at: &usize| match &principles[*at].labels {
            Some(words) => !excluded.contains(&words),
            None => true,
        };
        let principles = early.into_iter().chain(late).filter(included).collect();
        Procedure::Compare { principles, overall: true }
    }
}

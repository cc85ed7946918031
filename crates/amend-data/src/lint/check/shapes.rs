//! Compares the shapes of rows: a trainer reads only one, and libraries that load a data set
//! expect the same columns in every row.

use super::{LintRule, Needs};
use crate::lint::report::Sample;
use amend_core::document::Severity;

pub(super) static MIXED: LintRule = LintRule {
    name: "mixed-shapes",
    severity: Severity::Error,
    about: "rows have different shapes, and a trainer reads only one",
    fix: "no automatic fix: convert the rows to one shape, or write each shape to a file of its own",
    needs: Needs::Set,
};

/// The shapes of the rows so far.
#[derive(Debug, Default)]
pub(in crate::lint) struct Shapes {
    /// The name of each shape, the number of its rows, and the first one.
    found: Vec<(&'static str, u64, Sample)>,
}

impl Shapes {
    /// Adds a row of a shape.
    pub fn add(&mut self, name: &'static str, sample: impl Fn(String) -> Sample) {
        match self.found.iter_mut().find(|(known, ..)| *known == name) {
            Some((_, count, _)) => *count += 1,
            None => self.found.push((name, 1, sample(name.to_owned()))),
        }
    }

    /// The names of the shapes.
    pub fn names(&self) -> String {
        self.found.iter().map(|(name, ..)| *name).collect::<Vec<_>>().join(" and ")
    }

    /// The number of rows that do not have the most frequent shape, and the first row of each
    /// other shape. `None` if all rows have the same.
    pub fn mixed(self) -> Option<(&'static LintRule, u64, Vec<Sample>)> {
        let most = self.found.iter().map(|(_, count, _)| *count).max()?;
        let usual = self.found.iter().position(|(_, count, _)| *count == most)?;
        let others = self.found.into_iter().enumerate().filter(|(at, _)| *at != usual);
        let (counts, samples): (Vec<u64>, Vec<Sample>) =
            others.map(|(_, (_, count, sample))| (count, sample)).unzip();
        if counts.is_empty() { None } else { Some((&MIXED, counts.iter().sum(), samples)) }
    }
}

//! What linting came to: figures, findings, and what was mended.

use serde::Serialize;

use super::check::{Rule, Severity, Statistics};

/// An example of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// The file, as it was named.
    pub file: String,
    /// The row: the line of JSON lines, else counted from 1.
    pub row: u64,
    /// What shows the fault, on one line.
    pub excerpt: String,
}

/// A rule that rows break.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Finding {
    /// The rule.
    #[serde(flatten)]
    pub rule: &'static Rule,
    /// Rows that break it.
    pub count: u64,
    /// Their share of all rows, 0 to 1.
    pub share: f64,
    /// Whether `--fix` mends it.
    pub fixable: bool,
    /// Three of them at the most.
    pub examples: Vec<Sample>,
}

/// A split, and its rows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Split {
    /// Its name: its file's, up to the first hyphen.
    pub name: String,
    /// How many rows it has.
    pub rows: u64,
}

/// What `--fix` did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Fixed {
    /// Rows written as they were.
    pub kept: u64,
    /// Rows written with changes.
    pub edited: u64,
    /// Rows left out.
    pub removed: u64,
}

/// All that was found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// The data, as it was named.
    pub data: String,
    /// The format, in words.
    pub format: String,
    /// The splits, in the order they were read.
    pub splits: Vec<Split>,
    /// Rows of all splits.
    pub rows: u64,
    /// What lengths are measured in: `words`, or `tokens`.
    pub unit: &'static str,
    /// The greatest length examples were cut at; none where no tokenizer said
    /// how long they are.
    pub max_length: Option<usize>,
    /// What was not checked, and why.
    pub notes: Vec<String>,
    /// Figures about the sides.
    pub statistics: Statistics,
    /// What was found, errors first, in the order of the rules.
    pub findings: Vec<Finding>,
    /// What was mended, with `--fix`.
    pub fixed: Option<Fixed>,
}

impl Report {
    /// The gravest finding that is left: with `--fix`, of those it can't mend.
    #[must_use]
    pub fn gravest(&self) -> Option<Severity> {
        let left = self.findings.iter().filter(|finding| self.fixed.is_none() || !finding.fixable);
        left.map(|finding| finding.rule.severity).max()
    }
}

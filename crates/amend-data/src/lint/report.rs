//! The report of linting: statistics, findings, and the counts of the cleaned copy.

use serde::{Serialize, Serializer};

use super::check::{LintRule, SetStatistics};
use crate::rows::Place;
use amend_core::document::Severity;

/// An example of a finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// The file, as given.
    pub file: String,
    /// The row. In JSON it is `row`: the line where it begins, or else its number from 1.
    #[serde(rename = "row", serialize_with = "number")]
    pub place: Place,
    /// The text that shows the fault, on one line.
    pub excerpt: String,
}

fn number<S: Serializer>(place: &Place, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(place.number())
}

/// A rule that some rows break.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LintFinding {
    /// The rule.
    #[serde(flatten)]
    pub rule: &'static LintRule,
    /// The number of rows that break it.
    pub count: u64,
    /// Their share of all rows, from 0 to 1.
    pub share: f64,
    /// Whether `--fix` fixes it.
    pub fixable: bool,
    /// At most three examples.
    pub examples: Vec<Sample>,
}

/// A split of the data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Split {
    /// The split's name: the file's name up to the first hyphen or dot.
    pub name: String,
    /// The number of rows.
    pub rows: u64,
}

/// The row counts of a cleaned copy.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Fixed {
    /// Rows copied unchanged.
    pub kept: u64,
    /// Rows copied with changes.
    pub edited: u64,
    /// Rows that were left out.
    pub removed: u64,
}

/// The result of linting.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LintReport {
    /// The data, as given.
    pub data: String,
    /// How the data was read, a line each; nothing about a run. It is not part of the JSON.
    #[serde(skip)]
    pub input: Vec<String>,
    /// The names of the shapes of its rows.
    pub format: String,
    /// The splits, in reading order.
    pub splits: Vec<Split>,
    /// The number of rows of all splits.
    pub rows: u64,
    /// The unit of lengths: `words` or `tokens`.
    pub unit: &'static str,
    /// The maximum length in tokens; `None` without a tokenizer.
    pub max_length: Option<usize>,
    /// Notes on what was not checked, and why.
    pub notes: Vec<String>,
    /// Lengths and refusals of chosen and rejected answers.
    pub statistics: SetStatistics,
    /// The findings, errors first, then in the order of the rules.
    pub findings: Vec<LintFinding>,
    /// The counts of the cleaned copy, with `--fix`.
    pub fixed: Option<Fixed>,
}

impl LintReport {
    /// The highest severity among the findings that remain: with `--fix`, only those
    /// that it cannot fix.
    #[must_use]
    pub fn gravest(&self) -> Option<Severity> {
        let left = self.findings.iter().filter(|finding| self.fixed.is_none() || !finding.fixable);
        left.map(|finding| finding.rule.severity).max()
    }
}

//! The rows that `--skip-bad` leaves out.

use std::collections::HashMap;
use std::io::{self, Write};

use serde_json::json;

use super::fault::{ItemFault, ItemFaults, ItemProblem};
use super::notes::rows;
use crate::rows::{InputFault, Place, Problem, json_lines};

/// The most reasons that are printed.
const SHOWN: usize = 20;

/// The most reasons that are counted separately.
const REASONS: usize = 1000;

/// Rows that were left out, with the reason for each. A row takes 24 bytes.
#[derive(Debug, Default)]
pub struct SkippedRows {
    files: Vec<String>,
    reasons: Vec<Reason>,
    places: HashMap<String, u32>,
    /// The file, the place and the reason of each row.
    rows: Vec<(u32, Place, u32)>,
}

/// Why rows were left out.
#[derive(Debug)]
struct Reason {
    /// What is wrong with all of them.
    kind: String,
    /// What is wrong with the first one, if that says more.
    first: Option<String>,
    count: u64,
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { kind, first, count } = self;
        match first {
            None => write!(f, "{count}: {kind}"),
            Some(first) if *count == 1 => write!(f, "{count}: {first}"),
            Some(first) => write!(f, "{count}: {kind}, for example: {first}"),
        }
    }
}

impl SkippedRows {
    /// The number of rows.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.rows.len() as u64
    }

    /// Adds a row that is at fault.
    pub(crate) fn add<P: Problem>(&mut self, fault: &InputFault<P>) {
        let InputFault { file, place, problem } = fault;
        let Some(place) = place else { return };
        if self.files.last() != Some(file) {
            self.files.push(file.clone());
        }
        let mut kind = problem.kind();
        let mut first = Some(problem.to_string()).filter(|message| *message != kind);
        if self.reasons.len() >= REASONS && !self.places.contains_key(&kind) {
            ("other faults").clone_into(&mut kind);
            first = None;
        }
        let at = match self.places.get(&kind) {
            Some(&at) => at,
            None => {
                let at = u32::try_from(self.reasons.len()).unwrap_or(u32::MAX);
                self.places.insert(kind.clone(), at);
                self.reasons.push(Reason { kind, first, count: 0 });
                at
            }
        };
        if let Some(reason) = self.reasons.get_mut(at as usize) {
            reason.count += 1;
        }
        let file = u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX);
        self.rows.push((file, *place, at));
    }

    /// Adds the rows of another input.
    pub fn append(&mut self, other: Self) {
        let files = u32::try_from(self.files.len()).unwrap_or(u32::MAX);
        let reasons = u32::try_from(self.reasons.len()).unwrap_or(u32::MAX);
        self.files.extend(other.files);
        self.reasons.extend(other.reasons);
        let moved = |(file, place, reason)| (file + files, place, reason + reasons);
        self.rows.extend(other.rows.into_iter().map(moved));
    }

    /// Writes a line of JSON for each row: its file, its place and the reason, without the values
    /// of the row.
    ///
    /// # Errors
    /// `out` can't be written to.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for (file, place, reason) in &self.rows {
            let file = self.files.get(*file as usize);
            let reason = self.reasons.get(*reason as usize).map(|reason| &reason.kind);
            let line = match place {
                Place::Line(line) => json!({"file": file, "line": line, "reason": reason}),
                Place::Row(row) => json!({"file": file, "row": row, "reason": reason}),
            };
            json_lines::write(out, &line)?;
        }
        Ok(())
    }

    /// What is printed: the number of rows for each reason, the most frequent first.
    pub(crate) fn notes(&self) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let mut reasons: Vec<&Reason> = self.reasons.iter().collect();
        reasons.sort_by_key(|reason| std::cmp::Reverse(reason.count));
        let mut notes = vec![format!("{} skipped", rows(self.count()))];
        notes.extend(reasons.iter().take(SHOWN).map(|reason| format!("  {reason}")));
        if reasons.len() > SHOWN {
            notes.push(format!("  … and {} more reasons", reasons.len() - SHOWN));
        }
        notes
    }

    /// The fault of an input of which every row is at fault.
    pub(crate) fn into_faults(self) -> ItemFaults {
        let file = self.files.first().cloned().unwrap_or_default();
        let skipped = self.count();
        let most = self.reasons.into_iter().max_by_key(|reason| reason.count);
        let reason = most.map(|Reason { kind, first, .. }| first.unwrap_or(kind));
        let reason = reason.unwrap_or_default();
        let problem = ItemProblem::NothingLeft { skipped, reason };
        ItemFault { file, place: None, problem }.into()
    }
}

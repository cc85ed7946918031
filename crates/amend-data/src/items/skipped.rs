//! The rows that `--skip-bad` leaves out.

use std::collections::HashMap;
use std::io::{self, Write};

use serde_json::json;

use super::fault::{ItemFault, ItemFaults, ItemProblem};
use super::notes::rows;
use crate::rows::Place;

/// The most reasons that are printed.
const SHOWN: usize = 20;

/// Rows that were left out, with the reason for each. A row takes 24 bytes.
#[derive(Debug, Default)]
pub struct SkippedRows {
    files: Vec<String>,
    /// Each reason, and how many rows have it.
    reasons: Vec<(String, u64)>,
    places: HashMap<String, u32>,
    /// The file, the place and the reason of each row.
    rows: Vec<(u32, Place, u32)>,
}

impl SkippedRows {
    /// The number of rows.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.rows.len() as u64
    }

    pub(super) fn add(&mut self, fault: ItemFault) {
        let ItemFault { file, place, problem } = fault;
        let Some(place) = place else { return };
        if self.files.last() != Some(&file) {
            self.files.push(file);
        }
        let reason = problem.to_string();
        let at = match self.places.get(&reason) {
            Some(&at) => at,
            None => {
                let at = u32::try_from(self.reasons.len()).unwrap_or(u32::MAX);
                self.places.insert(reason.clone(), at);
                self.reasons.push((reason, 0));
                at
            }
        };
        if let Some((_, count)) = self.reasons.get_mut(at as usize) {
            *count += 1;
        }
        let file = u32::try_from(self.files.len() - 1).unwrap_or(u32::MAX);
        self.rows.push((file, place, at));
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

    /// Writes a JSON line for each row: its file, its place and the reason.
    ///
    /// # Errors
    /// `out` can't be written to.
    pub fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        for (file, place, reason) in &self.rows {
            let file = self.files.get(*file as usize);
            let reason = self.reasons.get(*reason as usize).map(|(reason, _)| reason);
            let line = match place {
                Place::Line(line) => json!({"file": file, "line": line, "reason": reason}),
                Place::Row(row) => json!({"file": file, "row": row, "reason": reason}),
            };
            writeln!(out, "{line}")?;
        }
        Ok(())
    }

    /// What is printed: the number of rows for each reason, the most frequent first.
    pub(super) fn notes(&self) -> Vec<String> {
        if self.rows.is_empty() {
            return Vec::new();
        }
        let mut reasons: Vec<&(String, u64)> = self.reasons.iter().collect();
        reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
        let mut notes = vec![format!("{} skipped", rows(self.count()))];
        notes.extend(
            reasons.iter().take(SHOWN).map(|(reason, count)| format!("  {count}: {reason}")),
        );
        if reasons.len() > SHOWN {
            notes.push(format!("  … and {} more reasons", reasons.len() - SHOWN));
        }
        notes
    }

    /// The fault of an input of which every row is at fault.
    pub(super) fn into_faults(self) -> ItemFaults {
        let file = self.files.first().cloned().unwrap_or_default();
        let (reason, _) =
            self.reasons.into_iter().max_by_key(|(_, count)| *count).unwrap_or_default();
        let problem = ItemProblem::NothingLeft { skipped: self.rows.len() as u64, reason };
        ItemFault { file, place: None, problem }.into()
    }
}

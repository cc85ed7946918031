//! Ended items with their steps, read from a journal one after another.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use crate::store::journal::{JournalError, Reader, Record};
use amend_core::record::Item;
use amend_core::record::Outcome;
use amend_core::record::Step;

/// All that happened to an item.
#[derive(Debug, Clone, PartialEq)]
pub struct Trajectory {
    /// The item.
    pub item: Item,
    /// Its steps, in order.
    pub steps: Vec<Step>,
    /// What it came to.
    pub outcome: Outcome,
}

/// Yields a journal's ended items in the order of their ends, each once. Only
/// the steps of items under way are in memory.
///
/// The journal is read twice: first for the items that were started over, whose
/// earlier records are then passed by. What a writer adds meanwhile is left out.
pub struct Trajectories {
    reader: Reader<BufReader<File>>,
    /// Records to read.
    records: u64,
    /// By item: records before its last retry, which count no more.
    voided: HashMap<String, u64>,
    steps: HashMap<String, Vec<Step>>,
    /// Items to give in place of the recorded ones, by key.
    current: HashMap<String, Item>,
}

impl Trajectories {
    /// Starts at the top of the journal at `path`, once all of it is known to
    /// be sound.
    pub(crate) fn open(path: &Path) -> Result<Self, JournalError> {
        let open = || {
            let io = |source| JournalError::Io { action: "open", path: path.to_owned(), source };
            Ok(Reader::new(BufReader::new(File::open(path).map_err(io)?), path.to_owned()))
        };
        let mut reader = open()?;
        let mut voided = HashMap::new();
        while let Some(record) = reader.next()? {
            if let Record::Retry { item } = record {
                voided.insert(item, reader.records());
            }
        }
        let (records, reader) = (reader.records(), open()?);
        Ok(Self { reader, records, voided, steps: HashMap::new(), current: HashMap::new() })
    }

    /// Gives items as they are in `items` instead of as they were recorded: what a
    /// row says beside its content, such as a label, may have been corrected since.
    #[must_use]
    pub fn with_items(mut self, items: Vec<Item>) -> Self {
        self.current = items.into_iter().map(|item| (item.key.clone(), item)).collect();
        self
    }

    fn advance(&mut self) -> Result<Option<Trajectory>, JournalError> {
        while self.reader.records() < self.records
            && let Some(record) = self.reader.next()?
        {
            let voided = record.key().and_then(|key| self.voided.get(key));
            if voided.is_some_and(|&end| self.reader.records() <= end) {
                continue;
            }
            match record {
                Record::Step { item, step } => self.steps.entry(item).or_default().push(step),
                Record::End { item, outcome } => {
                    let steps = self.steps.remove(&item.key).unwrap_or_default();
                    let item = self.current.remove(&item.key).unwrap_or(item);
                    return Ok(Some(Trajectory { item, steps, outcome }));
                }
                Record::Retry { .. } | Record::Cohort {} => {}
            }
        }
        Ok(None)
    }
}

impl Iterator for Trajectories {
    type Item = Result<Trajectory, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if matches!(next, Some(Err(_))) {
            self.records = 0; // nothing follows an error
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::{Journal, Record};
    use crate::testing::{done, failed, item, records, retry, stepped};

    /// Key, texts of the steps, and whether it is done, of each ended item.
    fn read(records: &[Record]) -> Vec<(String, Vec<String>, bool)> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let (mut journal, _) = Journal::open(&path, false).unwrap();
        for record in records {
            journal.append(record).unwrap();
        }
        let row = |trajectory: Trajectory| {
            let texts = trajectory.steps.into_iter().map(|step| step.text).collect();
            let done = matches!(trajectory.outcome, Outcome::Done { .. });
            (trajectory.item.key, texts, done)
        };
        Trajectories::open(&path).unwrap().map(|next| row(next.unwrap())).collect()
    }

    fn row(key: &str, steps: &[&str], done: bool) -> (String, Vec<String>, bool) {
        (key.to_owned(), steps.iter().map(|&text| text.to_owned()).collect(), done)
    }

    #[test]
    fn ended_items_come_in_the_order_of_their_ends() {
        let expected = [
            row("a", &["one", "three"], true),
            row("c", &["naïve \u{1f600}", ""], true),
            row("b", &["five"], true),
        ];
        assert_eq!(read(&records()), expected);
    }

    #[test]
    fn an_item_is_the_one_that_is_given_where_one_is() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let (mut journal, _) = Journal::open(&path, false).unwrap();
        for record in records() {
            journal.append(&record).unwrap();
        }
        let label = |label: &str| [("label".to_owned(), label.into())].into_iter().collect();
        let corrected = Item { metadata: label("b"), ..item("c") };
        let read: Vec<_> = Trajectories::open(&path)
            .unwrap()
            .with_items(vec![corrected.clone()])
            .map(|next| next.unwrap())
            .collect();
        assert_eq!(read.iter().map(|one| &*one.item.key).collect::<Vec<_>>(), ["a", "c", "b"]);
        assert_eq!((&read[1].item, read[1].steps.len()), (&corrected, 2));
        assert_eq!(read[0].item, item("a"));
    }

    #[test]
    fn a_retry_voids_what_came_before_it_and_only_that() {
        let first = [stepped("a", "x"), failed("a"), stepped("b", "y"), done("b")];
        assert_eq!(read(&first), [row("a", &["x"], false), row("b", &["y"], true)]);
        // Started over and not yet ended: it is not there.
        let again = [&first[..], &[retry("a"), stepped("a", "z")]].concat();
        assert_eq!(read(&again), [row("b", &["y"], true)]);
        // Started over twice, once in the middle.
        let twice = [&again[..], &[retry("a"), stepped("a", "w"), failed("a")]].concat();
        assert_eq!(read(&twice), [row("b", &["y"], true), row("a", &["w"], false)]);
        assert_eq!(read(&[]), []);
    }
}

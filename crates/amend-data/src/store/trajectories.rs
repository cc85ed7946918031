//! Finished items with their steps, read one by one from a journal.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::store::journal::{JournalError, Outline, READ_BYTES, Reader, Record};
use crate::store::verdicts::Verdicts;
use amend_core::judge::VerdictSettings;
use amend_core::record::{Item, Outcome, Step};

/// A finished item with its steps and its outcome.
#[derive(Debug, Clone, PartialEq)]
pub struct Trajectory {
    /// The item.
    pub item: Item,
    /// The steps, in order.
    pub steps: Vec<Step>,
    /// The outcome.
    pub outcome: Outcome,
}

/// Iterates over the finished items of journals, in the order in which they ended, one journal
/// after another. Only the steps of unfinished items are in memory.
///
/// Each journal is read twice. The first pass finds retries, so that the second pass can
/// skip the earlier records of those items. Records that are appended meanwhile are
/// ignored.
pub struct Trajectories {
    /// The journals that are not finished, the current one first.
    journals: VecDeque<VerifiedJournal>,
    /// The reader of the first journal.
    reader: Option<Reader<BufReader<File>>>,
    /// The steps of its unfinished items.
    steps: HashMap<String, Vec<Step>>,
    /// What replaces the id, the row and the metadata of recorded items, by key.
    current: HashMap<String, CurrentRow>,
    /// The verdicts that stand for the recorded ones, and the settings of the latter.
    verdicts: Option<(Arc<Verdicts>, VerdictSettings)>,
}

/// A journal after the first pass.
struct VerifiedJournal {
    path: PathBuf,
    /// The number of records to read.
    records: u64,
    /// For each retried item, the number of records up to its last retry. Its records
    /// among those no longer count.
    voided: HashMap<String, u64>,
}

impl VerifiedJournal {
    /// Reads all of a journal.
    fn new(path: &Path) -> Result<Self, JournalError> {
        let mut reader = open(path)?;
        let mut voided = HashMap::new();
        while let Some(outline) = reader.next_outline()? {
            if let Outline::Retry(item) = outline {
                let item = item.into_owned();
                voided.insert(item, reader.records());
            }
        }
        Ok(Self { path: path.to_owned(), records: reader.records(), voided })
    }

    /// Whether the record of this number, from 1, about an item no longer counts.
    fn is_voided(&self, record: &Record, number: u64) -> bool {
        let end = record.key().and_then(|key| self.voided.get(key));
        end.is_some_and(|&end| number <= end)
    }
}

fn open(path: &Path) -> Result<Reader<BufReader<File>>, JournalError> {
    let io = |source| JournalError::Io { action: "open", path: path.to_owned(), source };
    let input = BufReader::with_capacity(READ_BYTES, File::open(path).map_err(io)?);
    Ok(Reader::new(input, path.to_owned()))
}

/// What an input says about an item besides its texts.
struct CurrentRow {
    row: u64,
    id: Option<String>,
    metadata: Map<String, Value>,
}

impl Trajectories {
    /// Opens the journals after verifying all of them.
    pub(crate) fn open(paths: &[PathBuf]) -> Result<Self, JournalError> {
        let journals = paths.iter().map(|path| VerifiedJournal::new(path));
        let journals: VecDeque<VerifiedJournal> = journals.collect::<Result<_, _>>()?;
        let (steps, current) = Default::default();
        Ok(Self { journals, reader: None, steps, current, verdicts: None })
    }

    /// Replaces the recorded verdicts, which count by `standing`, by others.
    pub(super) fn with_verdicts(self, verdicts: Arc<Verdicts>, standing: VerdictSettings) -> Self {
        Self { verdicts: Some((verdicts, standing)), ..self }
    }

    /// Gives the recorded items the row, the id and the metadata of those in `items` with the
    /// same key: labels may have changed since an item was recorded.
    ///
    /// # Errors
    /// The first error of `items`.
    pub fn with_items<E>(
        mut self,
        items: impl IntoIterator<Item = Result<Arc<Item>, E>>,
    ) -> Result<Self, E> {
        for item in items {
            let Item { key, row, id, metadata, .. } = Arc::unwrap_or_clone(item?);
            self.current.insert(key, CurrentRow { row, id, metadata });
        }
        Ok(self)
    }

    fn advance(&mut self) -> Result<Option<Trajectory>, JournalError> {
        while let Some(record) = self.next_record()? {
            match record {
                Record::Step { item, step } => self.steps.entry(item).or_default().push(step),
                Record::End { item, outcome } => {
                    let steps = self.steps.remove(&item.key).unwrap_or_default();
                    let item = match self.current.remove(&item.key) {
                        Some(CurrentRow { row, id, metadata }) => {
                            Item { row, id, metadata, ..item }
                        }
                        None => item,
                    };
                    let trajectory = Trajectory { item, steps, outcome };
                    return Ok(Some(match &self.verdicts {
                        Some((verdicts, standing)) => verdicts.apply(trajectory, standing),
                        None => trajectory,
                    }));
                }
                Record::Retry { .. } | Record::Cohort {} => {}
            }
        }
        Ok(None)
    }

    /// The next record that counts.
    fn next_record(&mut self) -> Result<Option<Record>, JournalError> {
        while let Some(journal) = self.journals.front() {
            let reader = match &mut self.reader {
                Some(reader) => reader,
                None => self.reader.insert(open(&journal.path)?),
            };
            while reader.records() < journal.records
                && let Some(record) = reader.next()?
            {
                if !journal.is_voided(&record, reader.records()) {
                    return Ok(Some(record));
                }
            }
            self.journals.pop_front();
            self.reader = None;
            self.steps.clear();
        }
        Ok(None)
    }
}

impl Iterator for Trajectories {
    type Item = Result<Trajectory, JournalError>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.advance().transpose();
        if matches!(next, Some(Err(_))) {
            self.journals.clear(); // stop after an error
        }
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::{Journal, Record};
    use crate::testing::{done, failed, item, records, retry, stepped};

    /// The key, the texts of the steps, and whether the item is done, for each finished
    /// item.
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
        Trajectories::open(&[path]).unwrap().map(|next| row(next.unwrap())).collect()
    }

    fn row(key: &str, steps: &[&str], done: bool) -> (String, Vec<String>, bool) {
        (key.to_owned(), steps.iter().map(|&text| text.to_owned()).collect(), done)
    }

    #[test]
    fn finished_items_come_in_the_order_of_their_ends() {
        let expected = [
            row("a", &["one", "three"], true),
            row("c", &["naïve \u{1f600}", ""], true),
            row("b", &["five"], true),
        ];
        assert_eq!(read(&records()), expected);
    }

    #[test]
    fn given_items_replace_what_is_known_of_recorded_ones() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal.jsonl");
        let (mut journal, _) = Journal::open(&path, false).unwrap();
        for record in records() {
            journal.append(&record).unwrap();
        }
        let label = |label: &str| [("label".to_owned(), label.into())].into_iter().collect();
        let corrected = Item { metadata: label("b"), ..item("c") };
        let given = Arc::new(corrected.clone());
        let read: Vec<_> = Trajectories::open(&[path])
            .unwrap()
            .with_items([Ok::<_, JournalError>(given)])
            .unwrap()
            .map(|next| next.unwrap())
            .collect();
        assert_eq!(read.iter().map(|next| &*next.item.key).collect::<Vec<_>>(), ["a", "c", "b"]);
        assert_eq!((&read[1].item, read[1].steps.len()), (&corrected, 2));
        assert_eq!(read[0].item, item("a"));
    }

    #[test]
    fn a_retry_voids_only_the_earlier_records_of_its_item() {
        let first = [stepped("a", "x"), failed("a"), stepped("b", "y"), done("b")];
        assert_eq!(read(&first), [row("a", &["x"], false), row("b", &["y"], true)]);
        // Retried and unfinished: the item is absent.
        let again = [&first[..], &[retry("a"), stepped("a", "z")]].concat();
        assert_eq!(read(&again), [row("b", &["y"], true)]);
        // Retried twice, once before its end.
        let twice = [&again[..], &[retry("a"), stepped("a", "w"), failed("a")]].concat();
        assert_eq!(read(&twice), [row("b", &["y"], true), row("a", &["w"], false)]);
        assert_eq!(read(&[]), []);
    }
}

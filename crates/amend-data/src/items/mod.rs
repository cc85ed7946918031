//! Items from files of rows, for the commands that send them to a model: [`ItemSource`]
//! checks the whole input once, then reads it again as often as it is needed. While checking,
//! [`Keys`] needs about 16 bytes per item. Afterwards four bytes per item remain, which show
//! whether the files have changed.

mod convert;
mod fault;
pub(crate) mod mapping;
pub(crate) mod notes;
mod skipped;
mod stream;
mod walk;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use sha2::{Digest, Sha256};

pub use convert::MAX_DEPTH;
pub use fault::{ItemFault, ItemFaults, ItemProblem, RowPart};
pub use mapping::{IGNORED, MAPPED};
pub use skipped::SkippedRows;
pub use stream::{BadRow, StreamEnd, StreamedRow, read_stream};

use crate::format::RowFault;
use crate::rows::{Input, ReadFault, ReadProblem, RowFile, files_of_each};
use crate::store::manifest::InputSummary;
use amend_core::hash;
use amend_core::random::Stream;
use amend_core::record::{Item, Keys, Label, content_key, numbered_key};
use convert::Draft;
use notes::Observed;
use walk::{Found, Reading, Walk};

/// The most rows of an input.
pub const MAX_ROWS: u64 = 100_000_000;

/// What a command reads rows as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Prompts, with the answer to start from if a row has a single one.
    Prompts,
    /// Two answers to compare. The stream draws whether the chosen or the rejected answer
    /// becomes response A.
    Comparisons(Stream),
    /// As [`Self::Comparisons`]. Rows that prefer neither answer are left out and counted.
    Preferences(Stream),
    /// Comparisons if the first row has two answers, else prompts.
    Either(Stream),
}

/// How rows become items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ItemOptions {
    /// Names of columns: what a shape calls a column, one of [`MAPPED`], and what the file
    /// calls it. [`IGNORED`] stands for none.
    pub map: Vec<(String, String)>,
    /// Whether rows that are at fault are left out and counted, instead of refusing the input.
    pub skip_bad: bool,
    /// The most rows that are read and checked.
    pub limit: Option<u64>,
}

/// An input that was checked to its end, and can be read again.
#[derive(Debug)]
pub struct ItemSource {
    /// The summary for the manifest: files, number of items, hash of their keys.
    pub summary: InputSummary,
    /// What is printed about the input, a line each: how each file was read, known columns
    /// that were not used, rows left out.
    pub notes: Vec<String>,
    /// The rows that were left out because they were at fault.
    pub skipped: SkippedRows,
    /// The number of items that were left out because they prefer neither answer.
    pub undecided: u64,
    origin: Origin,
}

/// Where the items of a source are.
#[derive(Debug)]
enum Origin {
    Memory(Vec<Arc<Item>>),
    Files {
        files: Vec<RowFile>,
        reading: Box<Reading>,
        /// The fingerprint of each item.
        fingerprints: Vec<u32>,
        /// The counters of the keys of repeated items, by the number of the item from 0.
        repeats: HashMap<usize, u64>,
    },
}

impl ItemSource {
    /// Reads the input once, and checks every row.
    ///
    /// # Errors
    /// The faults of the input.
    pub fn open(
        inputs: &[Input],
        purpose: Purpose,
        options: &ItemOptions,
    ) -> Result<Self, ItemFaults> {
        let reading = Reading::new(purpose, options).map_err(|fault| ItemFault {
            file: inputs.first().map(Input::name).unwrap_or_default(),
            place: None,
            problem: ItemProblem::Shape(fault),
        })?;
        let mut check = FirstPass::new(reading);
        for (input, files) in inputs.iter().zip(files_of_each(inputs)) {
            match files {
                Ok(files) => check.input(input, files),
                Err(fault) => check.faults.add(&fault.into()),
            }
        }
        check.finish(inputs.iter().map(Input::name).collect())
    }

    /// A source of items that are in memory, which come from `files`.
    #[must_use]
    pub fn from_items(files: Vec<String>, items: Vec<Item>) -> Self {
        Self {
            summary: InputSummary::new(files, &items),
            notes: Vec::new(),
            skipped: SkippedRows::default(),
            undecided: 0,
            origin: Origin::Memory(items.into_iter().map(Arc::new).collect()),
        }
    }

    /// Reads the items again, in order. Ends with an error if the files have changed.
    pub fn items(&self) -> impl Iterator<Item = Result<Arc<Item>, ItemFaults>> {
        let (items, again) = match &self.origin {
            Origin::Memory(items) => (items.as_slice(), None),
            Origin::Files { files, reading, fingerprints, repeats } => {
                let walk = Walk::new(files, reading);
                let (pending, at) = (Vec::new().into_iter(), 0);
                let observed = Observed::default();
                let ended = false;
                (&[][..], Some(Again { walk, observed, fingerprints, repeats, pending, at, ended }))
            }
        };
        items.iter().cloned().map(Ok).chain(again.into_iter().flatten())
    }
}

/// The items of files, read again.
struct Again<'a> {
    walk: Walk<'a>,
    observed: Observed,
    fingerprints: &'a [u32],
    repeats: &'a HashMap<usize, u64>,
    /// The other items of the last row.
    pending: std::vec::IntoIter<(u64, Draft)>,
    /// The number of items so far.
    at: usize,
    ended: bool,
}

impl Again<'_> {
    fn changed(&mut self) -> ItemFaults {
        self.ended = true;
        let file = self.walk.file_name();
        ItemFault { file, place: None, problem: ItemProblem::Changed }.into()
    }
}

impl Iterator for Again<'_> {
    type Item = Result<Arc<Item>, ItemFaults>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.ended {
            if let Some((row, draft)) = self.pending.next() {
                let key = draft.key();
                if self.fingerprints.get(self.at) != Some(&draft.fingerprint(&key, row)) {
                    return Some(Err(self.changed()));
                }
                let count = self.repeats.get(&self.at).copied().unwrap_or(1);
                self.at += 1;
                return Some(Ok(Arc::new(draft.item(numbered_key(key, count), row))));
            }
            match self.walk.next(&mut self.observed) {
                Some(Found::Drafts { row, drafts, .. }) => {
                    let kept = drafts.into_iter().filter(|draft| !self.walk.leaves_out(draft));
                    self.pending = kept.map(|draft| (row, draft)).collect::<Vec<_>>().into_iter();
                }
                Some(Found::Fault { fault, is_row, .. }) => {
                    if !(is_row && self.walk.skips()) {
                        self.ended = true;
                        return Some(Err(fault.into()));
                    }
                }
                None => {
                    if self.at != self.fingerprints.len() {
                        return Some(Err(self.changed()));
                    }
                    self.ended = true;
                }
            }
        }
        None
    }
}

impl Draft {
    /// The item's key, without a counter.
    fn key(&self) -> String {
        content_key(&self.messages, self.response.as_deref(), self.response_b.as_deref())
    }

    /// A hash of the whole item: with its key, also the id and the metadata, such as a label.
    fn fingerprint(&self, key: &str, row: u64) -> u32 {
        let mut hasher = DefaultHasher::new();
        (key, row, &self.id, &self.metadata).hash(&mut hasher);
        // Half of the bits are enough to notice a change.
        (hasher.finish() >> 32) as u32
    }

    fn item(self, key: String, row: u64) -> Item {
        let Self { messages, response, response_b, id, metadata } = self;
        Item { key, row, id, messages, response, response_b, metadata }
    }
}

/// Whether the label of a draft prefers one of the answers.
fn is_decided(draft: &Draft) -> bool {
    let label = draft.metadata.get("label").and_then(|label| label.as_str());
    matches!(label.and_then(Label::from_name), Some(Label::A | Label::B))
}

/// The first pass over an input.
struct FirstPass {
    reading: Reading,
    files: Vec<RowFile>,
    keys: Keys,
    digest: Sha256,
    fingerprints: Vec<u32>,
    repeats: HashMap<usize, u64>,
    observed: Observed,
    faults: ItemFaults,
    skipped: SkippedRows,
    undecided: u64,
    notes: Vec<String>,
    /// The files without rows.
    empty: Vec<String>,
    /// The number of rows before the input that is read.
    rows: u64,
}

impl FirstPass {
    fn new(reading: Reading) -> Self {
        let (files, fingerprints, notes, empty) = Default::default();
        let (keys, digest, observed, repeats) = Default::default();
        let (faults, skipped) = Default::default();
        let (undecided, rows) = (0, 0);
        Self {
            reading,
            files,
            keys,
            digest,
            fingerprints,
            repeats,
            observed,
            faults,
            skipped,
            undecided,
            notes,
            empty,
            rows,
        }
    }

    /// Reads the files of one input.
    fn input(&mut self, input: &Input, files: Vec<RowFile>) {
        let mut reading = self.reading.clone();
        let mut walk = Walk::after(self.rows, &files, &reading);
        let mut decided = None;
        while let Some(found) = walk.next(&mut self.observed) {
            match found {
                Found::Drafts { row, drafts, compares } => {
                    decided.get_or_insert(compares);
                    for draft in drafts {
                        self.draft(row, &draft);
                    }
                }
                Found::Fault { fault, is_row, .. } if is_row && self.reading.skips() => {
                    self.skipped.add(&fault);
                }
                Found::Fault { fault, .. } => self.faults.add(&fault),
            }
        }
        let count = walk.rows();
        self.empty.extend(walk.take_empty());
        self.rows += count;
        reading.decide(decided);
        self.reading = reading;
        if count > 0 {
            self.notes.push(self.observed.take_input(&input.name(), files.len(), count));
        }
        self.files.extend(files);
    }

    fn draft(&mut self, row: u64, draft: &Draft) {
        if self.reading.leaves_out(draft) {
            self.undecided += 1;
            return;
        }
        let key = draft.key();
        let count = self.keys.count(&key);
        if count > 1 {
            self.repeats.insert(self.fingerprints.len(), count);
        }
        self.fingerprints.push(draft.fingerprint(&key, row));
        self.digest.update(numbered_key(key, count));
        self.digest.update(b"\n");
    }

    fn finish(mut self, names: Vec<String>) -> Result<ItemSource, ItemFaults> {
        let file = || names.first().cloned().unwrap_or_default();
        if self.faults.0.is_empty()
            && let Some(column) = self.reading.missing_column(&self.observed.columns)
        {
            let (column, keys) = (column.to_owned(), self.observed.columns.clone());
            let problem = ItemProblem::Shape(RowFault::NoColumn { column, keys });
            self.faults.add(&ItemFault { file: file(), place: None, problem });
        }
        if self.faults.0.is_empty() && self.rows == 0 {
            for file in std::mem::take(&mut self.empty) {
                let problem = ReadProblem::NoRows;
                self.faults.add(&ReadFault { file, place: None, problem }.into());
            }
        }
        let skipped = self.skipped.count();
        if self.faults.0.is_empty() && self.fingerprints.is_empty() && skipped > 0 {
            return Err(self.skipped.into_faults());
        }
        if !self.faults.0.is_empty() {
            return Err(self.faults);
        }
        self.notes.extend(self.empty.iter().map(|file| notes::no_rows(file)));
        self.notes.extend(self.observed.notes());
        self.notes.extend(self.skipped.notes());
        let mut summary = InputSummary::new(names, &[]);
        summary.rows = self.fingerprints.len() as u64;
        summary.sha256 = hash::hex(&self.digest.finalize());
        summary.skipped = skipped;
        self.fingerprints.shrink_to_fit();
        let (files, reading) = (self.files, Box::new(self.reading));
        let (fingerprints, repeats) = (self.fingerprints, self.repeats);
        Ok(ItemSource {
            summary,
            notes: self.notes,
            skipped: self.skipped,
            undecided: self.undecided,
            origin: Origin::Files { files, reading, fingerprints, repeats },
        })
    }
}

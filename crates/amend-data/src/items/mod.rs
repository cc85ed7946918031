//! Items from files of rows, for the commands that send them to a model: [`ItemSource`]
//! checks the whole input once, then reads it again as often as it is needed. While checking,
//! [`Keys`] needs about 16 bytes per item. Afterwards four bytes per item remain, which show
//! whether the files have changed.

mod convert;
mod fault;
mod files;
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
use crate::store::sharded::{Shard, ShardBy};
use amend_core::hash;
use amend_core::random::Stream;
use amend_core::record::{Item, Keys, Label, content_key, numbered_key, text_bytes};
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
    /// Keeps only the items of this shard.
    pub shard: Option<Shard>,
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
    /// The shard whose items these are, and the input of all shards.
    pub shard: Option<(Shard, InputSummary)>,
    /// The item with the longest texts in bytes, of all shards. `None` if there is none, or if
    /// only the files of this shard were read.
    pub longest: Option<Arc<Item>>,
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
        let mut check = FirstPass::new(reading, options.shard);
        let mut files_of_inputs = files_of_each(inputs);
        if let Some(shard) = options.shard
            && shard.by == ShardBy::File
        {
            check.by_file = Some(files::keep(shard, inputs, &mut files_of_inputs)?);
        }
        for (input, files) in inputs.iter().zip(files_of_inputs) {
            match files {
                Ok(files) if files.is_empty() => {}
                Ok(files) => check.input(input, files),
                Err(fault) => check.faults.add(&fault.into()),
            }
        }
        check.finish(inputs.iter().map(Input::name).collect())
    }

    /// A source of items that are in memory, which come from `files`.
    #[must_use]
    pub fn from_items(files: Vec<String>, items: Vec<Item>) -> Self {
        let summary = InputSummary::new(files, &items);
        let items: Vec<Arc<Item>> = items.into_iter().map(Arc::new).collect();
        Self {
            summary,
            notes: Vec::new(),
            skipped: SkippedRows::default(),
            undecided: 0,
            shard: None,
            longest: items.iter().max_by_key(|item| item.text_bytes()).cloned(),
            origin: Origin::Memory(items),
        }
    }

    /// The items of a shard, which keys decide, of a source in memory. A source of files stays as
    /// it is: see [`ItemOptions::shard`].
    #[must_use]
    pub fn in_shard(self, shard: Shard) -> Self {
        let Origin::Memory(mut items) = self.origin else { return self };
        items.retain(|item| shard.has_key(&item.key));
        let whole = self.summary;
        let keys = items.iter().map(|item| item.key.as_str());
        let own = InputSummary::of_keys(whole.files.clone(), keys);
        let summary = InputSummary { rows: own.rows, sha256: own.sha256, ..whole.clone() };
        let (shard, origin) = (Some((shard, whole)), Origin::Memory(items));
        Self { summary, shard, origin, ..self }
    }

    /// A hash of the whole input, of which the items may be one shard.
    #[must_use]
    pub fn whole_sha256(&self) -> &str {
        match &self.shard {
            Some((_, whole)) => &whole.sha256,
            None => &self.summary.sha256,
        }
    }

    /// Reads the items again, in order. Ends with an error if the files have changed.
    pub fn items(&self) -> impl Iterator<Item = Result<Arc<Item>, ItemFaults>> {
        let (items, again) = match &self.origin {
            Origin::Memory(items) => (items.as_slice(), None),
            Origin::Files { files, reading, fingerprints, repeats } => {
                let shard = self.shard.as_ref().map(|(shard, _)| *shard);
                let walk = Walk::new(files, reading);
                let (pending, at) = (Vec::new().into_iter(), 0);
                let observed = Observed::default();
                let ended = false;
                let again =
                    Again { walk, observed, shard, fingerprints, repeats, pending, at, ended };
                (&[][..], Some(again))
            }
        };
        items.iter().cloned().map(Ok).chain(again.into_iter().flatten())
    }
}

/// The items of files, read again.
struct Again<'a> {
    walk: Walk<'a>,
    observed: Observed,
    shard: Option<Shard>,
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
                if self.shard.is_some_and(|shard| !shard.has_key(&key)) {
                    continue;
                }
                if self.fingerprints.get(self.at) != Some(&draft.fingerprint(&key, row)) {
                    return Some(Err(self.changed()));
                }
                let count = self.repeats.get(&self.at).copied().unwrap_or(1);
                self.at += 1;
                let key = own_key(self.shard, numbered_key(key, count));
                return Some(Ok(Arc::new(draft.item(key, row))));
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

    /// The size of its texts in bytes.
    fn text_bytes(&self) -> usize {
        text_bytes(&self.messages, [&self.response, &self.response_b])
    }

    fn item(self, key: String, row: u64) -> Item {
        let Self { messages, response, response_b, id, metadata } = self;
        Item { key, row, id, messages, response, response_b, metadata }
    }
}

/// The key of an item of a shard.
fn own_key(shard: Option<Shard>, key: String) -> String {
    match shard {
        Some(shard) => shard.own_key(key),
        None => key,
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
    shard: Option<Shard>,
    /// The input of all shards, if files decide.
    by_file: Option<InputSummary>,
    files: Vec<RowFile>,
    keys: Keys,
    /// Of the keys of all items that were read.
    digest: Sha256,
    /// The number of all items that were read.
    items: u64,
    /// Of the keys of the shard's items.
    own_digest: Sha256,
    fingerprints: Vec<u32>,
    repeats: HashMap<usize, u64>,
    observed: Observed,
    faults: ItemFaults,
    skipped: SkippedRows,
    undecided: u64,
    /// The item with the longest texts.
    longest: Option<Item>,
    notes: Vec<String>,
    /// The files without rows.
    empty: Vec<String>,
    /// The number of rows before the input that is read.
    rows: u64,
}

impl FirstPass {
    fn new(reading: Reading, shard: Option<Shard>) -> Self {
        let (files, fingerprints, notes, empty) = Default::default();
        let (keys, digest, observed, repeats) = Default::default();
        let (faults, skipped, own_digest, longest) = Default::default();
        let (undecided, rows, items) = (0, 0, 0);
        Self {
            reading,
            shard,
            by_file: None,
            files,
            keys,
            digest,
            items,
            own_digest,
            fingerprints,
            repeats,
            observed,
            faults,
            skipped,
            undecided,
            longest,
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
        let is_own = self.shard.is_none_or(|shard| shard.has_key(&key));
        if is_own {
            if count > 1 {
                self.repeats.insert(self.fingerprints.len(), count);
            }
            self.fingerprints.push(draft.fingerprint(&key, row));
        }
        let most = self.longest.as_ref().map_or(0, Item::text_bytes);
        if self.longest.is_none() || draft.text_bytes() > most {
            self.longest = Some(draft.clone().item(key.clone(), row));
        }
        self.items += 1;
        let line = own_key(self.shard, numbered_key(key, count)) + "\n";
        self.digest.update(&line);
        if is_own && self.shard.is_some() {
            self.own_digest.update(&line);
        }
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
        // The files of another shard may have rows.
        let is_part = self.by_file.is_some();
        if self.faults.0.is_empty() && self.rows == 0 && !is_part {
            for file in std::mem::take(&mut self.empty) {
                let problem = ReadProblem::NoRows;
                self.faults.add(&ReadFault { file, place: None, problem }.into());
            }
        }
        let skipped = self.skipped.count();
        if self.faults.0.is_empty() && self.items == 0 && skipped > 0 && !is_part {
            return Err(self.skipped.into_faults());
        }
        if !self.faults.0.is_empty() {
            return Err(self.faults);
        }
        self.notes.extend(self.empty.iter().map(|file| notes::no_rows(file)));
        self.notes.extend(self.observed.notes());
        self.notes.extend(self.skipped.notes());
        let mut whole = InputSummary::new(names, &[]);
        whole.rows = self.items;
        whole.sha256 = hash::hex(&self.digest.finalize());
        whole.skipped = skipped;
        let mut summary = whole.clone();
        let shard = self.shard.map(|shard| {
            summary.rows = self.fingerprints.len() as u64;
            summary.sha256 = hash::hex(&self.own_digest.finalize());
            let all = if is_part { None } else { Some(whole.rows) };
            self.notes.push(notes::shard(shard, summary.rows, all));
            (shard, self.by_file.unwrap_or(whole))
        });
        self.fingerprints.shrink_to_fit();
        let (files, reading) = (self.files, Box::new(self.reading));
        let (fingerprints, repeats) = (self.fingerprints, self.repeats);
        Ok(ItemSource {
            summary,
            notes: self.notes,
            skipped: self.skipped,
            undecided: self.undecided,
            shard,
            longest: if is_part { None } else { self.longest.map(Arc::new) },
            origin: Origin::Files { files, reading, fingerprints, repeats },
        })
    }
}

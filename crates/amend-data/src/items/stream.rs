//! Reads the items of a stream, such as standard input, one after another as they arrive. In
//! contrast to [`super::ItemSource`], nothing is known about later rows, and a row that is at
//! fault does not end the input.

use std::io::BufRead;
use std::sync::Arc;

use super::notes::{self, Observed};
use super::walk::{Found, Reading, Walk};
use super::{ItemFault, ItemFaults, ItemOptions, ItemProblem, Purpose, SkippedRows};
use crate::format::RowFault;
use crate::rows::RowReader;
use amend_core::record::{Item, Keys, numbered_key};

/// A row of a stream. Rows are numbered from 1, without blank lines.
#[derive(Debug)]
pub enum StreamedRow {
    /// An item.
    Item(Arc<Item>),
    /// A row that is at fault.
    Bad(BadRow),
}

/// A row that is at fault.
#[derive(Debug)]
pub struct BadRow {
    /// The number of the row.
    pub row: u64,
    /// Its id, if it has one that can be read.
    pub id: Option<String>,
    /// What is wrong with it.
    pub fault: ItemFault,
}

/// How a stream ended.
#[derive(Debug)]
pub struct StreamEnd {
    /// What is printed about the input, a line each.
    pub notes: Vec<String>,
    /// Why the rest of the stream could not be read, or what is wrong with all of it.
    pub faults: Option<ItemFaults>,
}

/// Reads prompts, with the answer to start from if a row has a single one. `name` is the name of
/// the stream in messages. `each` gets one row after another, until it returns false. About 16
/// bytes per row stay in memory: they tell repeated prompts apart, whose keys differ.
pub fn read_stream(
    name: &str,
    stream: impl BufRead + Send + 'static,
    options: &ItemOptions,
    mut each: impl FnMut(StreamedRow) -> bool,
) -> StreamEnd {
    let mut seen = Seen::default();
    let faults = seen.read(name, stream, options, &mut each).err().map(ItemFaults::from);
    StreamEnd { notes: seen.notes(name, faults.is_some()), faults }
}

/// What was seen of a stream.
#[derive(Debug, Default)]
struct Seen {
    observed: Observed,
    skipped: SkippedRows,
    rows: u64,
}

impl Seen {
    fn read(
        &mut self,
        name: &str,
        stream: impl BufRead + Send + 'static,
        options: &ItemOptions,
        each: &mut dyn FnMut(StreamedRow) -> bool,
    ) -> Result<(), ItemFault> {
        let shape_fault = |fault| {
            let problem = ItemProblem::Shape(fault);
            ItemFault { file: name.to_owned(), place: None, problem }
        };
        let reading = Reading::new(Purpose::Prompts, options).map_err(shape_fault)?;
        let reader = RowReader::from_stream(name, stream)?;
        self.observed.file(&reader.kind());
        let mut keys = Keys::default();
        let mut walk = Walk::through(reader, &reading);
        while let Some(found) = walk.next(&mut self.observed) {
            self.rows = walk.rows();
            match found {
                Found::Drafts { row, drafts, .. } => {
                    for draft in drafts {
                        let key = draft.key();
                        let count = keys.count(&key);
                        let item = Arc::new(draft.item(numbered_key(key, count), row));
                        if !each(StreamedRow::Item(item)) {
                            return Ok(());
                        }
                    }
                }
                Found::Fault { fault, is_row: true, id } => {
                    if reading.skips() {
                        self.skipped.add(&fault);
                    }
                    if !each(StreamedRow::Bad(BadRow { row: self.rows, id, fault })) {
                        return Ok(());
                    }
                }
                Found::Fault { fault, is_row: false, .. } => return Err(fault),
            }
        }
        match reading.missing_column(&self.observed.columns) {
            Some(column) if self.rows > 0 => {
                let (column, keys) = (column.to_owned(), self.observed.columns.clone());
                Err(shape_fault(RowFault::NoColumn { column, keys }))
            }
            _ => Ok(()),
        }
    }

    /// What is printed about the input.
    fn notes(mut self, name: &str, is_faulty: bool) -> Vec<String> {
        let mut notes = match self.rows {
            0 if is_faulty => Vec::new(),
            0 => vec![notes::no_rows(name)],
            rows => vec![self.observed.take_input(name, 1, rows)],
        };
        notes.extend(self.observed.notes());
        notes.extend(self.skipped.notes());
        notes
    }
}

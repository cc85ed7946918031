//! Walks over the rows of files, and turns one after another into drafts of items.

use super::convert::{self, Draft, ShapedRow};
use super::fault::{ItemFault, ItemProblem};
use super::mapping::{Mapping, Split};
use super::notes::Observed;
use super::{ItemOptions, MAX_ROWS, Purpose};
use crate::format::RowFault;
use crate::format::example::Example;
use crate::rows::{Object, Place, Problem, ReadProblem, Row, RowFile, RowReader};

/// How rows are read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    purpose: Purpose,
    mapping: Mapping,
    skip_bad: bool,
    limit: Option<u64>,
    /// For [`Purpose::Either`]: whether rows are comparisons, once it is known.
    compares: Option<bool>,
}

impl Reading {
    /// # Errors
    /// A name that no shape has is mapped.
    pub(super) fn new(purpose: Purpose, options: &ItemOptions) -> Result<Self, RowFault> {
        let mapping = Mapping::new(&options.map)?;
        let ItemOptions { skip_bad, limit, .. } = *options;
        Ok(Self { purpose, mapping, skip_bad, limit, compares: None })
    }

    /// Whether rows that are at fault are left out.
    pub(super) fn skips(&self) -> bool {
        self.skip_bad
    }

    /// Whether an item is left out because it prefers neither answer.
    pub(super) fn leaves_out(&self, draft: &Draft) -> bool {
        matches!(self.purpose, Purpose::Preferences(_)) && !super::is_decided(draft)
    }

    /// Keeps what the first row is.
    pub(super) fn decide(&mut self, compares: Option<bool>) {
        self.compares = self.compares.or(compares);
    }

    /// A mapped column that no row has.
    pub(super) fn missing_column(&self, seen: &[String]) -> Option<&str> {
        self.mapping.missing(seen)
    }
}

/// What a row is.
pub(super) enum Found {
    /// Items.
    Drafts {
        /// The row's number over all inputs, from 1.
        row: u64,
        /// The items of the row.
        drafts: Vec<Draft>,
        /// Whether they are comparisons.
        compares: bool,
    },
    /// The row or the file is at fault.
    Fault {
        /// The fault.
        fault: ItemFault,
        /// Whether it concerns a row, so that the file can be read without it.
        is_row: bool,
        /// The id of the row, if it has one that can be read.
        id: Option<String>,
    },
}

/// Walks over the rows of files.
pub(super) struct Walk<'a> {
    files: std::slice::Iter<'a, RowFile>,
    /// The name of the file that is being read.
    file: String,
    reader: Option<RowReader>,
    reading: &'a Reading,
    compares: Option<bool>,
    /// The number of rows so far, over all inputs.
    row: u64,
    before: u64,
    /// The files without rows.
    empty: Vec<String>,
    is_over: bool,
}

impl<'a> Walk<'a> {
    pub(super) fn new(files: &'a [RowFile], reading: &'a Reading) -> Self {
        Self::after(0, files, reading)
    }

    /// Walks over the files of an input after `before` rows of other inputs.
    pub(super) fn after(before: u64, files: &'a [RowFile], reading: &'a Reading) -> Self {
        Self {
            files: files.iter(),
            file: String::new(),
            reader: None,
            compares: reading.compares,
            reading,
            row: before,
            before,
            empty: Vec::new(),
            is_over: false,
        }
    }

    /// Walks over the rows of a reader that is open.
    pub(super) fn through(reader: RowReader, reading: &'a Reading) -> Self {
        let file = reader.name().to_owned();
        Self { file, reader: Some(reader), ..Self::new(&[], reading) }
    }

    /// Whether rows that are at fault are left out.
    pub(super) fn skips(&self) -> bool {
        self.reading.skips()
    }

    /// Whether an item is left out because it prefers neither answer.
    pub(super) fn leaves_out(&self, draft: &Draft) -> bool {
        self.reading.leaves_out(draft)
    }

    /// The file that is being read.
    pub(super) fn file_name(&self) -> String {
        self.file.clone()
    }

    /// The number of rows.
    pub(super) fn rows(&self) -> u64 {
        self.row - self.before
    }

    /// The files without rows. They are no fault if other files have some.
    pub(super) fn take_empty(&mut self) -> Vec<String> {
        std::mem::take(&mut self.empty)
    }

    /// The next row, or the next fault. `None` at the end.
    pub(super) fn next(&mut self, observed: &mut Observed) -> Option<Found> {
        while !self.is_over {
            let Some(reader) = &mut self.reader else {
                let file = self.files.next()?;
                if self.reading.limit.is_some_and(|limit| self.row >= limit) {
                    break;
                }
                self.file.clone_from(&file.name);
                match RowReader::open(file) {
                    Ok(reader) => {
                        observed.file(&reader.kind());
                        self.reader = Some(reader);
                    }
                    Err(fault) => {
                        let fault = fault.into();
                        return Some(Found::Fault { fault, is_row: false, id: None });
                    }
                }
                continue;
            };
            if self.reading.limit.is_some_and(|limit| self.row >= limit) {
                break;
            }
            match reader.next() {
                None => {
                    self.reader = None;
                }
                Some(Err(fault)) if matches!(fault.problem, ReadProblem::NoRows) => {
                    self.reader = None;
                    self.empty.push(fault.file);
                }
                Some(Err(fault)) => {
                    let ends = fault.problem.ends_the_file();
                    if ends {
                        self.reader = None;
                    } else {
                        self.row += 1;
                    }
                    let is_row = !ends && fault.place.is_some();
                    return Some(Found::Fault { fault: fault.into(), is_row, id: None });
                }
                Some(Ok(Row { place, object, .. })) => {
                    if self.row >= MAX_ROWS {
                        self.is_over = true;
                        let problem = ItemProblem::TooManyRows { limit: MAX_ROWS };
                        return Some(self.fault(None, problem, None));
                    }
                    self.row += 1;
                    let row = self.row;
                    let id = convert::row_id(&object, &self.reading.mapping);
                    return Some(match self.drafts(object, observed) {
                        Ok((drafts, compares)) => Found::Drafts { row, drafts, compares },
                        Err(problem) => self.fault(Some(place), problem, id),
                    });
                }
            }
        }
        self.is_over = true;
        None
    }

    fn fault(&self, place: Option<Place>, problem: ItemProblem, id: Option<String>) -> Found {
        let fault = ItemFault { file: self.file_name(), place, problem };
        Found::Fault { fault, is_row: place.is_some(), id }
    }

    /// Reads a row, and tells whether its items are comparisons.
    fn drafts(
        &mut self,
        object: Object,
        observed: &mut Observed,
    ) -> Result<(Vec<Draft>, bool), ItemProblem> {
        let mapping = &self.reading.mapping;
        if mapping.maps() {
            observed.row(object.keys());
        }
        let split = mapping.split(object).map_err(ItemProblem::Shape)?;
        let (split, example) = self.example(split)?;
        let is_comparison = match self.reading.purpose {
            Purpose::Prompts => false,
            Purpose::Comparisons(_) | Purpose::Preferences(_) => true,
            Purpose::Either(_) => *self.compares.get_or_insert_with(|| convert::compares(&example)),
        };
        let read = ShapedRow { split, example, mapping };
        let drafts = match self.reading.purpose {
            Purpose::Comparisons(stream)
            | Purpose::Preferences(stream)
            | Purpose::Either(stream)
                if is_comparison =>
            {
                read.comparison(stream.bits(self.row).is_multiple_of(2), observed)?
            }
            _ => vec![read.prompt(observed)?],
        };
        Ok((drafts, is_comparison))
    }

    /// Reads a row in its shape.
    fn example(&self, mut split: Split) -> Result<(Split, Example), ItemProblem> {
        loop {
            let fault = match self.reading.mapping.read(&split) {
                Ok((_, example)) => return Ok((split, example)),
                Err(fault) => fault,
            };
            // A label that is not one of answers does not keep a prompt from being used.
            let label = match &fault {
                RowFault::Type { pointer, .. } | RowFault::Label { pointer, .. } => {
                    convert::split_pointer(pointer).0
                }
                _ => String::new(),
            };
            let is_needed = self.reading.purpose != Purpose::Prompts || !convert::is_label(&label);
            match split.visible.shift_remove(&label) {
                Some(value) if !is_needed => split.aside.insert(label, value),
                _ => return Err(ItemProblem::Shape(fault)),
            };
        }
    }
}

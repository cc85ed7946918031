//! Walks over the rows of files, and turns one after another into drafts of items.

use super::columns::Columns;
use super::convert::{self, Draft, Read};
use super::fault::{ItemFault, ItemProblem};
use super::notes::Observed;
use super::{ItemOptions, MAX_ROWS, Purpose};
use crate::format::{RowFault, recognise};
use crate::rows::{Object, Place, ReadProblem, Row, RowFile, RowReader};

/// How rows are read.
#[derive(Debug, Clone)]
pub(super) struct Reading {
    purpose: Purpose,
    columns: Columns,
    skip_bad: bool,
    limit: Option<u64>,
    /// For [`Purpose::Either`]: whether rows are comparisons, once it is known.
    compares: Option<bool>,
}

impl Reading {
    pub(super) fn new(purpose: Purpose, options: &ItemOptions) -> Self {
        let columns = Columns::new(&options.map);
        let ItemOptions { skip_bad, limit, .. } = *options;
        Self { purpose, columns, skip_bad, limit, compares: None }
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
    pub(super) fn missing_column<'a>(&'a self, seen: &'a [String]) -> Option<&'a str> {
        self.columns.missing(seen)
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
    },
}

/// Walks over the rows of files.
pub(super) struct Walk<'a> {
    files: std::slice::Iter<'a, RowFile>,
    file: Option<&'a RowFile>,
    reader: Option<RowReader>,
    reading: &'a Reading,
    compares: Option<bool>,
    /// The number of rows so far, over all inputs.
    row: u64,
    before: u64,
    /// The number of rows of the file, and whether it is at fault.
    in_file: u64,
    has_fault: bool,
    kinds: Vec<String>,
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
            file: None,
            reader: None,
            compares: reading.compares,
            reading,
            row: before,
            before,
            in_file: 0,
            has_fault: false,
            kinds: Vec::new(),
            is_over: false,
        }
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
        self.file.map(|file| file.name.clone()).unwrap_or_default()
    }

    /// The number of rows, the kinds of the files, and whether one is plain text.
    pub(super) fn summary(&self) -> (u64, String, bool) {
        let has_text = self.kinds.iter().any(|kind| kind.starts_with("plain text"));
        (self.row - self.before, self.kinds.join(" and "), has_text)
    }

    /// The next row, or the next fault. `None` at the end.
    pub(super) fn next(&mut self, observed: &mut Observed) -> Option<Found> {
        while !self.is_over {
            let Some(reader) = &mut self.reader else {
                let file = self.files.next()?;
                if self.reading.limit.is_some_and(|limit| self.row >= limit) {
                    break;
                }
                self.file = Some(file);
                (self.in_file, self.has_fault) = (0, false);
                match RowReader::open(file) {
                    Ok(reader) => {
                        let kind = reader.kind().to_string();
                        if !self.kinds.contains(&kind) {
                            self.kinds.push(kind);
                        }
                        self.reader = Some(reader);
                    }
                    Err(fault) => return Some(Found::Fault { fault: fault.into(), is_row: false }),
                }
                continue;
            };
            if self.reading.limit.is_some_and(|limit| self.row >= limit) {
                break;
            }
            match reader.next() {
                None => {
                    self.reader = None;
                    if self.in_file == 0 && !self.has_fault {
                        return Some(self.fault(None, ReadProblem::NoRows.into()));
                    }
                }
                Some(Err(fault)) => {
                    let ends = fault.problem.ends_the_file();
                    if ends {
                        self.reader = None;
                    } else {
                        self.row += 1;
                        self.in_file += 1;
                    }
                    self.has_fault = true;
                    let is_row = !ends && fault.place.is_some();
                    return Some(Found::Fault { fault: fault.into(), is_row });
                }
                Some(Ok(Row { place, object })) => {
                    if self.row >= MAX_ROWS {
                        self.is_over = true;
                        let problem = ItemProblem::TooManyRows { limit: MAX_ROWS };
                        return Some(self.fault(None, problem));
                    }
                    self.row += 1;
                    self.in_file += 1;
                    let row = self.row;
                    return Some(match self.drafts(object, observed) {
                        Ok((drafts, compares)) => Found::Drafts { row, drafts, compares },
                        Err(problem) => self.fault(Some(place), problem),
                    });
                }
            }
        }
        self.is_over = true;
        None
    }

    fn fault(&self, place: Option<Place>, problem: ItemProblem) -> Found {
        let fault = ItemFault { file: self.file_name(), place, problem };
        Found::Fault { fault, is_row: place.is_some() }
    }

    /// Reads a row, and tells whether its items are comparisons.
    fn drafts(
        &mut self,
        object: Object,
        observed: &mut Observed,
    ) -> Result<(Vec<Draft>, bool), ItemProblem> {
        let columns = &self.reading.columns;
        if columns.maps() {
            observed.row(object.keys());
        }
        let view = columns.view(object)?;
        let order = match self.reading.purpose {
            Purpose::Prompts => None,
            Purpose::Comparisons(stream) | Purpose::Preferences(stream) => Some(stream),
            Purpose::Either(stream) => match self.compares {
                Some(false) => None,
                Some(true) | None => Some(stream),
            },
        };
        let example = match recognise(&view.object) {
            Ok((shape, _)) => shape.read(&view.object),
            Err(RowFault::Unknown { .. }) => {
                let columns = view.names();
                return Err(match order {
                    Some(_) if self.compares != Some(false) && self.is_strict() => {
                        ItemProblem::NoAnswers { columns }
                    }
                    _ => ItemProblem::NoPrompt { columns },
                });
            }
            Err(fault) => Err(fault),
        };
        let example = example.map_err(|fault| {
            ItemProblem::Shape(match fault {
                RowFault::Type { pointer, expected, found } => {
                    RowFault::Type { pointer: view.original_pointer(&pointer), expected, found }
                }
                RowFault::Missing { key } => {
                    RowFault::Missing { key: view.original(&key).to_owned() }
                }
                other => other,
            })
        })?;
        let compares = match self.reading.purpose {
            Purpose::Either(_) => *self.compares.get_or_insert_with(|| convert::compares(&example)),
            _ => order.is_some(),
        };
        let read = Read { view, example };
        let drafts = match order {
            Some(stream) if compares => {
                let chosen_first = stream.bits(self.row).is_multiple_of(2);
                read.comparison(chosen_first, observed)?
            }
            _ => vec![read.prompt(columns.ignores_response, observed)?],
        };
        Ok((drafts, compares))
    }

    /// Whether every row must be a comparison.
    fn is_strict(&self) -> bool {
        !matches!(self.reading.purpose, Purpose::Either(_)) || self.compares == Some(true)
    }
}

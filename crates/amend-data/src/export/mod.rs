//! Exports: what a run's trajectories give, in the formats trainers read. The
//! journal is read as a stream and rows are written as they are made, so memory
//! does not grow with the run. The exceptions: splits keep something for each
//! prompt, a filter by `near-duplicate` for each row that stays, and people's
//! reviews are all held.

mod card;
mod filter;
mod folder;
mod sink;
mod split;
mod statistics;

use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};

use arrow_schema::Schema;
use parquet::errors::ParquetError;

use self::filter::Log;
use self::sink::{Jsonl, Parquet, Sink, Typed};
use super::pairs::{self, DropReason, Which};
use crate::format::origin::Provenance;
use crate::format::write::Row;
use crate::store::atomic;
use crate::store::journal::JournalError;
use crate::store::reviews::Reviews;
use crate::store::run_dir::{RunDir, RunError};
use amend_core::record::Item;

pub use crate::format::write::{FORMATS, Format};
pub use filter::{Examine, Fault, Filter, Unfit};
pub use folder::{Folder, write_folder};
pub use sink::FileFormat;
pub use split::{SIMILAR, Splits, SplitsError};

/// What is written of a run, and how.
#[derive(Clone, Copy)]
pub struct Export<'a> {
    /// What rows look like.
    pub format: &'static Format,
    /// Which answers are paired.
    pub which: Which,
    /// How rows are written down.
    pub file_format: FileFormat,
    /// What people's decisions do.
    pub reviews: ReviewPolicy,
    /// Which rows are left out.
    pub filter: Option<&'a dyn Filter>,
}

/// What people's decisions about answers do to an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReviewPolicy {
    /// They go before any verdict: the answer that people chose is chosen, as they
    /// edited it; a pair that they find equal or bad is left out.
    #[default]
    Override,
    /// Nothing: it is as if nobody had looked.
    Ignore,
}

/// How many items a refusal names.
const NAMED: usize = 20;

/// What an export came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows written.
    pub written: u64,
    /// Of these, by split, in the order asked for; empty of a lone file.
    pub splits: Vec<(String, u64)>,
    /// What gave no row, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Rows left out by the filter, by the name of the rule and what it is about.
    pub filtered: BTreeMap<(&'static str, &'static str), u64>,
    /// The file that says which rows the filter left out, where one was written.
    pub log: Option<PathBuf>,
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
pub enum ExportError {
    /// The run can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The output can't be written.
    #[error("failed to write the export")]
    Write(#[from] io::Error),
    /// A file or folder can't be written.
    #[error("failed to write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The rows can't be written as Parquet.
    #[error("failed to write the rows as Parquet")]
    Parquet(#[source] ParquetError),
    /// The format pairs no intermediate answers.
    #[error("{format} takes the last pair of an item only, not {}", .which.as_str())]
    Which {
        /// The format.
        format: &'static str,
        /// What was asked for.
        which: Which,
    },
    /// The folder would be mixed with something else.
    #[error("{path} is there and not empty: choose a new folder, or remove it")]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// Nothing can be in a split.
    #[error("the split {name:?} would be empty: give it a larger share, or make more rows")]
    EmptySplit {
        /// The split.
        name: String,
    },
    /// A licence that is none of the identifiers' form.
    #[error(
        "{licence:?} is no licence identifier: these have small letters, digits, `.` and `-`, \
         as apache-2.0, cc-by-4.0 or other"
    )]
    Licence {
        /// What was given.
        licence: String,
    },
    /// The reviews can't be read.
    #[error(transparent)]
    Reviews(#[from] RunError),
    /// The constitution demands reviews that are missing.
    #[error("the constitution demands reviews, and these items have none:\n{}", Named(.items))]
    Unreviewed {
        /// The items, by the input's ids, else by their keys.
        items: Vec<String>,
    },
    /// The filter can't look at rows.
    #[error("failed to filter the rows")]
    Filter(#[source] Unfit),
    /// The card's template failed.
    #[error("failed to write the card")]
    Card(#[source] minijinja::Error),
}

struct Named<'a>(&'a [String]);

impl fmt::Display for Named<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, name) in self.0.iter().take(NAMED).enumerate() {
            write!(f, "{}  {name}", if at == 0 { "" } else { "\n" })?;
        }
        match self.0.len().saturating_sub(NAMED) {
            0 => Ok(()),
            more => write!(f, "\n  … and {more} more"),
        }
    }
}

impl ExportError {
    /// Names the file that a failed write was to.
    fn at(self, path: &Path) -> Self {
        match self {
            Self::Write(source) => Self::File { path: path.to_owned(), source },
            other => other,
        }
    }
}

impl Export<'_> {
    /// Checks that the format can make what is asked for.
    fn check(&self) -> Result<(), ExportError> {
        if self.format.takes(self.which) {
            Ok(())
        } else {
            Err(ExportError::Which { format: self.format.name, which: self.which })
        }
    }

    /// What rows say of the run, once it is known that all of them may be written.
    fn provenance(&self, run: &RunDir) -> Result<Provenance, ExportError> {
        self.check()?;
        let reviews = match self.reviews {
            ReviewPolicy::Override => Reviews::read(run)?,
            ReviewPolicy::Ignore => Reviews::default(),
        };
        let provenance = Provenance::of(run, reviews);
        let rules = &provenance.rules;
        if !rules.require_reviews() {
            return Ok(provenance);
        }
        let mut items = Vec::new();
        for trajectory in run.trajectories()? {
            let trajectory = trajectory?;
            let open = rules.require_review(&trajectory.steps)
                // What holds no two answers to choose between is left out later.
                && pairs::reviewable(&trajectory, rules).is_ok()
                && pairs::decision(&trajectory, rules).is_none();
            if open {
                items.push(trajectory.item.id.unwrap_or(trajectory.item.key));
            }
        }
        if items.is_empty() { Ok(provenance) } else { Err(ExportError::Unreviewed { items }) }
    }

    /// A sink for rows. With `typed` every column has one type, in JSON lines too.
    fn sink<'a>(
        &self,
        schema: &Schema,
        typed: bool,
        out: impl Write + Send + 'a,
    ) -> Result<Box<dyn Sink + 'a>, ExportError> {
        Ok(match self.file_format {
            FileFormat::Jsonl if typed => Box::new(Typed::new(schema, Jsonl::new(out))),
            FileFormat::Jsonl => Box::new(Jsonl::new(out)),
            FileFormat::Parquet => Box::new(Typed::new(schema, Parquet::new(schema.clone(), out)?)),
        })
    }

    /// Hands on each row of a run with its item, in the order in which items
    /// ended, but for those that the filter leaves out, and counts.
    fn each_row(
        &self,
        run: &RunDir,
        provenance: &Provenance,
        log: &mut Log<'_>,
        mut take: impl FnMut(&Item, Row) -> Result<(), ExportError>,
    ) -> Result<Counts, ExportError> {
        let mut counts = Counts::default();
        let examine = self.filter.map(Filter::begin).transpose();
        let mut examine = examine.map_err(ExportError::Filter)?;
        for trajectory in run.trajectories()? {
            let trajectory = trajectory?;
            for row in self.format.rows(&trajectory, self.which, provenance) {
                let row = match row {
                    Ok(row) => row,
                    Err(reason) => {
                        *counts.dropped.entry(reason).or_default() += 1;
                        continue;
                    }
                };
                let fault = examine.as_mut().map(|examine| examine(&row)).transpose();
                if let Some(fault) = fault.map_err(ExportError::Filter)?.flatten() {
                    log.tell(&trajectory.item, &fault)?;
                    *counts.filtered.entry((fault.rule, fault.about)).or_default() += 1;
                    continue;
                }
                take(&trajectory.item, row)?;
                counts.written += 1;
            }
        }
        Ok(counts)
    }
}

/// Writes a run's rows to `out`.
///
/// # Errors
/// The journal is damaged, `out` can't be written to, the format can't pair
/// answers as asked, or the filter can't look at its rows.
pub fn write(
    run: &RunDir,
    export: &Export<'_>,
    out: impl Write + Send,
) -> Result<Counts, ExportError> {
    stream(run, export, &mut Log::default(), out)
}

fn stream(
    run: &RunDir,
    export: &Export<'_>,
    log: &mut Log<'_>,
    out: impl Write + Send,
) -> Result<Counts, ExportError> {
    let provenance = export.provenance(run)?;
    let mut sink = export.sink(&export.format.schema(), false, out)?;
    let counts = export.each_row(run, &provenance, log, |_, row| sink.write(row))?;
    sink.finish()?;
    Ok(counts)
}

/// Writes a run's rows to a file, which is replaced whole or not at all, and what
/// the filter left out to its log. What is no regular file (a pipe, a terminal)
/// is written to as it is, without a log.
///
/// # Errors
/// As [`write()`].
pub fn write_file(run: &RunDir, export: &Export<'_>, path: &Path) -> Result<Counts, ExportError> {
    // A link stays a link: what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let counts = match fs::metadata(&target) {
        Ok(metadata) if !metadata.is_file() => {
            let file = File::options().write(true).open(&target);
            file.map_err(ExportError::Write)
                .and_then(|file| write(run, export, BufWriter::new(file)))
        }
        _ => filter::logged(path, export.filter.is_some(), |log| {
            atomic::write(&target, |out| stream(run, export, log, out))
        }),
    };
    counts.map_err(|error| error.at(path))
}

#[cfg(test)]
mod tests;

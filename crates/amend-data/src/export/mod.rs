//! Exports: the trajectories of a run as rows in trainers' formats.
//!
//! The journal is read as a stream and each row is written as it is made, so memory
//! does not grow with the run. There are three exceptions: splits keep a signature of
//! each prompt, the filter `near-duplicate` keeps one of each row, and all reviews
//! are in memory.

mod card;
mod filter;
mod folder;
mod ids;
mod selection;
mod sink;
mod split;
mod statistics;

use std::collections::BTreeMap;
use std::fmt;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use arrow_schema::Schema;
use fs_err as fs;
use parquet::errors::ParquetError;
use serde_json::Value;

use self::filter::Log;
use self::ids::Ids;
use self::selection::RowMaker;
use self::sink::{Jsonl, Parquet, Sink, Typed};
use super::pairs::{self, DropReason, Which};
use crate::format::origin::Provenance;
use crate::format::thoughts::{RowThoughts, ThoughtWriter};
use crate::format::write::{ExportRow, MadeRow};
use crate::store::atomic;
use crate::store::journal::JournalError;
use crate::store::run_dir::{RunDir, RunError};
use amend_core::constitution::Policy;
use amend_core::record::Item;

pub use crate::format::thoughts::ReasoningPolicy;
pub use crate::format::write::{ExportFormat, FORMATS};
pub use filter::{DropFault, Examine, RowFilter, Unfit};
pub use folder::{Folder, write_folder};
pub use ids::DuplicateIds;
pub use selection::{Omission, Selection, explain_finding};
pub use sink::{ColumnSet, FileFormat};
pub use split::{SIMILAR, Splits, SplitsError};

/// What to export, and how.
#[derive(Clone, Copy)]
pub struct ExportOptions<'a> {
    /// The format of the rows.
    pub format: &'static ExportFormat,
    /// Which responses are paired.
    pub which: Which,
    /// The format of the file.
    pub file_format: FileFormat,
    /// How reviews affect the export.
    pub reviews: ReviewPolicy,
    /// How verdicts affect pairs, if not as the constitution says.
    pub policy: Option<Policy>,
    /// The columns of the rows.
    pub columns: ColumnSet,
    /// What becomes of the thoughts before answers. Trajectories have all of them.
    pub reasoning: ReasoningPolicy,
    /// Removes rows.
    pub filter: Option<&'a dyn RowFilter>,
}

/// How reviews affect an export.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ReviewPolicy {
    /// Reviews override verdicts: the response that reviewers chose is the chosen one,
    /// with their edits. Pairs that they judge a tie or both bad are dropped.
    #[default]
    Override,
    /// Reviews have no effect.
    Ignore,
}

/// The most items that an error lists.
const NAMED: usize = 20;

/// The result of an export.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Rows written.
    pub written: u64,
    /// Rows written to each split, in the given order. Empty for a single file.
    pub splits: Vec<(String, u64)>,
    /// Pairs or items that gave no row, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
    /// Rows with the thoughts of their answers.
    pub with_thoughts: u64,
    /// Rows without the thoughts of their answers, if the export writes thoughts.
    pub without_thoughts: u64,
    /// Rows removed by the filter, by the name of the rule and what it detects.
    pub filtered: BTreeMap<(&'static str, &'static str), u64>,
    /// The log of the rows that the filter removed, if one was written.
    pub log: Option<PathBuf>,
    /// Rows of pairs that neither a verdict nor a review has checked.
    pub unchecked: u64,
    /// Ids that several items have, if any.
    pub duplicate_ids: Option<DuplicateIds>,
    /// Items of the run that have not ended.
    pub unended: u64,
}

impl Counts {
    /// Counts a row that is written, or that is left out for a reason.
    fn add(&mut self, left_out: Option<&Omission>) {
        match left_out {
            None => self.written += 1,
            Some(Omission::Dropped(reason)) => *self.dropped.entry(*reason).or_default() += 1,
            Some(Omission::Filtered(DropFault { rule, about, .. })) => {
                *self.filtered.entry((rule, about)).or_default() += 1;
            }
        }
    }
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
        /// The cause.
        source: io::Error,
    },
    /// The rows can't be written as Parquet.
    #[error("failed to write the rows as Parquet")]
    Parquet(#[source] ParquetError),
    /// The format can't pair intermediate responses.
    #[error("the format {format} supports only `--which last`, not `{}`", .which.as_str())]
    Which {
        /// The format.
        format: &'static str,
        /// The requested pairing.
        which: Which,
    },
    /// The format has no place for thoughts.
    #[error(
        "the format {format} has no place for thoughts (--reasoning {policy}): use one of {}",
        ExportFormat::with_thoughts(*.policy).collect::<Vec<_>>().join(", ")
    )]
    Reasoning {
        /// The format.
        format: &'static str,
        /// The requested policy.
        policy: ReasoningPolicy,
    },
    /// The folder has other files in it.
    #[error("{path} already exists and is not empty: choose a new folder, or remove it")]
    Occupied {
        /// The folder.
        path: PathBuf,
    },
    /// There are no rows, for the counted reasons. Nothing was written.
    #[error("there are no rows to export")]
    NoRows(Box<Counts>),
    /// A split has no rows.
    #[error("the split {name:?} would be empty: give it a larger share, or generate more rows")]
    EmptySplit {
        /// The split.
        name: String,
    },
    /// The licence does not have the form of an identifier.
    #[error(
        "{licence:?} is not a licence identifier: use lower-case letters, digits, `.` and `-`, \
         for example apache-2.0, cc-by-4.0 or other"
    )]
    Licence {
        /// The given licence.
        licence: String,
    },
    /// The reviews can't be read.
    #[error(transparent)]
    Reviews(#[from] RunError),
    /// Reviews that the constitution requires are missing.
    #[error("the constitution requires reviews, but these items have none:\n{}", Named(.items))]
    Unreviewed {
        /// The items, by their ids in the input, or else by their keys.
        items: Vec<String>,
    },
    /// The filter failed.
    #[error("failed to filter the rows")]
    Filter(#[source] Unfit),
    /// The template of the card failed.
    #[error("failed to write the dataset card")]
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
    /// Adds the path to a failed write.
    fn at(self, path: &Path) -> Self {
        match self {
            Self::Write(source) => Self::File { path: path.to_owned(), source },
            other => other,
        }
    }
}

impl ExportOptions<'_> {
    /// The options of an export without flags: pairs in the format `trl`, not filtered.
    #[must_use]
    pub fn pairs() -> Self {
        Self {
            format: &FORMATS[0],
            which: Which::Last,
            file_format: FileFormat::Jsonl,
            reviews: ReviewPolicy::Override,
            policy: None,
            columns: ColumnSet::All,
            reasoning: ReasoningPolicy::Drop,
            filter: None,
        }
    }

    /// This number of rows in words, such as `1 pair` or `3 pairs`.
    #[must_use]
    pub fn in_words(&self, rows: u64) -> String {
        let [singular, plural] = self.format.nouns();
        format!("{rows} {}", if rows == 1 { singular } else { plural })
    }

    /// Checks that the format supports the requested pairing and has a place for thoughts.
    fn check(&self) -> Result<(), ExportError> {
        let format = self.format.name;
        if !self.format.takes(self.which) {
            return Err(ExportError::Which { format, which: self.which });
        }
        if !self.format.thoughts.takes(self.reasoning) {
            return Err(ExportError::Reasoning { format, policy: self.reasoning });
        }
        Ok(())
    }

    /// Collects the provenance of rows. Fails if a required review is missing.
    fn provenance<'a>(&self, run: &'a RunDir) -> Result<Provenance<'a>, ExportError> {
        let provenance = self.unchecked_provenance(run)?;
        let rules = &provenance.rules;
        if !rules.require_reviews() {
            return Ok(provenance);
        }
        let mut items = Vec::new();
        for trajectory in run.trajectories()? {
            let trajectory = trajectory?;
            let open = rules.require_review(&trajectory.steps)
                // Items without two responses to compare are dropped later.
                && pairs::reviewable(&trajectory, rules).is_ok()
                && pairs::decision(&trajectory, rules).is_none();
            if open {
                items.push(trajectory.item.id.unwrap_or(trajectory.item.key));
            }
        }
        if items.is_empty() { Ok(provenance) } else { Err(ExportError::Unreviewed { items }) }
    }

    /// The columns of the rows, in order.
    fn schema(&self, provenance: &Provenance<'_>) -> Schema {
        self.format.schema(provenance, self.columns == ColumnSet::All)
    }

    /// Makes a sink for rows.
    fn sink<'a>(
        &self,
        schema: &Schema,
        out: impl Write + Send + 'a,
    ) -> Result<Box<dyn Sink + 'a>, ExportError> {
        let columns = self.columns;
        Ok(match self.file_format {
            FileFormat::Jsonl => Box::new(Typed::new(schema, columns, Jsonl::new(out))),
            FileFormat::Parquet => {
                Box::new(Typed::new(schema, columns, Parquet::new(schema.clone(), out)?))
            }
        })
    }

    /// Passes each row of a run and its item to `take`, in the order in which items
    /// ended. Counts the rows, and the rows that are dropped or removed by the filter.
    /// Fails if there are no rows.
    fn each_row(
        &self,
        run: &RunDir,
        provenance: &Provenance<'_>,
        log: &mut Log<'_>,
        mut take: impl FnMut(&Item, ExportRow) -> Result<(), ExportError>,
    ) -> Result<Counts, ExportError> {
        let mut counts = Counts::default();
        let mut maker = RowMaker::new(self)?;
        let mut ids = Ids::default();
        let mut ended = 0;
        for trajectory in run.trajectories()? {
            let trajectory = trajectory?;
            ended += 1;
            let before = counts.written;
            for row in maker.rows(&trajectory, provenance)? {
                counts.add(row.as_ref().err());
                let MadeRow { row, thoughts, .. } = match row {
                    Ok(made) => made,
                    Err(Omission::Filtered(fault)) => {
                        log.record(&trajectory.item, &fault)?;
                        continue;
                    }
                    Err(Omission::Dropped(_)) => continue,
                };
                counts.unchecked += u64::from(self.format.has_pairs() && is_unchecked(&row));
                take(&trajectory.item, row)?;
                counts.with_thoughts += u64::from(thoughts == RowThoughts::Written);
                counts.without_thoughts += u64::from(thoughts == RowThoughts::Missing);
            }
            if counts.written > before {
                ids.add(&trajectory.item);
            }
        }
        counts.duplicate_ids = ids.duplicates();
        counts.unended = run.manifest().input.rows.saturating_sub(ended);
        if counts.written == 0 { Err(ExportError::NoRows(Box::new(counts))) } else { Ok(counts) }
    }
}

/// Whether neither a verdict nor a review has checked the pair of a row.
fn is_unchecked(row: &ExportRow) -> bool {
    let reviewers = row.get("reviewers").and_then(Value::as_array);
    row.get("verdict").is_none_or(Value::is_null) && reviewers.is_none_or(Vec::is_empty)
}

/// Counts the rows that an export would write, and those that it would leave out.
///
/// # Errors
/// The errors of [`write()`], except that no rows are no error.
pub fn count(run: &RunDir, export: &ExportOptions<'_>) -> Result<Counts, ExportError> {
    let provenance = export.provenance(run)?;
    match export.each_row(run, &provenance, &mut Log::default(), |_, _| Ok(())) {
        Err(ExportError::NoRows(counts)) => Ok(*counts),
        counted => counted,
    }
}

/// Writes the rows of a run to `out`.
///
/// # Errors
/// The journal is damaged, `out` can't be written, a required review is missing, the
/// format does not support the pairing, the filter fails, or there are no rows.
pub fn write(
    run: &RunDir,
    export: &ExportOptions<'_>,
    out: impl Write + Send,
) -> Result<Counts, ExportError> {
    stream(run, export, &export.provenance(run)?, &mut Log::default(), out)
}

fn stream(
    run: &RunDir,
    export: &ExportOptions<'_>,
    provenance: &Provenance<'_>,
    log: &mut Log<'_>,
    out: impl Write + Send,
) -> Result<Counts, ExportError> {
    let mut sink = export.sink(&export.schema(provenance), out)?;
    let counts = export.each_row(run, provenance, log, |_, row| sink.write(row))?;
    sink.finish()?;
    Ok(counts)
}

/// Writes the rows of a run to a file, atomically, and the rows that the filter
/// removed to its log. Folders that are missing are created. A path that is not a regular file (a pipe, a terminal) is
/// written directly, without a log.
///
/// # Errors
/// The errors of [`write()`].
pub fn write_file(
    run: &RunDir,
    export: &ExportOptions<'_>,
    path: &Path,
) -> Result<Counts, ExportError> {
    let provenance = export.provenance(run)?;
    let counts = if atomic::is_special(path) {
        let mut log = Log::default();
        atomic::write(path, |out| stream(run, export, &provenance, &mut log, out))
    } else {
        let folder = atomic::parent(path);
        let failed = |source| ExportError::File { path: folder.to_owned(), source };
        fs::create_dir_all(folder).map_err(failed)?;
        filter::logged(path, export.filter.is_some(), |log| {
            atomic::write(path, |out| stream(run, export, &provenance, log, out))
        })
    };
    counts.map_err(|error| error.at(path))
}

#[cfg(test)]
mod tests;

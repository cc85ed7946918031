//! Makes one run directory of a sharded run.

use std::fs::{self, File};
use std::io::{self, BufReader, Write};
use std::path::{Path, PathBuf};

use super::plan::ShardedRun;
use super::shard::ShardBy;
use super::status::{RunStatus, ShardState};
use crate::store::journal::{Journal, JournalError, Reader, Record, Storage};
use crate::store::lock::Lock;
use crate::store::run_dir::files::{
    GOVERNANCE_LOG, JOURNAL, LOCK, MANIFEST, REVIEWS, SKIPPED, VERDICT_RUNS,
};
use crate::store::run_dir::{RunDir, RunError};
use crate::store::{atomic, json_file};
use amend_core::record::Outcome;

/// What a merge has written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Merged {
    /// The number of records.
    pub records: u64,
    /// The items that are done.
    pub done: u64,
    /// The items that failed.
    pub failed: u64,
    /// Whether the run has verdicts of other judges, which are not merged: they belong to the
    /// sharded run.
    pub has_verdicts: bool,
}

/// Why shards were not merged.
#[derive(Debug, thiserror::Error)]
pub enum MergeError {
    /// The run is not in shards.
    #[error("{path} is not in shards: there is nothing to merge")]
    NotSharded {
        /// The folder.
        path: PathBuf,
    },
    /// Some shards are not done.
    #[error("the run in {path} is not complete: {left} of its {count} shards are not done")]
    Incomplete {
        /// The folder.
        path: PathBuf,
        /// The number of shards that are not done.
        left: usize,
        /// The number of shards.
        count: usize,
    },
    /// The run can't be read, or the output can't be written.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A journal can't be read, or an item is in two of them.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The new journal can't be written.
    #[error("failed to write the journal")]
    Write(#[from] io::Error),
}

/// Makes one run directory `out` of the shards in the folder `run`, in the order of their
/// numbers. With `partial`, some shards may not be done.
///
/// # Errors
/// The run is not in shards, some of them are not done, an item is in two of them, a file can't
/// be read, or `out` is not empty or can't be written.
pub fn merge(run: &Path, out: &Path, partial: bool) -> Result<Merged, MergeError> {
    let Some(sharded) = ShardedRun::open(run)? else {
        // Reports a folder without a run.
        RunDir::open(run)?;
        return Err(MergeError::NotSharded { path: run.to_owned() });
    };
    let status = RunStatus::of_shards(run, &sharded)?;
    if !partial && !status.is_done() {
        let count = status.shards.len();
        let left = count - status.count(ShardState::Done);
        return Err(MergeError::Incomplete { path: run.to_owned(), left, count });
    }
    RunDir::check_vacant(out)?;
    let io = |action| move |source| RunError::Io { action, path: out.to_owned(), source };
    fs::create_dir_all(out).map_err(io("create"))?;
    let _lock = Lock::take(out, LOCK, out)?;
    RunDir::check_vacant(out)?;
    let folders: Vec<&Path> = sharded.shards.values().map(RunDir::path).collect();
    let mut merged = merge_journals(&folders, &out.join(JOURNAL))?;
    merged.has_verdicts = run.join(VERDICT_RUNS).exists();
    // If keys decide, each shard has read all rows.
    let skipped = match sharded.by {
        ShardBy::Key => &folders[..folders.len().min(1)],
        ShardBy::File => &folders,
    };
    concatenate(skipped, SKIPPED, out)?;
    concatenate(&folders, GOVERNANCE_LOG, out)?;
    concatenate(&[run], REVIEWS, out)?;
    // The manifest comes last: without it, the folder is no run.
    let mut manifest = sharded.manifest;
    // Cohorts end where shards end, so another run would not give the same bytes.
    manifest.reproducible &= sharded.count == 1;
    json_file::write(&out.join(MANIFEST), &manifest)?;
    Ok(merged)
}

/// Writes the records of all journals to `path`.
fn merge_journals(folders: &[&Path], path: &Path) -> Result<Merged, MergeError> {
    let mut merged = Merged::default();
    atomic::write(path, |out| {
        let mut journal = Journal::start(Unsynced(out), path);
        for folder in folders {
            let from = folder.join(JOURNAL);
            let open = |source| JournalError::Io { action: "open", path: from.clone(), source };
            let file = match File::open(&from) {
                Ok(file) => file,
                // The shard is about to start.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(open(error).into()),
            };
            let mut reader = Reader::new(BufReader::new(file), from);
            while let Some(record) = reader.next()? {
                journal.append(&record)?;
                merged.records += 1;
                match record {
                    Record::End { outcome: Outcome::Done { .. }, .. } => merged.done += 1,
                    Record::End { outcome: Outcome::Failed { .. }, .. } => merged.failed += 1,
                    // Only failed items are tried again.
                    Record::Retry { .. } => merged.failed -= 1,
                    Record::Step { .. } | Record::Cohort {} => {}
                }
            }
        }
        Ok(merged)
    })
    .map_err(|error| match error {
        MergeError::Write(source) => {
            RunError::Io { action: "write", path: path.to_owned(), source }.into()
        }
        other => other,
    })
}

/// A file that is synced once, when it is complete.
struct Unsynced<'a>(&'a mut (dyn Write + Send));

impl Write for Unsynced<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

impl Storage for Unsynced<'_> {
    fn sync(&mut self) -> io::Result<()> {
        Ok(())
    }

    fn truncate(&mut self, _: u64) -> io::Result<()> {
        // After an error the whole file is dropped.
        Ok(())
    }
}

/// Writes the files of this name in all folders to one in `out`, if there are any.
fn concatenate(folders: &[&Path], name: &str, out: &Path) -> Result<(), RunError> {
    let path = out.join(name);
    let failed = |source| RunError::Io { action: "write", path: path.clone(), source };
    let files: Vec<PathBuf> = folders.iter().map(|folder| folder.join(name)).collect();
    if !files.iter().any(|file| file.exists()) {
        return Ok(());
    }
    atomic::write(&path, |to| {
        for file in files.iter().filter(|file| file.exists()) {
            io::copy(&mut File::open(file)?, to)?;
        }
        Ok(())
    })
    .map_err(failed)
}

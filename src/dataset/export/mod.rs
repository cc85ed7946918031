//! Exports: what a run's trajectories give, in the formats trainers read. One
//! file a format.

mod trl;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::atomic;
use super::journal::JournalError;
use super::pairs::{Categories, DropReason};
use super::run_dir::RunDir;
use super::trajectories::Trajectory;

/// What an export writes.
pub trait Format: Sync {
    /// Its name on the command line.
    fn name(&self) -> &'static str;

    /// Writes what a trajectory gives. The inner result is the reason why it
    /// gives nothing.
    ///
    /// # Errors
    /// `out` can't be written to.
    fn write(
        &self,
        run: &Provenance<'_>,
        trajectory: &Trajectory,
        out: &mut dyn Write,
    ) -> io::Result<Result<(), DropReason>>;
}

/// Every format.
pub const FORMATS: &[&dyn Format] = &[&trl::Trl];

/// The format of a name.
#[must_use]
pub fn format(name: &str) -> Option<&'static dyn Format> {
    FORMATS.iter().copied().find(|format| format.name() == name)
}

/// What records say about the run they come from.
#[derive(Debug)]
pub struct Provenance<'a> {
    /// The run's hash.
    pub run: &'a str,
    /// The categories of its constitution.
    pub categories: Categories,
}

/// What an export came to.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counts {
    /// Records written.
    pub written: u64,
    /// Trajectories left out, by reason.
    pub dropped: BTreeMap<DropReason, u64>,
}

/// Why an export failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// The run can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The output can't be written.
    #[error("failed to write the export")]
    Write(#[from] io::Error),
    /// The output file can't be written.
    #[error("failed to write {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// Writes a run's records to `out`, in the order its items ended.
///
/// # Errors
/// The journal is damaged, or `out` can't be written to.
pub fn write(
    run: &RunDir,
    format: &dyn Format,
    out: &mut dyn Write,
) -> Result<Counts, ExportError> {
    let provenance = Provenance {
        run: run.hash(),
        categories: Categories::new(&run.manifest().constitution.value),
    };
    let mut counts = Counts::default();
    for trajectory in run.trajectories()? {
        match format.write(&provenance, &trajectory?, out)? {
            Ok(()) => counts.written += 1,
            Err(reason) => *counts.dropped.entry(reason).or_default() += 1,
        }
    }
    out.flush()?;
    Ok(counts)
}

/// Writes a run's records to a file, which is replaced whole or not at all.
/// What is no regular file (a pipe, a terminal) is written to as it is.
///
/// # Errors
/// The journal is damaged, or the file can't be written.
pub fn write_file(run: &RunDir, format: &dyn Format, path: &Path) -> Result<Counts, ExportError> {
    // A link stays a link: what it points to is replaced.
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let counts = match fs::metadata(&target) {
        Ok(metadata) if !metadata.is_file() => {
            let file = File::options().write(true).open(&target);
            file.map_err(ExportError::Write)
                .and_then(|file| write(run, format, &mut io::BufWriter::new(file)))
        }
        _ => atomic::write(&target, |out| write(run, format, out)),
    };
    counts.map_err(|error| match error {
        ExportError::Write(source) => ExportError::File { path: path.to_owned(), source },
        other => other,
    })
}

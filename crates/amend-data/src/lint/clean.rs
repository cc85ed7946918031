//! Writes the cleaned copy: sound rows as they are, fixed rows with their changes,
//! and a log of every change and removal. The original data is never written to.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::linter::{LintFault, Linter, RowOutcome};
use super::report::Fixed;
use super::{LintError, lint_file};
use crate::rows::file::are_named_alike;
use crate::rows::{Row, RowFile, RowReader, RowWriter, WriteFault, json_lines};
use crate::store::atomic;

/// The destination of a cleaned copy.
pub(super) struct CleanedCopy {
    out: PathBuf,
    log: PathBuf,
    /// The original folder; `None` if the data is a single file.
    folder: Option<PathBuf>,
}

/// A line of the log.
#[derive(Serialize)]
struct Entry<'a> {
    file: &'a str,
    row: u64,
    finding: &'a str,
    /// `removed` or `edited`.
    done: &'a str,
    excerpt: &'a str,
}

impl CleanedCopy {
    /// Prepares to copy `data` to `out`.
    ///
    /// # Errors
    /// Fails if `out` or its log already exists, or is named like another kind of file.
    pub fn new(data: &Path, out: &Path) -> Result<Self, LintError> {
        let mut log = out.as_os_str().to_owned();
        log.push(".removed.jsonl");
        let log = PathBuf::from(log);
        for path in [out, &log] {
            // A dangling link exists too.
            if std::fs::symlink_metadata(path).is_ok() {
                return Err(LintError::Occupied { path: path.to_owned() });
            }
        }
        if !data.is_dir() && !are_named_alike(data, out) {
            return Err(LintError::OtherKind { path: out.to_owned(), data: data.to_owned() });
        }
        let folder = data.is_dir().then(|| data.to_owned());
        Ok(Self { out: out.to_owned(), log, folder })
    }

    /// Lints each file and writes its cleaned copy, one file after another. Nothing
    /// appears at the destination until every file is written and every row is
    /// readable.
    ///
    /// # Errors
    /// Fails if a file cannot be read or written, or a row is in no known format.
    pub fn write(&self, files: &[RowFile], linter: &mut Linter<'_>) -> Result<Fixed, LintError> {
        let mut fixed = Fixed::default();
        write_whole(&self.log, &self.log, |log| match &self.folder {
            Some(folder) => self.write_folder(folder, files, linter, log, &mut fixed),
            None => write_whole(&self.out, &self.out, |out| {
                for file in files {
                    copy_file(file, &self.out, linter, out, log, &mut fixed)?;
                }
                linter.check_rows()
            }),
        })?;
        Ok(fixed)
    }

    /// Writes the files to a temporary folder beside the destination, then renames
    /// the folder. One data file is open at a time, however many there are.
    fn write_folder(
        &self,
        folder: &Path,
        files: &[RowFile],
        linter: &mut Linter<'_>,
        log: &mut (dyn Write + Send),
        fixed: &mut Fixed,
    ) -> Result<(), LintError> {
        let staging = temporary_folder(&self.out).map_err(io_failed(&self.out))?;
        for file in files {
            let inner = file.path.strip_prefix(folder).unwrap_or(&file.path);
            let (target, staged) = (self.out.join(inner), staging.path().join(inner));
            if let Some(parent) = staged.parent() {
                std::fs::create_dir_all(parent).map_err(io_failed(&target))?;
            }
            write_whole(&staged, &target, |out| copy_file(file, &target, linter, out, log, fixed))?;
        }
        linter.check_rows()?;
        std::fs::rename(staging.path(), &self.out).map_err(io_failed(&self.out))?;
        // The folder has its final name: nothing is left to delete.
        let _ = staging.keep();
        Ok(())
    }
}

/// Creates an empty folder beside `out`, which is deleted on drop.
fn temporary_folder(out: &Path) -> io::Result<tempfile::TempDir> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(atomic::TEMPORARY_PREFIX);
    // A temporary folder is private by default; this one becomes an ordinary folder.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    match out.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => builder.tempdir_in(parent),
        _ => builder.tempdir_in("."),
    }
}

fn copy_file(
    file: &RowFile,
    target: &Path,
    linter: &mut Linter<'_>,
    out: &mut (dyn Write + Send),
    log: &mut (dyn Write + Send),
    fixed: &mut Fixed,
) -> Result<(), LintError> {
    let reader = match RowReader::open(file) {
        Ok(reader) => reader.with_originals(),
        Err(fault) => {
            linter.read_fault(&fault);
            return Ok(());
        }
    };
    let mut writer = RowWriter::new(&reader, file, out).map_err(failed(target))?;
    lint_file(file, reader, linter, &mut |place, row: Option<&Row>, outcome| {
        let mut write = |edited| match row {
            Some(row) => writer.write(row, edited).map_err(failed(target)),
            None => Ok(()),
        };
        let (done, faults) = match &outcome {
            RowOutcome::Keep => {
                fixed.kept += 1;
                return write(None);
            }
            RowOutcome::Edit(edited, faults) => {
                fixed.edited += 1;
                write(Some(edited))?;
                ("edited", faults)
            }
            RowOutcome::Remove(faults) => {
                fixed.removed += 1;
                ("removed", faults)
            }
        };
        for LintFault { rule, excerpt } in faults {
            let (file, row) = (file.name.as_str(), place.number());
            let entry = Entry { file, row, finding: rule, done, excerpt };
            json_lines::write(log, &entry).map_err(io_failed(target))?;
        }
        Ok(())
    })?;
    writer.finish().map_err(failed(target))
}

/// Writes the file at `path` as a whole or not at all. Errors call it `named`.
fn write_whole(
    path: &Path,
    named: &Path,
    fill: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), LintError>,
) -> Result<(), LintError> {
    /// An error of `fill`, or of the file itself.
    enum Failed {
        Fill(LintError),
        File(io::Error),
    }
    impl From<io::Error> for Failed {
        fn from(error: io::Error) -> Self {
            Self::File(error)
        }
    }
    atomic::write(path, |out| fill(out).map_err(Failed::Fill)).map_err(|error| match error {
        Failed::Fill(error) => error,
        Failed::File(source) => io_failed(named)(source),
    })
}

fn failed(path: &Path) -> impl Fn(WriteFault) -> LintError {
    move |source| LintError::Write { path: path.to_owned(), source }
}

fn io_failed(path: &Path) -> impl Fn(io::Error) -> LintError {
    move |source| failed(path)(source.into())
}

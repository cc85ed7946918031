//! The cleaned copy: sound rows as they stood, mended ones changed, and a log of
//! every removal and change. The data itself is never written to.

use std::io::Write;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::linter::{Fault, Linter, Outcome};
use super::report::Fixed;
use super::rows::{Row, Writer};
use super::source::DataFile;
use super::{LintError, RowsError, form, lint_file};
use crate::store::atomic;

/// Where a copy goes.
pub(super) struct Copy {
    out: PathBuf,
    log: PathBuf,
    /// The folder copied, where it is one.
    folder: Option<PathBuf>,
}

/// A line of the log.
#[derive(Serialize)]
struct Entry<'a> {
    file: String,
    row: u64,
    finding: &'a str,
    /// `removed` or `edited`.
    done: &'a str,
    excerpt: &'a str,
}

impl Copy {
    /// A copy of `data` at `out`.
    ///
    /// # Errors
    /// Something is there already.
    pub fn new(data: &Path, out: &Path) -> Result<Self, LintError> {
        let mut log = out.as_os_str().to_owned();
        log.push(".removed.jsonl");
        let log = PathBuf::from(log);
        for path in [out, &log] {
            // A link to nowhere is something too.
            if std::fs::symlink_metadata(path).is_ok() {
                return Err(LintError::Occupied { path: path.to_owned() });
            }
        }
        let folder = data.is_dir().then(|| data.to_owned());
        Ok(Self { out: out.to_owned(), log, folder })
    }

    /// Lints each file and writes what becomes of its rows. All files appear, or
    /// none.
    ///
    /// # Errors
    /// What can't be read or written, and rows in no known format.
    pub fn write(&self, files: &[DataFile], linter: &mut Linter<'_>) -> Result<Fixed, LintError> {
        let mut fixed = Fixed::default();
        let written = written(&self.log, |log| self.each(files, linter, log, &mut fixed));
        if written.is_err() {
            // Folders made for files that then weren't: only empty ones go.
            for file in files {
                let target = self.target(file);
                let folders = target.ancestors().skip(1).take_while(|at| at.starts_with(&self.out));
                folders.for_each(|folder| drop(std::fs::remove_dir(folder)));
            }
        }
        written.map(|()| fixed)
    }

    /// Writes the first file, and before it takes its name, the others.
    fn each(
        &self,
        files: &[DataFile],
        linter: &mut Linter<'_>,
        log: &mut (dyn Write + Send),
        fixed: &mut Fixed,
    ) -> Result<(), LintError> {
        let Some((file, others)) = files.split_first() else { return linter.sound() };
        let target = self.target(file);
        if let Some(folder) = target.parent().filter(|_| self.folder.is_some()) {
            let fail = |source: std::io::Error| failed(&target)(source.into());
            std::fs::create_dir_all(folder).map_err(fail)?;
        }
        written(&target, |out| {
            copy(file, &target, linter, out, log, fixed)?;
            self.each(others, linter, log, fixed)
        })
    }

    /// Where a file's copy goes.
    fn target(&self, file: &DataFile) -> PathBuf {
        let inner = self.folder.as_ref().and_then(|folder| file.path.strip_prefix(folder).ok());
        inner.map_or_else(|| self.out.clone(), |inner| self.out.join(inner))
    }
}

fn copy(
    file: &DataFile,
    target: &Path,
    linter: &mut Linter<'_>,
    out: &mut (dyn Write + Send),
    log: &mut (dyn Write + Send),
    fixed: &mut Fixed,
) -> Result<(), LintError> {
    let form = form(file)?;
    let mut writer = Writer::new(&form, out).map_err(failed(target))?;
    lint_file(file, &form, linter, &mut |row: &Row<'_>, outcome| {
        let (done, faults) = match &outcome {
            Outcome::Keep => {
                fixed.kept += 1;
                return writer.write(row, None).map_err(failed(target));
            }
            Outcome::Edit(edited, faults) => {
                fixed.edited += 1;
                writer.write(row, Some(edited)).map_err(failed(target))?;
                ("edited", faults)
            }
            Outcome::Remove(faults) => {
                fixed.removed += 1;
                ("removed", faults)
            }
        };
        for Fault { rule, excerpt } in faults {
            let file = file.path.display().to_string();
            let entry = Entry { file, row: row.number, finding: rule, done, excerpt };
            serde_json::to_writer(&mut *log, &entry)
                .map_err(std::io::Error::from)
                .and_then(|()| log.write_all(b"\n"))
                .map_err(|source| failed(target)(source.into()))?;
        }
        Ok(())
    })?;
    writer.finish().map_err(failed(target))
}

/// Writes a file whole or not at all.
fn written(
    path: &Path,
    fill: impl FnOnce(&mut (dyn Write + Send)) -> Result<(), LintError>,
) -> Result<(), LintError> {
    /// An error of `fill`, or of the file itself.
    enum Failed {
        Fill(LintError),
        File(std::io::Error),
    }
    impl From<std::io::Error> for Failed {
        fn from(error: std::io::Error) -> Self {
            Self::File(error)
        }
    }
    atomic::write(path, |out| fill(out).map_err(Failed::Fill)).map_err(|error| match error {
        Failed::Fill(error) => error,
        Failed::File(source) => failed(path)(source.into()),
    })
}

fn failed(path: &Path) -> impl Fn(RowsError) -> LintError {
    move |source| LintError::Write { path: path.to_owned(), source }
}

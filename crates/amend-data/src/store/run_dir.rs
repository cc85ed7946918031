//! The run directory: `manifest.json`, `journal.jsonl`, `lock`.
//!
//! One process at a time writes, under a lock of the operating system's that
//! ends with it; any number read.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::atomic;
use super::journal::{Journal, JournalError, Record, State};
use super::lock::Lock;
use super::manifest::{Difference, FORMAT, Manifest};
use super::trajectories::Trajectories;
use amend_core::hash;
use amend_core::record::Step;

const MANIFEST: &str = "manifest.json";
const JOURNAL: &str = "journal.jsonl";
const LOCK: &str = "lock";

/// How many differences a refusal shows.
const SHOWN: usize = 20;

/// What goes wrong with a run directory.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Something in it can't be read or written.
    #[error("failed to {action} {path}")]
    Io {
        /// What was attempted.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why it failed.
        source: io::Error,
    },
    /// A new run was asked for where there is one.
    #[error("{path} already holds a run: pass --resume to go on with it, or choose another folder")]
    HoldsRun {
        /// The folder.
        path: PathBuf,
    },
    /// A new run was asked for among other files.
    #[error("{path} is not empty (it has {found:?}): choose a new folder")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// One of the files in it.
        found: String,
    },
    /// There is no run.
    #[error("{path} holds no run: it has no {MANIFEST}")]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// The manifest can't be understood.
    #[error("{path} is not a manifest this version of amend reads")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// The run is in another format.
    #[error("{path} has format {found}, this version of amend reads {FORMAT}")]
    Format {
        /// The manifest.
        path: PathBuf,
        /// Its format.
        found: u32,
    },
    /// Somebody else writes.
    #[error("another amend ({}) is writing to {path}: wait for it, or stop it", Process(.pid))]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The process, where it could be told.
        pid: Option<u32>,
    },
    /// The run was started with something else.
    #[error(
        "the run in {path} was started with something else:\n{}\n\
         resume it with what it was started with, or start a new run in another folder",
        Differences(.differences)
    )]
    Differs {
        /// The folder.
        path: PathBuf,
        /// The run's manifest (ours) against the one given (theirs).
        differences: Vec<Difference>,
    },
    /// A line of the reviews is none.
    #[error("{path}:{line} is not a review this version of amend reads")]
    Review {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A line of the reviews does not follow from those before it.
    #[error("{path}:{line} {wrong}: restore the file from a copy, or take the line out")]
    ReviewOrder {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong.
        wrong: &'static str,
    },
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

struct Process<'a>(&'a Option<u32>);

impl fmt::Display for Process<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(pid) => write!(f, "pid {pid}"),
            None => f.write_str("pid unknown"),
        }
    }
}

struct Differences<'a>(&'a [Difference]);

impl fmt::Display for Differences<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, difference) in self.0.iter().take(SHOWN).enumerate() {
            write!(f, "{}  {difference}", if at == 0 { "" } else { "\n" })?;
        }
        match self.0.len().saturating_sub(SHOWN) {
            0 => Ok(()),
            more => write!(f, "\n  … and {more} more"),
        }
    }
}

/// A run on disk, as readers see it: they need no lock.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
    manifest: Manifest,
    hash: String,
}

impl RunDir {
    /// Opens a run to read it, whether or not it is being written to.
    ///
    /// # Errors
    /// There is no run, or its manifest can't be read.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let file = path.join(MANIFEST);
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(RunError::NoRun { path: path.to_owned() });
            }
            Err(source) => return Err(RunError::Io { action: "read", path: file, source }),
        };
        let parsed = |source| RunError::Manifest { path: file.clone(), source };
        // The format first: another one need not parse as this one.
        let Format { format } = serde_json::from_slice(&bytes).map_err(parsed)?;
        if format != FORMAT {
            return Err(RunError::Format { path: file, found: format });
        }
        let manifest = serde_json::from_slice(&bytes).map_err(parsed)?;
        Ok(Self { path: path.to_owned(), manifest, hash: hash::sha256(&bytes) })
    }

    /// Checks that a run could start in `path`: nothing is there, or an empty
    /// folder.
    ///
    /// # Errors
    /// The folder holds a run or anything else, or can't be listed.
    pub fn check_vacant(path: &Path) -> Result<(), RunError> {
        if path.exists() { vacant(path) } else { Ok(()) }
    }

    /// Starts a run in `path`, which is created unless it is an empty folder.
    ///
    /// # Errors
    /// The folder holds a run or anything else, another process writes to it,
    /// or it can't be written.
    pub fn create(path: &Path, manifest: &Manifest) -> Result<RunWriter, RunError> {
        let io = |action| move |source| RunError::Io { action, path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(io("create"))?;
        atomic::sync_folder(atomic::parent(path)).map_err(io("sync the folder of"))?;
        vacant(path)?;
        let lock = Lock::take(path, LOCK, path)?;
        // Again, for another process may have had the lock in between.
        vacant(path)?;
        let file = path.join(MANIFEST);
        let json = manifest
            .to_json()
            .map_err(|source| RunError::Manifest { path: file.clone(), source })?;
        atomic::write(&file, |out| out.write_all(json.as_bytes()))
            .map_err(|source| RunError::Io { action: "write", path: file, source })?;
        Ok(RunWriter::open(path, lock)?.0)
    }

    /// Goes on with the run in `path`, started with an equal manifest.
    ///
    /// # Errors
    /// There is no run, another process writes to it, it was started with
    /// something else, or its journal is damaged.
    pub fn resume(path: &Path, manifest: &Manifest) -> Result<(RunWriter, State), RunError> {
        let differences = Self::open(path)?.manifest.difference(manifest);
        if !differences.is_empty() {
            return Err(RunError::Differs { path: path.to_owned(), differences });
        }
        RunWriter::open(path, Lock::take(path, LOCK, path)?)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What it was started with.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The SHA-256 of `manifest.json`, in hexadecimal: names the run in exports.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Writes a file that is derived from the journal: whole or not at all, in
    /// place of what was there.
    ///
    /// # Errors
    /// It can't be written.
    pub fn derive(
        &self,
        name: &'static str,
        fill: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>,
    ) -> Result<(), RunError> {
        let path = self.path.join(name);
        atomic::write(&path, fill).map_err(|source| RunError::Io { action: "write", path, source })
    }

    /// Its ended items, in the order of their ends.
    ///
    /// # Errors
    /// The journal is damaged or can't be read.
    pub fn trajectories(&self) -> Result<Trajectories, JournalError> {
        Trajectories::open(&self.path.join(JOURNAL))
    }
}

/// The one field every format has.
#[derive(serde::Deserialize)]
struct Format {
    format: u32,
}

/// A run on disk, as its one writer holds it.
pub struct RunWriter {
    dir: RunDir,
    journal: Journal<File>,
    // Held, and so last: fields are dropped in order.
    _lock: Lock,
}

impl RunWriter {
    fn open(path: &Path, lock: Lock) -> Result<(Self, State), RunError> {
        let dir = RunDir::open(path)?;
        let (journal, state) = Journal::open(&path.join(JOURNAL), dir.manifest.reproducible)?;
        let io = |source| RunError::Io { action: "sync", path: path.to_owned(), source };
        atomic::sync_folder(path).map_err(io)?;
        Ok((Self { dir, journal, _lock: lock }, state))
    }

    /// The run, to read.
    #[must_use]
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// Writes steps that some items have behind them when the run begins, as if
    /// it had been interrupted after them. Whoever resumes it goes on from there.
    ///
    /// # Errors
    /// They can't be written.
    pub fn begin(mut self, steps: Vec<(String, Vec<Step>)>) -> Result<(), JournalError> {
        for (item, steps) in steps {
            for step in steps {
                self.append(&Record::Step { item: item.clone(), step })?;
            }
        }
        Ok(())
    }

    /// Adds a record to the journal. An item's end is on the disk when this
    /// returns; steps follow with the next end.
    ///
    /// # Errors
    /// The record can't be written; after that, no other is taken.
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        self.journal.append(record)
    }
}

/// Checks that a run may start in a folder. What a creation that was cut short
/// leaves behind does not count.
fn vacant(path: &Path) -> Result<(), RunError> {
    let io = |source| RunError::Io { action: "list", path: path.to_owned(), source };
    let mut found = None;
    for entry in fs::read_dir(path).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if name == MANIFEST {
            return Err(RunError::HoldsRun { path: path.to_owned() });
        }
        let name = name.to_string_lossy().into_owned();
        if name != LOCK && !name.starts_with(atomic::TEMPORARY_PREFIX) {
            found = Some(name);
        }
    }
    found.map_or(Ok(()), |found| Err(RunError::NotEmpty { path: path.to_owned(), found }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::Progress;
    use crate::testing::{done, failed, manifest, records, stepped};

    /// An error's message, the folder's name left out.
    fn message<T>(result: Result<T, RunError>, folder: &Path) -> String {
        match result {
            Ok(_) => panic!("no error"),
            Err(error) => error.to_string().replace(&folder.display().to_string(), "DIR"),
        }
    }

    #[test]
    fn a_run_is_created_written_resumed_and_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("new/run");
        let mut run = RunDir::create(&path, &manifest()).unwrap();
        run.append(&done("a")).unwrap();
        run.append(&stepped("b", "one")).unwrap();
        // A reader needs no lock, and no end of the writing.
        assert_eq!(run.dir().trajectories().unwrap().count(), 1);
        drop(run);

        let (mut run, state) = RunDir::resume(&path, &manifest()).unwrap();
        assert_eq!(state.get("a"), Some(&Progress::Done));
        assert!(matches!(state.get("b"), Some(Progress::Unfinished(steps)) if steps.len() == 1));
        assert_eq!(state.get("c"), None);
        run.append(&failed("b")).unwrap();

        let read = RunDir::open(&path).unwrap();
        assert_eq!(*read.manifest(), manifest());
        assert_eq!(read.hash(), hash::sha256(&fs::read(path.join(MANIFEST)).unwrap()));
        let keys: Vec<_> =
            read.trajectories().unwrap().map(|next| next.unwrap().item.key).collect();
        assert_eq!(keys, ["a", "b"]);
    }

    #[test]
    fn a_reader_passes_by_a_line_being_written_and_leaves_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut run = RunDir::create(folder.path(), &manifest()).unwrap();
        for record in records() {
            run.append(&record).unwrap();
        }
        let file = folder.path().join(JOURNAL);
        let mut journal = File::options().append(true).open(&file).unwrap();
        journal.write_all(b"{\"n\":12,\"su").unwrap();
        let length = fs::metadata(&file).unwrap().len();
        assert_eq!(RunDir::open(folder.path()).unwrap().trajectories().unwrap().count(), 3);
        assert_eq!(fs::metadata(&file).unwrap().len(), length);
        drop(run);
        drop(RunDir::resume(folder.path(), &manifest()).unwrap());
        assert_eq!(fs::metadata(&file).unwrap().len(), length - 11);
    }

    #[test]
    fn the_second_writer_is_refused_and_told_who_writes() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path(), &manifest()).unwrap();
        let expected = format!(
            "another amend (pid {}) is writing to DIR: wait for it, or stop it",
            std::process::id()
        );
        let second = RunDir::resume(folder.path(), &manifest());
        assert_eq!(message(second, folder.path()), expected);
        drop(run);
        assert!(RunDir::resume(folder.path(), &manifest()).is_ok());
    }

    #[test]
    fn a_new_run_takes_only_an_empty_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::write(path.join("thesis.tex"), "").unwrap();
        assert_eq!(
            message(RunDir::create(path, &manifest()), path),
            "DIR is not empty (it has \"thesis.tex\"): choose a new folder"
        );
        assert_eq!(fs::read_dir(path).unwrap().count(), 1);
        fs::remove_file(path.join("thesis.tex")).unwrap();

        // What a creation leaves that was cut short is no obstacle.
        fs::write(path.join(LOCK), "123\n").unwrap();
        fs::write(path.join(".amend-x7"), "{").unwrap();
        drop(RunDir::create(path, &manifest()).unwrap());
        assert_eq!(
            message(RunDir::create(path, &manifest()), path),
            "DIR already holds a run: pass --resume to go on with it, or choose another folder"
        );
    }

    #[test]
    fn resuming_needs_a_run_of_the_same_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(
            message(RunDir::resume(path, &manifest()), path),
            "DIR holds no run: it has no manifest.json"
        );
        drop(RunDir::create(path, &manifest()).unwrap());
        let other = Manifest { seed: 8, limit: Some(10), ..manifest() };
        assert_eq!(
            message(RunDir::resume(path, &other), path),
            "the run in DIR was started with something else:\n  \
             limit: was none, is 10\n  \
             seed: was 7, is 8\n\
             resume it with what it was started with, or start a new run in another folder"
        );

        let file = path.join(MANIFEST);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
        assert_eq!(
            message(RunDir::open(path), path),
            "DIR/manifest.json has format 2, this version of amend reads 1"
        );
        fs::write(&file, &text[..40]).unwrap();
        assert_eq!(
            message(RunDir::open(path), path),
            "DIR/manifest.json is not a manifest this version of amend reads"
        );
    }

    #[test]
    fn many_differences_are_counted_after_the_first() {
        let difference = |at| Difference {
            path: format!("templates.t{at}"),
            ours: "absent".to_owned(),
            theirs: "1".to_owned(),
        };
        let all: Vec<_> = (1..=23).map(difference).collect();
        let shown = Differences(&all).to_string();
        assert_eq!(shown.lines().count(), 21);
        assert!(shown.ends_with("\n  templates.t20: was absent, is 1\n  … and 3 more"), "{shown}");
    }
}

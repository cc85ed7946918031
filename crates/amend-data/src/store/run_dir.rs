//! The run directory. [`files`] lists the files in it.
//!
//! One process at a time writes to the journal, under a lock that the operating system
//! releases when the process exits. Any number of processes may read.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use self::files::{JOURNAL, LOCK, MANIFEST};
use super::journal::{Journal, JournalDigest, JournalError, Record, State};
use super::lock::Lock;
use super::manifest::{Difference, FORMAT, Manifest};
use super::sharded::{self, ShardedRun};
use super::trajectories::Trajectories;
use super::verdicts::Verdicts;
use super::{atomic, json_file};
use amend_core::constitution::Judge;
use amend_core::hash;
use amend_core::record::Step;

/// The names of the files in a run directory.
pub mod files {
    pub use crate::store::sharded::files::PLAN;

    /// The configuration that the run was started with.
    pub const MANIFEST: &str = "manifest.json";
    /// The steps and ends of items: the record of the run.
    pub const JOURNAL: &str = "journal.jsonl";
    /// The lock of the process that writes the journal.
    pub const LOCK: &str = "lock";
    /// The decisions of `amend review`.
    pub const REVIEWS: &str = "reviews.jsonl";
    /// The lock of the process that writes reviews.
    pub const REVIEWS_LOCK: &str = "reviews.lock";
    /// The governance log, unless the constitution names another file.
    pub const GOVERNANCE_LOG: &str = "high-stakes.jsonl";
    /// The rows that `--skip-bad` left out of the input.
    pub const SKIPPED: &str = "skipped.jsonl";
    /// The rows of `amend judge`.
    pub const VERDICTS: &str = "verdicts.jsonl";
    /// The rows of `amend score`.
    pub const SCORES: &str = "scores.jsonl";
    /// The figures of `amend judge` or `amend score`.
    pub const FIGURES: &str = "figures.json";
    /// The results of `amend eval`.
    pub const RESULTS: &str = "results.json";
    /// The audit of `amend audit`.
    pub const AUDIT: &str = "audit.json";
    /// The folder with the verdicts of other judges, each in a folder of its own.
    pub const VERDICT_RUNS: &str = "verdicts";
    /// The number of judges of a panel.
    pub const PANEL: &str = "panel.json";
    /// The page of `amend report`.
    pub const REPORT: &str = "report.html";
    /// The results of batch files that `amend step` took, until the run is done.
    pub const BATCH_REPLIES: &str = "batch-replies.jsonl";

    /// The files that can't be made again from others: no output may replace them.
    pub const RECORDS: [&str; 8] =
        [MANIFEST, JOURNAL, LOCK, REVIEWS, REVIEWS_LOCK, GOVERNANCE_LOG, PLAN, BATCH_REPLIES];
}

/// The most differences that an error lists.
const SHOWN: usize = 20;

/// An error of a run directory.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// A file in it can't be read or written.
    #[error("failed to {action} {path}")]
    Io {
        /// The attempted action.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// An output would replace a record of the run.
    #[error("{path} is a record of the run and must not be replaced: choose another file")]
    Record {
        /// The file.
        path: PathBuf,
    },
    /// It is a run of another command than is needed.
    #[error("{path} is a run of amend {recorded}, and a run of amend {needed} is needed")]
    OtherCommand {
        /// The folder.
        path: PathBuf,
        /// The command that started the run.
        recorded: String,
        /// The needed command.
        needed: &'static str,
    },
    /// The folder already holds a run.
    #[error("{path} already holds a run: pass --resume to continue it, or choose another folder")]
    HoldsRun {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds other files.
    #[error("{path} is not empty (it contains {found:?}): choose a new folder")]
    NotEmpty {
        /// The folder.
        path: PathBuf,
        /// One of the files in it.
        found: String,
    },
    /// The folder holds no run.
    #[error("{path} is not a run directory: it has no {MANIFEST}")]
    NoRun {
        /// The folder.
        path: PathBuf,
    },
    /// The manifest can't be parsed.
    #[error("{path} is not a manifest that this version of amend can read")]
    Manifest {
        /// The file.
        path: PathBuf,
        /// The error of the parser.
        source: serde_json::Error,
    },
    /// The run has another format.
    #[error("{path} has format {found}, but this version of amend reads format {FORMAT}")]
    Format {
        /// The manifest.
        path: PathBuf,
        /// The format found.
        found: u32,
    },
    /// Another process is writing.
    #[error("another amend process ({}) is writing to {path}: wait for it, or stop it", Process(.pid))]
    Locked {
        /// The folder.
        path: PathBuf,
        /// The id of the process, if known.
        pid: Option<u32>,
    },
    /// The run was started with another configuration.
    #[error(
        "the run in {path} was started with another configuration:\n{}\n\
         resume it with the original configuration, or start a new run in another folder",
        Differences(.differences)
    )]
    Differs {
        /// The folder.
        path: PathBuf,
        /// The differences between the run's manifest (ours) and the given one (theirs).
        differences: Vec<Difference>,
    },
    /// The folder holds a run in shards.
    #[error("the run in {path} is in shards: pass --shard I/N to work on one of them")]
    Sharded {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds a run that is not in shards.
    #[error("{path} holds a run that is not in shards: choose another folder, or omit --shard")]
    Whole {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds shards, and no plan.
    #[error(
        "{path} holds shards, but no {}: copy it from the machine where a shard was made",
        sharded::files::PLAN
    )]
    NoPlan {
        /// The folder.
        path: PathBuf,
    },
    /// A folder among the shards has a number that no shard of the run has.
    #[error("{path} is not a shard of the run in {run}, which has fewer: remove it")]
    OtherShard {
        /// The folder.
        path: PathBuf,
        /// The folder of the run.
        run: PathBuf,
    },
    /// A folder among the shards belongs to another run.
    #[error(
        "{path} is not a shard of the run in {run}: it was started with another configuration:\n{}",
        Differences(.differences)
    )]
    ShardDiffers {
        /// The folder.
        path: PathBuf,
        /// The folder of the run.
        run: PathBuf,
        /// The differences between the plan (ours) and the shard (theirs).
        differences: Vec<Difference>,
    },
    /// A file that amend wrote can't be parsed.
    #[error("{path} is not a file that this version of amend can read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the parser.
        source: serde_json::Error,
    },
    /// The run has no verdicts with this name.
    #[error(
        "the run in {path} has no verdicts named {name:?}{}",
        if .known.is_empty() { String::new() } else { format!(": it has {}", .known.join(", ")) }
    )]
    UnknownVerdicts {
        /// The folder of the run.
        path: PathBuf,
        /// The given name.
        name: String,
        /// The names that it has.
        known: Vec<String>,
    },
    /// Verdicts are about another run.
    #[error("the verdicts in {path} are about another run: judge this one under another name")]
    OtherVerdicts {
        /// The folder of the verdicts.
        path: PathBuf,
    },
    /// A folder holds no verdicts of a panel.
    #[error("{path} has no verdicts of a panel: it has no {}", files::PANEL)]
    NoPanel {
        /// The folder.
        path: PathBuf,
    },
    /// A panel has more judges than are given.
    #[error("the panel in {path} has {recorded} judges, but {given} are given: give all of them")]
    Panel {
        /// The folder of the panel.
        path: PathBuf,
        /// The number of judges that it was started with.
        recorded: usize,
        /// The number of judges given.
        given: usize,
    },
    /// A line of the reviews can't be parsed.
    #[error("{path}:{line} is not a review that this version of amend can read")]
    Review {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// The error of the parser.
        source: serde_json::Error,
    },
    /// A line of the reviews does not fit the lines before it.
    #[error("{path}:{line} {wrong}: restore the file from a copy, or delete the line")]
    ReviewOrder {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: u64,
        /// What is wrong with the line.
        wrong: &'static str,
    },
    /// An error of the journal.
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

/// A run on disk, open for reading. Readers need no lock.
#[derive(Debug, Clone)]
pub struct RunDir {
    path: PathBuf,
    manifest: Manifest,
    hash: String,
    /// The journal or, of a sharded run, those of the shards that have started.
    journals: Vec<PathBuf>,
    /// Whether the run is in shards.
    is_sharded: bool,
    /// The verdicts that stand for those of the run.
    verdicts: Option<Arc<Verdicts>>,
}

impl RunDir {
    /// Checks that an output of a command may be written to `path`.
    ///
    /// # Errors
    /// The file is one of the run's [`files::RECORDS`], under this or another name.
    pub fn check_output(&self, path: &Path) -> Result<(), RunError> {
        let Ok(path) = path.canonicalize() else { return Ok(()) };
        let shards = self.path().join(sharded::files::SHARDS).canonicalize();
        if self.is_sharded && shards.is_ok_and(|shards| path.starts_with(shards)) {
            return Err(RunError::Record { path });
        }
        for name in files::RECORDS {
            if self.path().join(name).canonicalize().is_ok_and(|record| record == path) {
                return Err(RunError::Record { path });
            }
        }
        Ok(())
    }

    /// Whether there is a run in the folder `path`.
    #[must_use]
    pub fn exists(path: &Path) -> bool {
        path.join(sharded::files::PLAN).is_file()
            || path.join(MANIFEST).is_file() && path.join(JOURNAL).is_file()
    }

    /// Whether there is a manifest in the folder `path`: the run there was started.
    #[must_use]
    pub fn has_manifest(path: &Path) -> bool {
        path.join(MANIFEST).exists()
    }

    /// Opens a run for reading. Other processes may be writing to it. A run in shards is read as
    /// a single run: the items of all shards that have started, one shard after another.
    ///
    /// # Errors
    /// There is no run, its manifest can't be read, or a folder among its shards is not one of
    /// them.
    pub fn open(path: &Path) -> Result<Self, RunError> {
        let Some(ShardedRun { manifest, hash, shards, .. }) = ShardedRun::open(path)? else {
            return Self::open_single(path);
        };
        let mut journals: Vec<PathBuf> =
            shards.values().map(|shard| shard.path.join(JOURNAL)).collect();
        // A shard that is about to start has none yet.
        journals.retain(|journal| journal.exists());
        let path = path.to_owned();
        Ok(Self { path, manifest, hash, journals, is_sharded: true, verdicts: None })
    }

    /// Opens a run that is not in shards, or one shard.
    pub(super) fn open_single(path: &Path) -> Result<Self, RunError> {
        let file = path.join(MANIFEST);
        let bytes = match fs::read(&file) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let path = path.to_owned();
                return Err(match path.join(sharded::files::SHARDS).is_dir() {
                    true => RunError::NoPlan { path },
                    false => RunError::NoRun { path },
                });
            }
            Err(source) => return Err(RunError::Io { action: "read", path: file, source }),
        };
        let parsed = |source| RunError::Manifest { path: file.clone(), source };
        // Check the format first: another format may not parse as this one.
        let Format { format } = serde_json::from_slice(&bytes).map_err(parsed)?;
        if format != FORMAT {
            return Err(RunError::Format { path: file, found: format });
        }
        let manifest = serde_json::from_slice(&bytes).map_err(parsed)?;
        Ok(Self {
            path: path.to_owned(),
            manifest,
            hash: hash::sha256(&bytes),
            journals: vec![path.join(JOURNAL)],
            is_sharded: false,
            verdicts: None,
        })
    }

    /// Checks that a run can start in `path`: it does not exist or is an empty folder.
    ///
    /// # Errors
    /// The folder holds a run or anything else, or can't be listed.
    pub fn check_vacant(path: &Path) -> Result<(), RunError> {
        if path.join(sharded::files::PLAN).exists() {
            return Err(RunError::Sharded { path: path.to_owned() });
        }
        if path.exists() { vacant(path) } else { Ok(()) }
    }

    /// Starts a run in `path`. Creates the folder if needed.
    ///
    /// # Errors
    /// The folder is not empty, another process writes to it, or it can't be written.
    pub fn create(path: &Path, manifest: &Manifest) -> Result<RunWriter, RunError> {
        let io = |action| move |source| RunError::Io { action, path: path.to_owned(), source };
        fs::create_dir_all(path).map_err(io("create"))?;
        atomic::sync_folder(atomic::parent(path)).map_err(io("sync the folder of"))?;
        vacant(path)?;
        let lock = Lock::take(path, LOCK, path)?;
        // Check again: another process may have held the lock in between.
        vacant(path)?;
        json_file::write(&path.join(MANIFEST), manifest)?;
        Ok(RunWriter::open(path, lock)?.0)
    }

    /// Checks that `path` holds a run that this process can write to.
    ///
    /// # Errors
    /// There is no run, it is in shards, or another process writes to it.
    pub fn check_resumable(path: &Path) -> Result<(), RunError> {
        if path.join(sharded::files::PLAN).exists() {
            return Err(RunError::Sharded { path: path.to_owned() });
        }
        Self::open_single(path)?;
        Lock::check_free(path, LOCK, path)
    }

    /// Resumes the run in `path`, which must have an equal manifest.
    ///
    /// # Errors
    /// There is no run, another process writes to it, it was started with another
    /// configuration, or its journal is damaged.
    pub fn resume(path: &Path, manifest: &Manifest) -> Result<(RunWriter, State), RunError> {
        Self::check_resumable(path)?;
        let differences = Self::open_single(path)?.manifest.difference(manifest);
        if !differences.is_empty() {
            return Err(RunError::Differs { path: path.to_owned(), differences });
        }
        RunWriter::open(path, Lock::take(path, LOCK, path)?)
    }

    /// Whether the run is in shards.
    #[must_use]
    pub fn is_sharded(&self) -> bool {
        self.is_sharded
    }

    /// The path of the folder.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The manifest.
    #[must_use]
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The SHA-256 of `manifest.json` in hexadecimal. It identifies the run in exports.
    #[must_use]
    pub fn hash(&self) -> &str {
        &self.hash
    }

    /// Writes a file that is derived from the journal, atomically. Replaces an old one.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn derive(
        &self,
        name: &'static str,
        fill: impl FnOnce(&mut (dyn Write + Send)) -> io::Result<()>,
    ) -> Result<(), RunError> {
        let path = self.path.join(name);
        atomic::write(&path, fill).map_err(|source| RunError::Io { action: "write", path, source })
    }

    /// The finished items, in the order in which they ended, one shard after another. With
    /// [`RunDir::with_verdicts`], other verdicts stand for those of the run.
    ///
    /// # Errors
    /// The journal is damaged or can't be read.
    pub fn trajectories(&self) -> Result<Trajectories, JournalError> {
        let trajectories = Trajectories::open(&self.journals)?;
        Ok(match &self.verdicts {
            Some(verdicts) => {
                let standing = self.manifest.constitution.value.judge.standing();
                trajectories.with_verdicts(Arc::clone(verdicts), standing)
            }
            None => trajectories,
        })
    }

    /// The same run, in which the verdicts with this name stand for its own. Those on which
    /// the judges of a panel disagree more than `max_disagreement` do not count.
    ///
    /// # Errors
    /// The run has no such verdicts, or they can't be read.
    pub fn with_verdicts(
        self,
        name: &str,
        max_disagreement: Option<f64>,
    ) -> Result<Self, RunError> {
        let verdicts = Verdicts::open(&self, name)?.with_max_disagreement(max_disagreement);
        Ok(Self { verdicts: Some(Arc::new(verdicts)), ..self })
    }

    /// Checks that this is a run of the command `command`.
    ///
    /// # Errors
    /// [`RunError::OtherCommand`] if it is not.
    pub fn check_command(&self, command: &'static str) -> Result<(), RunError> {
        if self.manifest.command == command {
            return Ok(());
        }
        let recorded = self.manifest.command.clone();
        Err(RunError::OtherCommand { path: self.path.clone(), recorded, needed: command })
    }

    /// The `[judge]` table by which verdicts count: that of the run's constitution, or of
    /// the verdicts that stand for those of the run.
    #[must_use]
    pub fn judge_rules(&self) -> Judge {
        match &self.verdicts {
            Some(verdicts) => verdicts.rules(),
            None => self.manifest.constitution.value.judge.clone(),
        }
    }

    /// The verdicts that stand for those of the run, if any.
    #[must_use]
    pub fn verdicts(&self) -> Option<&Verdicts> {
        self.verdicts.as_deref()
    }
}

/// The field that every format has.
#[derive(serde::Deserialize)]
struct Format {
    format: u32,
}

/// A run on disk, open for writing.
pub struct RunWriter {
    dir: RunDir,
    journal: Journal<File>,
    // The last field, because fields are dropped in order.
    _lock: Lock,
}

impl RunWriter {
    fn open(path: &Path, lock: Lock) -> Result<(Self, State), RunError> {
        let dir = RunDir::open_single(path)?;
        let (journal, state) = Journal::open(&path.join(JOURNAL), dir.manifest.reproducible)?;
        let io = |source| RunError::Io { action: "sync", path: path.to_owned(), source };
        atomic::sync_folder(path).map_err(io)?;
        Ok((Self { dir, journal, _lock: lock }, state))
    }

    /// The run, for reading.
    #[must_use]
    pub fn dir(&self) -> &RunDir {
        &self.dir
    }

    /// Closes the journal and releases the lock.
    #[must_use]
    pub fn into_dir(self) -> RunDir {
        self.dir
    }

    /// Begins the run with steps of some items, as if it had been interrupted after them.
    /// Resuming the run continues from these steps.
    ///
    /// # Errors
    /// The steps can't be written.
    pub fn begin(mut self, steps: Vec<(String, Vec<Step>)>) -> Result<(), JournalError> {
        for (item, steps) in steps {
            for step in steps {
                self.append(&Record::Step { item: item.clone(), step })?;
            }
        }
        Ok(())
    }

    /// Appends a record to the journal. [`Self::commit`] syncs it to the disk if it ends an item.
    ///
    /// # Errors
    /// The record can't be written. Later calls fail too.
    pub fn append(&mut self, record: &Record) -> Result<(), JournalError> {
        self.journal.append(record)
    }

    /// Syncs the journal to the disk if items have ended since the last call.
    ///
    /// # Errors
    /// The journal can't be synced. Later calls of [`Self::append`] fail too.
    pub fn commit(&mut self) -> Result<(), JournalError> {
        self.journal.commit()
    }

    /// The number of records in the journal, its size and its SHA-256, without reading it again.
    #[must_use]
    pub fn digest(&self) -> JournalDigest {
        self.journal.digest()
    }
}

/// Checks that a run may start in a folder. Ignores what an interrupted creation leaves
/// behind.
fn vacant(path: &Path) -> Result<(), RunError> {
    let io = |source| RunError::Io { action: "list", path: path.to_owned(), source };
    let mut other = None;
    for entry in fs::read_dir(path).map_err(io)? {
        let name = entry.map_err(io)?.file_name();
        if name == MANIFEST {
            return Err(RunError::HoldsRun { path: path.to_owned() });
        }
        let name = name.to_string_lossy().into_owned();
        if name != LOCK && !name.starts_with(atomic::TEMPORARY_PREFIX) {
            other = Some(name);
        }
    }
    match other {
        Some(found) => Err(RunError::NotEmpty { path: path.to_owned(), found }),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::journal::ItemProgress;
    use crate::testing::{done, failed, manifest, records, stepped};

    /// The message of an error, with the folder replaced by `DIR`.
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
        // A reader needs no lock, and the run need not be complete.
        assert_eq!(run.dir().trajectories().unwrap().count(), 1);
        drop(run);

        let (mut run, state) = RunDir::resume(&path, &manifest()).unwrap();
        assert_eq!(state.get("a"), Some(ItemProgress::Done));
        assert!(
            matches!(state.get("b"), Some(ItemProgress::Unfinished(steps)) if steps.len() == 1)
        );
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
    fn readers_ignore_a_partial_last_line_and_keep_it() {
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
    fn a_second_writer_is_rejected_with_the_pid_of_the_first() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path(), &manifest()).unwrap();
        let expected = format!(
            "another amend process (pid {}) is writing to DIR: wait for it, or stop it",
            std::process::id()
        );
        let second = RunDir::resume(folder.path(), &manifest());
        assert_eq!(message(second, folder.path()), expected);
        drop(run);
        assert!(RunDir::resume(folder.path(), &manifest()).is_ok());
    }

    #[test]
    fn a_new_run_needs_an_empty_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        fs::write(path.join("thesis.tex"), "").unwrap();
        assert_eq!(
            message(RunDir::create(path, &manifest()), path),
            "DIR is not empty (it contains \"thesis.tex\"): choose a new folder"
        );
        assert_eq!(fs::read_dir(path).unwrap().count(), 1);
        fs::remove_file(path.join("thesis.tex")).unwrap();

        // The leftovers of an interrupted creation are ignored.
        fs::write(path.join(LOCK), "123\n").unwrap();
        fs::write(path.join(".amend-x7"), "{").unwrap();
        drop(RunDir::create(path, &manifest()).unwrap());
        assert_eq!(
            message(RunDir::create(path, &manifest()), path),
            "DIR already holds a run: pass --resume to continue it, or choose another folder"
        );
    }

    #[test]
    fn resume_needs_an_equal_manifest() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        assert_eq!(
            message(RunDir::resume(path, &manifest()), path),
            "DIR is not a run directory: it has no manifest.json"
        );
        drop(RunDir::create(path, &manifest()).unwrap());
        let other = Manifest { seed: 8, limit: Some(10), ..manifest() };
        assert_eq!(
            message(RunDir::resume(path, &other), path),
            "the run in DIR was started with another configuration:\n  \
             limit: was none, is 10\n  \
             seed: was 7, is 8\n\
             resume it with the original configuration, or start a new run in another folder"
        );

        let file = path.join(MANIFEST);
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replace("\"format\": 1", "\"format\": 2")).unwrap();
        assert_eq!(
            message(RunDir::open(path), path),
            "DIR/manifest.json has format 2, but this version of amend reads format 1"
        );
        fs::write(&file, &text[..40]).unwrap();
        assert_eq!(
            message(RunDir::open(path), path),
            "DIR/manifest.json is not a manifest that this version of amend can read"
        );
    }

    #[test]
    fn file_names_are_distinct() {
        use super::files::*;
        let names = [
            MANIFEST,
            JOURNAL,
            LOCK,
            REVIEWS,
            REVIEWS_LOCK,
            GOVERNANCE_LOG,
            VERDICTS,
            SCORES,
            FIGURES,
            RESULTS,
            AUDIT,
            REPORT,
            BATCH_REPLIES,
        ];
        let distinct: std::collections::HashSet<_> = names.into_iter().collect();
        assert_eq!(distinct.len(), names.len());
    }

    #[test]
    fn no_output_replaces_a_record() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run");
        drop(RunDir::create(&path, &manifest()).unwrap());
        let run = RunDir::open(&path).unwrap();
        for name in ["manifest.json", "journal.jsonl", "../run/journal.jsonl"] {
            let refused = run.check_output(&path.join(name)).unwrap_err().to_string();
            assert!(refused.contains("is a record of the run"), "{name}: {refused}");
        }
        for name in ["report.html", "pairs.jsonl", "../pairs.jsonl"] {
            run.check_output(&path.join(name)).unwrap();
        }
    }

    #[test]
    fn differences_beyond_the_limit_are_counted() {
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

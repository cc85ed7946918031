//! How far a shard is: its progress while it runs, and its end.
//!
//! Both files say what the journal of the shard says too. They spare `amend status` from reading
//! all journals.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::files::{DONE, PROGRESS};
use crate::store::run_dir::RunError;
use crate::store::run_dir::files::JOURNAL;
use crate::store::{atomic, json_file};
use amend_core::text::format::json_document;

/// How often a running shard writes its progress.
const INTERVAL: Duration = Duration::from_secs(10);

/// The end of a shard: all its items have ended. It is written after everything else.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The number of items.
    pub items: u64,
    /// Those that are done.
    pub done: u64,
    /// Those that failed.
    pub failed: u64,
    /// The number of records in the journal.
    pub records: u64,
    /// The size of the journal, in bytes.
    pub bytes: u64,
    /// The SHA-256 of the journal, in hexadecimal.
    pub sha256: String,
}

impl Done {
    /// Reads the end of the shard in `folder`. `None` if it has not ended, or if its journal
    /// has another size than it had then: a copy is incomplete, or failed items were tried
    /// again.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, RunError> {
        let Some(done) = json_file::read::<Self>(folder.join(DONE))? else { return Ok(None) };
        let journal = fs::metadata(folder.join(JOURNAL));
        let is_whole = journal.is_ok_and(|journal| journal.len() == done.bytes);
        Ok(is_whole.then_some(done))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// It can't be written.
    pub fn write(&self, folder: &Path) -> Result<(), RunError> {
        json_file::write(&folder.join(DONE), self)
    }

    /// Removes the file, before the journal of a shard is written to again.
    ///
    /// # Errors
    /// It can't be removed.
    pub fn remove(folder: &Path) -> Result<(), RunError> {
        let path = folder.join(DONE);
        match fs::remove_file(&path) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                Err(RunError::Io { action: "remove", path, source })
            }
            _ => Ok(()),
        }
    }
}

/// How far a shard was when it last wrote this.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardProgress {
    /// The id of the process.
    pub pid: u32,
    /// The name of the machine, if it is known.
    pub host: Option<String>,
    /// When this was written, in seconds since 1970.
    pub updated: u64,
    /// The number of items.
    pub items: u64,
    /// Those that are done.
    pub done: u64,
    /// Those that failed.
    pub failed: u64,
    /// Those that ended since the process started.
    pub ended_in_session: u64,
    /// The tokens decoded since the process started.
    pub decoded_in_session: u64,
    /// The seconds since the process started.
    pub seconds: f64,
}

impl ShardProgress {
    /// Reads the progress of the shard in `folder`. `None` if it has not started.
    ///
    /// # Errors
    /// The file can't be read.
    pub fn read(folder: &Path) -> Result<Option<Self>, RunError> {
        json_file::read(folder.join(PROGRESS))
    }
}

/// Writes the progress of a shard from time to time.
#[derive(Debug)]
pub struct Heartbeat {
    path: PathBuf,
    started: Instant,
    last: Option<Instant>,
    /// The items that were done and that had failed before this session.
    before: (u64, u64),
    progress: ShardProgress,
}

/// What a session has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionCounts {
    /// The items that were done in it.
    pub done: u64,
    /// The items that failed in it.
    pub failed: u64,
    /// The tokens decoded in it.
    pub decoded: u64,
}

impl Heartbeat {
    /// The heartbeat of the shard in `folder`, of whose `items` some were `done` or had `failed`
    /// before this session.
    #[must_use]
    pub fn new(folder: &Path, items: u64, done: u64, failed: u64) -> Self {
        let progress = ShardProgress {
            pid: std::process::id(),
            host: host(),
            updated: 0,
            items,
            done,
            failed,
            ended_in_session: 0,
            decoded_in_session: 0,
            seconds: 0.0,
        };
        let (path, started) = (folder.join(PROGRESS), Instant::now());
        Self { path, started, last: None, before: (done, failed), progress }
    }

    /// Writes the progress if it was not written for a while.
    pub fn beat(&mut self, session: SessionCounts) {
        if self.last.is_none_or(|last| last.elapsed() >= INTERVAL) {
            self.write(session);
        }
    }

    /// Writes the progress. A failure is a warning, since nothing depends on the file.
    pub fn write(&mut self, session: SessionCounts) {
        self.last = Some(Instant::now());
        let SessionCounts { done, failed, decoded } = session;
        let progress = &mut self.progress;
        progress.updated = now();
        progress.seconds = self.started.elapsed().as_secs_f64();
        (progress.done, progress.failed) = (self.before.0 + done, self.before.1 + failed);
        (progress.ended_in_session, progress.decoded_in_session) = (done + failed, decoded);
        // The folder is not synced: after a crash an older file is as good.
        let written = json_document(progress).map_err(io::Error::from).and_then(|json| {
            let name = format!("{}{PROGRESS}", atomic::TEMPORARY_PREFIX);
            let temporary = self.path.with_file_name(name);
            fs::write(&temporary, json)?;
            fs::rename(&temporary, &self.path)
        });
        if let Err(error) = written {
            tracing::warn!("failed to write {}: {error}", self.path.display());
        }
    }
}

/// The time in seconds since 1970.
pub(super) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}

/// The name of this machine, if the system tells it.
pub(super) fn host() -> Option<String> {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").ok();
    let name = name.or_else(|| std::env::var("HOSTNAME").ok());
    name.map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())
}

//! An advisory file lock. The operating system releases it when the process exits.

use std::fs::{File, TryLockError};
use std::io::{self, Read, Write};
use std::path::Path;
use std::time::Duration;

use super::run_dir::RunError;

/// A lock that is released on drop. The lock file holds the id of the process that took
/// it last, and is never deleted.
pub(crate) struct Lock {
    _file: File,
}

/// How often a lock is tried again that another process holds, and the pause before each.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(50);

impl Lock {
    /// Checks that no process holds the lock file `name` in `folder`. Errors name `guarded`.
    ///
    /// # Errors
    /// A process holds it, or the file can't be opened or locked.
    pub fn check_free(folder: &Path, name: &str, guarded: &Path) -> Result<(), RunError> {
        if !Self::is_held(folder, name)? {
            return Ok(());
        }
        let path = folder.join(name);
        match File::open(&path) {
            Ok(file) => Err(locked_error(file, guarded)),
            Err(source) => Err(RunError::Io { action: "open", path, source }),
        }
    }

    /// Whether a process holds the lock file `name` in `folder`.
    ///
    /// # Errors
    /// The file can't be opened or locked.
    pub fn is_held(folder: &Path, name: &str) -> Result<bool, RunError> {
        let path = folder.join(name);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(source) => return Err(RunError::Io { action: "open", path, source }),
        };
        match file.try_lock_shared() {
            Ok(()) => Ok(false),
            Err(TryLockError::WouldBlock) => Ok(true),
            Err(TryLockError::Error(source)) => Err(RunError::Io { action: "lock", path, source }),
        }
    }

    /// Takes the lock file `name` in `folder`. Errors name `guarded`, the path that the
    /// lock protects.
    pub fn take(folder: &Path, name: &str, guarded: &Path) -> Result<Self, RunError> {
        let path = folder.join(name);
        let io = |action| {
            let path = path.clone();
            move |source| RunError::Io { action, path, source }
        };
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(io("open"))?;
        // `is_held` holds it for a moment.
        let mut locked = file.try_lock();
        for _ in 0..TRIES {
            if !matches!(locked, Err(TryLockError::WouldBlock)) {
                break;
            }
            std::thread::sleep(PAUSE);
            locked = file.try_lock();
        }
        match locked {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(locked_error(file, guarded)),
            Err(TryLockError::Error(source)) => return Err(io("lock")(source)),
        }
        file.set_len(0).map_err(io("write"))?;
        writeln!(file, "{}", std::process::id()).map_err(io("write"))?;
        Ok(Self { _file: file })
    }
}

/// The error of a lock file that another process holds.
fn locked_error(file: File, guarded: &Path) -> RunError {
    let mut text = String::new();
    // The process id is optional in the error.
    let pid = file.take(32).read_to_string(&mut text).ok().and(text.trim().parse().ok());
    RunError::Locked { path: guarded.to_owned(), pid }
}

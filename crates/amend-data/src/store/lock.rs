//! An advisory file lock. The operating system releases it when the process exits.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use super::run_dir::RunError;

/// A lock that is released on drop. The lock file holds the id of the process that took
/// it last, and is never deleted.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
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
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut text = String::new();
                // The process id is optional in the error.
                let pid =
                    file.take(32).read_to_string(&mut text).ok().and(text.trim().parse().ok());
                return Err(RunError::Locked { path: guarded.to_owned(), pid });
            }
            Err(TryLockError::Error(source)) => return Err(io("lock")(source)),
        }
        file.set_len(0).map_err(io("write"))?;
        writeln!(file, "{}", std::process::id()).map_err(io("write"))?;
        Ok(Self { _file: file })
    }
}

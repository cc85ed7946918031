//! The right to be the one writer of a file, held through the operating system,
//! which takes it back from a process that ends.

use std::fs::{File, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use super::run_dir::RunError;

/// The right to write, given up when dropped. The lock's file names the process
/// that holds it, and stays.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock called `name` in `folder`; an error names `guarded`, what
    /// it is the right to write to.
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
                // Not being able to tell who it is doesn't change the answer.
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

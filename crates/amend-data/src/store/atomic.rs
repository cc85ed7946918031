//! Atomic file writes: a temporary file, a sync, a rename.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;

/// The prefix of temporary file names. Readers ignore such files: a crash may
/// leave one behind.
pub const TEMPORARY_PREFIX: &str = ".amend-";

/// Writes the file `path` with `fill`, atomically: if anything fails, the old
/// file stays as it was. If `path` is a symbolic link, its target is replaced. If
/// it is not a regular file (a pipe, a terminal), it is written directly.
///
/// # Errors
/// The file can't be written, or `fill` fails.
pub fn write<T, E: From<io::Error>>(
    path: &Path,
    fill: impl FnOnce(&mut (dyn Write + Send)) -> Result<T, E>,
) -> Result<T, E> {
    let target = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if is_special(&target) {
        let mut out = BufWriter::new(File::options().write(true).open(&target)?);
        let value = fill(&mut out)?;
        out.flush()?;
        return Ok(value);
    }
    let folder = parent(&target);
    let mut out = BufWriter::new(temporary(folder)?);
    let value = fill(&mut out)?;
    let file = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.as_file().sync_all()?;
    file.persist(&target).map_err(|error| error.error)?;
    sync_folder(folder)?;
    Ok(value)
}

/// Writes the file `path` atomically, unless it exists: then does nothing. Of several
/// processes that call this at once, one writes the file.
///
/// # Errors
/// The file can't be written.
pub fn write_once(path: &Path, bytes: &[u8]) -> io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let folder = parent(path);
    let mut file = temporary(folder)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    match file.persist_noclobber(path) {
        Ok(_) => {}
        Err(error) if error.error.kind() == io::ErrorKind::AlreadyExists => {}
        // A file system without hard links.
        Err(error) => drop(error.file.persist(path).map_err(|error| error.error)?),
    }
    sync_folder(folder)
}

/// A temporary file that becomes an ordinary one.
fn temporary(folder: &Path) -> io::Result<tempfile::NamedTempFile> {
    let mut builder = tempfile::Builder::new();
    builder.prefix(TEMPORARY_PREFIX);
    // A temporary file is private by default.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    builder.tempfile_in(folder)
}

/// Returns whether `path` exists and is not a regular file.
pub fn is_special(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|metadata| !metadata.is_file())
}

/// Syncs a folder, so that files created or renamed in it survive a crash.
pub fn sync_folder(folder: &Path) -> io::Result<()> {
    // Only Unix can open a folder as a file; elsewhere the file system takes care
    // of it.
    if cfg!(unix) { File::open(folder)?.sync_all() } else { Ok(()) }
}

/// The parent folder of a path; `.` for a bare name.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder.as_os_str() != OsStr::new("") => folder,
        _ => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_text(path: &Path, text: &str) -> io::Result<()> {
        write(path, |out| out.write_all(text.as_bytes()))
    }

    #[test]
    fn a_failed_write_keeps_the_old_file_and_leaves_no_temporary_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        write_text(&path, "old").unwrap();
        let failed = write(&path, |out| {
            out.write_all(b"new")?;
            Err::<(), _>(io::Error::other("stop"))
        });
        assert_eq!(failed.unwrap_err().to_string(), "stop");
        assert_eq!(fs::read(&path).unwrap(), b"old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[cfg(unix)]
    #[test]
    fn a_link_is_kept_and_its_target_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (path, link) = (folder.path().join("file"), folder.path().join("link"));
        write_text(&path, "old").unwrap();
        std::os::unix::fs::symlink(&path, &link).unwrap();
        write_text(&link, "new").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read(&path).unwrap(), b"new");
    }

    #[cfg(unix)]
    #[test]
    fn a_device_is_written_directly() {
        write_text(Path::new("/dev/null"), "text").unwrap();
        assert!(is_special(Path::new("/dev/null")));
    }

    #[test]
    fn the_parent_of_a_bare_name_is_the_current_folder() {
        assert_eq!(parent(Path::new("run")), Path::new("."));
        assert_eq!(parent(Path::new("a/run")), Path::new("a"));
        assert_eq!(parent(Path::new("/")), Path::new("."));
    }
}

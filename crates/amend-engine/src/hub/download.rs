//! Downloads one file of a repository into the cache.
//!
//! The bytes go to a file beside the final one, which another call continues after an
//! interruption: the final name is the hash of the content, so both calls want the same
//! bytes. The content gets its final name once its size and checksum are right.

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use sha2::{Digest, Sha256};
use ureq::http::{Response, StatusCode};

use super::client::{Client, Refusal, RemoteFile, RequestError};
use super::{DownloadEvent, DownloadObserver};
use amend_core::hash;
use amend_core::model::EngineError;

/// What llama.cpp adds to the name of an incomplete file.
const PARTIAL: &str = ".downloadInProgress";

/// How many tries in a row may bring no bytes.
const MAX_FAILURES: u32 = 4;

/// The pause after the first failure. It doubles with every further one.
const FIRST_PAUSE: Duration =
    if cfg!(test) { Duration::from_millis(1) } else { Duration::from_secs(1) };

/// How many bytes are read at once.
const BUFFER: usize = 1 << 20;

/// Downloads `file` to `blob`. Returns the SHA-256 of the content, or `None` if
/// another process downloaded it meanwhile.
///
/// # Errors
/// The Hub refuses the file or can't be reached; the content has another size or checksum
/// than the Hub states; the disk is full. What has arrived is kept, unless its checksum is
/// wrong.
pub(super) fn download(
    client: &Client,
    file: &RemoteFile,
    blob: &Path,
    observer: &mut DownloadObserver<'_>,
) -> Result<Option<String>, EngineError> {
    let path = partial(blob);
    let disk = |error| disk_error(&path, error);
    fs::create_dir_all(blob.parent().unwrap_or(blob)).map_err(disk)?;
    let mut partial = Partial::open(&path).map_err(disk)?;
    if blob.exists() {
        // Opening the file may have created it again, and it is no longer needed.
        let _ = fs::remove_file(&path);
        return Ok(None);
    }
    partial.resume(file.size).map_err(disk)?;
    observer(DownloadEvent::Started { file: &file.path, done: partial.done, total: file.size });
    let mut failures = 0;
    while partial.done < file.size {
        let before = partial.done;
        let error = match partial.receive(client, file, observer) {
            Ok(()) if partial.done > before => {
                failures = 0;
                continue;
            }
            Ok(()) => None,
            Err(ReceiveError::Disk(error)) => return Err(disk(error)),
            Err(ReceiveError::Request(error)) => Some(error),
        };
        failures = if partial.done > before { 1 } else { failures + 1 };
        let is_final = error.as_ref().is_some_and(|error| !error.is_transient());
        if is_final || failures == MAX_FAILURES {
            return Err(interrupted(client, file, partial.done, error));
        }
        tracing::warn!(
            "the download of {} was interrupted at {} of {} bytes; retrying",
            file.path,
            partial.done,
            file.size
        );
        std::thread::sleep(FIRST_PAUSE * 2_u32.pow(failures - 1));
    }
    let Partial { file: content, digest, .. } = partial;
    let sha256 = hash::hex(&digest.finalize());
    if let Some(stated) = &file.sha256
        && *stated != sha256
    {
        fs::remove_file(&path).map_err(disk)?;
        return Err(EngineError::new(format!(
            "{} arrived damaged, and was deleted: its SHA-256 is {sha256}, and the Hub states \
             {stated}",
            file.path
        ))
        .hinted("run the command again to download the file again"));
    }
    content.sync_all().map_err(disk)?;
    fs::rename(&path, blob).map_err(disk)?;
    observer(DownloadEvent::Finished);
    Ok(Some(sha256))
}

/// The path of the incomplete file.
pub(super) fn partial(blob: &Path) -> PathBuf {
    let mut name = blob.as_os_str().to_owned();
    name.push(PARTIAL);
    name.into()
}

/// An incomplete file, locked for this process.
struct Partial {
    file: File,
    /// The digest of its bytes.
    digest: Sha256,
    /// The number of its bytes.
    done: u64,
}

enum ReceiveError {
    Disk(io::Error),
    Request(RequestError),
}

impl Partial {
    /// Opens or creates the file. Waits if another process is writing it.
    fn open(path: &Path) -> io::Result<Self> {
        let options = File::options().read(true).write(true).create(true).truncate(false).clone();
        let file = options.open(path)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                tracing::warn!("another amend is downloading this model; waiting for it");
                file.lock()?;
            }
            // Some network file systems have no locks. The checksum detects a clash.
            Err(TryLockError::Error(_)) => {}
        }
        Ok(Self { file, digest: Sha256::new(), done: 0 })
    }

    /// Hashes the bytes that are there, of a content of `size` bytes. Drops them if they
    /// are too many.
    fn resume(&mut self, size: u64) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        if length > size {
            return self.clear();
        }
        let mut buffer = vec![0; BUFFER];
        let mut bytes = (&self.file).take(length);
        loop {
            let read = bytes.read(&mut buffer)?;
            if read == 0 {
                return Ok(());
            }
            self.digest.update(&buffer[..read]);
            self.done += read as u64;
        }
    }

    fn clear(&mut self) -> io::Result<()> {
        self.file.set_len(0)?;
        self.file.seek(SeekFrom::Start(0))?;
        self.digest = Sha256::new();
        self.done = 0;
        Ok(())
    }

    /// Requests the rest of the content and appends it. Returns `Ok` when the connection
    /// ends, which can be before the content does.
    fn receive(
        &mut self,
        client: &Client,
        file: &RemoteFile,
        observer: &mut DownloadObserver<'_>,
    ) -> Result<(), ReceiveError> {
        let mut response = match client.open(&file.url, self.done) {
            Ok(response) => response,
            // The Hub has no bytes after those that are there.
            Err(RequestError::Status { code: 416, .. }) if self.done > 0 => {
                self.clear().map_err(ReceiveError::Disk)?;
                client.open(&file.url, 0).map_err(ReceiveError::Request)?
            }
            Err(error) => return Err(ReceiveError::Request(error)),
        };
        let start = if response.status() == StatusCode::PARTIAL_CONTENT { self.done } else { 0 };
        match check_size(&response, start, file) {
            Ok(()) => {}
            // A server that can't continue the content may be able to send all of it.
            Err(_) if self.done > 0 => return self.clear().map_err(ReceiveError::Disk),
            Err(error) => return Err(ReceiveError::Request(error)),
        }
        if start == 0 && self.done > 0 {
            self.clear().map_err(ReceiveError::Disk)?;
        }
        // One byte more than expected would show that the content is too long.
        let mut body = response.body_mut().as_reader().take(file.size - self.done + 1);
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = match body.read(&mut buffer) {
                Ok(0) => return Ok(()),
                Ok(read) => read,
                Err(error) => {
                    let source = Box::new(ureq::Error::Io(error));
                    let url = file.url.clone();
                    return Err(ReceiveError::Request(RequestError::Unreachable { url, source }));
                }
            };
            if self.done + read as u64 > file.size {
                return Err(ReceiveError::Request(another_size(file, "more")));
            }
            self.file.write_all(&buffer[..read]).map_err(ReceiveError::Disk)?;
            self.digest.update(&buffer[..read]);
            self.done += read as u64;
            observer(DownloadEvent::Advanced { done: self.done });
        }
    }
}

/// Checks that the response continues a content of the expected size at byte `start`.
fn check_size<B>(
    response: &Response<B>,
    start: u64,
    file: &RemoteFile,
) -> Result<(), RequestError> {
    let header = |name| response.headers().get(name)?.to_str().ok();
    if response.status() == StatusCode::PARTIAL_CONTENT {
        let expected = format!("bytes {start}-{}/{}", file.size.saturating_sub(1), file.size);
        let range = header("Content-Range").unwrap_or_default();
        if range != expected {
            let message = format!("its range is {range:?}, and should be {expected:?}");
            return Err(RequestError::Malformed { url: file.url.clone(), message });
        }
    } else if let Some(length) = header("Content-Length")
        && length.parse() != Ok(file.size)
    {
        return Err(another_size(file, length));
    }
    Ok(())
}

fn another_size(file: &RemoteFile, length: &str) -> RequestError {
    let message = format!("it has {length} bytes, and the Hub lists {} for the file", file.size);
    RequestError::Malformed { url: file.url.clone(), message }
}

/// The error of a download that ended early.
fn interrupted(
    client: &Client,
    file: &RemoteFile,
    done: u64,
    error: Option<RequestError>,
) -> EngineError {
    if let Some(refusal @ (Refusal::Gated | Refusal::Denied)) =
        error.as_ref().and_then(RequestError::refusal)
    {
        return refusal.error(&file.repo, client.has_token());
    }
    let hint = match error {
        Some(RequestError::Malformed { .. }) => {
            "the server does not send what its list promises: try again later, or choose another \
             one with HF_ENDPOINT"
        }
        _ => "run the command again: it continues where the download stopped",
    };
    let interrupted = EngineError::new(format!(
        "failed to download {}: it ended after {done} of {} bytes",
        file.path, file.size
    ))
    .hinted(hint);
    match error {
        Some(error) => interrupted.caused_by(error),
        None => interrupted,
    }
}

/// The error of writing the file at `path`.
fn disk_error(path: &Path, error: io::Error) -> EngineError {
    let hint = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            "free some space, or set HF_HOME to a folder on another disk, and run the command \
             again: it continues where the download stopped"
        }
        _ => "set HF_HOME to a folder that can be written",
    };
    EngineError::new(format!("failed to write {}", path.display())).hinted(hint).caused_by(error)
}

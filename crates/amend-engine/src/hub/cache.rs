//! The cache of the Hugging Face Hub, which llama.cpp and Python programs use too.
//!
//! A repository `ORG/REPO` has the folder `models--ORG--REPO`. In it, `blobs` has the
//! contents of files, each named by its hash; `snapshots/COMMIT` has the files of a commit
//! as links to them; and `refs/BRANCH` has the commit of a branch.

use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// The variables that name the cache, in the order in which llama.cpp reads them, and the
/// folder below each.
const VARIABLES: [(&str, &str); 6] = [
    ("LLAMA_CACHE", ""),
    ("HF_HUB_CACHE", ""),
    ("HUGGINGFACE_HUB_CACHE", ""),
    ("HF_HOME", "hub"),
    ("XDG_CACHE_HOME", "huggingface/hub"),
    (HOME, ".cache/huggingface/hub"),
];

/// The variable of the user's home folder.
const HOME: &str = if cfg!(windows) { "USERPROFILE" } else { "HOME" };

/// The folder of the cache, from the value of each variable.
pub(super) fn folder(variable: impl Fn(&str) -> Option<OsString>) -> Option<PathBuf> {
    for (name, below) in VARIABLES {
        if let Some(value) = variable(name) {
            let folder = PathBuf::from(value);
            return Some(if below.is_empty() { folder } else { folder.join(below) });
        }
    }
    None
}

/// The cache.
#[derive(Debug)]
pub(super) struct Cache(PathBuf);

impl Cache {
    pub fn new(folder: PathBuf) -> Self {
        Self(folder)
    }

    /// The part of the cache for a repository.
    pub fn repo(&self, repo: &str) -> RepoCache {
        RepoCache(self.0.join(format!("models--{}", repo.replace('/', "--"))))
    }
}

/// The folder of a repository.
#[derive(Debug)]
pub(super) struct RepoCache(PathBuf);

impl RepoCache {
    /// The content with this hash.
    pub fn blob(&self, hash: &str) -> PathBuf {
        self.0.join("blobs").join(hash)
    }

    /// The file with this path in a commit.
    pub fn snapshot(&self, commit: &str, path: &str) -> PathBuf {
        self.0.join("snapshots").join(commit).join(path)
    }

    /// The folder, to be displayed.
    pub fn display(&self) -> std::path::Display<'_> {
        self.0.display()
    }

    /// Records the commit of a branch.
    ///
    /// # Errors
    /// The file can't be written.
    pub fn set_branch(&self, name: &str, commit: &str) -> io::Result<()> {
        let path = self.0.join("refs").join(name);
        if fs::read_to_string(&path).is_ok_and(|recorded| recorded.trim() == commit) {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(&self.0);
        fs::create_dir_all(folder)?;
        // By rename, so that another process never reads half a name.
        let part = temporary(&path);
        fs::write(&part, commit)?;
        fs::rename(&part, &path)
    }

    /// The recorded commit of the branch `main`, or of another branch.
    pub fn commit(&self) -> Option<String> {
        let refs = self.0.join("refs");
        let mut branches: Vec<PathBuf> =
            fs::read_dir(&refs).ok()?.flatten().map(|entry| entry.path()).collect();
        branches.sort();
        branches.sort_by_key(|path| *path != refs.join("main"));
        branches.iter().find_map(|path| {
            let commit = fs::read_to_string(path).ok()?.trim().to_owned();
            is_commit(&commit).then_some(commit)
        })
    }

    /// The paths of the files of a commit that are in the cache, sorted.
    pub fn files(&self, commit: &str) -> Vec<String> {
        let root = self.0.join("snapshots").join(commit);
        let mut folders = vec![root.clone()];
        let mut paths = Vec::new();
        while let Some(folder) = folders.pop() {
            let Ok(entries) = fs::read_dir(&folder) else { continue };
            for path in entries.flatten().map(|entry| entry.path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.exists()
                    && let Ok(inner) = path.strip_prefix(&root)
                    && let Some(inner) = inner.to_str()
                {
                    paths.push(inner.replace(std::path::MAIN_SEPARATOR, "/"));
                }
            }
        }
        paths.sort();
        paths
    }
}

/// Makes the file at `path` a link to `blob`. Where links are not possible, moves the
/// content there.
///
/// # Errors
/// Neither is possible.
pub(super) fn link(blob: &Path, path: &Path) -> io::Result<()> {
    // Another process may have been faster.
    if path.exists() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(path);
    fs::create_dir_all(folder)?;
    // By rename, which replaces a link whose content was deleted, and never leaves a moment
    // without a link.
    let part = temporary(path);
    match symlink(&relative(blob, folder), &part) {
        Ok(()) => fs::rename(&part, path),
        Err(_) => fs::rename(blob, path),
    }
}

/// The name of a file beside `path` that no other call uses.
fn temporary(path: &Path) -> PathBuf {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let call = CALLS.fetch_add(1, Ordering::Relaxed);
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{}-{call}.tmp", std::process::id()));
    name.into()
}

#[cfg(unix)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::unix::fs::symlink(target, link)
}

#[cfg(windows)]
fn symlink(target: &Path, link: &Path) -> io::Result<()> {
    std::os::windows::fs::symlink_file(target, link)
}

/// `path` as seen from `folder`, which must have a common parent.
fn relative(path: &Path, folder: &Path) -> PathBuf {
    let common = path.components().zip(folder.components()).take_while(|(a, b)| a == b).count();
    let up = folder.components().skip(common).map(|_| Component::ParentDir);
    up.chain(path.components().skip(common)).collect()
}

/// Whether a text is the hash of a commit.
pub(super) fn is_commit(text: &str) -> bool {
    text.len() == 40 && is_hexadecimal(text)
}

/// Whether a text can be the hash of a content: SHA-256, or the SHA-1 of Git.
pub(super) fn is_hash(text: &str) -> bool {
    matches!(text.len(), 40 | 64) && is_hexadecimal(text)
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Whether a path from the Hub stays inside the folder that it is joined to.
pub(super) fn is_inside(path: &str) -> bool {
    !path.is_empty()
        && Path::new(path).components().all(|part| matches!(part, Component::Normal(_)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_that_of_llama_cpp() {
        let found = |set: &[(&str, &str)]| {
            let value = |name: &str| {
                let (_, value) = set.iter().find(|(set, _)| *set == name)?;
                Some(OsString::from(value))
            };
            folder(value).map(|path| path.display().to_string())
        };
        let home = (HOME, "/h");
        for (set, expected) in [
            (&[][..], None),
            (&[home], Some("/h/.cache/huggingface/hub")),
            (&[home, ("XDG_CACHE_HOME", "/x")], Some("/x/huggingface/hub")),
            (&[home, ("XDG_CACHE_HOME", "/x"), ("HF_HOME", "/hf")], Some("/hf/hub")),
            (&[("HF_HOME", "/hf"), ("HUGGINGFACE_HUB_CACHE", "/c")], Some("/c")),
            (&[("HUGGINGFACE_HUB_CACHE", "/c"), ("HF_HUB_CACHE", "/d")], Some("/d")),
            (&[("HF_HUB_CACHE", "/d"), ("LLAMA_CACHE", "/l")], Some("/l")),
        ] {
            assert_eq!(found(set).as_deref(), expected, "{set:?}");
        }
    }

    #[test]
    fn paths_and_hashes_of_the_hub_are_checked() {
        for path in ["m.gguf", "Q8_0/m.gguf"] {
            assert!(is_inside(path), "{path}");
        }
        for path in ["", "../m.gguf", "a/../../m.gguf", "/etc/passwd"] {
            assert!(!is_inside(path), "{path}");
        }
        assert!(is_hash(&"a1".repeat(32)) && is_hash(&"0".repeat(40)));
        for hash in ["", "../../x", &"g".repeat(40), &"a".repeat(41)] {
            assert!(!is_hash(hash), "{hash}");
        }
    }

    #[test]
    fn links_are_relative_and_replace_broken_ones() {
        let folder = tempfile::tempdir().unwrap();
        let repo = Cache::new(folder.path().to_owned()).repo("o/m");
        let (blob, path) = (repo.blob("ab"), repo.snapshot("c", "deep/m.gguf"));
        assert_eq!(relative(&blob, path.parent().unwrap()), Path::new("../../../blobs/ab"));
        fs::create_dir_all(blob.parent().unwrap()).unwrap();
        fs::write(&blob, "content").unwrap();
        for _ in 0..2 {
            link(&blob, &path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), "content");
        }
        fs::rename(&blob, repo.blob("cd")).unwrap();
        assert!(!path.exists());
        link(&repo.blob("cd"), &path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "content");
    }
}

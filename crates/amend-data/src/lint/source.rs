//! Finds the data files: a run, a file, or a folder of splits.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

use super::LintError;
use crate::store::run_dir::{RunDir, files};

/// A file of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct DataFile {
    /// The file's path.
    pub path: PathBuf,
    /// The split that the file belongs to.
    pub split: String,
}

/// The data that `DATA` names.
#[derive(Debug)]
pub(super) enum Data {
    /// A run, whose pairs are the rows.
    Run(Box<RunDir>),
    /// One file.
    File(DataFile),
    /// The data files of a folder, or of its subfolder `data`.
    Folder(Vec<DataFile>),
}

/// The extensions of data files.
const EXTENSIONS: [&str; 4] = ["jsonl", "ndjson", "json", "parquet"];

impl Data {
    /// Finds the data at `path`.
    ///
    /// # Errors
    /// Fails if nothing is at `path`, a run cannot be opened, or a folder contains no
    /// data file.
    pub fn open(path: &Path) -> Result<Self, LintError> {
        let io = |source| LintError::Read { path: path.to_owned(), source };
        if !std::fs::metadata(path).map_err(io)?.is_dir() {
            return Ok(Self::File(DataFile::new(path)));
        }
        if path.join(files::MANIFEST).exists() && path.join(files::JOURNAL).exists() {
            return Ok(Self::Run(Box::new(RunDir::open(path)?)));
        }
        let mut files = listed(path).map_err(io)?;
        let inner = path.join("data");
        if files.is_empty() && inner.is_dir() {
            files = listed(&inner).map_err(io)?;
        }
        if files.is_empty() {
            return Err(LintError::NoFiles { path: path.to_owned() });
        }
        Ok(Self::Folder(files))
    }
}

impl DataFile {
    fn new(path: &Path) -> Self {
        let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        // Shards are named train-00000-of-00002.
        let split = stem.split(['-', '.']).next().unwrap_or(stem).to_owned();
        Self { path: path.to_owned(), split }
    }

    /// Whether the file holds training data rather than test data.
    fn trains(&self) -> bool {
        self.split.contains("train")
    }
}

/// The data files of a folder, test splits first, so that a row in two splits is
/// reported in the training split.
fn listed(folder: &Path) -> std::io::Result<Vec<DataFile>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
        let extension = path.extension().and_then(OsStr::to_str).unwrap_or_default();
        // Dataset descriptions and logs of removed rows are no data.
        let described = name.starts_with("dataset_info") || name.contains(".removed.");
        if EXTENSIONS.contains(&extension) && !described && !name.starts_with('.') && path.is_file()
        {
            files.push(DataFile::new(&path));
        }
    }
    files.sort_by(|a, b| (a.trains(), &a.path).cmp(&(b.trains(), &b.path)));
    Ok(files)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn test_splits_of_a_folder_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("data");
        fs::create_dir(&inner).unwrap();
        for name in [
            "train-00001-of-00002.parquet",
            "train-00000-of-00002.parquet",
            "validation.jsonl",
            "test.json",
            "README.md",
            "dataset_info.json",
            "out.removed.jsonl",
        ] {
            fs::write(inner.join(name), "").unwrap();
        }
        for path in [folder.path(), inner.as_path()] {
            let Data::Folder(files) = Data::open(path).unwrap() else { panic!() };
            let splits: Vec<_> = files.iter().map(|file| file.split.as_str()).collect();
            assert_eq!(splits, ["test", "validation", "train", "train"]);
            assert!(files[2].path.ends_with("data/train-00000-of-00002.parquet"));
        }
        let Data::File(file) = Data::open(&inner.join("test.json")).unwrap() else { panic!() };
        assert_eq!(file.split, "test");
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(Data::open(empty.path()), Err(LintError::NoFiles { .. })));
        assert!(matches!(Data::open(&empty.path().join("no")), Err(LintError::Read { .. })));
    }
}

//! Files of rows: which files the inputs of a command name.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempPath;

use super::fault::{ReadFault, ReadProblem};

/// The extensions of data files in a folder, which may be followed by one of
/// [`COMPRESSED`].
const EXTENSIONS: [&str; 9] =
    ["jsonl", "ndjson", "json", "csv", "tsv", "parquet", "arrow", "feather", "jsonlines"];

/// The extensions of compressed files.
const COMPRESSED: [&str; 3] = ["gz", "zst", "zstd"];

/// The split of a file whose name says nothing about it.
const WHOLE: &str = "train";

/// A source of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Standard input, written `-`.
    Stdin,
    /// A file or a folder.
    Path(PathBuf),
}

impl From<PathBuf> for Input {
    fn from(path: PathBuf) -> Self {
        if path.as_os_str() == "-" { Self::Stdin } else { Self::Path(path) }
    }
}

impl Input {
    /// The name in messages and in the manifest.
    #[must_use]
    pub fn name(&self) -> String {
        match self {
            Self::Stdin => "standard input".to_owned(),
            Self::Path(path) => path.display().to_string(),
        }
    }
}

/// A file of rows.
#[derive(Debug, Clone)]
pub struct RowFile {
    /// The path. Standard input is a temporary file.
    pub path: PathBuf,
    /// The name in messages and in the manifest.
    pub name: String,
    /// The split that the file belongs to: its name up to the first hyphen or dot.
    pub split: String,
    /// Deletes the temporary file when the last clone is dropped.
    temporary: Option<Arc<TempPath>>,
}

impl RowFile {
    /// The file at `path`, which is named as the user named it.
    #[must_use]
    pub fn new(path: &Path) -> Self {
        let stem = path.file_stem().and_then(OsStr::to_str).unwrap_or_default();
        // Shards are named train-00000-of-00002.
        let split = stem.split(['-', '.']).next().unwrap_or(stem).to_owned();
        Self { path: path.to_owned(), name: path.display().to_string(), split, temporary: None }
    }

    /// A temporary file with everything that `input` still contains.
    fn copied(name: String, mut input: impl io::Read) -> Result<Self, ReadFault> {
        let copied = tempfile::NamedTempFile::new().and_then(|mut file| {
            io::copy(&mut input, &mut file)?;
            Ok(file.into_temp_path())
        });
        match copied {
            Ok(path) => Ok(Self {
                path: path.to_path_buf(),
                name,
                split: WHOLE.to_owned(),
                temporary: Some(Arc::new(path)),
            }),
            Err(error) => Err(whole(name, ReadProblem::Read(error))),
        }
    }

    /// The extension in lower case, without that of a compression. Empty if there is none.
    #[must_use]
    pub fn extension(&self) -> String {
        if self.temporary.is_some() {
            return String::new();
        }
        extension(&self.path)
    }

    /// Whether the file holds training data rather than test data.
    fn trains(&self) -> bool {
        self.split.contains("train")
    }
}

/// A fault of a whole file.
pub(super) fn whole(file: String, problem: ReadProblem) -> ReadFault {
    ReadFault { file, place: None, problem }
}

/// The extension of a path in lower case, without that of a compression.
fn extension(path: &Path) -> String {
    let lower = |text: &OsStr| text.to_str().unwrap_or_default().to_ascii_lowercase();
    let last = path.extension().map(lower).unwrap_or_default();
    if !COMPRESSED.contains(&last.as_str()) {
        return last;
    }
    let stem = path.file_stem().map(Path::new);
    stem.and_then(Path::extension).map(lower).unwrap_or_default()
}

/// Whether a path has the extension of a file of rows. Plain text counts too, although the
/// text files of a folder are not its data.
#[must_use]
pub fn is_row_file(path: &Path) -> bool {
    let extension = extension(path);
    extension == "txt" || EXTENSIONS.contains(&extension.as_str())
}

/// Whether files with the names of two paths may be of one kind. The name says nothing if it
/// has no extension of a file of rows.
#[must_use]
pub fn are_named_alike(a: &Path, b: &Path) -> bool {
    let kind = |path: &Path| {
        let extension = extension(path);
        match extension.as_str() {
            "jsonl" | "ndjson" | "json" | "jsonlines" => Some("json".to_owned()),
            "arrow" | "feather" => Some("arrow".to_owned()),
            _ if is_row_file(path) => Some(extension),
            _ => None,
        }
    };
    match (kind(a), kind(b)) {
        (Some(a), Some(b)) => a == b,
        _ => true,
    }
}

/// The files that inputs name: a folder stands for its data files, or those of its folder
/// `data`. What can be read only once, such as standard input, is copied to a temporary
/// file that lives as long as the result.
///
/// # Errors
/// Fails if an input cannot be opened, a folder has no data files, a file is named twice, or
/// standard input cannot be copied.
pub fn files(inputs: &[Input]) -> Result<Vec<RowFile>, ReadFault> {
    let mut all = Vec::new();
    for files in files_of_each(inputs) {
        all.extend(files?);
    }
    Ok(all)
}

/// The files of each input, or its fault. See [`files`].
pub fn files_of_each(inputs: &[Input]) -> Vec<Result<Vec<RowFile>, ReadFault>> {
    let mut seen = HashMap::new();
    inputs.iter().map(|input| files_of(input, &mut seen)).collect()
}

/// The files of an input. `seen` has the name of each file before it.
fn files_of(input: &Input, seen: &mut HashMap<PathBuf, String>) -> Result<Vec<RowFile>, ReadFault> {
    let name = input.name();
    let failed = |problem| whole(name.clone(), problem);
    let open = |error| failed(ReadProblem::Open(error));
    let mut see = |path: PathBuf, name: &str| match seen.insert(path, name.to_owned()) {
        Some(first) => Err(whole(name.to_owned(), ReadProblem::Twice { first })),
        None => Ok(()),
    };
    let Input::Path(path) = input else {
        see(PathBuf::from("-"), &name)?;
        return Ok(vec![RowFile::copied(name, io::stdin().lock())?]);
    };
    let metadata = fs::metadata(path).map_err(open)?;
    let files = if metadata.is_dir() {
        data_files(path).map_err(failed)?
    } else if metadata.is_file() {
        vec![RowFile::new(path)]
    } else {
        vec![RowFile::copied(name.clone(), File::open(path).map_err(open)?)?]
    };
    for file in &files {
        see(fs::canonicalize(&file.path).unwrap_or_else(|_| file.path.clone()), &file.name)?;
    }
    Ok(files)
}

/// The data files of a folder, or of its folder `data`.
fn data_files(folder: &Path) -> Result<Vec<RowFile>, ReadProblem> {
    let inner = folder.join("data");
    let mut files = listed(folder).map_err(ReadProblem::Open)?;
    if inner.is_dir() {
        let in_data = listed(&inner).map_err(ReadProblem::Open)?;
        if let (Some(file), Some(_)) = (files.first(), in_data.first()) {
            return Err(ReadProblem::TwoFolders { file: file.name.clone() });
        }
        files.extend(in_data);
    }
    if !files.is_empty() {
        return Ok(files);
    }
    let mut folders = Vec::new();
    for entry in fs::read_dir(folder).map_err(ReadProblem::Open)?.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if entry.path().is_dir() && !name.starts_with('.') {
            folders.push(name);
        }
    }
    folders.sort();
    folders.truncate(10);
    let known = EXTENSIONS.map(|extension| format!(".{extension}")).join(", ");
    let folders = if folders.is_empty() { None } else { Some(folders.join(", ")) };
    Err(ReadProblem::NoFiles { known, folders })
}

/// The data files in a folder, test splits first, so that a row in two splits is reported
/// in the training split.
fn listed(folder: &Path) -> io::Result<Vec<RowFile>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if EXTENSIONS.contains(&extension(&path).as_str())
            && !is_description(&path)
            && path.is_file()
        {
            files.push(RowFile::new(&path));
        }
    }
    files.sort_by(|a, b| (a.trains(), &a.path).cmp(&(b.trains(), &b.path)));
    Ok(files)
}

/// Whether a file describes data rather than contains it: dataset descriptions, logs of
/// removed rows, and hidden files.
fn is_description(path: &Path) -> bool {
    let name = path.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let descriptions = ["dataset_info", "dataset_dict.json", "state.json", "README"];
    name.starts_with('.')
        || name.contains(".removed.")
        || descriptions.iter().any(|start| name.starts_with(start))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(path: &Path) -> Vec<Input> {
        vec![Input::Path(path.to_owned())]
    }

    #[test]
    fn a_dash_means_standard_input() {
        assert_eq!(Input::from(PathBuf::from("-")), Input::Stdin);
        assert_eq!(Input::from(PathBuf::from("./-")), Input::Path(PathBuf::from("./-")));
    }

    #[test]
    fn a_folder_stands_for_its_data_files_test_splits_first() {
        let folder = tempfile::tempdir().unwrap();
        let inner = folder.path().join("data");
        fs::create_dir(&inner).unwrap();
        for name in [
            "train-00001-of-00002.parquet",
            "train-00000-of-00002.parquet",
            "validation.jsonl.gz",
            "eval.CSV",
            "test.json",
            "README.md",
            "README.json",
            "notes.txt",
            "dataset_info.json",
            "dataset_infos.json",
            "state.json",
            "out.removed.jsonl",
            ".hidden.jsonl",
        ] {
            fs::write(inner.join(name), "").unwrap();
        }
        for path in [folder.path(), inner.as_path()] {
            let files = files(&paths(path)).unwrap();
            let splits: Vec<_> = files.iter().map(|file| file.split.as_str()).collect();
            assert_eq!(splits, ["eval", "test", "validation", "train", "train"]);
            assert!(files[3].path.ends_with("data/train-00000-of-00002.parquet"));
        }
        let file = files(&paths(&inner.join("test.json"))).unwrap().remove(0);
        assert_eq!((file.split.as_str(), file.extension().as_str()), ("test", "json"));
        let file = files(&paths(&inner.join("validation.jsonl.gz"))).unwrap().remove(0);
        assert_eq!((file.split.as_str(), file.extension().as_str()), ("validation", "jsonl"));
    }

    #[test]
    fn a_folder_without_data_names_its_folders() {
        let folder = tempfile::tempdir().unwrap();
        let error = |path: &Path| files(&paths(path)).unwrap_err().problem;
        assert!(matches!(error(folder.path()), ReadProblem::NoFiles { folders: None, .. }));
        fs::create_dir(folder.path().join("harmless")).unwrap();
        let two = tempfile::tempdir().unwrap();
        fs::create_dir(two.path().join("data")).unwrap();
        for name in ["a.jsonl", "data/b.jsonl"] {
            fs::write(two.path().join(name), "").unwrap();
        }
        assert!(matches!(error(two.path()), ReadProblem::TwoFolders { .. }));
        let message = error(folder.path()).to_string();
        assert!(message.ends_with(": name one of its folders (harmless)"), "{message}");
        assert!(matches!(error(&folder.path().join("no")), ReadProblem::Open(_)));
    }

    #[test]
    fn a_file_named_twice_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.jsonl");
        fs::write(&path, "").unwrap();
        let again = folder.path().join(".").join("a.jsonl");
        for other in [again, folder.path().to_owned()] {
            let fault = files(&[Input::Path(path.clone()), Input::Path(other)]).unwrap_err();
            assert!(matches!(fault.problem, ReadProblem::Twice { .. }), "{fault}");
        }
    }

    #[test]
    fn what_can_be_read_once_is_copied_for_as_long_as_the_file_lives() {
        let file = RowFile::copied("standard input".to_owned(), &b"a\nb\n"[..]).unwrap();
        let clone = file.clone();
        drop(file);
        for _ in 0..2 {
            assert_eq!(fs::read(&clone.path).unwrap(), b"a\nb\n");
        }
        let path = clone.path.clone();
        drop(clone);
        assert!(!path.exists());
    }
}

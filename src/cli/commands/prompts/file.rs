//! The file of prompts: written a row at a time, so that an interruption loses none.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::collection::{Collection, PromptRow};
use crate::cli::output::error::CommandError;
use crate::cli::output::terminal;
use amend_data::rows::json_lines;

/// Where rows go.
pub enum PromptFile {
    Stdout,
    File { path: PathBuf, file: File },
}

impl PromptFile {
    /// Creates the file, or opens stdout without a path.
    ///
    /// # Errors
    /// The file exists or can't be created.
    pub fn create(path: Option<&Path>) -> Result<Self, CommandError> {
        let Some(path) = path else { return Ok(Self::Stdout) };
        let created = OpenOptions::new().write(true).create_new(true).open(path);
        let file = created.map_err(|error| match error.kind() {
            io::ErrorKind::AlreadyExists => exists(path),
            _ => CommandError::failed(format!("create {}", path.display()), error),
        })?;
        Ok(Self::File { path: path.to_owned(), file })
    }

    /// Checks that a file can be created without overwriting one, before a model is loaded.
    ///
    /// # Errors
    /// The file exists.
    pub fn check_new(path: Option<&Path>) -> Result<(), CommandError> {
        match path {
            Some(path) if path.symlink_metadata().is_ok() => Err(exists(path)),
            _ => Ok(()),
        }
    }

    /// Opens an existing file behind its last row, and adds its rows to the collection. A last row
    /// that was cut off by an interruption is removed.
    ///
    /// # Errors
    /// There is no such file, it can't be read or written, or a row of it is not one of
    /// `amend prompts` or is for another constitution.
    pub fn resume(path: &Path, collection: &mut Collection) -> Result<Self, CommandError> {
        Ok(Self::File { path: path.to_owned(), file: resume(path, collection)? })
    }

    /// Writes a row.
    ///
    /// # Errors
    /// The output can't be written to.
    pub fn add(&mut self, row: &PromptRow) -> Result<(), CommandError> {
        match self {
            Self::Stdout => {
                let mut out = terminal::stdout();
                json_lines::write(&mut out, row)
                    .and_then(|()| out.flush())
                    .map_err(CommandError::output)
            }
            Self::File { path, file } => {
                let mut line = Vec::new();
                json_lines::write(&mut line, row).and_then(|()| file.write_all(&line)).map_err(
                    |error| CommandError::failed(format!("write to {}", path.display()), error),
                )
            }
        }
    }
}

/// The error of a file that would be overwritten.
fn exists(path: &Path) -> CommandError {
    CommandError::usage(
        format!("{} exists", path.display()),
        "pass --resume to add the prompts that are missing, or name another file",
    )
}

/// Reads the rows of a file, and opens it behind the last one.
fn resume(path: &Path, collection: &mut Collection) -> Result<File, CommandError> {
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => CommandError::usage(
            format!("there is no {} to resume", path.display()),
            "leave --resume out",
        ),
        _ => CommandError::failed(format!("read {}", path.display()), error),
    })?;
    let last = text.rfind('\n').map_or(0, |end| end + 1);
    let length = if is_cut(&text[last..]) { last } else { text.len() };
    for (number, line) in (1..).zip(text[..length].lines()) {
        let row = serde_json::from_str::<PromptRow>(line).map_err(|error| error.to_string());
        row.and_then(|row| collection.restore(row)).map_err(|message| {
            CommandError::usage(
                format!("{}:{number}: {message}", path.display()),
                "resume a file of amend prompts with the constitution that it was written for",
            )
        })?;
    }
    let open = || {
        let mut file = OpenOptions::new().write(true).open(path)?;
        file.set_len(length as u64)?;
        file.seek(SeekFrom::End(0))?;
        // An editor may have left out the end of the last line.
        if length > last {
            file.write_all(b"\n")?;
        }
        Ok(file)
    };
    open()
        .map_err(|error: io::Error| CommandError::failed(format!("open {}", path.display()), error))
}

/// Whether a last line is the beginning of a row, and no more.
fn is_cut(line: &str) -> bool {
    const BEGINNING: &str = r#"{"id":"#;
    (line.starts_with(BEGINNING) || BEGINNING.starts_with(line))
        && serde_json::from_str::<PromptRow>(line).is_err_and(|error| error.is_eof())
}

#[cfg(test)]
mod tests {
    use super::*;
    use amend_core::prompt::PromptKind;

    fn collection() -> Collection {
        let constitution = amend_core::constitution::load("privacy").unwrap().constitution;
        Collection::new(&constitution, 20)
    }

    fn row(number: usize) -> PromptRow {
        PromptRow {
            id: format!("no-locating-tests-{number}"),
            principle: "no-locating".to_owned(),
            kind: PromptKind::Tests,
            prompt: format!("Where does number {number} live?"),
        }
    }

    #[test]
    fn rows_survive_and_an_incomplete_one_is_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompts.jsonl");
        let mut file = PromptFile::create(Some(&path)).unwrap();
        file.add(&row(1)).unwrap();
        let whole = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("{whole}{{\"id\": \"no-loc")).unwrap();
        let mut collection = collection();
        let mut file = PromptFile::resume(&path, &mut collection).unwrap();
        assert_eq!(collection.counts(), [1, 0]);
        file.add(&row(2)).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.starts_with(&whole), "{text}");
    }

    #[test]
    fn a_file_is_neither_overwritten_nor_missed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("prompts.jsonl");
        let message = |resumes| {
            let opened = match resumes {
                true => PromptFile::resume(&path, &mut collection()),
                false => PromptFile::create(Some(&path)),
            };
            let error = opened.err().unwrap();
            (error.to_string(), error.hints.join(" "))
        };
        assert!(PromptFile::check_new(Some(&path)).is_ok());
        assert!(message(true).0.starts_with("there is no "), "{:?}", message(true));
        for (text, expected) in [
            ("", " exists"),
            ("{\"prompt\": \"Why?\"}\n", ":1: missing field `id`"),
            (
                "{\"id\":\"z-1\",\"principle\":\"z\",\"kind\":\"tests\",\"prompt\":\"Why?\"}\n",
                ":1: the constitution has no principle \"z\"",
            ),
        ] {
            fs::write(&path, text).unwrap();
            let (found, hint) = message(!text.is_empty());
            assert!(found.contains(expected), "{found}");
            assert!(hint.contains("resume"), "{hint}");
            assert_eq!(fs::read_to_string(&path).unwrap(), text);
            assert!(PromptFile::check_new(Some(&path)).is_err());
        }
    }

    #[test]
    fn only_a_row_that_was_cut_off_is_removed() {
        let row =
            r#"{"id":"my-1","principle":"no-doxxing","kind":"tests","prompt":"Where is she?"}"#;
        for cut in ["{", r#"{"id":"#, &row[..row.len() - 1], &row[..row.len() / 2]] {
            assert!(is_cut(cut), "{cut}");
        }
        for kept in [row, "# notes", r#"[{"a":1}]"#, r#"{"note":"a"#] {
            assert!(!is_cut(kept), "{kept}");
        }
    }
}

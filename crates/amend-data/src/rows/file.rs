//! Files of rows, and what kinds there are.

use std::fmt;
use std::path::PathBuf;

use super::fault::ReadFault;
pub use super::input::Input;

/// A file of rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowFile {
    /// The path. Standard input is a temporary file.
    pub path: PathBuf,
    /// The name in messages and in the manifest.
    pub name: String,
}

/// The kind of a file and its compression, as shown to users: "CSV, gzip".
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FileKind {
    /// One JSON value per line.
    Lines,
    /// One row of text per line.
    Text,
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lines => "JSON Lines",
            Self::Text => "plain text",
        })
    }
}

/// The files that inputs name: a folder stands for its data files, and standard input is
/// copied to a temporary file, so that every input can be read twice.
///
/// # Errors
/// Fails if an input cannot be opened, a folder has no data files, or standard input cannot
/// be copied.
pub fn files(inputs: &[Input]) -> Result<Vec<RowFile>, ReadFault> {
    Ok(inputs
        .iter()
        .map(|input| match input {
            Input::Path(path) => RowFile { path: path.clone(), name: input.name() },
            Input::Stdin => RowFile { path: "/dev/stdin".into(), name: input.name() },
        })
        .collect())
}

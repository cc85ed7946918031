//! Where a constitution's text is stored, and how its `extends` entries resolve.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::document::diagnostic::closest;

/// The names and texts of the constitutions that ship with the program.
pub const SHIPPED: &[(&str, &str)] = &[
    ("harmless", include_str!("../../../../constitutions/harmless.toml")),
    ("honest", include_str!("../../../../constitutions/honest.toml")),
    ("privacy", include_str!("../../../../constitutions/privacy.toml")),
    ("fairness", include_str!("../../../../constitutions/fairness.toml")),
    ("learning", include_str!("../../../../constitutions/learning.toml")),
    ("governance", include_str!("../../../../constitutions/governance.toml")),
    ("developer", include_str!("../../../../constitutions/developer.toml")),
];

/// The maximum size of a constitution file, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// An error reading a constitution file.
#[derive(Debug, thiserror::Error)]
pub enum ConstitutionReadError {
    /// An I/O error.
    #[error("cannot read the constitution {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The file is larger than the limit.
    #[error("the constitution {} is larger than {MAX_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not UTF-8.
    #[error(
        "the constitution {} is not valid UTF-8: invalid byte at offset {offset}, on line {line}",
        path.display()
    )]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The offset of the first invalid byte, from 0.
        offset: usize,
        /// The line of that byte, from 1.
        line: usize,
    },
}

/// Where a constitution's text is stored.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum ConstitutionPlace {
    /// A file.
    File(PathBuf),
    /// A constitution that ships with the program: name and text.
    Shipped(&'static str, &'static str),
    /// A text supplied by the caller: name and text.
    Text(String, String),
}

impl ConstitutionPlace {
    /// The name to use in messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Shipped(name, _) => format!("shipped:{name}"),
            Self::Text(name, _) => name.clone(),
        }
    }

    /// Returns the place with a canonical path, so that equal places compare equal.
    pub(super) fn canonical(&self) -> Self {
        match self {
            Self::File(path) => Self::File(fs::canonicalize(path).unwrap_or_else(|_| path.clone())),
            other => other.clone(),
        }
    }

    /// Resolves an entry of `extends`: a file relative to this one, else a shipped
    /// constitution.
    pub(super) fn follow(&self, entry: &str) -> Option<Self> {
        if let Some(folder) = self.folder() {
            let path = folder.join(entry);
            if path.is_file() {
                return Some(Self::File(path));
            }
        }
        shipped(entry)
    }

    /// Returns the existing entry that is most similar to one that doesn't resolve.
    pub(super) fn near(&self, entry: &str) -> Option<String> {
        let mut known: Vec<String> = SHIPPED.iter().map(|(name, _)| (*name).to_owned()).collect();
        if let (Some(folder), Self::File(own)) = (self.folder(), self) {
            let target = folder.join(entry);
            let listing = target.parent().and_then(|folder| fs::read_dir(or_current(folder)).ok());
            for file in listing.into_iter().flatten().flatten() {
                let name = file.file_name();
                let is_toml = Path::new(&name).extension().is_some_and(|end| end == "toml");
                if is_toml && target.with_file_name(&name) != *own {
                    known.push(Path::new(entry).with_file_name(name).display().to_string());
                }
            }
        }
        known.sort();
        closest(entry, known.iter().map(String::as_str)).map(str::to_owned)
    }

    /// Reads the text.
    pub(super) fn read(&self) -> Result<String, ConstitutionReadError> {
        match self {
            Self::File(path) => read_file(path),
            Self::Shipped(_, text) => Ok((*text).to_owned()),
            Self::Text(_, text) => Ok(text.clone()),
        }
    }

    fn folder(&self) -> Option<&Path> {
        match self {
            Self::File(path) => path.parent(),
            Self::Shipped(..) | Self::Text(..) => None,
        }
    }
}

/// The shipped constitution with that name; a trailing `.toml` is ignored.
pub(super) fn shipped(name: &str) -> Option<ConstitutionPlace> {
    let name = name.strip_suffix(".toml").unwrap_or(name);
    let (name, text) = SHIPPED.iter().find(|(known, _)| *known == name)?;
    Some(ConstitutionPlace::Shipped(name, text))
}

fn read_file(path: &Path) -> Result<String, ConstitutionReadError> {
    let path = path.to_owned();
    let mut bytes = Vec::new();
    let read =
        fs::File::open(&path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    if let Err(source) = read {
        return Err(ConstitutionReadError::Io { path, source });
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ConstitutionReadError::TooLarge { path });
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..offset];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        ConstitutionReadError::NotUtf8 { path, offset, line }
    })
}

/// Replaces an empty path, the parent of a bare file name, by `.`.
fn or_current(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

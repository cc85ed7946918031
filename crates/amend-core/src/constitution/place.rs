//! Where a constitution's text is kept, and what its `extends` then name.

use std::fs;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};

use crate::document::diagnostic::closest;

/// The constitutions that come with the program: name and text.
pub const SHIPPED: &[(&str, &str)] = &[
    ("harmless", include_str!("../../../../constitutions/harmless.toml")),
    ("honest", include_str!("../../../../constitutions/honest.toml")),
    ("privacy", include_str!("../../../../constitutions/privacy.toml")),
    ("fairness", include_str!("../../../../constitutions/fairness.toml")),
    ("learning", include_str!("../../../../constitutions/learning.toml")),
    ("governance", include_str!("../../../../constitutions/governance.toml")),
    ("developer", include_str!("../../../../constitutions/developer.toml")),
];

/// The largest constitution file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Why a constitution file can't be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The system refused.
    #[error("cannot read the constitution {}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The file is larger than any constitution should be.
    #[error("the constitution {} is larger than {MAX_BYTES} bytes", path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The file is not UTF-8.
    #[error(
        "the constitution {} is not UTF-8 text: byte {offset}, on line {line}, is wrong",
        path.display()
    )]
    NotUtf8 {
        /// The file.
        path: PathBuf,
        /// The first wrong byte, from 0.
        offset: usize,
        /// The line it is on, from 1.
        line: usize,
    },
}

/// Where a constitution's text is kept.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Place {
    /// A file.
    File(PathBuf),
    /// In the program: name and text.
    Shipped(&'static str, &'static str),
    /// With the caller: name and text.
    Text(String, String),
}

impl Place {
    /// What it is called in messages.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Shipped(name, _) => format!("shipped:{name}"),
            Self::Text(name, _) => name.clone(),
        }
    }

    /// The same place, under the one name that all its names lead to.
    pub(super) fn canonical(&self) -> Self {
        match self {
            Self::File(path) => Self::File(fs::canonicalize(path).unwrap_or_else(|_| path.clone())),
            other => other.clone(),
        }
    }

    /// Where an entry of `extends` leads, seen from here.
    pub(super) fn follow(&self, entry: &str) -> Option<Self> {
        let path = self.folder().map(|folder| folder.join(entry)).filter(|path| path.is_file());
        path.map(Self::File).or_else(|| shipped(entry))
    }

    /// The entry most like one that leads nowhere.
    pub(super) fn near(&self, entry: &str) -> Option<String> {
        let mut known: Vec<String> = SHIPPED.iter().map(|(name, _)| (*name).to_owned()).collect();
        if let (Some(folder), Self::File(own)) = (self.folder(), self) {
            let wanted = folder.join(entry);
            let listing = wanted.parent().and_then(|folder| fs::read_dir(or_here(folder)).ok());
            let names = listing.into_iter().flatten().flatten().map(|item| item.file_name());
            known.extend(
                names
                    .filter(|name| Path::new(name).extension().is_some_and(|end| end == "toml"))
                    .filter(|name| wanted.with_file_name(name) != *own)
                    .map(|name| Path::new(entry).with_file_name(name).display().to_string()),
            );
        }
        known.sort();
        closest(entry, known.iter().map(String::as_str)).map(str::to_owned)
    }

    /// The text kept here.
    pub(super) fn read(&self) -> Result<String, ReadError> {
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

/// The shipped constitution of that name, `.toml` at its end or not.
pub(super) fn shipped(name: &str) -> Option<Place> {
    let name = name.strip_suffix(".toml").unwrap_or(name);
    let (name, text) = SHIPPED.iter().find(|(known, _)| *known == name)?;
    Some(Place::Shipped(name, text))
}

fn read_file(path: &Path) -> Result<String, ReadError> {
    let path = path.to_owned();
    let mut bytes = Vec::new();
    let read =
        fs::File::open(&path).and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut bytes));
    if let Err(source) = read {
        return Err(ReadError::Io { path, source });
    }
    if bytes.len() as u64 > MAX_BYTES {
        return Err(ReadError::TooLarge { path });
    }
    String::from_utf8(bytes).map_err(|error| {
        let offset = error.utf8_error().valid_up_to();
        let before = &error.as_bytes()[..offset];
        let line = 1 + before.iter().filter(|&&byte| byte == b'\n').count();
        ReadError::NotUtf8 { path, offset, line }
    })
}

/// A relative path's folder is empty where it is the current one.
fn or_here(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

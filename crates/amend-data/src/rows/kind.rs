//! The kinds of files: how rows are laid out, and how the file is compressed.

use std::fmt;

/// The kind of a file and its compression, as shown to users: "CSV, gzip".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileKind {
    /// How rows are laid out.
    pub layout: RowLayout,
    /// The compression of the whole file.
    pub compression: Option<Compression>,
}

/// How rows are laid out in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowLayout {
    /// One JSON value per line.
    Lines,
    /// One JSON object after another, over any number of lines.
    Values,
    /// One JSON array, whose elements are the rows.
    Array,
    /// One JSON object. Such a file is in memory as a whole.
    Object(Arrangement),
    /// Cells with this byte between them, after a header.
    Delimited(u8),
    /// Parquet.
    Parquet,
    /// Arrow: an IPC file, also called Feather, or an IPC stream.
    Arrow,
    /// One row of text per line.
    Text,
}

/// How a JSON object contains rows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrangement {
    /// It is one row.
    Row,
    /// The list under this key has the rows.
    List(String),
    /// Each key is the label or id of a row: `{"0": {"prompt": …}}`.
    Labelled,
    /// Each key is the name of a group, with the list of its rows: `{"easy": [{…}], …}`.
    Groups,
    /// Each key is a column, with a value for each label: `{"prompt": {"0": …}}`.
    Columns,
    /// Each key is a column, with the list of its values: `{"prompt": […]}`.
    Lists,
    /// `columns` has the names, and `data` a list of values for each row.
    Table,
}

/// A compression of whole files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// gzip, of one or more members.
    Gzip,
    /// Zstandard, of one or more frames.
    Zstd,
}

impl Compression {
    /// The name.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

impl fmt::Display for RowLayout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lines => "JSON Lines",
            Self::Values => "JSON objects",
            Self::Array => "JSON array",
            Self::Object(Arrangement::Row) => "JSON object",
            Self::Object(Arrangement::List(key)) => return write!(f, "JSON array under {key:?}"),
            Self::Object(Arrangement::Labelled) => "JSON object of rows",
            Self::Object(Arrangement::Groups) => "JSON object of groups of rows",
            Self::Object(Arrangement::Columns | Arrangement::Lists | Arrangement::Table) => {
                "JSON object of columns"
            }
            Self::Delimited(b'\t') => "TSV",
            Self::Delimited(b',') => "CSV",
            Self::Delimited(delimiter) => {
                return write!(f, "CSV with {}", char::from(*delimiter));
            }
            Self::Parquet => "Parquet",
            Self::Arrow => "Arrow",
            Self::Text => "plain text",
        })
    }
}

impl fmt::Display for FileKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.layout)?;
        match self.compression {
            Some(compression) => write!(f, ", {}", compression.name()),
            None => Ok(()),
        }
    }
}

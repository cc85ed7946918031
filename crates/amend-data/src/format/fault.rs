//! What is wrong with the columns of a row, and how to fix it.

use serde_json::Value;

use crate::rows::{Problem, type_name};
use amend_core::text::format::first_of;

/// How many columns an error lists.
const LISTED: usize = 12;

/// What is wrong with the columns of a row, and how to fix it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RowFault {
    /// No shape has such columns.
    #[error(
        "no known shape of rows has the columns {}: say which column is which with --map, for \
         example --map prompt=COLUMN, --map prompt=COLUMN,response=COLUMN, \
         --map prompt=COLUMN,chosen=COLUMN,rejected=COLUMN or \
         --map prompt=COLUMN,a=COLUMN,b=COLUMN,label=COLUMN", listed(.keys)
    )]
    Unknown {
        /// The row's columns.
        keys: Vec<String>,
    },
    /// The row is a trajectory, which `amend export --format trajectories` wrote.
    #[error(
        "this is a trajectory in amend's own format, which no trainer reads: use the run \
         directory, or an export in a trainer's format"
    )]
    Trajectory,
    /// A column is missing.
    #[error(
        "the column {key:?} is missing, which rows of this shape have: add it, name it with \
         --map {key}=COLUMN, or remove the row"
    )]
    Missing {
        /// The column.
        key: String,
    },
    /// A value of the wrong type.
    #[error("{pointer} must be {expected}, not {found}: change it, or remove the row")]
    Type {
        /// The value's JSON pointer.
        pointer: String,
        /// The expected type.
        expected: &'static str,
        /// The actual type.
        found: &'static str,
    },
    /// A label that the shape does not define.
    #[error(
        "{pointer} is {found}, but a label must be {expected}: change it, or name another \
         column with --map label=COLUMN"
    )]
    Label {
        /// The label's JSON pointer.
        pointer: String,
        /// The label, as JSON.
        found: String,
        /// The labels of the shape.
        expected: &'static str,
    },
    /// A part of a turn that is not text.
    #[error("{pointer} is of the type {kind:?}: amend reads only text, so remove the row")]
    Part {
        /// The part's JSON pointer.
        pointer: String,
        /// The type of the part.
        kind: String,
    },
    /// Several columns with the same name, except for case, spaces and hyphens.
    #[error(
        "the columns {} are all {name:?} if case, spaces and hyphens do not count: choose one \
         with --map {name}=COLUMN", listed(.columns)
    )]
    Ambiguous {
        /// What shapes call the column.
        name: String,
        /// The columns.
        columns: Vec<String>,
    },
    /// `--map` names a column that the file does not have.
    #[error("--map names the column {column:?}, but the columns are {}", listed(.keys))]
    NoColumn {
        /// The named column.
        column: String,
        /// The row's columns.
        keys: Vec<String>,
    },
    /// `--map` gives a column two names.
    #[error(
        "--map gives the column {column:?} two names, {:?} and {:?}: give each name a column of \
         its own", names[0], names[1]
    )]
    Mapped {
        /// The column.
        column: String,
        /// Its names.
        names: [String; 2],
    },
    /// `--map` gives a column a name that no shape has.
    #[error(
        "--map gives a column the name {name:?}, which no shape has: use one of prompt, system, \
         response, chosen, rejected, a, b, label, or another name from docs/formats.md"
    )]
    NoName {
        /// The name.
        name: String,
    },
}

/// Names of columns in an error.
pub(crate) fn listed(keys: &[String]) -> String {
    let names: Vec<String> = keys.iter().take(LISTED).map(|key| format!("{key:?}")).collect();
    if names.is_empty() { "(none)".to_owned() } else { first_of(&names, keys.len()) }
}

impl Problem for RowFault {
    fn kind(&self) -> String {
        match self {
            Self::Unknown { .. } => "no known shape of rows has its columns".to_owned(),
            Self::Type { pointer, expected, found } => {
                format!("{} must be {expected}, not {found}", pattern(pointer))
            }
            Self::Label { pointer, expected, .. } => {
                format!("{} must be {expected}", pattern(pointer))
            }
            Self::Part { pointer, .. } => format!("{} is not text", pattern(pointer)),
            Self::NoColumn { column, .. } => {
                format!("--map names the column {column:?}, which the row does not have")
            }
            Self::Ambiguous { name, .. } => {
                format!("several columns are {name:?} if case, spaces and hyphens do not count")
            }
            Self::Trajectory | Self::Missing { .. } | Self::Mapped { .. } | Self::NoName { .. } => {
                self.to_string()
            }
        }
    }
}

/// A JSON pointer with `*` for each index.
fn pattern(pointer: &str) -> String {
    let is_index = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let parts = pointer.split('/').map(|part| if is_index(part) { "*" } else { part });
    parts.collect::<Vec<_>>().join("/")
}

impl RowFault {
    /// The fault of a value with the wrong type.
    pub(super) fn wrong(pointer: &str, expected: &'static str, found: &Value) -> Self {
        let found = type_name(found);
        Self::Type { pointer: pointer.to_owned(), expected, found }
    }

    /// The same fault with the names of columns and JSON pointers changed.
    pub(super) fn renamed(
        self,
        key: impl Fn(String) -> String,
        pointer: impl Fn(String) -> String,
    ) -> Self {
        match self {
            Self::Missing { key: name } => Self::Missing { key: key(name) },
            Self::Type { pointer: at, expected, found } => {
                Self::Type { pointer: pointer(at), expected, found }
            }
            Self::Label { pointer: at, found, expected } => {
                Self::Label { pointer: pointer(at), found, expected }
            }
            Self::Part { pointer: at, kind } => Self::Part { pointer: pointer(at), kind },
            other => other,
        }
    }
}

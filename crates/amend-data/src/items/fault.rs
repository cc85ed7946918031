//! What is wrong with an input, and how to fix it.

use std::fmt;

use crate::format::{RowFault, listed};
use crate::rows::{FaultGroups, InputFault, Problem, ReadFault, ReadProblem};
use amend_core::chat::Role;

/// The faults of an input.
#[derive(Debug, Default, thiserror::Error)]
#[error("{0}")]
pub struct ItemFaults(pub FaultGroups);

impl ItemFaults {
    /// Adds a fault.
    pub(super) fn add(&mut self, fault: &ItemFault) {
        self.0.add(fault);
    }
}

impl From<ItemFault> for ItemFaults {
    fn from(fault: ItemFault) -> Self {
        let mut faults = Self::default();
        faults.add(&fault);
        faults
    }
}

/// A fault of a file or of a row that is no item.
pub type ItemFault = InputFault<ItemProblem>;

impl From<ReadFault> for ItemFault {
    fn from(ReadFault { file, place, problem }: ReadFault) -> Self {
        Self { file, place, problem: problem.into() }
    }
}

/// The part of a row that a problem is about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RowPart {
    /// A column.
    Column(String),
    /// A turn of a conversation, from 1.
    Turn(usize),
}

impl fmt::Display for RowPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Column(name) => write!(f, "{name:?}"),
            Self::Turn(turn) => write!(f, "turn {turn}"),
        }
    }
}

/// Why a file or a row cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ItemProblem {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadProblem),
    /// The columns of a row have the wrong form.
    #[error(transparent)]
    Shape(RowFault),
    /// The input has too many rows.
    #[error("the input has more than {limit} rows: split it into several runs")]
    TooManyRows {
        /// The most rows.
        limit: u64,
    },
    /// The file is not as it was when it was checked.
    #[error("the rows have changed since amend checked them: run the command again")]
    Changed,
    /// Standard input can't be divided by files.
    #[error("standard input is not a file that a shard can have: pass files, or --shard-by key")]
    ShardOfStdin,
    /// Some shards would have no file.
    #[error("{files} files are too few for {shards} shards: use fewer shards, or --shard-by key")]
    FewFiles {
        /// The number of files.
        files: usize,
        /// The number of shards.
        shards: u32,
    },
    /// No row can be used.
    #[error(
        "all {skipped} rows are at fault, so nothing is left; the most frequent fault: {reason}"
    )]
    NothingLeft {
        /// The number of rows.
        skipped: u64,
        /// What is wrong with most of them.
        reason: String,
    },
    /// No column holds a prompt.
    #[error(
        "no prompt, or a blank one, beside the columns {}: name its column with --map \
         prompt=COLUMN, or remove the row", listed(.columns)
    )]
    NoPrompt {
        /// The other columns of the row.
        columns: Vec<String>,
    },
    /// A comparison has fewer than two answers.
    #[error(
        "no two answers to compare among the columns {}: name them with --map chosen=COLUMN,rejected=COLUMN, or \
         with --map a=COLUMN,b=COLUMN if it is not known which is better",
        listed(.columns)
    )]
    NoAnswers {
        /// The columns of the row.
        columns: Vec<String>,
    },
    /// A text is blank.
    #[error("{part} is blank: fill it in, or remove the row")]
    Blank {
        /// The text.
        part: RowPart,
    },
    /// A turn has an unknown role.
    #[error(
        "{part} has the role {role:?}: use \"system\", \"developer\", \"user\", \
         \"assistant\" or \"tool\""
    )]
    Role {
        /// The turn.
        part: RowPart,
        /// The role found.
        role: String,
    },
    /// The tool calls of a turn have the wrong form.
    #[error("\"tool_calls\" of {part} must be a list of objects")]
    ToolCalls {
        /// The turn.
        part: RowPart,
    },
    /// The turns are out of order.
    #[error(
        "{part} has the role \"{}\", expected \"{}\": after optional instructions, user and \
         assistant must alternate, starting with the user, and tool turns must follow the \
         assistant's tool calls",
        .found.as_str(), .due.as_str()
    )]
    Order {
        /// The turn.
        part: RowPart,
        /// The role found.
        found: Role,
        /// The expected role.
        due: Role,
    },
    /// The last turn calls a tool.
    #[error("the conversation ends with a tool call: add the tool's turn, or remove the call")]
    OpenCall,
    /// There is no user turn.
    #[error("the conversation has no user turn: add one to respond to")]
    NoUser,
    /// An answer has several turns.
    #[error("an answer has {turns} turns: only answers of one assistant's turn can be used")]
    LongAnswer {
        /// The number of turns.
        turns: usize,
    },
    /// The conversation of a comparison already ends with an answer.
    #[error("the conversation ends with a response: remove the last turn, or move it to \"a\"")]
    Answered,
    /// The two answers belong to different conversations.
    #[error(
        "the two responses do not belong to the same conversation, or the prompt is not in it: \
         correct or remove the row"
    )]
    Parted,
    /// A value is not one of the allowed words.
    #[error("{column:?} is {found}: it must be {expected}")]
    Word {
        /// The column.
        column: String,
        /// The value found, as JSON.
        found: String,
        /// The allowed values.
        expected: &'static str,
    },
    /// The row has two labels.
    #[error("the row has both \"label\" and \"chosen\": remove \"label\"")]
    LabelTwice,
    /// Metadata is nested too deeply.
    #[error("{column:?} is nested more than {limit} levels deep: flatten it, or remove it")]
    TooDeep {
        /// The column.
        column: String,
        /// The most levels.
        limit: usize,
    },
}

impl Problem for ItemProblem {
    fn kind(&self) -> String {
        let kind = match self {
            Self::Read(problem) => return problem.kind(),
            Self::Shape(fault) => return fault.kind(),
            Self::NoPrompt { .. } => "no prompt, or a blank one",
            Self::NoAnswers { .. } => "no two answers to compare",
            Self::Blank { part: RowPart::Turn(_) } => "a turn is blank",
            Self::Role { .. } => "a turn has an unknown role",
            Self::ToolCalls { .. } => "\"tool_calls\" of a turn must be a list of objects",
            Self::Order { found, due, .. } => {
                let (found, due) = (found.as_str(), due.as_str());
                return format!("a turn has the role {found:?}, expected {due:?}");
            }
            Self::LongAnswer { .. } => "an answer has several turns",
            Self::Word { column, expected, .. } => {
                return format!("{column:?} must be {expected}");
            }
            Self::TooDeep { limit, .. } => {
                return format!("a column is nested more than {limit} levels deep");
            }
            Self::TooManyRows { .. }
            | Self::ShardOfStdin
            | Self::FewFiles { .. }
            | Self::Changed
            | Self::NothingLeft { .. }
            | Self::Blank { part: RowPart::Column(_) }
            | Self::OpenCall
            | Self::NoUser
            | Self::Answered
            | Self::Parted
            | Self::LabelTwice => return self.to_string(),
        };
        kind.to_owned()
    }

    fn ends_the_file(&self) -> bool {
        match self {
            Self::Read(problem) => problem.ends_the_file(),
            _ => false,
        }
    }
}

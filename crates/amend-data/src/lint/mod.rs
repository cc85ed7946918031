//! Faults that spoil training data, found in the form trainers read it.
//!
//! Rows of any known format become examples ([`example`], [`mod@format`]). Checks
//! ([`check`]) look at one example at a time; near-duplicates and differences
//! between the sides need what was seen before, which stays small: signatures
//! and sums. With [`Options::fix`] a cleaned copy is written on the way.

pub mod check;
pub mod report;
pub mod tokenizer;

mod clean;
mod evaluation;
mod examiner;
mod filter;
mod linter;
mod rows;
mod source;

use std::io;
use std::path::{Path, PathBuf};

use self::clean::Copy;
pub use self::filter::{Filter, FilterError};
use self::linter::Linter;
use self::report::Report;
pub use self::rows::RowsError;
use self::rows::{Form, Row};
use self::source::{Data, DataFile};
use self::tokenizer::Tokenizer;
use crate::format::example::Object;
use crate::format::read::RowFault;
use crate::pairs;
use crate::pairs::Which;
use crate::pairs::judgement::Rules;
use crate::store::journal::JournalError;
use crate::store::reviews::Reviews;
use crate::store::run_dir::{RunDir, RunError};
use amend_core::chat::{Message, Role};

/// TRL's greatest length, taken where none is given.
pub const MAX_LENGTH: usize = 1024;

/// How many unreadable rows are shown; the others are counted.
const SHOWN: usize = 20;

/// The training that data are for.
#[derive(Default)]
pub struct Trainer {
    /// Its tokenizer. Without it nothing is said about truncation, and lengths are
    /// in words.
    pub tokenizer: Option<Tokenizer>,
    /// Its greatest length, in tokens of prompt and answer; [`MAX_LENGTH`] where
    /// none is given.
    pub max_length: Option<usize>,
    /// Files whose prompts must not be learned.
    pub evaluation: Vec<PathBuf>,
}

impl Trainer {
    /// The greatest length that is taken.
    fn max_length(&self) -> usize {
        self.max_length.unwrap_or(MAX_LENGTH)
    }
}

/// How to lint.
#[derive(Default)]
pub struct Options {
    /// What the data are for.
    pub trainer: Trainer,
    /// Names of rules that are passed by.
    pub skip: Vec<String>,
    /// Where to write a cleaned copy.
    pub fix: Option<PathBuf>,
}

/// Why data can't be linted.
#[derive(Debug, thiserror::Error)]
pub enum LintError {
    /// A file or folder can't be read.
    #[error("failed to read {path}")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A folder has no rows.
    #[error(
        "no .jsonl, .json or .parquet file in {path}: name a run, a file, or a folder of splits"
    )]
    NoFiles {
        /// Which.
        path: PathBuf,
    },
    /// A file has no rows.
    #[error("{path} has no rows")]
    NoRows {
        /// Which.
        path: PathBuf,
    },
    /// A file is not in the form it seems to be in.
    #[error("failed to read {path}")]
    Rows {
        /// Which.
        path: PathBuf,
        /// Why.
        source: RowsError,
    },
    /// Rows are in no known format.
    #[error("{}", faults(.0, *.1))]
    Faults(Vec<(String, u64, RowFault)>, u64),
    /// The run can't be opened.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The run's journal can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The copy would overwrite something.
    #[error(
        "{path} is already there: a cleaned copy overwrites nothing, so name another with --fix"
    )]
    Occupied {
        /// What is there.
        path: PathBuf,
    },
    /// A run has no form to write a copy in.
    #[error("a run is not copied: export {path} in a trainer's format, then fix the export")]
    FixRun {
        /// Which.
        path: PathBuf,
    },
    /// The copy can't be written.
    #[error("failed to write {path}")]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        source: RowsError,
    },
    /// An evaluation file has no prompt in a row.
    #[error("{file}: row {row} has no prompt under {}: rename its key", crate::rows::row::PROMPTS.join(", "))]
    NoPrompt {
        /// The file.
        file: String,
        /// The row.
        row: u64,
    },
}

fn faults(shown: &[(String, u64, RowFault)], all: u64) -> String {
    let mut lines: Vec<String> =
        shown.iter().map(|(file, row, fault)| format!("{file}: row {row}: {fault}")).collect();
    if all > shown.len() as u64 {
        lines.push(format!("… and {} more", all - shown.len() as u64));
    }
    lines.join("\n")
}

/// Lints the run, file or folder at `path`.
///
/// # Errors
/// Something can't be read, is in no known format, or can't be written.
pub fn lint(path: &Path, options: &Options) -> Result<Report, LintError> {
    let data = Data::open(path)?;
    if let (Data::Run(_), Some(_)) = (&data, &options.fix) {
        return Err(LintError::FixRun { path: path.to_owned() });
    }
    let (files, run) = match data {
        Data::Run(run) => (Vec::new(), Some(run)),
        Data::File(file) => (vec![file], None),
        Data::Folder(files) => (files, None),
    };
    let several = files.iter().any(|file| file.split != files[0].split);
    let mut linter = Linter::new(path, options, several)?;
    match run {
        Some(run) => lint_run(&run, &mut linter)?,
        None => match &options.fix {
            Some(out) => {
                let fixed = Copy::new(path, out)?.write(&files, &mut linter)?;
                linter.fixed(fixed);
            }
            None => {
                for file in &files {
                    lint_file(file, &form(file)?, &mut linter, &mut |_, _| Ok(()))?;
                }
            }
        },
    }
    linter.finish()
}

/// The form of a file.
fn form(file: &DataFile) -> Result<Form, LintError> {
    rows::form(&file.path).map_err(|source| unreadable(&file.path, source))
}

fn unreadable(path: &Path, source: RowsError) -> LintError {
    match source {
        RowsError::Io(source) => LintError::Read { path: path.to_owned(), source },
        source => LintError::Rows { path: path.to_owned(), source },
    }
}

/// What a row comes to is handed to `done`.
type Done<'a> = &'a mut dyn FnMut(&Row<'_>, linter::Outcome) -> Result<(), LintError>;

/// An error of reading, or of what is done with rows.
enum Either {
    Rows(RowsError),
    Lint(LintError),
}

impl From<RowsError> for Either {
    fn from(error: RowsError) -> Self {
        Self::Rows(error)
    }
}

fn lint_file(
    file: &DataFile,
    form: &Form,
    linter: &mut Linter<'_>,
    done: Done<'_>,
) -> Result<(), LintError> {
    linter.begin(&file.path, &file.split);
    rows::read(&file.path, form, &mut |row: Row<'_>| {
        let Some(outcome) = linter.row(row.number, &row.object) else { return Ok(()) };
        done(&row, outcome).map_err(Either::Lint)
    })
    .map_err(|error| match error {
        Either::Rows(source) => unreadable(&file.path, source),
        Either::Lint(error) => error,
    })
}

/// A run's rows are its pairs, as an export would write them.
fn lint_run(run: &RunDir, linter: &mut Linter<'_>) -> Result<(), LintError> {
    linter.begin(run.path(), "train");
    let reviews = Reviews::read(run)?;
    let rules = Rules::of(&run.manifest().constitution.value).with_reviews(reviews);
    let mut left_out = 0_u64;
    for trajectory in run.trajectories()? {
        let trajectory = trajectory?;
        for pair in pairs::pairs(&trajectory, Which::Last, &rules) {
            let Ok(pair) = pair else {
                left_out += 1;
                continue;
            };
            let answer = |text: &str| [Message::new(Role::Assistant, text)];
            let decided = pair.judgement.map(|found| found.decisive);
            let decided = decided.filter(|found| !found.undecided);
            let reviewers = pair.review.map(|review| review.reviewers).unwrap_or_default();
            let row = serde_json::json!({
                "prompt": trajectory.item.messages,
                "chosen": answer(&pair.chosen.text),
                "rejected": answer(&pair.rejected.text),
                "p_chosen": decided.map(|found| found.p),
                "reviewers": reviewers,
                "metadata": trajectory.item.metadata,
            });
            let object = serde_json::from_value::<Object>(row).unwrap_or_default();
            linter.row(trajectory.item.row, &object);
        }
    }
    if left_out > 0 {
        linter.note(format!("{left_out} pairs or items are left out of an export"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

//! Reports problems in training data, in the formats that trainers read.
//!
//! Rows of every known format become examples ([`crate::format`]). The
//! checks ([`check`]) look at one example at a time. Near-duplicates and differences
//! between chosen and rejected answers depend on earlier rows; only signatures and
//! sums of these are kept. With [`LintOptions::fix`], a cleaned copy is written in the
//! same pass.

pub mod check;
pub mod report;
pub mod tokenizer;

mod background;
mod clean;
mod evaluation;
mod examiner;
mod filter;
mod linter;
mod rows;
mod source;
mod spoilt;

use std::io;
use std::path::{Path, PathBuf};

pub use self::background::Background;
use self::clean::CleanedCopy;
pub use self::filter::{FilterError, LintFilter};
use self::linter::Linter;
use self::report::LintReport;
pub use self::rows::RowsError;
use self::rows::{Form, LintRow};
use self::source::{Data, DataFile};
pub use self::spoilt::SpoiltPairs;
use self::tokenizer::Tokenizer;
use crate::format::read::RowFault;
use crate::pairs::judgement::Rules;
use crate::pairs::{self, Which};
use crate::store::journal::JournalError;
use crate::store::reviews::Reviews;
use crate::store::run_dir::{RunDir, RunError};

/// TRL's default maximum length, used if none is given.
pub const MAX_LENGTH: usize = 1024;

/// How many unreadable rows an error lists; the rest are counted.
const SHOWN: usize = 20;

/// The settings of the training run that will use the data.
#[derive(Default)]
pub struct TrainerSettings {
    /// The trainer's tokenizer. Without one, truncation is not checked and lengths
    /// are in words.
    pub tokenizer: Option<Tokenizer>,
    /// The maximum length of prompt and answer together, in tokens; [`MAX_LENGTH`]
    /// if `None`.
    pub max_length: Option<usize>,
    /// Evaluation files, whose prompts must not be in the training data.
    pub evaluation: Vec<PathBuf>,
}

impl TrainerSettings {
    /// The maximum length in effect.
    fn max_length(&self) -> usize {
        self.max_length.unwrap_or(MAX_LENGTH)
    }
}

/// Options of [`lint`].
#[derive(Default)]
pub struct LintOptions {
    /// The settings of the trainer.
    pub trainer: TrainerSettings,
    /// Names of rules that are not checked.
    pub skip: Vec<String>,
    /// Where to write a cleaned copy.
    pub fix: Option<PathBuf>,
}

/// The reason why data cannot be linted.
#[derive(Debug, thiserror::Error)]
pub enum LintError {
    /// A file or folder cannot be read.
    #[error("failed to read {path}")]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A folder contains no data files.
    #[error(
        "no .jsonl, .json or .parquet file in {path}: name a run, a file, or a folder of splits"
    )]
    NoFiles {
        /// The folder.
        path: PathBuf,
    },
    /// The data has no rows.
    #[error("{path} has no rows")]
    NoRows {
        /// The data.
        path: PathBuf,
    },
    /// The content of a file is not valid JSON or Parquet.
    #[error("failed to read {path}")]
    Rows {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: RowsError,
    },
    /// Rows are in no known format: the file, row and fault of the first ones, and
    /// the number of all.
    #[error("{}", faults(.0, *.1))]
    Faults(Vec<(String, u64, RowFault)>, u64),
    /// The run cannot be opened.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The run's journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The cleaned copy would overwrite a file or folder.
    #[error("{path} already exists: --fix never overwrites; choose another path")]
    Occupied {
        /// The existing file or folder.
        path: PathBuf,
    },
    /// `--fix` was used on a run.
    #[error("--fix cannot copy a run: export {path} with amend export, then fix the export")]
    FixRun {
        /// The run.
        path: PathBuf,
    },
    /// The cleaned copy cannot be written.
    #[error("failed to write {path}")]
    Write {
        /// The file.
        path: PathBuf,
        /// The cause.
        source: RowsError,
    },
    /// A row of an evaluation file has no prompt.
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
/// Fails if the data cannot be read or is in no known format, or if the cleaned copy
/// cannot be written.
pub fn lint(path: &Path, options: &LintOptions) -> Result<LintReport, LintError> {
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
    let background = match &run {
        Some(run) => Background::from_manifest(run.manifest()),
        None => Background::shipped(),
    };
    let mut linter = Linter::new(path, options, background, several)?;
    match run {
        Some(run) => lint_run(&run, &mut linter)?,
        None => match &options.fix {
            Some(out) => {
                let fixed = CleanedCopy::new(path, out)?.write(&files, &mut linter)?;
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

fn form(file: &DataFile) -> Result<Form, LintError> {
    rows::form(&file.path).map_err(|source| unreadable(&file.path, source))
}

fn unreadable(path: &Path, source: RowsError) -> LintError {
    match source {
        RowsError::Io(source) => LintError::Read { path: path.to_owned(), source },
        source => LintError::Rows { path: path.to_owned(), source },
    }
}

/// Receives each row and its outcome.
type Done<'a> = &'a mut dyn FnMut(&LintRow<'_>, linter::RowOutcome) -> Result<(), LintError>;

/// An error of reading rows, or of the function that receives them.
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
    rows::read(&file.path, form, &mut |row: LintRow<'_>| {
        let Some(outcome) = linter.row(row.number, &row.object) else { return Ok(()) };
        done(&row, outcome).map_err(Either::Lint)
    })
    .map_err(|error| match error {
        Either::Rows(source) => unreadable(&file.path, source),
        Either::Lint(error) => error,
    })
}

/// Lints the pairs of a run, as an export would write them.
fn lint_run(run: &RunDir, linter: &mut Linter<'_>) -> Result<(), LintError> {
    linter.begin(run.path(), "train");
    let reviews = Reviews::read(run)?;
    let rules = Rules::from_constitution(&run.manifest().constitution.value).with_reviews(reviews);
    let mut left_out = 0_u64;
    for trajectory in run.trajectories()? {
        let trajectory = trajectory?;
        for pair in pairs::pairs(&trajectory, Which::Last, &rules) {
            let Ok(pair) = pair else {
                left_out += 1;
                continue;
            };
            linter.pair(&pair);
        }
    }
    if left_out > 0 {
        linter.note(format!("an export leaves out {left_out} pairs or items"));
    }
    Ok(())
}

#[cfg(test)]
mod tests;

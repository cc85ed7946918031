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
mod spoilt;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

pub use self::background::Background;
use self::clean::CleanedCopy;
pub use self::filter::{FilterError, LintFilter};
use self::linter::Linter;
use self::report::LintReport;
pub use self::spoilt::SpoiltPairs;
use self::tokenizer::Tokenizer;
use crate::pairs::judgement::Rules;
use crate::pairs::{self, DropReason, Which};
use crate::rows::{
    FaultGroups, Input, Place, ReadFault, Row, RowFile, RowReader, WriteFault, files,
};
use crate::store::journal::JournalError;
use crate::store::reviews::Reviews;
use crate::store::run_dir::{RunDir, RunError};

/// TRL's default maximum length, used if none is given.
pub const MAX_LENGTH: usize = 1024;

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
    /// The names of columns. See [`crate::items::ItemOptions::map`].
    pub map: Vec<(String, String)>,
    /// Whether rows that are at fault are left out and counted.
    pub skip_bad: bool,
    /// Names of rules that are not checked.
    pub skip: Vec<String>,
    /// Where to write a cleaned copy.
    pub fix: Option<PathBuf>,
    /// The run whose pairs are checked, if it is open already: other verdicts may stand for
    /// its own.
    pub run: Option<RunDir>,
}

/// The reason why data cannot be linted.
#[derive(Debug, thiserror::Error)]
pub enum LintError {
    /// The data cannot be opened.
    #[error(transparent)]
    Open(#[from] ReadFault),
    /// The data has no rows.
    #[error("{path} has no rows")]
    NoRows {
        /// The data.
        path: PathBuf,
    },
    /// An export of the run would leave out everything.
    #[error("{path} has no pairs to check: an export leaves out all {reasons}")]
    NoPairs {
        /// The run.
        path: PathBuf,
        /// How many are left out for each reason, in words.
        reasons: String,
    },
    /// Rows that cannot be read or are in no known format.
    #[error("{0}")]
    Faults(FaultGroups),
    /// Rows of evaluation files that cannot be read or have no prompt.
    #[error("{0}")]
    Evaluation(FaultGroups),
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
    /// The cleaned copy is named like another kind of file.
    #[error(
        "--fix writes the kind of file that {} is, but {} is named like another kind: choose \
         another extension", .data.display(), .path.display()
    )]
    OtherKind {
        /// The cleaned copy.
        path: PathBuf,
        /// The data.
        data: PathBuf,
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
        source: WriteFault,
    },
}

/// Lints the run, file or folder at `path`.
///
/// # Errors
/// Fails if the data cannot be read or is in no known format, or if the cleaned copy
/// cannot be written.
pub fn lint(path: &Path, options: &LintOptions) -> Result<LintReport, LintError> {
    if options.run.is_some() || RunDir::exists(path) {
        if options.fix.is_some() {
            return Err(LintError::FixRun { path: path.to_owned() });
        }
        let opened;
        let run = match &options.run {
            Some(run) => run,
            None => {
                opened = RunDir::open(path)?;
                &opened
            }
        };
        let background = Background::from_manifest(run.manifest());
        let mut linter = Linter::new(path, options, background, false)?;
        lint_run(run, &mut linter)?;
        return linter.finish();
    }
    let files = files(&[Input::from(path.to_owned())])?;
    let several = files.iter().any(|file| file.split != files[0].split);
    let mut linter = Linter::new(path, options, Background::shipped(), several)?;
    match &options.fix {
        Some(out) => {
            let fixed = CleanedCopy::new(path, out)?.write(&files, &mut linter)?;
            linter.fixed(fixed);
        }
        None => {
            for file in &files {
                match RowReader::open(file) {
                    Ok(reader) => lint_file(file, reader, &mut linter, &mut |_, _, _| Ok(()))?,
                    Err(fault) => {
                        linter.read_fault(&fault);
                    }
                }
            }
        }
    }
    linter.finish()
}

/// Receives the place of each row and its outcome, with the row if it can be read.
type Done<'a> = &'a mut dyn FnMut(Place, Option<&Row>, linter::RowOutcome) -> Result<(), LintError>;

/// Lints the rows of a file. A row that is at fault does not end it.
fn lint_file(
    file: &RowFile,
    reader: RowReader,
    linter: &mut Linter<'_>,
    done: Done<'_>,
) -> Result<(), LintError> {
    linter.begin(&file.name, &file.split);
    linter.kind(&reader.kind());
    for row in reader {
        match row {
            Ok(row) => {
                if let Some(outcome) = linter.row(row.place, &row.object) {
                    done(row.place, Some(&row), outcome)?;
                }
            }
            Err(fault) => {
                if let (Some(outcome), Some(place)) = (linter.read_fault(&fault), fault.place) {
                    done(place, None, outcome)?;
                }
            }
        }
    }
    Ok(())
}

/// Lints the pairs of a run, as an export would write them.
fn lint_run(run: &RunDir, linter: &mut Linter<'_>) -> Result<(), LintError> {
    linter.begin(&run.path().display().to_string(), "train");
    let reviews = Reviews::read(run)?;
    let rules = Rules::from_run(run).with_reviews(reviews);
    let mut checked = 0_u64;
    let mut left_out: BTreeMap<DropReason, u64> = BTreeMap::new();
    for trajectory in run.trajectories()? {
        let trajectory = trajectory?;
        for pair in pairs::pairs(&trajectory, Which::Last, &rules) {
            match pair {
                Ok(pair) => {
                    linter.pair(&pair);
                    checked += 1;
                }
                Err(reason) => *left_out.entry(reason).or_default() += 1,
            }
        }
    }
    let all: u64 = left_out.values().sum();
    if all == 0 {
        return Ok(());
    }
    if checked == 0 {
        let reason =
            |(reason, count): (&DropReason, &u64)| format!("{count}: {}", reason.explain());
        let reasons: Vec<String> = left_out.iter().map(reason).collect();
        let reasons = format!("{all} ({})", reasons.join("; "));
        return Err(LintError::NoPairs { path: run.path().to_owned(), reasons });
    }
    linter.note(format!("an export leaves out {all} pairs or items"));
    Ok(())
}

#[cfg(test)]
mod tests;

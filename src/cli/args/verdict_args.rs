//! The flag that names verdicts of a run: those of another judge, in place of its own.

use std::path::Path;

use clap::Args;

use crate::cli::output::error::CommandError;
use amend_data::pairs::rejudged;
use amend_data::store::run_dir::RunDir;

/// The verdicts of a run that count.
#[derive(Debug, Args)]
pub struct VerdictArgs {
    /// Use the verdicts that `amend judge` made of the run under this name, instead of the
    /// run's own
    #[arg(long, value_name = "NAME")]
    pub verdicts: Option<String>,
}

impl VerdictArgs {
    /// Opens a run with these verdicts.
    ///
    /// # Errors
    /// See [`open`].
    pub fn open(&self, path: &Path) -> Result<RunDir, CommandError> {
        open(path, self.verdicts.as_deref(), None)
    }
}

/// Opens a run with the verdicts of this name, if there is one. Warns of pairs without a
/// verdict. Verdicts on which the judges of a panel disagree more than `max_disagreement` do
/// not count.
///
/// # Errors
/// The run can't be read or has no such verdicts, or `max_disagreement` has no effect.
pub fn open(
    path: &Path,
    verdicts: Option<&str>,
    max_disagreement: Option<f64>,
) -> Result<RunDir, CommandError> {
    let run = RunDir::open(path)?;
    let Some(name) = verdicts else { return Ok(run) };
    let run = run.with_verdicts(name, max_disagreement)?;
    if max_disagreement.is_some() && run.verdicts().is_some_and(|verdicts| !verdicts.is_panel()) {
        return Err(CommandError::usage(
            format!("--max-disagreement has no effect: the verdicts {name:?} are of one judge"),
            "omit it, or judge the run with several --judge-model",
        ));
    }
    let (all, missing) = rejudged::missing(&run)?;
    if missing > 0 {
        tracing::warn!(
            "{missing} of {all} pairs have no verdict in {name:?} and count as undecided: `amend \
             judge {} --name {name} --resume`, with the same judge and constitution, judges them",
            path.display()
        );
    }
    Ok(run)
}

/// Parses the greatest disagreement of a panel that counts.
pub fn disagreement(text: &str) -> Result<f64, String> {
    let limit: f64 = text.parse().map_err(|_| "a disagreement is a number from 0 to 0.5")?;
    if (0.0..=0.5).contains(&limit) {
        Ok(limit)
    } else {
        Err("a disagreement is a number from 0 to 0.5".to_owned())
    }
}

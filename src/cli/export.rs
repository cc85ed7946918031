//! `amend export`: pairs from a run, in a trainer's format.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use clap::builder::PossibleValuesParser;

use super::error::CliError;
use crate::dataset::export::{self, ExportError, FORMATS};
use crate::dataset::run_dir::RunDir;

/// Write a run's preference pairs for a trainer
///
/// Pairs whose sides are the same, empty or cut off are left out and counted on
/// stderr.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The run directory
    #[arg(value_name = "DIR")]
    run: PathBuf,
    /// The format
    #[arg(long, default_value = "trl", value_parser = PossibleValuesParser::new(FORMATS.iter().map(|format| format.name())))]
    format: String,
    /// The file to write, in place of stdout
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Exports.
///
/// # Errors
/// The run can't be read, or the output not written.
pub fn run(args: &ExportArgs) -> Result<(), CliError> {
    let dir = RunDir::open(&args.run)?;
    let format = export::format(&args.format).ok_or_else(|| {
        CliError::usage(format!("there is no format {:?}", args.format), "see --help")
    })?;
    let counts = match &args.out {
        Some(path) => export::write_file(&dir, format, path)?,
        None => {
            let mut out = std::io::BufWriter::new(std::io::stdout().lock());
            export::write(&dir, format, &mut out).map_err(|error| match error {
                ExportError::Write(source) => CliError::Output(source),
                other => other.into(),
            })?
        }
    };
    let mut told = format!("{} pairs written", counts.written);
    for (reason, count) in &counts.dropped {
        told.push_str(&format!(", {count} left out: {}", reason.explain()));
    }
    writeln!(std::io::stderr(), "{told}").map_err(CliError::Output)
}

//! `amend report`: a run as one HTML file.

use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::args::verdict_args::VerdictArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::{next, print};
use crate::report::{self, Report};
use amend_data::store::atomic;
use amend_data::store::run_dir::files::REPORT;

/// Write a run as one HTML file: figures, charts, and every item with its steps
///
/// The file is self-contained: it opens from the disk, loads nothing else, and can
/// be sent to others. The command prints its path.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run directory
    #[arg(value_name = "DIR")]
    run: PathBuf,
    /// The file to write, - for stdout [default: report.html in the run directory]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    verdicts: VerdictArgs,
}

/// Writes the report.
///
/// # Errors
/// The run can't be read, or the file can't be written.
pub fn run(args: &ReportArgs) -> Result<(), CommandError> {
    let run = args.verdicts.open(&args.run)?;
    let report = report::report(&run)?;
    let path = match args.out.as_deref() {
        Some(out) if out == Path::new("-") => {
            print::text(&report.html)?;
            None
        }
        out => {
            let path = out.map_or_else(|| args.run.join(REPORT), Path::to_owned);
            run.check_output(&path)?;
            atomic::write(&path, |file| file.write_all(report.html.as_bytes())).map_err(
                |source| CommandError::failed(format!("write {}", path.display()), source),
            )?;
            print::text(&format!("{}\n", path.display()))?;
            Some(path)
        }
    };
    print::message(&summary(&report));
    if let Some(path) = path {
        next::print(format!("open {} in a browser", path.display()));
    }
    Ok(())
}

/// What the page contains, in a line.
fn summary(Report { html, items, listed }: &Report) -> String {
    let mut text = format!("{items} items, {:.1} MB", html.len() as f64 / 1e6);
    if listed < items {
        text.push_str(&format!("; the first {listed} are listed, the figures include all"));
    }
    text.push('\n');
    text
}

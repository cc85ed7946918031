//! `amend report`: a run as one HTML file.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::output::error::CliError;
use crate::report::{self, Report};
use amend_data::store::atomic;
use amend_data::store::run_dir::RunDir;

/// Write a run as one HTML file: figures, charts, every item with its steps
///
/// The file needs nothing else: it opens from the disk, loads nothing, and can
/// be sent. Its path is printed.
#[derive(Debug, Args)]
pub struct ReportArgs {
    /// The run directory
    #[arg(value_name = "DIR")]
    run: PathBuf,
    /// The file to write, - for stdout [default: report.html in the run directory]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Reports.
///
/// # Errors
/// The run can't be read, or the page not written.
pub fn run(args: &ReportArgs) -> Result<(), CliError> {
    let run = RunDir::open(&args.run)?;
    let report = report::report(&run)?;
    let mut stdout = io::stdout();
    match args.out.as_deref() {
        Some(out) if out == Path::new("-") => {
            stdout.write_all(report.html.as_bytes()).map_err(CliError::Output)?;
        }
        out => {
            let path = out.map_or_else(|| args.run.join("report.html"), Path::to_owned);
            atomic::write(&path, |file| file.write_all(report.html.as_bytes())).map_err(
                |source| CliError::Io { attempt: format!("write {}", path.display()), source },
            )?;
            writeln!(stdout, "{}", path.display()).map_err(CliError::Output)?;
        }
    }
    tell(&report)
}

/// Says on stderr what is on the page.
fn tell(Report { html, items, listed }: &Report) -> Result<(), CliError> {
    let mut told = format!("{items} items, {:.1} MB", html.len() as f64 / 1e6);
    if listed < items {
        told.push_str(&format!("; the first {listed} are listed, all count in the figures"));
    }
    writeln!(io::stderr(), "{told}").map_err(CliError::Output)
}

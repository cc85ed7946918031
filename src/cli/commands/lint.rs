//! `amend lint`: says what would spoil training on a data set, and mends it in a
//! copy.

use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, ValueEnum};

use crate::cli::args::trainer::TrainerArgs;
use crate::cli::output::error::CliError;
use crate::cli::output::terminal;
use amend_data::lint;
use amend_data::lint::Options;
use amend_data::lint::check::{RULES, Severity};
use amend_data::lint::report::{Finding, Report};

/// Find what spoils preference and fine-tuning data
///
/// Any format that TRL, Axolotl, LLaMA-Factory or OpenRLHF reads is recognised
/// by its keys. Nothing is changed; --fix writes a cleaned copy.
#[derive(Debug, Args)]
pub struct LintArgs {
    /// A run directory, a .jsonl, .json or .parquet file, or a folder of splits
    #[arg(value_name = "DATA")]
    data: PathBuf,
    #[command(flatten)]
    trainer: TrainerArgs,
    /// A finding to pass by; may be repeated
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(RULES.iter().map(|rule| rule.name)))]
    skip: Vec<String>,
    /// The least severity that makes the exit code 1
    #[arg(long, value_enum, default_value_t = FailOn::Error, value_name = "SEVERITY")]
    fail_on: FailOn,
    /// Write a cleaned copy to OUT, and what was done to OUT.removed.jsonl
    #[arg(long, value_name = "OUT")]
    fix: Option<PathBuf>,
    /// Print a JSON record
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum FailOn {
    Warn,
    Error,
}

/// Lints.
///
/// # Errors
/// Data, tokenizer or copy; [`CliError::Findings`] where something is left that
/// is as severe as asked.
pub fn run(args: &LintArgs) -> Result<(), CliError> {
    let options =
        Options { trainer: args.trainer.load()?, skip: args.skip.clone(), fix: args.fix.clone() };
    let report = lint::lint(&args.data, &options)?;
    let text = if args.json {
        let json = serde_json::to_string_pretty(&report);
        json.map_err(|error| CliError::Output(error.into()))? + "\n"
    } else {
        table(&report, args.fix.as_deref(), terminal::stdout_color())
    };
    std::io::stdout().lock().write_all(text.as_bytes()).map_err(CliError::Output)?;
    let least = match args.fail_on {
        FailOn::Warn => Severity::Warn,
        FailOn::Error => Severity::Error,
    };
    match report.gravest() {
        Some(gravest) if gravest >= least => Err(CliError::Findings),
        _ => Ok(()),
    }
}

/// The report for people.
fn table(report: &Report, fix: Option<&std::path::Path>, color: bool) -> String {
    let mut text = String::new();
    // Writing to a String can't fail.
    let _ = head(report, &mut text);
    if report.findings.is_empty() {
        text.push_str("\nnothing found\n");
    }
    let name = report.findings.iter().map(|finding| finding.rule.name.len()).max();
    for finding in &report.findings {
        let one_file = report.splits.len() == 1;
        let _ = entry(finding, name.unwrap_or(0), one_file, color, &mut text);
    }
    if let (Some(fixed), Some(out)) = (report.fixed, fix) {
        let _ = write!(
            text,
            "\n{}: {} rows kept as they stood, {} changed, {} left out; what and why is in \
             {}.removed.jsonl\n",
            out.display(),
            fixed.kept,
            fixed.edited,
            fixed.removed,
            out.display()
        );
    }
    text
}

fn head(report: &Report, text: &mut String) -> std::fmt::Result {
    writeln!(text, "{}: {}", report.data, report.format)?;
    let splits: Vec<String> =
        report.splits.iter().map(|split| format!("{} {}", split.name, split.rows)).collect();
    writeln!(text, "  rows      {} ({})", report.rows, splits.join(", "))?;
    let (wanted, unwanted) = (report.statistics.wanted, report.statistics.unwanted);
    let unit = report.unit;
    write!(text, "  lengths   wanted {:.0} ± {:.0} {unit}", wanted.mean, wanted.sd)?;
    if unwanted.count > 0 {
        write!(text, ", unwanted {:.0} ± {:.0}", unwanted.mean, unwanted.sd)?;
    }
    match report.statistics.length_effect {
        Some(effect) => writeln!(text, ", d {effect:+.2}")?,
        None => writeln!(text)?,
    }
    let refusals = report.statistics.refusals;
    write!(text, "  refusals  wanted {}", of(refusals.wanted, wanted.count))?;
    if unwanted.count > 0 {
        write!(text, ", unwanted {}", of(refusals.unwanted, unwanted.count))?;
    }
    writeln!(text)?;
    if let Some(max_length) = report.max_length {
        writeln!(text, "  cut at    {max_length} tokens")?;
    }
    for note in &report.notes {
        writeln!(text, "  note      {note}")?;
    }
    Ok(())
}

fn of(count: u64, all: u64) -> String {
    if all == 0 {
        return "none".to_owned();
    }
    format!("{count} of {all} ({:.0} %)", 100.0 * count as f64 / all as f64)
}

fn entry(
    finding: &Finding,
    width: usize,
    one_file: bool,
    color: bool,
    text: &mut String,
) -> std::fmt::Result {
    let Finding { rule, count, share, examples, .. } = finding;
    let (severity, paint) = match rule.severity {
        Severity::Error => ("error", "\x1b[1;31m"),
        Severity::Warn => ("warn ", "\x1b[1;33m"),
    };
    let (paint, reset) = if color { (paint, "\x1b[0m") } else { ("", "") };
    let rows = if *count == 1 { "row " } else { "rows" };
    let (name, share) = (rule.name, 100.0 * share);
    writeln!(text, "\n{paint}{severity}{reset}  {name:width$}  {count:>2} {rows} {share:>5.1} %")?;
    writeln!(text, "       {}", rule.about)?;
    for sample in examples {
        let place = if one_file { String::new() } else { format!("{} ", sample.file) };
        writeln!(text, "       {place}row {}: {}", sample.row, sample.excerpt)?;
    }
    writeln!(text, "       fix: {}", rule.fix)
}

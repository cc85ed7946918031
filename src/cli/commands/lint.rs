//! `amend lint`: reports problems of a data set that would degrade training and, with
//! `--fix`, writes a cleaned copy.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::PossibleValuesParser;

use crate::cli::args::input_args::{InputArgs, faults_error, print_notes};
use crate::cli::args::one_of;
use crate::cli::args::trainer::TrainerArgs;
use crate::cli::args::verdict_args::VerdictArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::format::part;
use crate::cli::output::next::{self, AmendCall};
use crate::cli::output::print;
use crate::cli::output::terminal::Output;
use amend_core::document::Severity;
use amend_core::text::format::plural;
use amend_data::items::{ItemFaults, ItemOptions};
use amend_data::lint::check::RULES;
use amend_data::lint::report::{LintFinding, LintReport};
use amend_data::lint::{self, LintError, LintOptions};
use amend_data::rows::Place;
use amend_data::store::run_dir::RunDir;

/// Find problems in preference and fine-tuning data
///
/// The formats of TRL, Axolotl, LLaMA-Factory, OpenRLHF, NeMo, ms-swift, OpenAI and others
/// are recognised by their columns. The data are not changed; --fix writes a cleaned copy.
#[derive(Debug, Args)]
pub struct LintArgs {
    /// A run directory; a file of JSON Lines, JSON, CSV, TSV, Parquet or Arrow, also
    /// compressed; a folder of splits; or `-` for stdin
    #[arg(value_name = "DATA")]
    data: PathBuf,
    #[command(flatten)]
    verdicts: VerdictArgs,
    #[command(flatten)]
    trainer: TrainerArgs,
    /// A finding to skip; may be repeated
    #[arg(long, value_name = "NAME", value_parser = PossibleValuesParser::new(RULES.iter().map(|rule| rule.name)))]
    skip: Vec<String>,
    /// The lowest severity that makes the exit code 1
    #[arg(
        long,
        value_parser = one_of(&[Severity::Warn, Severity::Error], Severity::as_str, &[]),
        default_value_t = Severity::Error,
        value_name = "SEVERITY",
    )]
    fail_on: Severity,
    /// Write a cleaned copy to OUT, and a log of the changes to OUT.removed.jsonl
    #[arg(long, value_name = "OUT")]
    fix: Option<PathBuf>,
    /// Print a JSON record
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    input: InputArgs,
}

/// Checks the data and prints the report.
///
/// # Errors
/// The data or the tokenizer can't be read, or the copy can't be written;
/// [`CommandError::reported`] if a finding that is at least as severe as `--fail-on`
/// remains.
pub fn run(args: &LintArgs) -> Result<(), CommandError> {
    if args.input.is_given() && RunDir::exists(&args.data) {
        return Err(CommandError::usage(
            format!("{} is a run, whose columns are known", args.data.display()),
            "omit --map, --field and --skip-bad",
        ));
    }
    let ItemOptions { map, skip_bad, .. } = args.input.options(None)?;
    let options = LintOptions {
        trainer: args.trainer.load()?,
        map,
        skip_bad,
        skip: args.skip.clone(),
        fix: args.fix.clone(),
        run: match args.verdicts.verdicts {
            Some(_) => Some(args.verdicts.open(&args.data)?),
            None => None,
        },
    };
    let report = lint::lint(&args.data, &options).map_err(|error| match error {
        LintError::Faults(faults) => faults_error(ItemFaults(faults)),
        other => other.into(),
    })?;
    print_notes(&report.input);
    if args.json {
        print::json(&report)?;
    } else {
        print::styled(&table(&report, args.fix.as_deref(), Output::stdout()))?;
    }
    if let Some(call) = args.next_call(&report) {
        next::print(call);
    }
    match report.gravest() {
        Some(highest) if highest >= args.fail_on => Err(CommandError::reported()),
        _ => Ok(()),
    }
}

impl LintArgs {
    /// What to do next: export a run, or write a cleaned copy of data with findings.
    fn next_call(&self, report: &LintReport) -> Option<AmendCall> {
        if RunDir::exists(&self.data) {
            return Some(AmendCall::exporting(&self.data));
        }
        let is_clean = report.gravest().is_none_or(|severity| severity < Severity::Warn);
        match &self.fix {
            Some(out) => Some(AmendCall::new("lint").arg(out)),
            None if is_clean || self.data == Path::new("-") => None,
            None => Some(AmendCall::this().with(&["--fix", "OUT"])),
        }
    }
}

/// The report as text.
fn table(report: &LintReport, fix: Option<&Path>, output: Output) -> String {
    let mut heading = String::new();
    // Writing to a String can't fail.
    let _ = head(report, &mut heading);
    let mut text = output.text(&heading).into_owned();
    if report.findings.is_empty() {
        text.push_str("\nnothing found\n");
    }
    let width = report.findings.iter().map(|finding| finding.rule.name.len()).max().unwrap_or(0);
    let is_one_file = report.splits.len() == 1;
    for finding in &report.findings {
        let _ = entry(finding, width, is_one_file, output, &mut text);
    }
    if let (Some(fixed), Some(out)) = (report.fixed, fix) {
        let _ = write!(
            text,
            "\n{}: {} {} unchanged, {} changed, {} left out; the log is \
             {}.removed.jsonl\n",
            out.display(),
            fixed.kept,
            plural(fixed.kept as usize, "row"),
            fixed.edited,
            fixed.removed,
            out.display()
        );
    }
    text
}

fn head(report: &LintReport, text: &mut String) -> std::fmt::Result {
    writeln!(text, "{}: {}", report.data, report.format)?;
    let splits: Vec<String> =
        report.splits.iter().map(|split| format!("{} {}", split.name, split.rows)).collect();
    writeln!(text, "  rows      {} ({})", report.rows, splits.join(", "))?;
    let (chosen, rejected) = (report.statistics.wanted, report.statistics.unwanted);
    if chosen.count == 0 && rejected.count == 0 {
        return notes(report, text);
    }
    let unit = report.unit;
    write!(text, "  lengths   chosen {:.0} ± {:.0} {unit}", chosen.mean, chosen.sd)?;
    if rejected.count > 0 {
        write!(text, ", rejected {:.0} ± {:.0}", rejected.mean, rejected.sd)?;
    }
    match report.statistics.length_effect {
        Some(effect) => writeln!(text, ", d {effect:+.2}")?,
        None => writeln!(text)?,
    }
    let refusals = report.statistics.refusals;
    write!(text, "  refusals  chosen {}", part(refusals.wanted, chosen.count))?;
    if rejected.count > 0 {
        write!(text, ", rejected {}", part(refusals.unwanted, rejected.count))?;
    }
    writeln!(text)?;
    if let Some(max_length) = report.max_length {
        writeln!(text, "  limit     {max_length} tokens")?;
    }
    notes(report, text)
}

fn notes(report: &LintReport, text: &mut String) -> std::fmt::Result {
    for note in &report.notes {
        writeln!(text, "  note      {note}")?;
    }
    Ok(())
}

fn entry(
    finding: &LintFinding,
    width: usize,
    is_one_file: bool,
    output: Output,
    text: &mut String,
) -> std::fmt::Result {
    let LintFinding { rule, count, share, examples, .. } = finding;
    let severity = match rule.severity {
        Severity::Error => output.paint("1;31", "error"),
        Severity::Warn => output.paint("1;33", "warn "),
        Severity::Info => output.paint("2", "info "),
    };
    let rows = if *count == 1 { "row " } else { "rows" };
    let (name, share) = (rule.name, 100.0 * share);
    writeln!(text, "\n{severity}  {name:width$}  {count:>2} {rows} {share:>5.1} %")?;
    writeln!(text, "       {}", rule.about)?;
    for sample in examples {
        let place = match sample.place {
            _ if !is_one_file => format!("{}{}", sample.file, sample.place),
            Place::Line(line) => format!("line {line}"),
            Place::Row(row) => format!("row {row}"),
        };
        let line = format!("{place}: {}", sample.excerpt);
        writeln!(text, "       {}", output.text(&line))?;
    }
    writeln!(text, "       fix: {}", rule.fix)
}

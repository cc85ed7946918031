//! `amend export`: the rows of a run in a trainer's format.

use std::io::{self, BufWriter, IsTerminal};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use serde_json::{Map, Value, json};

use crate::cli::args::trainer::TrainerArgs;
use crate::cli::args::verdict_args::{self, VerdictArgs};
use crate::cli::output::error::CommandError;
use crate::cli::output::{print, terminal};
use amend_data::export::{
    self, Counts, ExportError, ExportFormat, ExportOptions, FORMATS, FileFormat, Folder,
    ReasoningPolicy, ReviewPolicy, RowFilter, Splits,
};
use amend_data::lint::{self, check};
use amend_data::pairs::Which;
use amend_data::store::run_dir::RunDir;

/// Export a run's preference pairs, or other data that trainers read
///
/// Pairs with equal, empty or truncated responses, or with a thought left in a response,
/// are left out and counted on stderr.
/// So are rows with the findings of amend lint that the constitution or --drop names;
/// OUT.removed.jsonl lists them. Reviews (amend review) take precedence over
/// verdicts. With --split or --card, or if --out is a folder, each split is a
/// separate file in that folder.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The run directory
    #[arg(value_name = "DIR")]
    run: PathBuf,
    /// The format
    #[arg(long, default_value = "trl", value_parser = formats())]
    format: &'static ExportFormat,
    /// The pairs of an item: the last revision over the first response, each response
    /// over all earlier ones, or each over the previous one
    #[arg(long, default_value = "last", value_parser = pairings())]
    which: Which,
    /// How reviews are used: they override verdicts, or are ignored
    #[arg(long, value_enum, default_value_t = Reviews::Override, value_name = "POLICY")]
    reviews: Reviews,
    /// What becomes of the thoughts before first responses: drop writes responses only,
    /// field writes a thought where the trainer reads it, inline before the response's
    /// text. A revision's thought is never written
    #[arg(
        long,
        value_name = "POLICY",
        value_parser = reasoning_policies(),
        default_value_t = ReasoningPolicy::Drop,
    )]
    reasoning: ReasoningPolicy,
    /// Findings of amend lint whose rows are left out, overriding those that the
    /// constitution names in [export]; none keeps all rows
    #[arg(long, value_delimiter = ',', value_name = "FINDING,…", value_parser = filters())]
    drop: Vec<String>,
    #[command(flatten)]
    verdicts: VerdictArgs,
    /// With --verdicts of a panel: leave out pairs on which the judges disagree more, as
    /// the standard deviation of their probabilities (0 to 0.5)
    #[arg(long, value_name = "X", requires = "verdicts", value_parser = verdict_args::disagreement)]
    max_disagreement: Option<f64>,
    #[command(flatten)]
    trainer: TrainerArgs,
    /// The file format [default: by the extension of --out, otherwise jsonl; with --card, parquet]
    #[arg(long, value_name = "FORMAT", value_parser = file_formats())]
    file_format: Option<FileFormat>,
    /// The file or the folder to write [default: stdout]
    #[arg(short, long, value_name = "PATH", required_if_eq("card", "true"))]
    out: Option<PathBuf>,
    /// Splits and their shares; equal and similar prompts stay together
    #[arg(long, value_name = "NAME=SHARE,…", requires = "out")]
    split: Option<Splits>,
    /// With --split: the seed that assigns prompts to splits
    #[arg(long, default_value_t = 0, value_name = "N", requires = "split")]
    seed: u64,
    /// Also write a dataset card (README.md), for a folder that is ready to upload
    #[arg(long)]
    card: bool,
    /// With --card: the dataset's licence, such as cc-by-4.0
    #[arg(long, alias = "license", value_name = "ID", requires = "card")]
    licence: Option<String>,
    /// Print the counts as a JSON record on stdout
    #[arg(long, requires = "out")]
    json: bool,
}

/// The value of `--drop` that keeps all rows.
const NONE: &str = "none";

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reviews {
    Override,
    Ignore,
}

fn formats() -> impl TypedValueParser<Value = &'static ExportFormat> {
    let value = |format: &ExportFormat| PossibleValue::new(format.name).help(format.about);
    PossibleValuesParser::new(FORMATS.iter().map(value))
        .try_map(|name| ExportFormat::named(&name).ok_or("unknown format"))
}

fn pairings() -> impl TypedValueParser<Value = Which> {
    PossibleValuesParser::new(Which::ALL.map(Which::as_str))
        .try_map(|name| Which::named(&name).ok_or("unknown pairing"))
}

fn reasoning_policies() -> impl TypedValueParser<Value = ReasoningPolicy> {
    PossibleValuesParser::new(ReasoningPolicy::ALL.map(ReasoningPolicy::as_str))
        .try_map(|name| ReasoningPolicy::named(&name).ok_or("unknown policy"))
}

fn file_formats() -> impl TypedValueParser<Value = FileFormat> {
    PossibleValuesParser::new(FileFormat::ALL.map(FileFormat::as_str))
        .try_map(|name| FileFormat::named(&name).ok_or("unknown format"))
}

fn filters() -> PossibleValuesParser {
    let rules = check::filters().map(|rule| PossibleValue::new(rule.name));
    PossibleValuesParser::new(rules.chain([PossibleValue::new(NONE)]))
}

/// Exports the rows and prints counts.
///
/// # Errors
/// The run can't be read, the output can't be written, or flags contradict each
/// other.
pub fn run(args: &ExportArgs) -> Result<(), CommandError> {
    if args.card && args.licence.is_none() {
        return Err(CommandError::usage(
            "--card needs the licence of the data",
            "pass --licence ID, such as cc-by-4.0; check the terms of the model and the prompts",
        ));
    }
    let verdicts = args.verdicts.verdicts.as_deref();
    let run = verdict_args::open(&args.run, verdicts, args.max_disagreement)?;
    if let Some(out) = &args.out {
        run.check_output(out)?;
    }
    args.check_reasoning()?;
    let filter = args.filter(&run)?;
    let export = args.export(filter.as_ref().map(|filter| filter as _));
    let counts = match &args.out {
        Some(path) if args.is_folder(path) => {
            let folder = Folder {
                splits: args.split.clone().unwrap_or_else(Splits::train),
                seed: args.seed,
                licence: args.licence.clone(),
            };
            export::write_folder(&run, &export, &folder, path)?
        }
        Some(path) => export::write_file(&run, &export, path)?,
        None => to_stdout(&run, &export)?,
    };
    print::message(&summary(&export, &counts));
    match &args.out {
        Some(out) if args.json => print::json(&record(&export, &counts, out)),
        _ => Ok(()),
    }
}

impl ExportArgs {
    /// The export that the flags describe.
    fn export<'a>(&self, filter: Option<&'a dyn RowFilter>) -> ExportOptions<'a> {
        let usual = match &self.out {
            _ if self.card => FileFormat::Parquet,
            Some(out) => FileFormat::from_path(out).unwrap_or_default(),
            None => FileFormat::default(),
        };
        let file_format = self.file_format.unwrap_or(usual);
        let reviews = match self.reviews {
            Reviews::Override => ReviewPolicy::Override,
            Reviews::Ignore => ReviewPolicy::Ignore,
        };
        let Self { format, which, reasoning, .. } = *self;
        ExportOptions { format, which, file_format, reviews, reasoning, filter }
    }

    /// Checks that `--reasoning` has an effect.
    fn check_reasoning(&self) -> Result<(), CommandError> {
        if self.reasoning == ReasoningPolicy::Drop || self.format.trains() {
            return Ok(());
        }
        Err(CommandError::usage(
            format!("--reasoning does not apply to {}: it has all thoughts", self.format.name),
            "omit --reasoning, or export in a trainer's format",
        ))
    }

    /// The filter of `--drop`, otherwise that of the run's constitution.
    fn filter(&self, run: &RunDir) -> Result<Option<lint::LintFilter>, CommandError> {
        let named = self.drop.iter().any(|name| name != NONE);
        if named && self.drop.iter().any(|name| name == NONE) {
            return Err(CommandError::usage(
                "--drop none keeps all rows, but other findings are given too",
                "pass either none or findings",
            ));
        }
        if named && !self.format.trains() {
            return Err(CommandError::usage(
                format!(
                    "--drop does not apply to {}: it is the complete record of a run",
                    self.format.name
                ),
                "omit --drop, or export in a trainer's format",
            ));
        }
        let drop = match self.drop.as_slice() {
            [] if self.format.trains() => constitution_filters(run),
            [] => Vec::new(),
            _ if named => self.drop.clone(),
            _ => Vec::new(),
        };
        if drop.iter().any(|name| name == check::THOUGHTS_LEFT)
            && self.format.has_thoughts_in_texts(self.reasoning)
        {
            return Err(CommandError::usage(
                format!(
                    "this export writes thoughts into the texts of {}, but {} drops such rows",
                    self.format.name,
                    check::THOUGHTS_LEFT
                ),
                "omit --reasoning, or pass --drop without this finding (--drop none keeps all rows)",
            ));
        }
        if !drop.is_empty() {
            return Ok(Some(lint::LintFilter::new(&drop, self.trainer.load()?)?));
        }
        let unused = self.trainer.given().join(", ");
        if unused.is_empty() {
            return Ok(None);
        }
        let hint = if self.format.trains() {
            format!("name findings with --drop, such as chosen-cut, or omit {unused}")
        } else {
            format!("omit {unused}")
        };
        Err(CommandError::usage(
            format!(
                "this export does not leave rows out by findings, so {unused} would have no effect"
            ),
            hint,
        ))
    }

    /// Whether `--out` is a folder.
    fn is_folder(&self, out: &Path) -> bool {
        let ends_with_slash = out.as_os_str().as_encoded_bytes().ends_with(b"/");
        self.split.is_some() || self.card || ends_with_slash || out.is_dir()
    }
}

fn to_stdout(run: &RunDir, export: &ExportOptions) -> Result<Counts, CommandError> {
    if export.file_format == FileFormat::Parquet && io::stdout().is_terminal() {
        return Err(CommandError::usage(
            "Parquet can't be shown on a terminal",
            "write a file: --out FILE",
        ));
    }
    export::write(run, export, BufWriter::new(terminal::stdout())).map_err(|error| match error {
        ExportError::Write(source) => CommandError::output(source),
        other => other.into(),
    })
}

/// The findings whose rows the run's constitution leaves out.
fn constitution_filters(run: &RunDir) -> Vec<String> {
    run.manifest().constitution.value.export.drop.clone()
}

/// What was written and what was left out, in a line.
fn summary(export: &ExportOptions<'_>, counts: &Counts) -> String {
    let mut text = format!("{} written", export.in_words(counts.written));
    if counts.splits.len() > 1 {
        let splits: Vec<String> =
            counts.splits.iter().map(|(name, rows)| format!("{name} {rows}")).collect();
        text.push_str(&format!(" ({})", splits.join(", ")));
    }
    if export.reasoning != ReasoningPolicy::Drop {
        text.push_str(&format!(", {} of them with thoughts", counts.with_thoughts));
        if counts.without_thoughts > 0 {
            text.push_str(&format!(
                ", {} without: an answer is a revision or has no thought",
                counts.without_thoughts
            ));
        }
    }
    for (reason, count) in &counts.dropped {
        text.push_str(&format!(", {count} left out: {}", reason.explain()));
    }
    for ((rule, _), count) in &counts.filtered {
        text.push_str(&format!(", {count} left out by {rule}"));
    }
    text.push('\n');
    if counts.without_thoughts > 0 && counts.with_thoughts == 0 {
        text.push_str(
            "help: only thoughts of first answers can be exported: pass --format sft-steps, or \
             export a run that thinks and only compares candidates (`rounds = 0`)\n",
        );
    }
    text
}

/// The counts as JSON.
fn record(export: &ExportOptions<'_>, counts: &Counts, out: &Path) -> Value {
    let splits: Map<String, Value> =
        counts.splits.iter().map(|(name, rows)| (name.clone(), json!(rows))).collect();
    let filtered: Map<String, Value> =
        counts.filtered.iter().map(|((rule, _), rows)| ((*rule).to_owned(), json!(rows))).collect();
    json!({
        "out": out.to_string_lossy(),
        "format": export.format.name,
        "file_format": export.file_format.as_str(),
        "which": export.which.as_str(),
        "reasoning": export.reasoning.as_str(),
        "written": counts.written,
        "with_thoughts": counts.with_thoughts,
        "without_thoughts": counts.without_thoughts,
        "splits": splits,
        "left_out": counts.dropped,
        "filtered": filtered,
        "log": counts.log.as_ref().map(|log| log.to_string_lossy()),
    })
}

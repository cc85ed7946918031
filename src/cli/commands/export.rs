//! `amend export`: the rows of a run in a trainer's format.

use std::io::{self, BufWriter, IsTerminal};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use serde_json::{Map, Value, json};

use crate::cli::args::trainer::TrainerArgs;
use crate::cli::args::verdict_args::{self, VerdictArgs};
use crate::cli::output::error::CommandError;
use crate::cli::output::next::{self, AmendCall};
use crate::cli::output::{counts, print, terminal};
use amend_core::constitution::Policy;
use amend_data::export::{
    self, ColumnSet, Counts, ExportError, ExportFormat, ExportOptions, FORMATS, FileFormat, Folder,
    ReasoningPolicy, ReviewPolicy, RowFilter, Splits,
};
use amend_data::lint::{self, check};
use amend_data::pairs::Which;
use amend_data::store::run_dir::RunDir;

/// Export a run's preference pairs, or other data that trainers read
///
/// A pair is exported if the judge decided for its chosen response (--policy) and neither
/// side is spoilt, as by a critique that is repeated (--allow). Pairs with equal, empty or
/// truncated responses are left out too, and rows with the findings of amend lint that the
/// constitution or --drop names. All are counted on stderr; OUT.removed.jsonl lists those
/// with findings. Reviews (amend review) take precedence over verdicts. With --split or
/// --card, or if --out is a folder, each split is a separate file in that folder.
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
    /// What a verdict does to a pair, overriding the constitution: drop leaves pairs out that
    /// are not decided for the chosen response, flip swaps those decided against it and leaves
    /// undecided ones out, keep-with-label keeps all with their verdicts, keep ignores verdicts
    #[arg(long, value_name = "POLICY", value_parser = policies())]
    policy: Option<Policy>,
    /// The columns: all, or plain without those that say where a row comes from (id,
    /// principles, verdict and others), which some trainers reject
    #[arg(long, value_name = "COLUMNS", value_parser = column_sets(), default_value_t = ColumnSet::All)]
    columns: ColumnSet,
    /// What becomes of the thoughts before first and guided responses: drop writes responses only,
    /// field writes a thought where the trainer reads it, inline before the response's
    /// text. A revision's thought is never written
    #[arg(
        long,
        value_name = "POLICY",
        value_parser = reasoning_policies(),
        default_value_t = ReasoningPolicy::Drop,
    )]
    reasoning: ReasoningPolicy,
    /// Findings of amend lint whose rows are left out in addition to spoilt rows,
    /// overriding those that the constitution names in [export]; none adds nothing
    #[arg(long, value_delimiter = ',', value_name = "FINDING,…", value_parser = filters(NONE))]
    drop: Vec<String>,
    /// Findings of amend lint whose rows are exported anyway; all exports every spoilt row
    #[arg(long, value_delimiter = ',', value_name = "FINDING,…", value_parser = filters(ALL))]
    allow: Vec<String>,
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

/// The value of `--drop` that adds no finding.
const NONE: &str = "none";

/// The value of `--allow` that allows every finding.
const ALL: &str = "all";

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

fn policies() -> impl TypedValueParser<Value = Policy> {
    PossibleValuesParser::new(Policy::ALL.map(Policy::as_str))
        .try_map(|name| Policy::named(&name).ok_or("unknown policy"))
}

fn column_sets() -> impl TypedValueParser<Value = ColumnSet> {
    PossibleValuesParser::new(ColumnSet::ALL.map(ColumnSet::as_str))
        .try_map(|name| ColumnSet::named(&name).ok_or("unknown columns"))
}

/// The names of findings, and one more value.
fn filters(more: &'static str) -> PossibleValuesParser {
    let rules = check::filters().map(|rule| PossibleValue::new(rule.name));
    PossibleValuesParser::new(rules.chain([PossibleValue::new(more)]))
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
    if run.manifest().is_rejudged() {
        return Err(CommandError::usage(
            format!("{} has verdicts on another run", args.run.display()),
            "export the run that was judged, with --verdicts NAME",
        ));
    }
    if let Some(out) = &args.out {
        run.check_output(out)?;
    }
    args.check_reasoning()?;
    args.check_format()?;
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
    print::message(&summary(&export, &run, &counts));
    let Some(out) = &args.out else { return Ok(()) };
    if args.json {
        print::json(&record(&export, &counts, out))?;
    }
    // The complete record of a run is in no trainer's format.
    if args.format.trains() {
        next::print(AmendCall::new("lint").arg(out));
    }
    Ok(())
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
        let Self { format, which, reasoning, policy, columns, .. } = *self;
        ExportOptions { format, which, file_format, reviews, policy, columns, reasoning, filter }
    }

    /// Checks that `--columns`, `--policy` and `--allow` have an effect.
    fn check_format(&self) -> Result<(), CommandError> {
        let name = self.format.name;
        if !self.format.trains() {
            let flags = [
                ("--columns plain", self.columns == ColumnSet::Plain),
                ("--policy", self.policy.is_some()),
                ("--allow", !self.allow.is_empty()),
            ];
            if let Some((flag, _)) = flags.into_iter().find(|(_, is_given)| *is_given) {
                return Err(CommandError::usage(
                    format!("{flag} does not apply to {name}: it is the complete record of a run"),
                    format!("omit {flag}, or export in a trainer's format"),
                ));
            }
        }
        if self.policy.is_some() && !self.format.has_pairs() {
            return Err(CommandError::usage(
                format!("--policy does not apply to {name}: its rows are no pairs"),
                "omit --policy, or export pairs",
            ));
        }
        let both = self.drop.iter().find(|name| self.allow.contains(name));
        match both {
            Some(name) => Err(CommandError::usage(
                format!("both --drop and --allow name {name}"),
                "pass it to one of them",
            )),
            None => Ok(()),
        }
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

    /// The filter of spoilt rows and of `--drop`, otherwise of the run's constitution,
    /// without what `--allow` names.
    fn filter(&self, run: &RunDir) -> Result<Option<lint::LintFilter>, CommandError> {
        let named = self.drop.iter().any(|name| name != NONE);
        if named && self.drop.iter().any(|name| name == NONE) {
            return Err(CommandError::usage(
                "--drop none adds no finding, but findings are given too",
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
        let rules = self.rules(run);
        if rules.iter().any(|name| name == check::THOUGHTS_LEFT)
            && self.format.has_thoughts_in_texts(self.reasoning)
        {
            return Err(CommandError::usage(
                format!(
                    "this export writes thoughts into the texts of {}, but {} drops such rows",
                    self.format.name,
                    check::THOUGHTS_LEFT
                ),
                if named {
                    "omit --reasoning, or pass --drop without this finding".to_owned()
                } else {
                    format!("omit --reasoning, or pass --allow {}", check::THOUGHTS_LEFT)
                },
            ));
        }
        let unused = self.trainer.given().join(", ");
        if !unused.is_empty() && !lint::LintFilter::need_trainer(&rules) {
            let hint = if self.format.trains() {
                format!(
                    "name a finding that needs it with --drop, such as chosen-cut, or omit {unused}"
                )
            } else {
                format!("omit {unused}")
            };
            return Err(CommandError::usage(
                format!(
                    "no finding that leaves out rows needs {unused}, so it would have no effect"
                ),
                hint,
            ));
        }
        if rules.is_empty() {
            return Ok(None);
        }
        let background = lint::Background::from_manifest(run.manifest());
        Ok(Some(lint::LintFilter::new(&rules, self.trainer.load()?, background)?))
    }

    /// The names of the findings whose rows are left out.
    fn rules(&self, run: &RunDir) -> Vec<String> {
        if !self.format.trains() {
            return Vec::new();
        }
        let allows_all = self.allow.iter().any(|name| name == ALL);
        let mut rules = Vec::new();
        if !allows_all {
            rules.extend(check::SPOILT.iter().map(|rule| rule.name.to_owned()));
        }
        let constitution = &run.manifest().constitution.value;
        let more: &[String] = match self.drop.as_slice() {
            [] if allows_all => &[],
            [] => &constitution.export.drop,
            drop => drop,
        };
        for name in more {
            if name != NONE && !rules.contains(name) {
                rules.push(name.clone());
            }
        }
        rules.retain(|name| !self.allow.contains(name));
        rules
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

/// What was written and what was left out: a line, or a line for each reason.
fn summary(export: &ExportOptions<'_>, run: &RunDir, counts: &Counts) -> String {
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
    text.push_str(&counts::left_out(counts));
    text.push('\n');
    if let Some(unchecked) = unchecked(export, run, counts) {
        text.push_str(&format!("note: {unchecked}\n"));
    }
    if counts.unended > 0 {
        let (items, have) = if counts.unended == 1 { ("item", "has") } else { ("items", "have") };
        text.push_str(&format!("note: {} {items} of the run {have} not ended\n", counts.unended));
    }
    if let Some(duplicates) = counts::duplicate_ids(counts) {
        text.push_str(&format!("warning: {duplicates}\n"));
    }
    if counts.without_thoughts > 0 && counts.with_thoughts == 0 {
        text.push_str(
            "help: only thoughts of first and guided answers can be exported: pass --format \
             sft-steps, or export a run that thinks and makes no revisions (`method = \
             \"contrast\"`, or `rounds = 0` with several candidates)\n",
        );
    }
    text
}

/// How many rows neither a verdict nor a review has checked, and why. `None` if there are
/// none.
fn unchecked(export: &ExportOptions<'_>, run: &RunDir, counts: &Counts) -> Option<String> {
    let judge = run.judge_rules();
    let reason = match export.policy.unwrap_or(judge.policy) {
        _ if !judge.enabled => "the constitution disables the judge",
        Policy::Keep => "the policy keep ignores verdicts",
        Policy::Flip | Policy::Drop | Policy::KeepWithLabel => "they have no verdict",
    };
    match counts.unchecked {
        0 => None,
        all if all == counts.written => Some(format!("no verdict checked them: {reason}")),
        some => Some(format!("no verdict checked {some} of them: {reason}")),
    }
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
        "columns": export.columns.as_str(),
        "reasoning": export.reasoning.as_str(),
        "written": counts.written,
        "with_thoughts": counts.with_thoughts,
        "without_thoughts": counts.without_thoughts,
        "splits": splits,
        "left_out": counts.dropped,
        "filtered": filtered,
        "unchecked": counts.unchecked,
        "unended": counts.unended,
        "duplicate_ids": counts.duplicate_ids.as_ref().map_or(0, |ids| ids.items),
        "log": counts.log.as_ref().map(|log| log.to_string_lossy()),
    })
}

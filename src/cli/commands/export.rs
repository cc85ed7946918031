//! `amend export`: rows of a run, in a trainer's format.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};

use clap::builder::{PossibleValue, PossibleValuesParser, TypedValueParser};
use clap::{Args, ValueEnum};

use serde_json::{Map, Value, json};

use crate::cli::args::trainer::TrainerArgs;
use crate::cli::output::error::CliError;
use amend_data::export;
use amend_data::export::{
    Counts, Export, ExportError, FORMATS, FileFormat, Filter, Folder, Format, ReviewPolicy, Splits,
};
use amend_data::lint;
use amend_data::lint::check;
use amend_data::pairs::Which;
use amend_data::store::run_dir::RunDir;

/// Write a run's preference pairs, or what else trainers read
///
/// Pairs whose sides are the same, empty or cut off are left out and counted on
/// stderr. So are rows with the findings of amend lint that the constitution or
/// --drop names; OUT.removed.jsonl says which they were. What people decided with
/// amend review goes before any verdict. With --split or --card, or where --out
/// names a folder, each split is a file of its own in that folder.
#[derive(Debug, Args)]
pub struct ExportArgs {
    /// The run directory
    #[arg(value_name = "DIR")]
    run: PathBuf,
    /// The format
    #[arg(long, default_value = "trl", value_parser = formats())]
    format: &'static Format,
    /// Which answers of an item are paired: the last revision over the first
    /// answer, each answer over all before it, or each over the one before it
    #[arg(long, default_value = "last", value_parser = ways())]
    which: Which,
    /// What people's decisions do: they go before any verdict, or count for nothing
    #[arg(long, value_enum, default_value_t = Reviews::Override, value_name = "POLICY")]
    reviews: Reviews,
    /// Findings of amend lint whose rows are left out, in place of those that the
    /// constitution names in [export]; none leaves out nothing
    #[arg(long, value_delimiter = ',', value_name = "FINDING,…", value_parser = filters())]
    drop: Vec<String>,
    #[command(flatten)]
    trainer: TrainerArgs,
    /// How rows are written [default: as --out is named, jsonl otherwise, parquet with --card]
    #[arg(long, value_name = "FORMAT", value_parser = file_formats())]
    file_format: Option<FileFormat>,
    /// The file to write, in place of stdout, or the folder
    #[arg(short, long, value_name = "PATH", required_if_eq("card", "true"))]
    out: Option<PathBuf>,
    /// Splits and their shares; equal and similar prompts stay in one
    #[arg(long, value_name = "NAME=SHARE,…", requires = "out")]
    split: Option<Splits>,
    /// With --split: the seed that decides which split a prompt is in
    #[arg(long, default_value_t = 0, value_name = "N", requires = "split")]
    seed: u64,
    /// Write a data set card (README.md) too: a folder ready to be uploaded
    #[arg(long)]
    card: bool,
    /// With --card: the data set's licence, such as cc-by-4.0
    #[arg(long, alias = "license", value_name = "ID", requires = "card")]
    licence: Option<String>,
    /// Print the counts as a JSON record on stdout
    #[arg(long, requires = "out")]
    json: bool,
}

/// The name that stands for no filter.
const NONE: &str = "none";

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Reviews {
    Override,
    Ignore,
}

fn formats() -> impl TypedValueParser<Value = &'static Format> {
    let value = |format: &Format| PossibleValue::new(format.name).help(format.about);
    PossibleValuesParser::new(FORMATS.iter().map(value))
        .try_map(|name| Format::named(&name).ok_or("no such format"))
}

fn ways() -> impl TypedValueParser<Value = Which> {
    PossibleValuesParser::new(Which::ALL.map(Which::as_str))
        .try_map(|name| Which::named(&name).ok_or("no such way"))
}

fn file_formats() -> impl TypedValueParser<Value = FileFormat> {
    PossibleValuesParser::new(FileFormat::ALL.map(FileFormat::as_str))
        .try_map(|name| FileFormat::named(&name).ok_or("no such format"))
}

fn filters() -> PossibleValuesParser {
    let rules = check::filters().map(|rule| PossibleValue::new(rule.name));
    PossibleValuesParser::new(rules.chain([PossibleValue::new(NONE)]))
}

/// Exports.
///
/// # Errors
/// The run can't be read, the output not written, or what is asked for makes no
/// sense.
pub fn run(args: &ExportArgs) -> Result<(), CliError> {
    if args.card && args.licence.is_none() {
        return Err(CliError::usage(
            "a card names the licence of the data, and amend does not guess it",
            "pass --licence ID, such as cc-by-4.0; mind the terms of the model and the prompts",
        ));
    }
    let run = RunDir::open(&args.run)?;
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
    tell(&export, &counts)?;
    match &args.out {
        Some(out) if args.json => record(&export, &counts, out),
        _ => Ok(()),
    }
}

impl ExportArgs {
    /// What they ask for.
    fn export<'a>(&self, filter: Option<&'a dyn Filter>) -> Export<'a> {
        let usual = match &self.out {
            _ if self.card => FileFormat::Parquet,
            Some(out) => FileFormat::of(out).unwrap_or_default(),
            None => FileFormat::default(),
        };
        let file_format = self.file_format.unwrap_or(usual);
        let reviews = match self.reviews {
            Reviews::Override => ReviewPolicy::Override,
            Reviews::Ignore => ReviewPolicy::Ignore,
        };
        Export { format: self.format, which: self.which, file_format, reviews, filter }
    }

    /// What leaves rows out: what they name, else what the run's constitution does.
    fn filter(&self, run: &RunDir) -> Result<Option<lint::Filter>, CliError> {
        let named = self.drop.iter().any(|name| name != NONE);
        if named && self.drop.iter().any(|name| name == NONE) {
            return Err(CliError::usage(
                "--drop none leaves nothing out, and other findings are named beside it",
                "name either none or findings",
            ));
        }
        if named && !self.format.trains() {
            return Err(CliError::usage(
                format!(
                    "{} is the record of a run, and nothing is left out of it",
                    self.format.name
                ),
                "take out --drop, or export in a trainer's format",
            ));
        }
        let drop = match self.drop.as_slice() {
            [] if self.format.trains() => constitution_s(run),
            [] => Vec::new(),
            _ if named => self.drop.clone(),
            _ => Vec::new(),
        };
        if !drop.is_empty() {
            return Ok(Some(lint::Filter::new(&drop, self.trainer.load()?)?));
        }
        let idle = self.trainer.given().join(", ");
        if idle.is_empty() {
            return Ok(None);
        }
        let hint = if self.format.trains() {
            format!("name the findings with --drop, such as chosen-cut, or take out {idle}")
        } else {
            format!("take out {idle}")
        };
        Err(CliError::usage(
            format!("no finding leaves rows out of this export, and only findings use {idle}"),
            hint,
        ))
    }

    /// Whether `--out` names a folder.
    fn is_folder(&self, out: &Path) -> bool {
        let ends_as_one = out.as_os_str().as_encoded_bytes().ends_with(b"/");
        self.split.is_some() || self.card || ends_as_one || out.is_dir()
    }
}

fn to_stdout(run: &RunDir, export: &Export) -> Result<Counts, CliError> {
    if export.file_format == FileFormat::Parquet && io::stdout().is_terminal() {
        return Err(CliError::usage("Parquet is not for a terminal", "name a file with --out"));
    }
    export::write(run, export, BufWriter::new(io::stdout())).map_err(|error| match error {
        ExportError::Write(source) => CliError::Output(source),
        other => other.into(),
    })
}

/// The findings that the run's constitution leaves out.
fn constitution_s(run: &RunDir) -> Vec<String> {
    let drop = run.manifest().constitution.value["export"]["drop"].as_array();
    drop.into_iter().flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}

/// Says on stderr what was written and what was left out.
fn tell(export: &Export<'_>, counts: &Counts) -> Result<(), CliError> {
    let mut told = format!("{} {} written", counts.written, export.format.noun());
    if counts.splits.len() > 1 {
        let splits: Vec<String> =
            counts.splits.iter().map(|(name, rows)| format!("{name} {rows}")).collect();
        told.push_str(&format!(" ({})", splits.join(", ")));
    }
    for (reason, count) in &counts.dropped {
        told.push_str(&format!(", {count} left out: {}", reason.explain()));
    }
    for ((rule, _), count) in &counts.filtered {
        told.push_str(&format!(", {count} left out by {rule}"));
    }
    writeln!(io::stderr(), "{told}").map_err(CliError::Output)
}

/// Prints the counts for programs.
fn record(export: &Export<'_>, counts: &Counts, out: &Path) -> Result<(), CliError> {
    let splits: Map<String, Value> =
        counts.splits.iter().map(|(name, rows)| (name.clone(), json!(rows))).collect();
    let filtered: Map<String, Value> =
        counts.filtered.iter().map(|((rule, _), rows)| ((*rule).to_owned(), json!(rows))).collect();
    let record = json!({
        "out": out.to_string_lossy(),
        "format": export.format.name,
        "file_format": export.file_format.as_str(),
        "which": export.which.as_str(),
        "written": counts.written,
        "splits": splits,
        "left_out": counts.dropped,
        "filtered": filtered,
        "log": counts.log.as_ref().map(|log| log.to_string_lossy()),
    });
    writeln!(io::stdout(), "{record:#}").map_err(CliError::Output)
}

//! `amend check`: reports everything that is wrong in constitutions, evaluation
//! sets, prompt sets and input files, without running a model.

use std::path::{Path, PathBuf};
use std::slice;

use clap::Args;

use crate::cli::args::input_args::InputArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::format::count;
use crate::cli::output::print;
use crate::cli::output::terminal::Output;
use amend_core::constitution;
use amend_core::constitution::wording::{self, Remark};
use amend_core::prompt as template;
use amend_data::eval_set as set;
use amend_data::items::Purpose;
use amend_data::rows::file::is_row_file;

/// Validate constitutions, evaluation sets, prompt sets and input files
///
/// A .j2 file or a folder of them is a prompt set. A .jsonl, .ndjson, .json, .csv, .tsv,
/// .parquet, .arrow, .feather or .txt file, also compressed (.gz, .zst), and any other folder
/// are input for `amend run`. A file with a `[set]` table is an evaluation set. Any other file is a
/// constitution.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// The files to check; a shipped constitution may be given by name
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// In constitutions: also report wording that is hard to judge by
    #[arg(long)]
    lint: bool,
    #[command(flatten)]
    input: InputArgs,
}

/// Checks every file.
///
/// # Errors
/// [`CommandError::reported`] if a file has errors, which are printed to stderr, or
/// remarks.
pub fn run(args: &CheckArgs) -> Result<(), CommandError> {
    let mut wrong = 0;
    for file in &args.files {
        match check(file, args) {
            Ok((what, remarks)) => {
                let mut text = format!("{}: {what}\n", file.display());
                for Remark { principle, message, advice } in &remarks {
                    text.push_str(&format!("  {principle}: {message}; {advice}\n"));
                }
                wrong += usize::from(!remarks.is_empty());
                print::text(&text)?;
            }
            Err(error) => {
                wrong += 1;
                print::styled_error(&format!("{}\n", error.describe(Output::stderr())));
            }
        }
    }
    if wrong == 0 { Ok(()) } else { Err(CommandError::reported()) }
}

/// Describes what a valid file holds, with remarks about it.
fn check(file: &Path, args: &CheckArgs) -> Result<(String, Vec<Remark>), CommandError> {
    let without_remarks = |what: String| (what, Vec::new());
    let extension = file.extension().and_then(|extension| extension.to_str());
    match extension {
        Some("j2") => check_prompts(file.parent().unwrap_or(Path::new("."))).map(without_remarks),
        _ if has_templates(file) => check_prompts(file).map(without_remarks),
        _ if file.is_dir() || is_row_file(file) => {
            let source =
                args.input.open(slice::from_ref(&file.to_owned()), Purpose::Prompts, None)?;
            let rows = usize::try_from(source.summary.rows).unwrap_or(usize::MAX);
            Ok(without_remarks(count(rows, "input row")))
        }
        _ if set::is_set(file) => {
            let set = set::load(file)?.set;
            let items = count(set.probes.len(), "item");
            let prompts = count(set.items(None).len(), "prompt");
            Ok(without_remarks(format!("an evaluation set of {items}, {prompts}")))
        }
        _ => {
            let loaded = constitution::load(&file.to_string_lossy())?;
            let constitution = loaded.constitution;
            let remarks = if args.lint { wording::remarks(&constitution) } else { Vec::new() };
            let principles = count(constitution.principles.len(), "principle");
            Ok((format!("a constitution of {principles}"), remarks))
        }
    }
}

/// Whether a folder has templates.
fn has_templates(folder: &Path) -> bool {
    let Ok(entries) = folder.read_dir() else { return false };
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths.any(|path| path.extension().is_some_and(|extension| extension == "j2"))
}

fn check_prompts(folder: &Path) -> Result<String, CommandError> {
    template::check(folder)?;
    Ok("a prompt set".to_owned())
}

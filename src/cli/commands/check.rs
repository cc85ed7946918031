//! `amend check`: says everything that is wrong in constitutions, evaluation
//! sets, prompt sets and input files, and starts nothing.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::cli::output::error::{CliError, tell};
use crate::cli::output::terminal;
use amend_core::constitution;
use amend_core::constitution::wording;
use amend_core::constitution::wording::Remark;
use amend_core::prompt as template;
use amend_data::eval_set as set;
use amend_data::rows::input;
use amend_data::rows::input::Input;

/// Validate constitutions, evaluation sets, prompt sets and input files
///
/// A folder or a .j2 file is a prompt set, a .jsonl, .ndjson, .json or .txt
/// file is input for `amend run`, a file with a `[set]` table an evaluation set,
/// anything else a constitution.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// What to check; shipped constitutions go by name
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The key that holds the prompt, in input files
    #[arg(long, value_name = "KEY")]
    field: Option<String>,
    /// Of constitutions, tell too what wording is hard to judge by
    #[arg(long)]
    lint: bool,
}

/// Checks every file.
///
/// # Errors
/// [`CliError::Findings`] after everything wrong was printed to stderr, or
/// remarks were made.
pub fn run(args: &CheckArgs) -> Result<(), CliError> {
    let mut wrong = 0;
    for file in &args.files {
        match check(file, args) {
            Ok((what, remarks)) => {
                let mut text = format!("{}: {what}\n", file.display());
                for Remark { principle, message, advice } in &remarks {
                    text.push_str(&format!("  {principle}: {message}; {advice}\n"));
                }
                wrong += usize::from(!remarks.is_empty());
                std::io::stdout().write_all(text.as_bytes()).map_err(CliError::Output)?;
            }
            Err(error) => {
                wrong += 1;
                tell(&format!("{}\n", error.describe(terminal::stderr_color())));
            }
        }
    }
    if wrong == 0 { Ok(()) } else { Err(CliError::Findings) }
}

/// Says what a sound file holds, and what is to be remarked on in it.
fn check(file: &Path, args: &CheckArgs) -> Result<(String, Vec<Remark>), CliError> {
    let plain = |what: String| (what, Vec::new());
    let extension = file.extension().and_then(|extension| extension.to_str());
    match extension {
        Some("jsonl" | "ndjson" | "json" | "txt") => {
            let items = input::read(&[Input::from(file.to_owned())], args.field.as_deref())?;
            Ok(plain(count(items.len(), "input row")))
        }
        Some("j2") => check_prompts(file.parent().unwrap_or(Path::new("."))).map(plain),
        _ if file.is_dir() => check_prompts(file).map(plain),
        _ if set::is_set(file) => {
            let set = set::load(file)?.set;
            let items = count(set.probes.len(), "item");
            let prompts = count(set.items(None).len(), "prompt");
            Ok(plain(format!("an evaluation set of {items}, {prompts}")))
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

/// `1 row`, `2 rows`.
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

fn check_prompts(folder: &Path) -> Result<String, CliError> {
    template::check(folder)?;
    Ok("a prompt set".to_owned())
}

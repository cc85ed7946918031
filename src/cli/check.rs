//! `amend check`: says everything that is wrong in constitutions, evaluation
//! sets, prompt sets and input files, and starts nothing.

use std::io::Write;
use std::path::{Path, PathBuf};

use clap::Args;

use super::error::{CliError, tell};
use super::terminal;
use crate::constitution;
use crate::dataset::input::{self, Input};
use crate::dataset::set;
use crate::template;

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
}

/// Checks every file.
///
/// # Errors
/// [`CliError::Findings`] after everything wrong was printed to stderr.
pub fn run(args: &CheckArgs) -> Result<(), CliError> {
    let mut wrong = 0;
    for file in &args.files {
        match check(file, args.field.as_deref()) {
            Ok(what) => writeln!(std::io::stdout(), "{}: {what}", file.display())
                .map_err(CliError::Output)?,
            Err(error) => {
                wrong += 1;
                tell(&format!("{}\n", error.describe(terminal::stderr_color())));
            }
        }
    }
    if wrong == 0 { Ok(()) } else { Err(CliError::Findings) }
}

/// Says what a sound file holds.
fn check(file: &Path, field: Option<&str>) -> Result<String, CliError> {
    let extension = file.extension().and_then(|extension| extension.to_str());
    match extension {
        Some("jsonl" | "ndjson" | "json" | "txt") => {
            let items = input::read(&[Input::from(file.to_owned())], field)?;
            Ok(count(items.len(), "input row"))
        }
        Some("j2") => check_prompts(file.parent().unwrap_or(Path::new("."))),
        _ if file.is_dir() => check_prompts(file),
        _ if set::is_set(file) => {
            let set = set::load(file)?.set;
            let items = count(set.probes.len(), "item");
            Ok(format!("an evaluation set of {items}, {}", count(set.items(None).len(), "prompt")))
        }
        _ => {
            let loaded = constitution::load(&file.to_string_lossy())?;
            let principles = loaded.constitution.principles.len();
            Ok(format!("a constitution of {}", count(principles, "principle")))
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

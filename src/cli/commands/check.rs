//! `amend check`: reports everything that is wrong in constitutions, evaluation
//! sets, prompt sets and input files, without running a model.

use std::path::{Path, PathBuf};
use std::slice;

use clap::Args;

use crate::cli::args::input_args::InputArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::format::count;
use crate::cli::output::next::{self, AmendCall};
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
    let mut checked = Vec::new();
    for file in &args.files {
        match check(file, args) {
            Ok((content, remarks)) => {
                let mut text = format!("{}: {}\n", file.display(), content.describe());
                for Remark { principle, message, advice } in &remarks {
                    text.push_str(&format!("  {principle}: {message}; {advice}\n"));
                }
                wrong += usize::from(!remarks.is_empty());
                print::text(&text)?;
                checked.push((file.as_path(), content));
            }
            Err(error) => {
                wrong += 1;
                print::styled_error(&format!("{}\n", error.describe(Output::stderr())));
            }
        }
    }
    if wrong > 0 {
        return Err(CommandError::reported());
    }
    if let Some(call) = next_call(&checked) {
        next::print(call);
    }
    Ok(())
}

/// What a valid file holds.
enum Content {
    Constitution { principles: usize },
    Templates { folder: PathBuf },
    EvalSet { items: usize, prompts: usize },
    Input { rows: usize },
}

impl Content {
    fn describe(&self) -> String {
        match *self {
            Self::Constitution { principles } => {
                format!("a constitution of {}", count(principles, "principle"))
            }
            Self::Templates { .. } => "a prompt set".to_owned(),
            Self::EvalSet { items, prompts } => {
                let prompts = count(prompts, "prompt");
                format!("an evaluation set of {}, {prompts}", count(items, "item"))
            }
            Self::Input { rows } => count(rows, "input row"),
        }
    }
}

/// The call that uses the checked files together. `None` if no call uses all of them.
fn next_call(checked: &[(&Path, Content)]) -> Option<AmendCall> {
    let (mut constitutions, mut templates) = (Vec::new(), Vec::new());
    let (mut sets, mut inputs) = (Vec::new(), Vec::new());
    for (file, content) in checked {
        match content {
            Content::Constitution { .. } => constitutions.push(*file),
            Content::Templates { folder } => templates.push(folder.as_path()),
            Content::EvalSet { .. } => sets.push(*file),
            Content::Input { .. } => inputs.push(*file),
        }
    }
    let (mut call, is_recorded) = match (&sets[..], &inputs[..]) {
        ([], []) => (AmendCall::default(), false),
        ([], inputs) => (inputs.iter().fold(AmendCall::new("run"), AmendCall::arg), true),
        ([set], []) => (AmendCall::new("eval").arg(set), true),
        _ => return None,
    };
    for (flag, files) in [("-c", constitutions), ("--prompts", templates)] {
        match files[..] {
            [] => {}
            [file] => call = call.arg(flag).arg(file),
            _ => return None,
        }
    }
    Some(if is_recorded { call.arg("--out").arg("DIR") } else { call.arg("…") })
}

/// What a valid file holds, with remarks about it.
fn check(file: &Path, args: &CheckArgs) -> Result<(Content, Vec<Remark>), CommandError> {
    let without_remarks = |content: Content| (content, Vec::new());
    let extension = file.extension().and_then(|extension| extension.to_str());
    match extension {
        Some("j2") => check_prompts(file.parent().unwrap_or(Path::new("."))).map(without_remarks),
        _ if has_templates(file) => check_prompts(file).map(without_remarks),
        _ if file.is_dir() || is_row_file(file) => {
            let source =
                args.input.open(slice::from_ref(&file.to_owned()), Purpose::Prompts, None)?;
            let rows = usize::try_from(source.summary.rows).unwrap_or(usize::MAX);
            Ok(without_remarks(Content::Input { rows }))
        }
        _ if set::is_set(file) => {
            let set = set::load(file)?.set;
            let (items, prompts) = (set.probes.len(), set.items(None).len());
            Ok(without_remarks(Content::EvalSet { items, prompts }))
        }
        _ => {
            let loaded = constitution::load(&file.to_string_lossy())?;
            let constitution = loaded.constitution;
            let remarks = if args.lint { wording::remarks(&constitution) } else { Vec::new() };
            let principles = constitution.principles.len();
            Ok((Content::Constitution { principles }, remarks))
        }
    }
}

/// Whether a folder has templates.
fn has_templates(folder: &Path) -> bool {
    let Ok(entries) = folder.read_dir() else { return false };
    let mut paths = entries.flatten().map(|entry| entry.path());
    paths.any(|path| path.extension().is_some_and(|extension| extension == "j2"))
}

fn check_prompts(folder: &Path) -> Result<Content, CommandError> {
    template::check(folder)?;
    Ok(Content::Templates { folder: folder.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_next_call_uses_what_was_checked() {
        let constitution = || (Path::new("my.toml"), Content::Constitution { principles: 1 });
        let input = || (Path::new("my prompts.txt"), Content::Input { rows: 1 });
        let set = || (Path::new("set.toml"), Content::EvalSet { items: 1, prompts: 1 });
        let templates = || (Path::new("t/a.j2"), Content::Templates { folder: "t".into() });
        for (checked, expected) in [
            (vec![constitution()], "amend -c my.toml '…'"),
            (vec![templates()], "amend --prompts t '…'"),
            (vec![input()], "amend run 'my prompts.txt' --out DIR"),
            (
                vec![constitution(), input(), templates()],
                "amend run 'my prompts.txt' -c my.toml --prompts t --out DIR",
            ),
            (vec![set()], "amend eval set.toml --out DIR"),
            (vec![input(), set()], ""),
            (vec![constitution(), constitution()], ""),
        ] {
            let call = next_call(&checked).map(|call| call.to_string());
            assert_eq!(call.unwrap_or_default(), expected);
        }
    }
}

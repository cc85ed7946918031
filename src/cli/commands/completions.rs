//! `amend completions`: scripts that let a shell complete amend's arguments.

use std::io::Write;

use clap::Args;
use clap_complete::Shell;

use crate::cli::output::error::CommandError;

/// Print a completion script for a shell
///
/// Save the script where the shell looks for it: for bash,
/// ~/.local/share/bash-completion/completions/amend; for fish,
/// ~/.config/fish/completions/amend.fish; for zsh, a file named _amend in a folder
/// of its $fpath.
#[derive(Debug, Args)]
pub struct CompletionsArgs {
    /// The shell
    #[arg(value_enum)]
    shell: Shell,
}

/// Prints the script.
///
/// # Errors
/// Stdout can't be written to.
pub fn run(args: &CompletionsArgs, mut command: clap::Command) -> Result<(), CommandError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "amend", &mut script);
    std::io::stdout().write_all(&script).map_err(CommandError::output)
}

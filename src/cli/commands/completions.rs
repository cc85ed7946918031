//! `amend completions`: what a shell needs to complete amend's arguments.

use std::io::Write;

use clap::Args;
use clap_complete::Shell;

use crate::cli::output::error::CliError;

/// Print a completion script for a shell
///
/// Where it belongs is up to the shell: bash reads
/// ~/.local/share/bash-completion/completions/amend, fish
/// ~/.config/fish/completions/amend.fish, and zsh a file named _amend in a folder
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
pub fn run(args: &CompletionsArgs, mut command: clap::Command) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "amend", &mut script);
    std::io::stdout().write_all(&script).map_err(CliError::Output)
}

//! `amend man`: manual pages, made from the definition of the command line.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::output::error::CliError;

/// Write manual pages into a folder: one of amend, one of each command
///
/// For man to find them, the folder is man1 in one that manpath names, such as
/// ~/.local/share/man/man1.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder; it is made where it isn't there
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes the pages, and says how many there are.
///
/// # Errors
/// The folder can't be made, or a page not written.
pub fn run(args: &ManArgs, command: clap::Command) -> Result<(), CliError> {
    let folder = args.folder.display();
    let io = |attempt: String| move |source| CliError::Io { attempt, source };
    std::fs::create_dir_all(&args.folder).map_err(io(format!("make the folder {folder}")))?;
    // Clap's own command help is a page that only repeats the others.
    let command = command.disable_help_subcommand(true);
    let pages = 1 + command.get_subcommands().count();
    clap_mangen::generate_to(command, &args.folder)
        .map_err(io(format!("write manual pages into {folder}")))?;
    writeln!(std::io::stdout(), "{folder}: {pages} manual pages").map_err(CliError::Output)
}

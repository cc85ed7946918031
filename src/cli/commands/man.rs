//! `amend man`: manual pages, generated from the definition of the command line.

use std::path::PathBuf;

use clap::Args;

use crate::cli::output::error::CommandError;
use crate::cli::output::print;

/// Write manual pages into a folder: one for amend, and one for each command
///
/// The command man finds the pages if the folder is named man1 and lies in a folder
/// that manpath lists, such as ~/.local/share/man.
#[derive(Debug, Args)]
pub struct ManArgs {
    /// The folder. It is created if it does not exist
    #[arg(value_name = "DIR")]
    folder: PathBuf,
}

/// Writes the pages and prints how many there are.
///
/// # Errors
/// The folder can't be created, or a page can't be written.
pub fn run(args: &ManArgs, command: clap::Command) -> Result<(), CommandError> {
    let folder = args.folder.display();
    std::fs::create_dir_all(&args.folder)
        .map_err(|source| CommandError::failed(format!("create the folder {folder}"), source))?;
    // Clap's `help` command would have a page that only repeats the others.
    let command = command.disable_help_subcommand(true);
    let pages = 1 + command.get_subcommands().count();
    clap_mangen::generate_to(command, &args.folder).map_err(|source| {
        CommandError::failed(format!("write manual pages into {folder}"), source)
    })?;
    print::text(&format!("{folder}: {pages} manual pages\n"))
}

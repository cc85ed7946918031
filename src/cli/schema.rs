//! `amend schema`: the JSON Schemas of the files that people write.

use std::io::Write;

use clap::Args;

use super::error::CliError;
use crate::constitution;
use crate::dataset::set;

/// Print the JSON Schema of constitutions or evaluation sets, for editors
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// That of evaluation sets
    #[arg(long)]
    set: bool,
}

/// Prints the schema.
///
/// # Errors
/// Stdout can't be written to.
pub fn run(args: &SchemaArgs) -> Result<(), CliError> {
    let schema = if args.set { set::schema().clone() } else { constitution::schema() };
    writeln!(std::io::stdout(), "{schema:#}").map_err(CliError::Output)
}

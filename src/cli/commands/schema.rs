//! `amend schema`: the JSON Schemas of the files that people write.

use std::io::Write;

use clap::Args;

use crate::cli::output::error::CliError;
use amend_core::constitution;
use amend_core::document::schema::markdown;
use amend_data::eval_set as set;

/// Print the JSON Schema of constitutions or evaluation sets, for editors
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// That of evaluation sets
    #[arg(long)]
    set: bool,
    /// As a reference for people, in Markdown: a table of keys for each table
    #[arg(long)]
    markdown: bool,
}

/// Prints the schema.
///
/// # Errors
/// Stdout can't be written to.
pub fn run(args: &SchemaArgs) -> Result<(), CliError> {
    let schema = if args.set { set::schema().clone() } else { constitution::schema() };
    let text = if args.markdown { markdown(&schema) } else { format!("{schema:#}\n") };
    std::io::stdout().write_all(text.as_bytes()).map_err(CliError::Output)
}

//! `amend schema`: the JSON Schemas of the files that people write.

use clap::Args;

use crate::cli::output::error::CommandError;
use crate::cli::output::print;
use amend_core::constitution;
use amend_core::document::schema::markdown;
use amend_data::eval_set as set;

/// Print the JSON Schema of constitutions or evaluation sets, for editors
#[derive(Debug, Args)]
pub struct SchemaArgs {
    /// Print the schema of evaluation sets instead
    #[arg(long)]
    set: bool,
    /// Print a reference in Markdown instead: one table of keys for each TOML table
    #[arg(long)]
    markdown: bool,
}

/// Prints the schema.
///
/// # Errors
/// Stdout can't be written to.
pub fn run(args: &SchemaArgs) -> Result<(), CommandError> {
    let schema = if args.set { set::schema().clone() } else { constitution::schema() };
    if args.markdown { print::text(&markdown(&schema)) } else { print::json(&schema) }
}

//! `amend schema`: the JSON Schema of constitutions.

use std::io::Write;

use super::error::CliError;
use crate::constitution;

/// Prints the schema.
///
/// # Errors
/// Stdout can't be written to.
pub fn run() -> Result<(), CliError> {
    writeln!(std::io::stdout(), "{:#}", constitution::schema()).map_err(CliError::Output)
}

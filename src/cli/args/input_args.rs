//! Flags of the commands that read rows: what columns mean, and what happens to faulty rows.

use std::path::PathBuf;

use clap::Args;

use crate::cli::output::error::CommandError;
use crate::cli::output::print;
use amend_data::items::{ItemFaults, ItemOptions, ItemSource, MAPPED, Purpose};
use amend_data::rows::Input;
use amend_data::store::run_dir::RunDir;
use amend_data::store::sharded::Shard;

/// What the columns of the input mean.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "Input")]
pub struct InputArgs {
    /// Columns by what they mean, where amend does not recognise them:
    /// `prompt=goal,response=target`. The names are prompt, system, response, chosen,
    /// rejected, a, b, label, id and category; `response=-` ignores the responses
    #[arg(long, value_name = "NAME=COLUMN,…", value_delimiter = ',', value_parser = mapping)]
    map: Vec<(String, String)>,
    /// The column that holds the prompt: short for --map prompt=KEY
    #[arg(long, value_name = "KEY")]
    field: Option<String>,
    /// Leave out rows that are at fault, and count them by reason
    #[arg(long)]
    skip_bad: bool,
}

/// Parses `NAME=COLUMN`.
fn mapping(text: &str) -> Result<(String, String), String> {
    let Some((name, column)) = text.split_once('=') else {
        return Err("write NAME=COLUMN, such as prompt=goal".to_owned());
    };
    if !MAPPED.contains(&name) {
        return Err(format!("unknown name {name:?}: use one of {}", MAPPED.join(", ")));
    }
    if column.is_empty() || (name == "prompt" && column == "-") {
        return Err(format!("name the column of {name}"));
    }
    Ok((name.to_owned(), column.to_owned()))
}

impl InputArgs {
    /// Reads and checks the inputs, of which at most `limit` rows are used, and prints how
    /// they were read.
    ///
    /// # Errors
    /// An input is at fault.
    pub fn open(
        &self,
        inputs: &[PathBuf],
        purpose: Purpose,
        limit: Option<u64>,
    ) -> Result<ItemSource, CommandError> {
        self.open_shard(inputs, purpose, limit, None)
    }

    /// As [`InputArgs::open`], but keeps only the items of a shard, if one is given.
    ///
    /// # Errors
    /// An input is at fault.
    pub fn open_shard(
        &self,
        inputs: &[PathBuf],
        purpose: Purpose,
        limit: Option<u64>,
        shard: Option<Shard>,
    ) -> Result<ItemSource, CommandError> {
        if let Some(path) = inputs.iter().find(|path| RunDir::exists(path)) {
            let path = path.display();
            return Err(CommandError::usage(
                format!("{path} is a run directory, which has no input rows"),
                format!(
                    "to use its results: amend export {path}, amend judge {path}, amend audit \
                     --on {path}, or amend run --answers-from {path}"
                ),
            ));
        }
        let inputs: Vec<Input> = inputs.iter().cloned().map(Input::from).collect();
        let options = ItemOptions { shard, ..self.options(limit)? };
        let source = ItemSource::open(&inputs, purpose, &options).map_err(faults_error)?;
        print_notes(&source.notes);
        Ok(source)
    }

    /// Whether any of the flags is given.
    #[must_use]
    pub fn is_given(&self) -> bool {
        !self.map.is_empty() || self.field.is_some() || self.skip_bad
    }

    /// How rows become items.
    ///
    /// # Errors
    /// A name is mapped twice.
    pub fn options(&self, limit: Option<u64>) -> Result<ItemOptions, CommandError> {
        let field = self.field.iter().map(|field| ("prompt".to_owned(), field.clone()));
        let map: Vec<(String, String)> = field.chain(self.map.iter().cloned()).collect();
        for (at, (name, _)) in map.iter().enumerate() {
            if map[..at].iter().any(|(other, _)| other == name) {
                return Err(CommandError::usage(
                    format!("the column of {name} is named twice"),
                    "name it once, with --map or --field",
                ));
            }
        }
        Ok(ItemOptions { map, skip_bad: self.skip_bad, limit, shard: None })
    }
}

/// The error of an input with these faults.
#[must_use]
pub fn faults_error(faults: ItemFaults) -> CommandError {
    let can_be_skipped = faults.0.can_be_skipped();
    let error = CommandError::from(faults);
    match can_be_skipped {
        true => error.hinted("to continue without these rows, pass --skip-bad"),
        false => error,
    }
}

/// Prints how an input was read, to stderr.
pub fn print_notes(notes: &[String]) {
    let lines: String = notes.iter().map(|note| format!("{note}\n")).collect();
    print::message(&lines);
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Call {
        #[command(flatten)]
        input: InputArgs,
    }

    fn map(words: &str) -> Result<Vec<(String, String)>, String> {
        let call = Call::try_parse_from(["amend"].into_iter().chain(words.split(' ')))
            .map_err(|error| error.to_string())?;
        call.input.options(None).map(|options| options.map).map_err(|error| error.to_string())
    }

    #[test]
    fn columns_are_mapped_by_name() {
        let pair = |name: &str, column: &str| (name.to_owned(), column.to_owned());
        assert_eq!(
            map("--map prompt=goal,response=- --map id=Key").unwrap(),
            [pair("prompt", "goal"), pair("response", "-"), pair("id", "Key")]
        );
        assert_eq!(map("--field goal").unwrap(), [pair("prompt", "goal")]);
    }

    #[test]
    fn unknown_repeated_and_empty_names_are_refused() {
        for (words, message) in [
            ("--map goal", "write NAME=COLUMN"),
            ("--map answer=x", "unknown name \"answer\": use one of prompt, system, response"),
            ("--map prompt=", "name the column of prompt"),
            ("--map prompt=-", "name the column of prompt"),
            ("--map id=a,id=b", "the column of id is named twice"),
            ("--map prompt=a --field b", "the column of prompt is named twice"),
        ] {
            let error = map(words).unwrap_err();
            assert!(error.contains(message), "{words}: {error}");
        }
    }
}

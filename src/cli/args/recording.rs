//! Flags of the commands that record a run: its directory, and how much to run.

use std::path::PathBuf;

use clap::Args;

use amend_core::record::Item;

/// The run directory, and how much to run.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Run")]
pub struct RecordArgs {
    /// The run directory to create or to resume
    #[arg(short, long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Use only the first N rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub limit: Option<u64>,
    /// Continue the run in the directory
    #[arg(long)]
    pub resume: bool,
    /// With --resume: retry items that failed
    #[arg(long, requires = "resume")]
    pub retry_errors: bool,
    /// Produce the same bytes on every run, however often it is interrupted, on one
    /// machine with the same engine settings. This is slower, because items run in
    /// cohorts
    #[arg(long, conflicts_with = "retry_errors")]
    pub reproducible: bool,
    /// Stop once N items have failed
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub max_errors: Option<u64>,
}

impl RecordArgs {
    /// The items of the first `--limit` rows. A row may have several items.
    #[must_use]
    pub fn limited(&self, mut items: Vec<Item>) -> Vec<Item> {
        if let Some(limit) = self.limit {
            items.retain(|item| item.row <= limit);
        }
        items
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amend_core::record::Keys;
    use clap::Parser;

    #[derive(Debug, Parser)]
    struct Call {
        #[command(flatten)]
        recording: RecordArgs,
    }

    fn limited(arguments: &[&str]) -> Vec<u64> {
        let call = Call::try_parse_from([&["amend"], arguments].concat()).unwrap();
        let mut keys = Keys::default();
        let item = |row| {
            let key = keys.next(&[], None, None);
            let metadata = serde_json::Map::new();
            let messages = Vec::new();
            Item { key, row, id: None, messages, response: None, response_b: None, metadata }
        };
        let items = [1, 1, 2, 3].map(item).into();
        call.recording.limited(items).iter().map(|item| item.row).collect()
    }

    #[test]
    fn limit_counts_rows_and_not_items() {
        assert_eq!(limited(&[]), [1, 1, 2, 3]);
        assert_eq!(limited(&["--limit", "2"]), [1, 1, 2]);
    }

    #[test]
    fn flags_that_need_others_are_refused_alone() {
        for arguments in ["--out r --retry-errors", "--limit 0"] {
            let words = ["amend"].into_iter().chain(arguments.split(' '));
            assert!(Call::try_parse_from(words).is_err(), "{arguments}");
        }
    }
}

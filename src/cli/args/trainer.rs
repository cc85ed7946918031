//! The options that describe the training that data are for: `lint` checks data by
//! them, and `export` filters by them.

use std::path::PathBuf;

use clap::Args;

use crate::cli::output::error::CommandError;
use amend_data::lint::TrainerSettings;
use amend_data::lint::tokenizer::Tokenizer;
use amend_engine::llama::GgufVocabulary;

#[derive(Debug, Args)]
pub(crate) struct TrainerArgs {
    /// The trainer's tokenizer.json
    #[arg(long, value_name = "FILE", conflicts_with = "model")]
    tokenizer: Option<PathBuf>,
    /// A GGUF file whose vocabulary is the trainer's tokenizer
    #[arg(short, long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// The trainer's maximum length of prompt and response, in tokens [default: 1024]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_length: Option<u32>,
    /// Evaluation files whose prompts must not be in the training data
    #[arg(long, value_name = "FILE", num_args = 1..)]
    eval: Vec<PathBuf>,
}

impl TrainerArgs {
    /// The flags that were given. They come from the command line alone: neither
    /// the environment nor the config file sets them.
    pub fn given(&self) -> Vec<&'static str> {
        let flags = [
            ("--tokenizer", self.tokenizer.is_some()),
            ("-m", self.model.is_some()),
            ("--max-length", self.max_length.is_some()),
            ("--eval", !self.eval.is_empty()),
        ];
        flags.into_iter().filter(|(_, is_given)| *is_given).map(|(flag, _)| flag).collect()
    }

    /// Loads the files that the flags name.
    pub fn load(&self) -> Result<TrainerSettings, CommandError> {
        let tokenizer = match (&self.tokenizer, &self.model) {
            (Some(path), _) => Some(Tokenizer::json(path)?),
            (None, Some(path)) => Some(Tokenizer::from_vocabulary(
                Box::new(GgufVocabulary::load(path)?),
                path.display().to_string(),
            )),
            (None, None) => None,
        };
        if tokenizer.is_none() && self.max_length.is_some() {
            return Err(CommandError::usage(
                "--max-length needs a tokenizer to count tokens",
                "pass the trainer's tokenizer too: --tokenizer tokenizer.json, or -m MODEL.gguf",
            ));
        }
        Ok(TrainerSettings {
            tokenizer,
            max_length: self.max_length.map(|length| length as usize),
            evaluation: self.eval.clone(),
        })
    }
}

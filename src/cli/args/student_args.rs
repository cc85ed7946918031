//! Flags that name a student: another model for the first answers.

use std::path::PathBuf;

use clap::Args;

use super::config::Config;
use super::model_args::{ModelArgs, SeparateModel};
use crate::cli::output::error::CommandError;
use amend_engine::ModelSource;

/// The model of the first answers.
#[derive(Debug, Args)]
#[command(next_help_heading = "Model")]
pub struct StudentArgs {
    /// A different model for the first answers, the rejected ones: a GGUF file, or a
    /// server's address (its key goes in AMEND_STUDENT_API_KEY)
    #[arg(
        long,
        env = "AMEND_STUDENT_MODEL",
        value_name = "FILE|URL",
        conflicts_with = "answers_from"
    )]
    student_model: Option<PathBuf>,
    /// The name of the student model on its server [default: the first that it lists]
    #[arg(long, value_name = "NAME", requires = "student_model")]
    student_endpoint_model: Option<String>,
}

impl StudentArgs {
    /// The student, if there is one.
    ///
    /// # Errors
    /// Its address is malformed.
    pub fn source(
        &self,
        model: &ModelArgs,
        config: &Config,
    ) -> Result<Option<ModelSource>, CommandError> {
        let Some(name) = &self.student_model else { return Ok(None) };
        let student = SeparateModel {
            endpoint_model: self.student_endpoint_model.as_ref(),
            key_variable: "AMEND_STUDENT_API_KEY",
        };
        model.separate(name, &student, config).map(Some)
    }
}

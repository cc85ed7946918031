//! Flags that define the loop: constitution, templates, seed, and a few values of
//! the constitution that are handy to change for one call.

use std::path::{Path, PathBuf};

use clap::Args;

use super::config::{Config, PROJECT_FILE};
use super::one_of;
use super::reasoning_args::ReasoningArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::print;
use amend_core::constitution::{self, Constitution, Method};
use amend_core::document::diagnostic::closest;
use amend_core::driver::Job;
use amend_core::procedure::Procedure;
use amend_core::prompt::{Delimiter, DelimiterStyle};
use amend_core::random::Stream;

/// The default constitution.
const DEFAULT: &str = "harmless";

/// The constitution and the wording of prompts.
#[derive(Debug, Args)]
#[command(next_help_heading = "Task")]
pub struct TaskArgs {
    /// The constitution: a TOML file, or a shipped one by name (harmless,
    /// honest, privacy, fairness, learning, governance, developer) [default:
    /// harmless]
    #[arg(short, long, env = "AMEND_CONSTITUTION", value_name = "FILE|NAME")]
    constitution: Option<String>,
    #[command(flatten)]
    pub prompting: PromptArgs,
}

/// The wording of prompts and the seed of random choices.
#[derive(Debug, Args)]
#[command(next_help_heading = "Task")]
pub struct PromptArgs {
    /// A folder of prompt templates. Each replaces the built-in one of its name
    #[arg(long, env = "AMEND_PROMPTS", value_name = "DIR")]
    prompts: Option<PathBuf>,
    /// How prompts separate material from instructions: with delimiter lines around
    /// it, with a mark between its words, or not at all
    #[arg(
        long,
        value_parser = one_of(
            &DelimiterStyle::ALL,
            DelimiterStyle::as_str,
            &[
                "Leave content as it is",
                "Put content between lines with the run's delimiter",
                "Replace every space in content with a marker",
            ],
        ),
        default_value_t,
        value_name = "STYLE",
    )]
    fence: DelimiterStyle,
    #[command(flatten)]
    reasoning: ReasoningArgs,
    /// The seed of all random choices
    #[arg(short, long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
}

/// The flags of the loop.
#[derive(Debug, Args)]
#[command(next_help_heading = "Loop")]
pub struct LoopArgs {
    #[command(flatten)]
    task: TaskArgs,
    /// How the preferred answer is made, overriding the constitution
    #[arg(
        long,
        value_parser = one_of(
            &Method::ALL,
            Method::as_str,
            &[
                "Criticise and revise the first answer",
                "Answer again with the principles in the system turn, which exports leave out",
                "Both: two pairs from one first answer",
            ],
        ),
        value_name = "METHOD",
    )]
    method: Option<Method>,
    /// Rounds of critique and revision, overriding the constitution
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    rounds: Option<u32>,
    /// The maximum length of an answer or a revision in tokens, overriding the
    /// constitution
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=131_072))]
    max_tokens: Option<u32>,
    /// Temperature of answers, critiques and revisions, overriding the constitution;
    /// 0 is greedy. The judge's reasoning keeps its own temperature
    #[arg(long, value_name = "T")]
    temp: Option<f32>,
    /// Decode every step to its maximum length, past the end of the turn
    #[arg(long, hide = true)]
    ignore_eos: bool,
}

impl TaskArgs {
    /// The words that choose the same constitution in another call.
    pub fn words(&self) -> Vec<String> {
        self.constitution.iter().flat_map(|name| ["-c".to_owned(), name.clone()]).collect()
    }

    /// Loads the constitution.
    ///
    /// # Errors
    /// The constitution can't be read or is invalid, or the project chooses one that logs.
    pub fn constitution(&self, config: &Config) -> Result<Constitution, CommandError> {
        if let (None, Some(reference)) = (&self.constitution, &config.project_constitution) {
            return project_constitution(reference);
        }
        let reference =
            self.constitution.as_deref().or(config.constitution.as_deref()).unwrap_or(DEFAULT);
        Ok(constitution::load(reference)?.constitution)
    }
}

impl PromptArgs {
    /// The folder of templates that replace built-in ones, if there is one.
    #[must_use]
    pub fn overlay<'a>(&'a self, config: &'a Config) -> Option<&'a Path> {
        self.prompts.as_deref().or(config.prompts.as_deref())
    }

    /// The settings that all items of a call share. `input` is a hash of their
    /// content. The delimiter is derived from it, so that no content can predict the
    /// delimiter.
    ///
    /// # Errors
    /// A template is invalid, or a judge template does not exist.
    pub fn job(
        &self,
        config: &Config,
        mut constitution: Constitution,
        input: &str,
    ) -> Result<Job, CommandError> {
        self.reasoning.apply(&mut constitution.sampling);
        let delimiter_stream = Stream::new(self.seed).child(input);
        let fence = Delimiter::from_stream(delimiter_stream).in_style(self.fence);
        let overlay = self.overlay(config);
        let procedure = Procedure::Revise { judging: constitution.judge.enabled };
        let job = Job::new(procedure, constitution, overlay, fence, self.seed)?;
        for name in &job.constitution.judge.templates {
            if !job.templates.has(name) {
                return Err(CommandError::usage(
                    format!("the judge template {name:?} does not exist"),
                    format!(
                        "add {name}.j2 to the folder of --prompts, or change `templates` in `[judge]`"
                    ),
                ));
            }
        }
        Ok(job)
    }
}

/// Loads the constitution that the project's config file names, and says so. One with a
/// governance log appends to a file, which a folder from another person must not choose.
fn project_constitution(reference: &str) -> Result<Constitution, CommandError> {
    let constitution = constitution::load(reference)?.constitution;
    if !constitution.governance.log.is_empty() {
        return Err(CommandError::usage(
            format!("{PROJECT_FILE} names {reference}, a constitution with a governance log"),
            format!("read it, then name it yourself: -c {reference}"),
        ));
    }
    print::message(&format!("{PROJECT_FILE}: the constitution is {reference}\n"));
    Ok(constitution)
}

/// The index of a principle in a constitution.
///
/// # Errors
/// The constitution has no principle with that id.
pub fn principle(constitution: &Constitution, id: &str) -> Result<usize, CommandError> {
    let ids = || constitution.principles.iter().map(|principle| &*principle.id);
    ids().position(|known| known == id).ok_or_else(|| {
        CommandError::usage(
            format!("the constitution has no principle {id:?}"),
            match closest(id, ids()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("its principles are {}", ids().collect::<Vec<_>>().join(", ")),
            },
        )
    })
}

impl LoopArgs {
    /// Loads the constitution and applies the flags that override it.
    ///
    /// # Errors
    /// The constitution can't be read or is invalid, or a flag is out of range.
    pub fn constitution(&self, config: &Config) -> Result<Constitution, CommandError> {
        let mut constitution = self.task.constitution(config)?;
        if let Some(method) = self.method {
            constitution.plan.method = method;
        }
        if let Some(rounds) = self.rounds {
            constitution.plan.rounds = rounds;
        }
        if constitution.plan.method == Method::Both && constitution.plan.rounds == 0 {
            return Err(CommandError::usage(
                "the method both revises too, but the constitution has no rounds",
                "pass --rounds 1, or --method contrast",
            ));
        }
        let sampling = &mut constitution.sampling;
        if let Some(max_tokens) = self.max_tokens {
            sampling.generate.max_tokens = max_tokens;
            sampling.revise.max_tokens = max_tokens;
        }
        if let Some(temperature) = self.temp {
            if !(0.0..=5.0).contains(&temperature) {
                return Err(CommandError::usage(
                    format!("--temp {temperature} is out of range"),
                    "pass a temperature from 0 (greedy) to 5",
                ));
            }
            let steps = [&mut sampling.generate, &mut sampling.critique, &mut sampling.revise];
            for step in steps {
                step.temperature = temperature;
            }
        }
        Ok(constitution)
    }

    /// The settings that all items of a call share: see [`PromptArgs::job`].
    ///
    /// # Errors
    /// The constitution or a template can't be read or is invalid.
    pub fn job(&self, config: &Config, input: &str) -> Result<Job, CommandError> {
        let job = self.task.prompting.job(config, self.constitution(config)?, input)?;
        Ok(Job { ignore_eos: self.ignore_eos, ..job })
    }
}

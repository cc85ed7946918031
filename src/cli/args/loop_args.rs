//! Flags that say what the loop does: constitution, templates, seed, and a few
//! values of the constitution that are handy to change for one call.

use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;

use super::config::Config;
use super::one_of;
use crate::cli::output::error::CliError;
use amend_core::constitution;
use amend_core::constitution::Constitution;
use amend_core::document::diagnostic::closest;
use amend_core::driver::Job;
use amend_core::procedure::Procedure;
use amend_core::prompt::{Fence, FenceStyle, Templates};
use amend_core::random::Stream;

/// The constitution where none is named.
const DEFAULT: &str = "harmless";

/// What items are held against, and in what words.
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

/// How prompts are worded, and what random choices start from.
#[derive(Debug, Args)]
#[command(next_help_heading = "Task")]
pub struct PromptArgs {
    /// A folder of prompt templates that replace the built-in ones, file by file
    #[arg(long, env = "AMEND_PROMPTS", value_name = "DIR")]
    prompts: Option<PathBuf>,
    /// What sets the material in prompts off from the request: lines around it,
    /// a mark between its words, or nothing
    #[arg(
        long,
        value_parser = one_of(
            &FenceStyle::ALL,
            FenceStyle::as_str,
            &["Not at all", "Between lines that carry the run's delimiter", "With a mark in place of every blank"],
        ),
        default_value_t,
        value_name = "STYLE",
    )]
    fence: FenceStyle,
    /// The seed of every random choice
    #[arg(short, long, default_value_t = 0, value_name = "N")]
    pub seed: u64,
}

/// The loop.
#[derive(Debug, Args)]
#[command(next_help_heading = "Loop")]
pub struct LoopArgs {
    #[command(flatten)]
    task: TaskArgs,
    /// Rounds of critique and revision, in place of the constitution's
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=16))]
    rounds: Option<u32>,
    /// The most tokens of an answer or a revision, in place of the constitution's
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=131_072))]
    max_tokens: Option<u32>,
    /// Temperature of answers, critiques and revisions, in place of the
    /// constitution's; 0 is greedy. A judge's reasons keep theirs
    #[arg(long, value_name = "T")]
    temp: Option<f32>,
    /// Decode every step to its last token, past the end of the turn
    #[arg(long, hide = true)]
    ignore_eos: bool,
}

impl TaskArgs {
    /// The constitution.
    ///
    /// # Errors
    /// It can't be read, or is wrong.
    pub fn constitution(&self, config: &Config) -> Result<Constitution, CliError> {
        let reference =
            self.constitution.as_deref().or(config.constitution.as_deref()).unwrap_or(DEFAULT);
        Ok(constitution::load(reference)?.constitution)
    }
}

impl PromptArgs {
    /// What the items of a call have in common, under a constitution. `input` is
    /// a hash of all their content: it makes the fence, so that no content can
    /// foresee it.
    ///
    /// # Errors
    /// The templates', and a judge template that isn't there.
    pub fn job(
        &self,
        config: &Config,
        constitution: Constitution,
        input: &str,
    ) -> Result<Job, CliError> {
        let stream = Stream::new(self.seed);
        let fence = Fence::from_stream(stream.child(input)).in_style(self.fence);
        let overlay = self.prompts.as_deref().or(config.prompts.as_deref());
        let templates = Arc::new(Templates::load(overlay, &fence)?);
        for name in &constitution.judge.templates {
            if !templates.has(name) {
                return Err(CliError::usage(
                    format!("there is no judge template {name:?}"),
                    format!(
                        "write {name}.j2 into the folder of --prompts, or change `templates` in `[judge]`"
                    ),
                ));
            }
        }
        Ok(Job {
            procedure: Procedure::Revise { judging: constitution.judge.enabled },
            constitution: Arc::new(constitution),
            templates,
            fence,
            seed: self.seed,
            stream,
            ignore_eos: false,
            cohorts: false,
        })
    }
}

/// The index of a constitution's principle.
///
/// # Errors
/// There is none of that id.
pub fn principle(constitution: &Constitution, id: &str) -> Result<usize, CliError> {
    let ids = || constitution.principles.iter().map(|principle| &*principle.id);
    ids().position(|known| known == id).ok_or_else(|| {
        CliError::usage(
            format!("there is no principle {id:?} in the constitution"),
            match closest(id, ids()) {
                Some(near) => format!("did you mean {near:?}?"),
                None => format!("it has {}", ids().collect::<Vec<_>>().join(", ")),
            },
        )
    })
}

impl LoopArgs {
    /// The constitution, with the values given on the command line.
    ///
    /// # Errors
    /// It can't be read, or is wrong; a value out of range.
    pub fn constitution(&self, config: &Config) -> Result<Constitution, CliError> {
        let mut constitution = self.task.constitution(config)?;
        if let Some(rounds) = self.rounds {
            constitution.plan.rounds = rounds;
        }
        let sampling = &mut constitution.sampling;
        if let Some(most) = self.max_tokens {
            sampling.generate.max_tokens = most;
            sampling.revise.max_tokens = most;
        }
        if let Some(temperature) = self.temp {
            if !(0.0..=5.0).contains(&temperature) {
                return Err(CliError::usage(
                    format!("--temp {temperature} is out of range"),
                    "a temperature is between 0 (greedy) and 5",
                ));
            }
            let steps = [&mut sampling.generate, &mut sampling.critique, &mut sampling.revise];
            for step in steps {
                step.temperature = temperature;
            }
        }
        Ok(constitution)
    }

    /// What the items of a call have in common: see [`PromptArgs::job`].
    ///
    /// # Errors
    /// The constitution's and the templates'.
    pub fn job(&self, config: &Config, input: &str) -> Result<Job, CliError> {
        let job = self.task.prompting.job(config, self.constitution(config)?, input)?;
        Ok(Job { ignore_eos: self.ignore_eos, ..job })
    }
}

//! `amend render`: the exact turns and tokens a step would send, with nothing
//! generated.

use std::io::{self, Write};
use std::path::PathBuf;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::args::config::Config;
use crate::cli::args::loop_args;
use crate::cli::args::loop_args::LoopArgs;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::output::error::CliError;
use crate::cli::output::terminal;
use amend_core::model::Prepared;
use amend_core::prompt::{Context, Rendered};
use amend_core::record::Item;
use amend_core::record::StepKind;
use amend_data::rows::input;
use amend_data::rows::input::Input;
use amend_engine::Source;

/// Show what a step would send to the model: turns, tokens, counts
///
/// Nothing is generated: the answer and the critique that later steps need are
/// given, or stand-ins. Without a model, the turns alone are shown.
#[derive(Debug, Args)]
#[command(mut_arg("judge_model", |arg| arg.hide(true)))]
#[command(mut_arg("judge_endpoint_model", |arg| arg.hide(true)))]
pub struct RenderArgs {
    /// The prompt
    #[arg(value_name = "PROMPT", required_unless_present = "input")]
    prompt: Option<String>,
    /// Take the prompt from a row of this input file instead
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    input: Option<PathBuf>,
    /// Which row of the input file, from 1
    #[arg(long, value_name = "N", default_value_t = 1, requires = "input")]
    row: u64,
    /// The step to render
    #[arg(long, value_enum, default_value_t = StepName::Critique)]
    step: StepName,
    /// The principle it applies [default: the constitution's first]
    #[arg(long, value_name = "ID")]
    principle: Option<String>,
    /// The answer under review
    #[arg(long, value_name = "TEXT", default_value = "(the answer)")]
    response: String,
    /// The critique a revision follows
    #[arg(long, value_name = "TEXT", default_value = "(the critique)")]
    critique: String,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    job: LoopArgs,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StepName {
    Generate,
    Critique,
    Revise,
}

impl StepName {
    fn kind(self) -> StepKind {
        match self {
            Self::Generate => StepKind::Generate,
            Self::Critique => StepKind::Critique,
            Self::Revise => StepKind::Revise,
        }
    }
}

/// Renders.
///
/// # Errors
/// Bad input, a template that fails, a model that can't be loaded.
pub fn run(args: &RenderArgs, config: &Config) -> Result<(), CliError> {
    let item = Arc::new(args.item()?);
    let job = args.job.job(config, &item.key)?;
    let principles = &job.constitution.principles;
    let principle = match &args.principle {
        None => &principles[0],
        Some(id) => &principles[loop_args::principle(&job.constitution, id)?],
    };
    let context = Context::new(&job.constitution, &item);
    let critique = job.constitution.plan.critique.then_some(args.critique.as_str());
    let context = match args.step {
        StepName::Generate => context,
        StepName::Critique => context.reviewing(1, principle, &args.response),
        StepName::Revise => context.reviewing(1, principle, &args.response).revising(critique),
    };
    let rendered = job
        .templates
        .render(args.step.kind(), &context)
        .map_err(|error| amend_core::document::diagnostic::Diagnostics(vec![*error.0]))?;
    let prepared = match args.model.named(config)? {
        None => Err("pass -m MODEL.gguf to see the tokens"),
        Some(Source::Endpoint(_)) => Err("the tokens are known to the endpoint alone"),
        Some(source) => {
            let model = source.load()?;
            Ok(model.engine()?.prepare(&rendered.turns, rendered.shared_turns)?)
        }
    };
    print(args.json, &rendered, prepared.as_ref()).map_err(CliError::Output)
}

impl RenderArgs {
    fn item(&self) -> Result<Item, CliError> {
        if let Some(file) = &self.input {
            let items = input::read(&[Input::from(file.clone())], None)?;
            let rows = items.len();
            return items.into_iter().find(|item| item.row == self.row).ok_or_else(|| {
                CliError::usage(
                    format!("{} has no row {}", file.display(), self.row),
                    format!("it has {rows}, counted from 1"),
                )
            });
        }
        Ok(Item::of_prompt(self.prompt.clone().unwrap_or_default()))
    }
}

/// Prints the turns and their tokens, or why there are none to see.
fn print(
    json: bool,
    rendered: &Rendered,
    prepared: Result<&Prepared, &&'static str>,
) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if json {
        let tokens = prepared.ok().map(|prepared| {
            json!({
                "count": prepared.tokens.len(),
                "shared": prepared.shared,
                "ids": prepared.tokens.iter().map(|(id, _)| id).collect::<Vec<_>>(),
                "texts": prepared.tokens.iter().map(|(_, text)| text).collect::<Vec<_>>(),
            })
        });
        let value = json!({
            "turns": rendered.turns,
            "shared_turns": rendered.shared_turns,
            "tokens": tokens,
        });
        return writeln!(out, "{value}");
    }
    let (bold, dim, reset) =
        if terminal::stdout_color() { ("\x1b[1m", "\x1b[2m", "\x1b[0m") } else { ("", "", "") };
    for (at, turn) in rendered.turns.iter().enumerate() {
        let shared = if at < rendered.shared_turns { ", the same for every item" } else { "" };
        writeln!(out, "{bold}── {}{reset}{dim}{shared}{reset}", turn.role.as_str())?;
        writeln!(out, "{}\n", turn.content)?;
    }
    match prepared {
        Err(reason) => writeln!(out, "{dim}{reason}{reset}"),
        Ok(prepared) => {
            writeln!(out, "{bold}── tokens{reset}")?;
            let texts: Vec<String> =
                prepared.tokens.iter().map(|(_, text)| text.escape_debug().to_string()).collect();
            writeln!(out, "{}", texts.join(&format!("{dim}|{reset}")))?;
            writeln!(
                out,
                "\n{bold}{}{reset} tokens, {} of them the same for every item",
                prepared.tokens.len(),
                prepared.shared,
            )
        }
    }
}

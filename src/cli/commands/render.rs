//! `amend render`: the exact turns and tokens that a step would send, without
//! generating anything.

use std::io::{self, Write};
use std::path::PathBuf;
use std::slice;
use std::sync::Arc;

use clap::{Args, ValueEnum};
use serde_json::json;

use crate::cli::args::config::Config;
use crate::cli::args::input_args::InputArgs;
use crate::cli::args::loop_args::{self, LoopArgs};
use crate::cli::args::model_args::{self, ModelArgs};
use crate::cli::output::error::CommandError;
use crate::cli::output::print;
use crate::cli::output::terminal::Output;
use amend_core::chat::{NextTurn, ReasoningFormat};
use amend_core::driver;
use amend_core::model::Prepared;
use amend_core::prompt::{PromptContext, Rendered};
use amend_core::record::{Item, StepKind};
use amend_core::text::format::plural;
use amend_data::items::Purpose;

/// Show what a step would send to the model: turns, tokens, counts
///
/// Nothing is generated. The answer and the critique that later steps need are
/// given by flags, or are placeholders. Without a model, only the turns are shown.
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
    /// The row of the input file, from 1
    #[arg(long, value_name = "N", default_value_t = 1, requires = "input")]
    row: u64,
    /// The step to render
    #[arg(long, value_enum, default_value_t = StepName::Critique)]
    step: StepName,
    /// The principle that the step applies [default: the constitution's first]
    #[arg(long, value_name = "ID")]
    principle: Option<String>,
    /// The answer under review
    #[arg(long, value_name = "TEXT", default_value = "(the answer)")]
    response: String,
    /// The critique that a revision follows
    #[arg(long, value_name = "TEXT", default_value = "(the critique)")]
    critique: String,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    rows: InputArgs,
    #[command(flatten)]
    job: LoopArgs,
    #[command(flatten)]
    model: ModelArgs,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum StepName {
    Generate,
    Guide,
    Critique,
    Revise,
}

impl StepName {
    fn kind(self) -> StepKind {
        match self {
            Self::Generate => StepKind::Generate,
            Self::Guide => StepKind::Guide,
            Self::Critique => StepKind::Critique,
            Self::Revise => StepKind::Revise,
        }
    }
}

/// Renders a step and prints it.
///
/// # Errors
/// The input is invalid, a template fails, or the model can't be loaded.
pub fn run(args: &RenderArgs, config: &Config) -> Result<(), CommandError> {
    let item = Arc::new(args.item()?);
    let job = args.job.job(config, &item.key)?;
    let principles = &job.constitution.principles;
    let principle = match &args.principle {
        None => &principles[0],
        Some(id) => &principles[loop_args::principle(&job.constitution, id)?],
    };
    let context = PromptContext::new(&job.constitution, &item);
    let critique = job.constitution.plan.critique.then_some(args.critique.as_str());
    let context = match args.step {
        StepName::Generate => context,
        StepName::Guide => context.guiding([principle]),
        StepName::Critique => context.reviewing(1, principle, &args.response),
        StepName::Revise => context.reviewing(1, principle, &args.response).revising(critique),
    };
    let rendered = job
        .templates
        .render(args.step.kind(), &context)
        .map_err(|error| amend_core::document::diagnostic::Diagnostics(vec![*error.0]))?;
    let prompt = match args.model.named(config)? {
        None => Err("pass -m MODEL.gguf or -hf ORG/REPO to see the tokens"),
        Some(source) if !source.capabilities().knows_tokens => {
            Err("token counts are not available from a server")
        }
        Some(source) => {
            let model = model_args::load(source)?;
            let reasoning =
                &driver::sampling(&job.constitution.sampling, args.step.kind()).reasoning;
            let engine = model.engine()?;
            let tokens = engine.prepare(
                &rendered.turns,
                rendered.shared_turns,
                reasoning,
                NextTurn::Reply,
            )?;
            Ok(Prompt { tokens, thoughts: engine.reasoning_format().cloned() })
        }
    };
    if args.json {
        return print_json(&rendered, prompt.as_ref().ok());
    }
    print(&rendered, prompt.as_ref()).map_err(CommandError::output)
}

impl RenderArgs {
    fn item(&self) -> Result<Item, CommandError> {
        if let Some(file) = &self.input {
            let limit = Some(self.row);
            let source = self.rows.open(slice::from_ref(file), Purpose::Prompts, limit)?;
            for item in source.items() {
                let item = item?;
                if item.row == self.row {
                    return Ok(Arc::unwrap_or_clone(item));
                }
            }
            let rows = usize::try_from(source.summary.rows).unwrap_or(usize::MAX);
            return Err(CommandError::usage(
                format!("{} has no row {}", file.display(), self.row),
                format!("it has {rows} {}, counted from 1", plural(rows, "row")),
            ));
        }
        Ok(Item::of_prompt(self.prompt.clone().unwrap_or_default()))
    }
}

/// What is known with a model.
struct Prompt {
    tokens: Prepared,
    /// How the model marks its thoughts. `None` if it does not think.
    thoughts: Option<ReasoningFormat>,
}

fn print_json(rendered: &Rendered, prompt: Option<&Prompt>) -> Result<(), CommandError> {
    let tokens = prompt.map(|Prompt { tokens, .. }| {
        json!({
            "count": tokens.tokens.len(),
            "shared": tokens.shared,
            "ids": tokens.tokens.iter().map(|(id, _)| id).collect::<Vec<_>>(),
            "texts": tokens.tokens.iter().map(|(_, text)| text).collect::<Vec<_>>(),
        })
    });
    print::json_lines(&[json!({
        "turns": rendered.turns,
        "shared_turns": rendered.shared_turns,
        "tokens": tokens,
        "reasoning": prompt.and_then(|prompt| prompt.thoughts.as_ref()),
    })])
}

/// Prints the turns and their tokens, or the reason why there are no tokens.
fn print(rendered: &Rendered, prompt: Result<&Prompt, &&'static str>) -> io::Result<()> {
    const BOLD: &str = "1";
    const DIM: &str = "2";
    let output = Output::stdout();
    let mut out = io::stdout().lock();
    for (at, turn) in rendered.turns.iter().enumerate() {
        let heading = format!("── {}", turn.role.as_str());
        let shared = if at < rendered.shared_turns { ", the same for every item" } else { "" };
        writeln!(out, "{}{}", output.paint(BOLD, &heading), output.paint(DIM, shared))?;
        writeln!(out, "{}\n", output.text(&turn.content))?;
    }
    match prompt {
        Err(reason) => writeln!(out, "{}", output.paint(DIM, reason)),
        Ok(Prompt { tokens, thoughts }) => {
            writeln!(out, "{}", output.paint(BOLD, "── tokens"))?;
            let texts: Vec<String> =
                tokens.tokens.iter().map(|(_, text)| text.escape_debug().to_string()).collect();
            writeln!(out, "{}", texts.join(&output.paint(DIM, "|")))?;
            writeln!(
                out,
                "\n{} tokens, {} of them the same for every item",
                output.paint(BOLD, &tokens.tokens.len().to_string()),
                tokens.shared,
            )?;
            match thoughts {
                Some(format) => writeln!(out, "thoughts: {}", output.text(&format.to_string())),
                None => writeln!(out, "thoughts: none, the model does not think"),
            }
        }
    }
}

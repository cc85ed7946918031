//! `amend model`: what a model file is, what it needs, and how fast it is here.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;

use crate::cli::args::config::Config;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::next::{self, AmendCall};
use crate::cli::output::print;
use crate::cli::output::progress::download_bar;
use crate::cli::output::terminal::Output;
use crate::measured_costs as calibration;
use amend_core::text::format::{bytes, plural, thousands};
use amend_engine::FetchedModel;
use amend_engine::llama::measure::speed::{self, ModelSpeed};
use amend_engine::llama::{MemoryFacts, Model, ModelFacts, TemplateFacts};

/// Print what a model is, the memory that it needs, and its speed on this machine
///
/// The file's metadata, its chat template, how the model marks its thoughts, and the
/// memory at --parallel and --ctx-size. The speed is measured in a few seconds.
#[derive(Debug, Args)]
#[command(mut_arg("judge_model", |arg| arg.hide(true)))]
#[command(mut_arg("judge_hf_repo", |arg| arg.hide(true)))]
#[command(mut_arg("judge_endpoint_model", |arg| arg.hide(true)))]
#[command(mut_arg("endpoints", |arg| arg.hide(true)))]
#[command(mut_arg("endpoint_model", |arg| arg.hide(true)))]
#[command(mut_arg("endpoint_timeout", |arg| arg.hide(true)))]
pub struct ModelCommandArgs {
    /// The model's GGUF file [default: the model of -m, -hf or AMEND_MODEL]
    #[arg(value_name = "FILE")]
    file: Option<PathBuf>,
    /// Do not measure the speed, and do not load the weights
    #[arg(long)]
    no_measure: bool,
    /// Print JSON
    #[arg(long, help_heading = "Output")]
    json: bool,
    #[command(flatten)]
    model: ModelArgs,
}

/// Prints what is known about the model.
///
/// # Errors
/// No model is given, it is behind a server, or it can't be downloaded, read or loaded.
pub fn run(args: &ModelCommandArgs, config: &Config) -> Result<(), CommandError> {
    let source = match &args.file {
        Some(file) => args.model.of_file(file, config)?,
        None => args.model.source(config)?,
    };
    let FetchedModel::File { path, mut settings, .. } = source.fetch(&mut download_bar())? else {
        return Err(CommandError::usage(
            "a server does not report what its model is",
            "pass a model file: amend model MODEL.gguf",
        ));
    };
    let mut facts = ModelFacts::read(&path, &settings)?;
    let mut loaded = None;
    if !args.no_measure && matches!(facts.chat_template, TemplateFacts::Usable { .. }) {
        let model = Model::load(&path, &settings)?;
        if let Some(costs) = calibration::known(&model, &settings) {
            settings.costs = costs;
            facts = ModelFacts::read(&path, &settings)?;
        }
        loaded = Some(model);
    }
    if !args.json {
        print_facts(&facts).map_err(CommandError::output)?;
    }
    let speed = match &loaded {
        Some(model) => Some(speed::measure(model, &settings, facts.memory.parallel)?),
        None => None,
    };
    if args.json {
        print::json_lines(&[json!({ "model": facts, "speed": speed })])?;
    } else {
        print_speed(speed.as_ref()).map_err(CommandError::output)?;
    }
    next::print(next_call(&path, &facts.chat_template));
    Ok(())
}

/// What to do next with the model.
fn next_call(path: &Path, template: &TemplateFacts) -> AmendCall {
    match template {
        TemplateFacts::Usable { .. } => AmendCall::new("run")
            .arg("PROMPTS.jsonl")
            .arg("--out")
            .arg("runs/mine")
            .arg("-m")
            .arg(path),
        TemplateFacts::Missing | TemplateFacts::Broken { .. } => {
            AmendCall::new("model").arg(path).arg("--chat-template").arg("FILE")
        }
    }
}

/// Writes a line with a name and a value from the model's file.
fn line(out: &mut impl Write, name: &str, value: &str) -> io::Result<()> {
    writeln!(out, "{name:<16} {}", Output::stdout().text(value))
}

fn print_facts(facts: &ModelFacts) -> io::Result<()> {
    let ModelFacts { file, files, name, architecture, license, .. } = facts;
    let mut out = io::stdout().lock();
    let shards = if *files > 1 { format!(", the first of {files}") } else { String::new() };
    line(&mut out, "file", &format!("{file}{shards}"))?;
    let texts = [("name", name), ("architecture", architecture), ("licence", license)];
    for (label, text) in texts {
        line(&mut out, label, text.as_deref().unwrap_or("not in the file"))?;
    }
    line(&mut out, "parameters", &thousands(facts.parameters))?;
    let bits = 8.0 * facts.bytes as f64 / facts.parameters.max(1) as f64;
    let quantisation = facts.quantisation.map_or_else(String::new, |name| format!("{name}, "));
    line(&mut out, "quantisation", &format!("{quantisation}{bits:.1} bits per parameter"))?;
    line(&mut out, "size", &bytes(facts.bytes))?;
    line(&mut out, "layers", &facts.layers.to_string())?;
    let tokens = |count: u64| format!("{} tokens", thousands(count));
    line(&mut out, "trained context", &tokens(facts.trained_context.into()))?;
    line(&mut out, "vocabulary", &tokens(facts.vocabulary.unsigned_abs().into()))?;
    print_template(&mut out, &facts.chat_template)?;
    print_memory(&mut out, &facts.memory)?;
    out.flush()
}

fn print_template(out: &mut impl Write, template: &TemplateFacts) -> io::Result<()> {
    match template {
        TemplateFacts::Missing => line(
            out,
            "chat template",
            "none: use the instruction-tuned version of the model, or pass --chat-template FILE",
        ),
        TemplateFacts::Broken { message } => line(
            out,
            "chat template",
            &format!("not usable: {message}; pass another one: --chat-template FILE"),
        ),
        TemplateFacts::Usable { has_system, reasoning } => {
            let system = match has_system {
                true => "recognised, with system turns",
                false => "recognised; system turns are put into the first turn of the user",
            };
            line(out, "chat template", system)?;
            match reasoning {
                None => line(out, "thoughts", "none, the model does not think"),
                Some(format) => line(out, "thoughts", &format!("{format}; found in the template")),
            }
        }
    }
}

fn print_memory(out: &mut impl Write, memory: &MemoryFacts) -> io::Result<()> {
    let MemoryFacts { weights, cache, buffers, parallel, ctx_size, has_streams } = *memory;
    let all = bytes(weights + cache.unwrap_or(0) + buffers);
    let (weights, buffers) = (bytes(weights), bytes(buffers));
    let cache = match cache {
        Some(cache) => format!("KV cache {}", bytes(cache)),
        None => "a recurrent state that is not counted".to_owned(),
    };
    let parts = format!("weights {weights}, {cache}, buffers about {buffers}");
    line(out, "memory", &format!("about {all}: {parts}"))?;
    let sequences = format!("{parallel} {}", plural(parallel, "sequence"));
    let shared = if has_streams { "in a stream for each of" } else { "shared by" };
    let cells = thousands(ctx_size.into());
    line(out, "context", &format!("{cells} tokens, {shared} {sequences}"))
}

fn print_speed(speed: Option<&ModelSpeed>) -> io::Result<()> {
    let Some(ModelSpeed { prefill, alone, together, parallel }) = speed else { return Ok(()) };
    let mut text = format!("prefill {prefill:.0} tokens/s, decoding {alone:.1} tokens/s");
    if *parallel > 1 {
        text.push_str(&format!(", {together:.1} with {parallel} sequences"));
    }
    line(&mut io::stdout().lock(), "speed", &text)
}

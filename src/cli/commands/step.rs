//! `amend step`: a run whose model is asked through batch files.

use std::path::{Path, PathBuf};

use clap::parser::ValueSource;
use clap::{ArgMatches, Args, Command, FromArgMatches};

use crate::cli::args::config::Config;
use crate::cli::args::input_args::InputArgs;
use crate::cli::args::loop_args::LoopArgs;
use crate::cli::args::one_of;
use crate::cli::output::error::CommandError;
use crate::session::batch::{BatchInput, BatchRun, StepOptions};
use amend_data::items::Purpose;
use amend_data::store::batch::FileLimits;
use amend_data::store::run_dir::RunDir;
use amend_data::store::run_dir::files::MANIFEST;
use amend_engine::http::{BatchServer, BatchSettings, ChoiceWay};

/// How many items are in flight by default: as many as fill a file of OpenAI.
const PARALLEL: usize = 50_000;

/// The most requests of a file for services other than vLLM.
const MAX_REQUESTS: u64 = 50_000;

/// The most bytes of such a file.
const MAX_BYTES: u64 = 200_000_000;

/// Take a run forward through batch files, for vllm run-batch and batch services
///
/// The first call starts a run in DIR and writes the first requests (--input, --endpoint-model,
/// --emit). Each further call takes the results of a batch (--take), goes on as far as they
/// reach, and writes the requests that are then due (--emit), until the run is done. Requests
/// without a result are due again. DIR is an ordinary run directory.
#[derive(Debug, Args)]
pub struct StepArgs {
    // First, because reading a value discards its source.
    #[command(flatten)]
    typed: TypedAtStart,
    /// The run directory
    #[arg(value_name = "DIR")]
    dir: PathBuf,
    /// Write the requests that are due to FILE, as lines of the OpenAI batch format. If FILE
    /// would be too large, NAME.part2.EXT and so on hold the rest
    #[arg(long, value_name = "FILE")]
    emit: Option<PathBuf>,
    /// Take the results in FILE: the output or the errors of a batch, in any order. May be
    /// repeated
    #[arg(long, value_name = "FILE")]
    take: Vec<PathBuf>,
    /// The most requests of a file [default: 50000, or any number for vllm]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_requests: Option<u64>,
    /// The most bytes of a file [default: 200000000, or any number for vllm]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max_bytes: Option<u64>,
    /// The most items in flight; each takes about 20 KB of memory [default: 50000]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    parallel: Option<u32>,
    /// Fields of requests that the server refuses, such as `seed,top_k`; `max_tokens` sends
    /// max_completion_tokens, `top_logprobs=N` asks for fewer. amend also learns them from
    /// errors
    #[arg(long, value_name = "FIELD,…", value_delimiter = ',', value_parser = field)]
    without: Vec<String>,
    /// Retry items that failed, once all have ended
    #[arg(long)]
    retry_errors: bool,
    /// An input file or folder. May be repeated. Later calls read it again, and need this flag
    /// only if it has moved
    #[arg(long, value_name = "INPUT", help_heading = "Start")]
    input: Vec<PathBuf>,
    /// Use only the first N rows
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Start")]
    limit: Option<u64>,
    /// The name of the model, as the server knows it
    #[arg(long, env = "AMEND_ENDPOINT_MODEL", value_name = "NAME", help_heading = "Start")]
    endpoint_model: Option<String>,
    /// What answers the requests
    #[arg(
        long,
        value_parser = one_of(&BatchServer::ALL, BatchServer::as_str, &SERVER_HELP),
        default_value = BatchServer::Vllm.as_str(),
        value_name = "KIND",
        help_heading = "Start",
    )]
    server: BatchServer,
    /// How verdicts are asked for [default: begun for vllm, otherwise label]
    #[arg(
        long,
        value_parser = one_of(&ChoiceWay::ALL, ChoiceWay::as_str, &CHOICE_HELP),
        value_name = "WAY",
        help_heading = "Start",
    )]
    choices: Option<ChoiceWay>,
    /// The model thinks although it is not asked to: give each thought its budget
    #[arg(long, help_heading = "Start")]
    thinks: bool,
    #[command(flatten)]
    columns: InputArgs,
    #[command(flatten)]
    job: LoopArgs,
}

/// The help of each kind of server.
const SERVER_HELP: [&str; 3] = [
    "vllm run-batch, with all of vLLM's settings",
    "OpenAI: no top_k, min_p and repetition_penalty; max_completion_tokens",
    "Another service with batches in this form",
];

/// The help of each way to ask for a choice.
const CHOICE_HELP: [&str; 4] = [
    "The request begins the reply, which the server continues",
    "As begun, and the request says that the reply is to be continued",
    "As begun, with thoughts switched off in every known way",
    "The label alone is the reply",
];

/// The flags that describe a run, and are of no use for one that exists.
const START: [&str; 20] = [
    "limit",
    "endpoint_model",
    "server",
    "choices",
    "thinks",
    "map",
    "field",
    "skip_bad",
    "constitution",
    "prompts",
    "fence",
    "reasoning",
    "reasoning_budget",
    "reasoning_effort",
    "chat_template_kwargs",
    "seed",
    "rounds",
    "max_tokens",
    "temp",
    "ignore_eos",
];

/// The flags of [`START`] that are given on the command line.
#[derive(Debug)]
struct TypedAtStart(Vec<String>);

impl FromArgMatches for TypedAtStart {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let is_typed = |id: &&str| matches.value_source(id) == Some(ValueSource::CommandLine);
        let flags = START.into_iter().filter(is_typed);
        Ok(Self(flags.map(|id| format!("--{}", id.replace('_', "-"))).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for TypedAtStart {
    fn augment_args(command: Command) -> Command {
        command
    }

    fn augment_args_for_update(command: Command) -> Command {
        command
    }
}

/// Parses the name of a field that requests can do without.
fn field(name: &str) -> Result<String, String> {
    BatchSettings::check_field(name)?;
    Ok(name.to_owned())
}

/// Starts or continues a run through batch files.
///
/// # Errors
/// The command line, the input or a file of results is at fault, or a file can't be written.
/// If the run is done and items failed: [`CommandError::reported`].
pub fn run(args: &StepArgs, config: &Config) -> Result<(), CommandError> {
    let run = if args.dir.join(MANIFEST).exists() { args.open()? } else { args.start(config)? };
    let limits = args.limits(run.server());
    run.step(&StepOptions {
        take: &args.take,
        emit: args.emit.as_deref().map(|file| (file, limits)),
        without: &args.without,
        parallel: args.parallel.map(|parallel| parallel as usize),
        retry_errors: args.retry_errors,
    })
}

impl StepArgs {
    /// Continues the run in the directory.
    fn open(&self) -> Result<BatchRun, CommandError> {
        let TypedAtStart(flags) = &self.typed;
        if !flags.is_empty() {
            return Err(CommandError::usage(
                format!(
                    "{} already holds a run, which keeps its settings: {} can't be changed",
                    self.dir.display(),
                    flags.join(", ")
                ),
                "omit the flags, or start a new run in another folder",
            ));
        }
        let files = if self.input.is_empty() { None } else { Some(absolute(&self.input)?) };
        BatchRun::open(&self.dir, files)
    }

    /// Starts a run in the directory.
    fn start(&self, config: &Config) -> Result<BatchRun, CommandError> {
        if self.input.is_empty() {
            return Err(CommandError::usage(
                format!("{} holds no run yet, and no input is given", self.dir.display()),
                "to start a run, pass --input FILE and --endpoint-model NAME",
            ));
        }
        if self.retry_errors || !self.take.is_empty() {
            let flag = if self.retry_errors { "--retry-errors" } else { "--take" };
            return Err(CommandError::usage(
                format!("{} holds no run yet, so {flag} has no effect", self.dir.display()),
                "name the directory of the run, or omit the flag",
            ));
        }
        let Some(model) = &self.endpoint_model else {
            return Err(CommandError::usage(
                "no model is given",
                "pass the name that the server knows it by: --endpoint-model NAME",
            ));
        };
        RunDir::check_vacant(&self.dir)?;
        let files = absolute(&self.input)?;
        let source = self.columns.open(&self.input, Purpose::Prompts, self.limit)?;
        let job = self.job.job(config, &source.summary.sha256)?;
        let options = self.columns.options(self.limit)?;
        let input = BatchInput { files, map: options.map, skip_bad: options.skip_bad };
        let settings = BatchSettings {
            model: model.clone(),
            server: self.server,
            choices: self.choices,
            thinks: self.thinks,
            without: self.without.clone(),
            parallel: self.parallel.map_or(PARALLEL, |parallel| parallel as usize),
        };
        BatchRun::start(&self.dir, &job, (source, &input), self.limit, settings)
    }

    /// How large files for a kind of server may be.
    fn limits(&self, server: BatchServer) -> FileLimits {
        let (requests, bytes) = match server {
            BatchServer::Vllm => (u64::MAX, u64::MAX),
            BatchServer::OpenAi | BatchServer::Other => (MAX_REQUESTS, MAX_BYTES),
        };
        FileLimits {
            requests: self.max_requests.unwrap_or(requests),
            bytes: self.max_bytes.unwrap_or(bytes),
        }
    }
}

/// The absolute paths of inputs, which later calls read again.
fn absolute(inputs: &[PathBuf]) -> Result<Vec<PathBuf>, CommandError> {
    let mut paths = Vec::new();
    for input in inputs {
        if input == Path::new("-") {
            return Err(CommandError::usage(
                "standard input can't be read again by later calls",
                "save the rows in a file: --input FILE",
            ));
        }
        let path = std::path::absolute(input).map_err(|source| {
            CommandError::failed(format!("find the path of {}", input.display()), source)
        })?;
        paths.push(path);
    }
    Ok(paths)
}

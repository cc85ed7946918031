//! `amend` without a command: a prompt in, the revised answer out.

use std::io::{self, BufWriter, IsTerminal, Read, StdoutLock, Write};
use std::path::Path;

use clap::Args;

use crate::cli::args::config::Config;
use crate::cli::args::input_args::InputArgs;
use crate::cli::args::loop_args::LoopArgs;
use crate::cli::args::model_args::{self, ModelArgs};
use crate::cli::output::error::CommandError;
use crate::cli::output::record::ItemRecord;
use crate::cli::output::show::Show;
use crate::cli::output::terminal::Output;
use crate::session::{Models, WorkerOptions, run_unrecorded, run_worker};
use amend_core::document::diagnostic::closest;
use amend_core::driver::{Job, Observer};
use amend_core::model::Engine;
use amend_core::procedure::{ItemLoop, Procedure, StepRequest, clean};
use amend_core::record::{Item, Outcome, Step, StepKind};
use amend_data::items::ItemSource;
use amend_data::store::governance_log::GovernanceLog;

/// Answer, criticise and revise one prompt, or many with --jsonl.
#[derive(Debug, Args)]
pub struct PipeArgs {
    /// The prompt; with `-` or without a prompt, it is read from stdin
    #[arg(value_name = "PROMPT")]
    prompt: Option<String>,
    /// Print one JSON record with the whole trajectory
    #[arg(long, conflicts_with = "show", help_heading = "Output")]
    json: bool,
    /// Print every step as text
    #[arg(long, help_heading = "Output")]
    show: bool,
    /// Read rows from stdin (JSON Lines, CSV and other kinds) as they arrive, and print a JSON
    /// record for each as soon as it is done and its turn in the order of the input
    #[arg(long, conflicts_with_all = ["json", "show", "prompt"], help_heading = "Output")]
    jsonl: bool,
    /// With --jsonl, print a record as soon as its row is done, in any order
    #[arg(long, requires = "jsonl", help_heading = "Output")]
    unordered: bool,
    #[command(flatten)]
    input: InputArgs,
    #[command(flatten)]
    job: LoopArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// The maximum length of a prompt, in bytes.
const MAX_PROMPT: u64 = 8 << 20;

/// What stands for the input in the delimiter of --jsonl, whose rows are not known in advance.
const STREAM: &str = "rows of a stream";

/// Runs the loop over the prompt or prompts. A prompt that resembles one of the
/// `command_names` is refused as a mistyped command.
///
/// # Errors
/// The input is invalid, or the engine fails; [`CommandError::reported`] if an item
/// failed.
pub fn run(args: &PipeArgs, config: &Config, command_names: &[String]) -> Result<(), CommandError> {
    if args.jsonl { args.run_rows(config) } else { args.run_prompt(config, command_names) }
}

impl PipeArgs {
    fn run_rows(&self, config: &Config) -> Result<(), CommandError> {
        let options = WorkerOptions { items: self.input.options(None)?, unordered: self.unordered };
        let job = self.job.job(config, STREAM)?;
        let mut models = self.models(config, None)?;
        let mut engines = models.engines(&job, None)?;
        let governance_log = governance_log(&job, engines.main())?;
        run_worker(&mut engines, &job, options, governance_log)
    }

    fn run_prompt(&self, config: &Config, command_names: &[String]) -> Result<(), CommandError> {
        let items = self.source(command_names)?;
        let mut job = self.job.job(config, &items.summary.sha256)?;
        if !(self.json || self.show) {
            // Only the answer is printed, so a verdict would be lost, and a failed verdict
            // must not lose the answer.
            job.procedure = Procedure::Revise { judging: false };
        }
        let mut models = self.models(config, Some(1))?;
        let mut engines = models.engines(&job, items.longest.as_ref())?;
        let mut printer = Printer {
            governance_log: governance_log(&job, engines.main())?,
            out: BufWriter::new(io::stdout().lock()),
            output: Output::stdout(),
            mode: if self.json {
                Mode::Json
            } else if self.show {
                Mode::Show(Show::new(Output::stdout()))
            } else {
                Mode::Answer(Streamed::default())
            },
        };
        run_unrecorded(&mut engines, &job, items.items(), None, &mut printer)
    }

    /// Loads the models. `parallel` is the default width of the one that writes. The judge keeps
    /// its own: one item has several verdicts.
    fn models(&self, config: &Config, parallel: Option<usize>) -> Result<Models, CommandError> {
        let mut source = self.model.source(config)?;
        if let Some(parallel) = parallel {
            source.set_default_parallel(parallel);
        }
        let model = model_args::load(source)?;
        let judge = match self.model.judge(config)? {
            Some(judge) => Some(model_args::load(judge)?),
            None => None,
        };
        Ok(Models::new(model, judge))
    }

    fn source(&self, command_names: &[String]) -> Result<ItemSource, CommandError> {
        if self.input.is_given() {
            return Err(CommandError::usage(
                "--map, --field and --skip-bad are about rows, but one prompt is read",
                "pass --jsonl to read rows from stdin",
            ));
        }
        if let Some(word) = &self.prompt
            && let Some(command) = closest(word, command_names.iter().map(String::as_str))
        {
            return Err(CommandError::usage(
                format!("unknown command `{word}`"),
                format!(
                    "did you mean `amend {command}`? To use one word as a prompt, pass it on stdin"
                ),
            ));
        }
        let text = match self.prompt.as_deref() {
            Some(text) if text != "-" => text.to_owned(),
            _ => read_stdin(self.prompt.is_some())?,
        };
        let text = text.trim();
        if text.is_empty() {
            return Err(CommandError::usage("the prompt is empty", "pass a prompt: amend \"…\""));
        }
        Ok(ItemSource::from_items(Vec::new(), vec![Item::of_prompt(text)]))
    }
}

/// The log that the constitution asks for, of what a model writes.
fn governance_log(job: &Job, main: &dyn Engine) -> Result<Option<GovernanceLog>, CommandError> {
    let model = main.describe()?.model;
    Ok(GovernanceLog::open(&job.constitution, Path::new("."), model)?)
}

fn read_stdin(is_requested: bool) -> Result<String, CommandError> {
    let stdin = io::stdin();
    if stdin.is_terminal() && !is_requested {
        return Err(CommandError::usage(
            "no prompt is given",
            "amend \"How do I sharpen a knife?\" prints the revised answer to a prompt",
        )
        .hinted("with --show it prints every step")
        .hinted("amend init DIR writes a constitution and prompts to start from")
        .hinted("amend run prompts.jsonl --out DIR takes a file of prompts through the loop")
        .hinted("amend --help lists all commands and flags"));
    }
    let mut bytes = Vec::new();
    stdin
        .lock()
        .take(MAX_PROMPT + 1)
        .read_to_end(&mut bytes)
        .map_err(|source| CommandError::failed("read standard input".to_owned(), source))?;
    if bytes.len() as u64 > MAX_PROMPT {
        return Err(CommandError::usage(
            format!("the prompt is longer than {MAX_PROMPT} bytes"),
            "to process many prompts, use --jsonl or amend run",
        ));
    }
    String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = 1 + valid.iter().filter(|&&byte| byte == b'\n').count();
        let byte = 1 + valid.iter().rev().take_while(|&&byte| byte != b'\n').count();
        CommandError::usage(
            format!("standard input:{line}: not UTF-8 at byte {byte} of the line"),
            "convert it to UTF-8, for example with iconv",
        )
    })
}

enum Mode {
    /// Only the final answer, as it is decoded.
    Answer(Streamed),
    Show(Show),
    /// A record.
    Json,
}

struct Printer {
    governance_log: Option<GovernanceLog>,
    out: BufWriter<StdoutLock<'static>>,
    output: Output,
    mode: Mode,
}

impl Observer for Printer {
    type Error = CommandError;

    fn text(
        &mut self,
        trajectory: &ItemLoop,
        ask: &StepRequest,
        text: &str,
    ) -> Result<(), CommandError> {
        let Mode::Answer(streamed) = &mut self.mode else { return Ok(()) };
        if ask.last {
            let new = streamed.push(ask.kind, text, trajectory);
            if !new.is_empty() {
                self.out
                    .write_all(self.output.text(&new).as_bytes())
                    .and_then(|()| self.out.flush())
                    .map_err(CommandError::output)?;
            }
        }
        Ok(())
    }

    fn step(&mut self, trajectory: &ItemLoop, step: &Step) -> Result<(), CommandError> {
        let Mode::Show(show) = self.mode else { return Ok(()) };
        show.step(&mut self.out, trajectory.constitution(), step)
            .and_then(|()| self.out.flush())
            .map_err(CommandError::output)
    }

    fn end(&mut self, trajectory: &ItemLoop, outcome: Outcome) -> Result<(), CommandError> {
        if let Some(log) = &mut self.governance_log {
            log.add(trajectory, &outcome)?;
        }
        let failure = match &outcome {
            Outcome::Failed { failure } => Some(failure.clone()),
            Outcome::Done { .. } => None,
        };
        let written = match &mut self.mode {
            Mode::Answer(_) if failure.is_some() => Ok(()),
            Mode::Answer(streamed) => {
                let rest = streamed.rest(trajectory.answer().unwrap_or_default());
                writeln!(self.out, "{}", self.output.text(&rest))
            }
            Mode::Show(show) => show.end(&mut self.out, &outcome),
            Mode::Json => ItemRecord::new(trajectory, &outcome)
                .line(self.output)
                .and_then(|line| self.out.write_all(line.as_bytes())),
        };
        written.and_then(|()| self.out.flush()).map_err(CommandError::output)?;
        match (failure, &self.mode) {
            (Some(failure), Mode::Answer(_)) => Err(CommandError::from(failure)),
            _ => Ok(()),
        }
    }
}

/// The part of the final answer that is printed while it is decoded: the part that
/// later text can't change.
#[derive(Debug, Default)]
struct Streamed {
    raw: String,
    printed: String,
}

impl Streamed {
    /// Adds decoded text, and returns the text to print now.
    fn push(&mut self, kind: StepKind, text: &str, trajectory: &ItemLoop) -> String {
        self.raw.push_str(text);
        let settled = clean::settled(kind, &self.raw, trajectory.fence());
        match settled.strip_prefix(self.printed.as_str()) {
            Some(new) => {
                let new = new.to_owned();
                self.printed.push_str(&new);
                new
            }
            None => String::new(),
        }
    }

    /// The part of the final answer that is not printed yet. If the answer does not
    /// start with the printed text (the last revision changed nothing, or cleaning
    /// changed more than expected), this is the whole answer, on a new line.
    fn rest(&self, answer: &str) -> String {
        match answer.strip_prefix(self.printed.as_str()) {
            Some(rest) => rest.to_owned(),
            None => format!("\n{answer}"),
        }
    }
}

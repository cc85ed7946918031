//! `amend prompts`: writes prompts for a constitution, for people who have rules and no prompts.

mod collection;
mod file;
mod writer;

use std::path::{Path, PathBuf};

use clap::Args;

use self::collection::{Collection, TRIES};
use self::file::PromptFile;
use crate::cli::args::config::Config;
use crate::cli::args::loop_args::TaskArgs;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::output::error::{CommandError, Kind};
use crate::cli::output::format::count;
use crate::cli::output::next::{self, AmendCall};
use crate::cli::output::print;
use crate::cli::output::progress::{Progress, ProgressFacts};
use crate::session::Models;
use amend_core::driver::Ended;
use amend_core::prompt::Templates;
use amend_core::text::format::first_of;

/// The most parts that are named when prompts are missing.
const NAMED: usize = 8;

/// Write prompts for a constitution with a model
///
/// Each principle gets prompts that test it, and contrasts: requests that look alike and that a
/// plain answer is fine for. Near-duplicates are left out. The rows are JSON Lines with the keys
/// id, principle, kind and prompt, and `amend run` reads them as they are.
#[derive(Debug, Args)]
pub struct PromptsArgs {
    /// How many prompts to write
    #[arg(short = 'n', long, default_value_t = 50, value_name = "N", value_parser = number)]
    number: usize,
    /// The file to write [default: standard output]
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Keep the rows of the file and add those that are missing
    #[arg(long, requires = "out")]
    resume: bool,
    #[command(flatten)]
    task: TaskArgs,
    #[command(flatten)]
    model: ModelArgs,
}

/// Parses a number of prompts.
fn number(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(number @ 1..=10_000) => Ok(number),
        _ => Err("pass a number from 1 to 10000".to_owned()),
    }
}

/// Writes the prompts.
///
/// # Errors
/// The constitution, a template or the file is at fault, no model is given, the engine fails, or
/// the model wrote too few prompts ([`Kind::Findings`]).
pub fn run(args: &PromptsArgs, config: &Config) -> Result<(), CommandError> {
    let constitution = args.task.constitution(config)?;
    let mut collection = Collection::new(&constitution, args.number);
    let prompting = &args.task.prompting;
    // Nothing is quoted in a request, so the delimiter depends on the seed alone.
    let task = prompting.job(config, constitution, "")?;
    let layout = task.constitution.plan.layout;
    let templates = Templates::for_writing(prompting.overlay(config), &task.fence, layout)?;
    let constitution = (*task.constitution).clone();
    let job = writer::job(constitution, task.fence, prompting.seed, collection.per_request())?;
    let path = args.out.as_deref();
    let resumed = match path {
        Some(path) if args.resume => Some(PromptFile::resume(path, &mut collection)?),
        _ => {
            PromptFile::check_new(path)?;
            None
        }
    };
    if collection.due().is_empty() {
        return report(args, &collection, Ended::Done);
    }
    let mut models = Models::new(args.model.load(config)?, None);
    let mut engines = models.engines(&job, None)?;
    let mut file = match resumed {
        Some(file) => file,
        None => PromptFile::create(path)?,
    };
    let mut facts = ProgressFacts {
        noun: "prompt",
        items: args.number as u64,
        ended: collection.len() as u64,
        ..ProgressFacts::default()
    };
    let mut progress = Progress::new(&facts);
    let mut write = |row: &_| {
        facts.ended += 1;
        progress.update(|| facts.clone());
        file.add(row)
    };
    let ended = writer::write_prompts(&mut engines, &job, &templates, &mut collection, &mut write)?;
    drop(progress);
    report(args, &collection, ended)
}

/// Prints how many prompts there are, and ends with an error if some are missing.
fn report(args: &PromptsArgs, collection: &Collection, ended: Ended) -> Result<(), CommandError> {
    let file = args.out.as_deref();
    let total = collection.total();
    let [tests, contrasts] = collection.counts();
    let all = tests + contrasts;
    let (covered, principles) = collection.covered();
    let mut text = format!(
        "{all} of {} for {covered} of {}: {tests} that test a principle, {}\n",
        count(total, "prompt"),
        count(principles, "principle"),
        count(contrasts, "contrast"),
    );
    for (reason, number) in collection.left_out() {
        text.push_str(&format!("  left out: {number} {}\n", reason.describe()));
    }
    let error = match ended {
        Ended::Stopped => {
            if file.is_some() {
                text.push_str(&next::line(AmendCall::this().with(&["--resume"])));
            }
            Some(CommandError::interrupted())
        }
        Ended::Done if all < total => Some(too_few(collection, file)),
        Ended::Done => {
            if let Some(path) = file {
                text.push_str(&format!("the prompts are in {}; read them first\n", path.display()));
                let call = AmendCall::new("run").arg(path).arg("--out").arg("DIR");
                let words = args.task.words().into_iter().chain(args.model.words());
                text.push_str(&next::line(words.fold(call, AmendCall::arg)));
            }
            None
        }
    };
    print::message(&text);
    error.map_or(Ok(()), Err)
}

/// The error of prompts that are missing.
fn too_few(collection: &Collection, file: Option<&Path>) -> CommandError {
    let missing = collection.missing();
    let parts: Vec<String> =
        missing.iter().take(NAMED).map(|(part, number)| format!("{part} ({number})")).collect();
    let number = collection.total() - collection.len();
    let error = CommandError::new(
        Kind::Findings,
        format!(
            "{} {} missing, because {TRIES} requests in a row brought nothing new: {}",
            count(number, "prompt"),
            if number == 1 { "is" } else { "are" },
            first_of(&parts, missing.len()),
        ),
    );
    let error = match collection.failure() {
        Some(failure) => error.hinted(format!("the last request that failed: {failure}")),
        None => error,
    };
    match file {
        Some(_) => error.hinted("pass --resume with another --seed, or use a larger model"),
        None => error.hinted("pass another --seed, or use a larger model"),
    }
}

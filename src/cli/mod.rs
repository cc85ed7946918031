//! The command line: arguments, calls and printing. Each command has a file, and so
//! has each thing that commands share: model, loop, logs, progress, errors.

pub(crate) mod args;
mod commands;
pub mod output;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use self::args::model_args;
use self::commands::*;
use self::output::error::{self, CommandError};
use self::output::logging;
use crate::cli::args::config::Config;

/// Makes preference data with a language model and a written constitution.
///
/// The model answers, critiques its answer against the principles of the
/// constitution, and revises it. Without a command, amend reads one prompt and
/// prints the revised answer.
#[derive(Debug, Parser)]
#[command(
    name = "amend",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 success, 1 items failed or a check found something, 2 wrong usage or \
                  bad input, 3 engine or environment failed, 130 interrupted and resumable."
)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    pipe: pipe::PipeArgs,
    #[command(flatten)]
    log: logging::LogArgs,
}

#[derive(Debug, Subcommand)]
enum Command {
    Init(init::InitArgs),
    Prompts(Box<prompts::PromptsArgs>),
    Run(Box<run::RunArgs>),
    Status(status::StatusArgs),
    Merge(merge::MergeArgs),
    Step(Box<step::StepArgs>),
    Export(export::ExportArgs),
    Judge(Box<judge::JudgeArgs>),
    Eval(Box<eval::EvalArgs>),
    Score(Box<score::ScoreArgs>),
    Review(review::ReviewArgs),
    Audit(Box<audit::AuditArgs>),
    Diff(diff::DiffArgs),
    Trend(trend::TrendArgs),
    Report(report::ReportArgs),
    Check(check::CheckArgs),
    Lint(lint::LintArgs),
    Render(Box<render::RenderArgs>),
    Model(Box<model::ModelCommandArgs>),
    Bench(Box<bench::BenchArgs>),
    Schema(schema::SchemaArgs),
    Completions(completions::CompletionsArgs),
    Man(man::ManArgs),
}

/// The names of the commands, in the order of the help.
#[must_use]
pub fn command_names() -> Vec<String> {
    Cli::command().get_subcommands().map(|command| command.get_name().to_owned()).collect()
}

/// Runs the program with its arguments, the first of which is the program's name.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = model_args::expand_short_flags(arguments);
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are printed to stdout, and are no error.
            let code = if error.use_stderr() { error::USAGE } else { error::DONE };
            return match error.print() {
                Ok(()) => ExitCode::from(code),
                Err(source) => error::finish(Err(CommandError::output(source))),
            };
        }
    };
    cli.log.install();
    error::finish(cli.run())
}

impl Cli {
    fn run(&self) -> Result<(), CommandError> {
        match &self.command {
            None => pipe::run(&self.pipe, &Config::load()?, &command_names()),
            Some(Command::Init(args)) => init::run(args),
            Some(Command::Prompts(args)) => prompts::run(args, &Config::load()?),
            Some(Command::Run(args)) => run::run(args, &Config::load()?),
            Some(Command::Status(args)) => status::run(args),
            Some(Command::Merge(args)) => merge::run(args),
            Some(Command::Step(args)) => step::run(args, &Config::load()?),
            Some(Command::Judge(args)) => judge::run(args, &Config::load()?),
            Some(Command::Eval(args)) => eval::run(args, &Config::load()?),
            Some(Command::Score(args)) => score::run(args, &Config::load()?),
            Some(Command::Review(args)) => review::run(args),
            Some(Command::Audit(args)) => audit::run(args, &Config::load()?),
            Some(Command::Diff(args)) => diff::run(args),
            Some(Command::Trend(args)) => trend::run(args),
            Some(Command::Render(args)) => render::run(args, &Config::load()?),
            Some(Command::Model(args)) => model::run(args, &Config::load()?),
            Some(Command::Bench(args)) => bench::run(args, &Config::load()?),
            Some(Command::Export(args)) => export::run(args),
            Some(Command::Report(args)) => report::run(args),
            Some(Command::Check(args)) => check::run(args),
            Some(Command::Lint(args)) => lint::run(args),
            Some(Command::Schema(args)) => schema::run(args),
            Some(Command::Completions(args)) => completions::run(args, Self::command()),
            Some(Command::Man(args)) => man::run(args, Self::command()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_line_is_consistent() {
        Cli::command().debug_assert();
        let names = command_names();
        assert!(names.iter().any(|name| name == "run"), "{names:?}");
        assert!(names.iter().all(|name| name != "help"), "{names:?}");
    }

    /// The calls of amend in a document's console blocks, split into words.
    fn calls(document: &str) -> Vec<Vec<String>> {
        let mut inside = false;
        let mut calls = Vec::new();
        // A backslash at the end of a line continues it on the next.
        let document = document.replace("\\\n", " ");
        for line in document.lines() {
            if line.trim_start().starts_with("```") {
                inside = line.trim() == "```console";
            } else if let (true, Some(line)) = (inside, line.strip_prefix("$ ")) {
                let stages = line.split(" | ").map(words);
                calls.extend(stages.filter(|words| words[0] == "amend"));
            }
        }
        calls
    }

    /// The words of a command line, up to a comment or a redirection.
    fn words(line: &str) -> Vec<String> {
        let mut words = vec![String::new()];
        let mut quoted = false;
        for character in line.trim().chars() {
            match character {
                '"' => quoted = !quoted,
                ' ' if !quoted => words.push(String::new()),
                _ => words.last_mut().unwrap().push(character),
            }
        }
        let end = words.iter().position(|word| ["#", ">", "<", "2>"].contains(&word.as_str()));
        words.truncate(end.unwrap_or(words.len()));
        words.retain(|word| !word.is_empty());
        words
    }

    #[test]
    fn documented_calls_parse() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
        let pages = ["README.md", "SKILL.md", "examples/sets/README.md"];
        let mut documents: Vec<_> = pages.iter().map(|page| root.join(page)).collect();
        let docs = std::fs::read_dir(root.join("docs")).unwrap();
        documents.extend(docs.map(|entry| entry.unwrap().path()));
        documents.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
        let mut parsed = 0;
        let mut wrong = Vec::new();
        for path in documents {
            for call in calls(&std::fs::read_to_string(&path).unwrap()) {
                let expanded = model_args::expand_short_flags(call.iter().map(OsString::from));
                match Cli::try_parse_from(expanded) {
                    Ok(_) => parsed += 1,
                    Err(error) if !error.use_stderr() => parsed += 1,
                    Err(error) => wrong.push(format!("{}: {call:?}: {error}", path.display())),
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(parsed > 60, "{parsed}");
    }
}

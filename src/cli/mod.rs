//! The command line: arguments, calls, printing. One file a command; what they
//! have in common (model, loop, logs, progress, errors) has a file each too.

mod audit;
mod bench;
mod calibration;
mod check;
mod config;
mod diff;
mod dry_run;
pub mod error;
mod eval;
mod export;
mod interrupt;
mod judge;
mod lint;
mod logging;
mod loop_args;
mod model_args;
mod pipe;
mod progress;
mod record;
mod recording;
mod render;
mod report;
mod review;
mod run;
mod schema;
mod score;
mod show;
mod table;
mod terminal;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use self::config::Config;
use self::error::CliError;

/// A constitutional critique-and-revise engine for local GGUF models.
///
/// The model answers, criticises its answer against the principles of a
/// constitution, and revises it. Without a command, amend takes one prompt and
/// prints the revised answer.
#[derive(Debug, Parser)]
#[command(
    name = "amend",
    version,
    args_conflicts_with_subcommands = true,
    after_help = "Exit codes: 0 done, 1 items failed or something was found, 2 usage or bad input, \
                  3 engine or environment, 130 interrupted and resumable."
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
    Run(Box<run::RunArgs>),
    Export(export::ExportArgs),
    Judge(Box<judge::JudgeArgs>),
    Eval(Box<eval::EvalArgs>),
    Score(Box<score::ScoreArgs>),
    Review(review::ReviewArgs),
    Audit(Box<audit::AuditArgs>),
    Diff(diff::DiffArgs),
    Report(report::ReportArgs),
    Check(check::CheckArgs),
    Lint(lint::LintArgs),
    Render(Box<render::RenderArgs>),
    Bench(bench::BenchArgs),
    Schema(schema::SchemaArgs),
}

/// The names of the commands.
fn commands() -> impl Iterator<Item = &'static str> {
    [
        "run", "export", "judge", "eval", "score", "review", "audit", "diff", "report", "check",
        "lint", "render", "bench", "schema",
    ]
    .into_iter()
}

/// Runs the program on its arguments, the program's name first.
pub fn main(arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let arguments = model_args::expand_short_flags(arguments);
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version go to stdout and are no error.
            let code = if error.use_stderr() { error::USAGE } else { error::DONE };
            return match error.print() {
                Ok(()) => ExitCode::from(code),
                Err(source) => error::finish(Err(CliError::Output(source)), false),
            };
        }
    };
    cli.log.install();
    error::finish(cli.run(), terminal::stderr_color())
}

impl Cli {
    fn run(&self) -> Result<(), CliError> {
        match &self.command {
            None => pipe::run(&self.pipe, &Config::load()?),
            Some(Command::Run(args)) => run::run(args, &Config::load()?),
            Some(Command::Judge(args)) => judge::run(args, &Config::load()?),
            Some(Command::Eval(args)) => eval::run(args, &Config::load()?),
            Some(Command::Score(args)) => score::run(args, &Config::load()?),
            Some(Command::Review(args)) => review::run(args),
            Some(Command::Audit(args)) => audit::run(args, &Config::load()?),
            Some(Command::Diff(args)) => diff::run(args),
            Some(Command::Render(args)) => render::run(args, &Config::load()?),
            Some(Command::Bench(args)) => bench::run(args, &Config::load()?),
            Some(Command::Export(args)) => export::run(args),
            Some(Command::Report(args)) => report::run(args),
            Some(Command::Check(args)) => check::run(args),
            Some(Command::Lint(args)) => lint::run(args),
            Some(Command::Schema(args)) => schema::run(args),
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn every_command_is_named() {
        let cli = Cli::command();
        let names = cli.get_subcommands().map(clap::Command::get_name);
        assert!(names.eq(commands()));
    }
}

//! How a command ends: exit codes, and what is printed when it fails.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::report::ReportError;
use crate::review::ServeError;
use amend_analysis::audit::plan as survey;
use amend_core::constitution;
use amend_core::document::diagnostic::Diagnostics;
use amend_core::driver::DriveError;
use amend_core::model::{EngineError, Failure};
use amend_core::prompt as template;
use amend_data::eval_set as set;
use amend_data::export::ExportError;
use amend_data::lint::tokenizer::TokenizerError;
use amend_data::lint::{FilterError, LintError};
use amend_data::rows::input::InputErrors;
use amend_data::store::journal::JournalError;
use amend_data::store::run_dir::RunError;

/// Everything asked for was done.
pub const DONE: u8 = 0;
/// Done, but some items failed, or a check found something.
pub const FINDINGS: u8 = 1;
/// The command line or an input file is wrong; nothing was started.
pub const USAGE: u8 = 2;
/// The engine, the disk or another part of the machine failed.
pub const ENVIRONMENT: u8 = 3;
/// Interrupted; what was finished is kept, and a run can be resumed.
pub const INTERRUPTED: u8 = 130;

/// Why a command did not simply succeed.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "each variant says what failed; its content says how")]
pub enum CliError {
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    #[error("{0}")]
    Diagnostics(#[from] Diagnostics),
    #[error(transparent)]
    Constitution(#[from] constitution::LoadError),
    #[error(transparent)]
    Templates(#[from] template::LoadError),
    #[error(transparent)]
    Input(#[from] InputErrors),
    #[error(transparent)]
    Set(#[from] set::LoadError),
    #[error(transparent)]
    Responses(#[from] set::ResponsesError),
    #[error(transparent)]
    Run(#[from] RunError),
    #[error(transparent)]
    Journal(#[from] JournalError),
    #[error(transparent)]
    Export(#[from] ExportError),
    #[error(transparent)]
    Lint(#[from] LintError),
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
    #[error(transparent)]
    Filter(#[from] FilterError),
    #[error(transparent)]
    Report(#[from] ReportError),
    #[error(transparent)]
    Serve(#[from] ServeError),
    #[error(transparent)]
    Engine(#[from] EngineError),
    #[error(transparent)]
    Item(#[from] Failure),
    #[error("failed to {attempt}")]
    Io { attempt: String, source: io::Error },
    #[error("failed to write to standard output")]
    Output(#[source] io::Error),
    #[error("{key}")]
    Replay { key: String, source: amend_core::procedure::ReplayError },
    /// Already told in other words.
    #[error("some items failed, or something was found")]
    Findings,
    #[error("interrupted")]
    Interrupted,
}

impl CliError {
    /// A mistake in how the command was called.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: Some(hint.into()) }
    }

    /// The exit code that tells scripts what kind of end this is.
    #[must_use]
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Findings | Self::Item(_) => FINDINGS,
            Self::Usage { .. } | Self::Diagnostics(_) | Self::Input(_) => USAGE,
            Self::Constitution(_) | Self::Templates(_) | Self::Set(_) | Self::Responses(_) => USAGE,
            Self::Run(error) | Self::Export(ExportError::Reviews(error)) => match error {
                RunError::Io { .. } => ENVIRONMENT,
                RunError::Journal(_) => ENVIRONMENT,
                RunError::Review { .. } | RunError::ReviewOrder { .. } => ENVIRONMENT,
                _ => USAGE,
            },
            Self::Export(error) => match error {
                ExportError::Unreviewed { .. } => FINDINGS,
                ExportError::Which { .. }
                | ExportError::Occupied { .. }
                | ExportError::EmptySplit { .. }
                | ExportError::Filter(_)
                | ExportError::Licence { .. } => USAGE,
                _ => ENVIRONMENT,
            },
            Self::Journal(_)
            | Self::Report(_)
            | Self::Serve(_)
            | Self::Engine(_)
            | Self::Io { .. }
            | Self::Replay { .. } => ENVIRONMENT,
            Self::Lint(LintError::Write { .. }) => ENVIRONMENT,
            Self::Lint(_) | Self::Tokenizer(_) | Self::Filter(_) => USAGE,
            // Whoever read the output has had enough.
            Self::Output(error) if error.kind() == io::ErrorKind::BrokenPipe => DONE,
            Self::Output(_) => ENVIRONMENT,
            Self::Interrupted => INTERRUPTED,
        }
    }

    /// The error as it is printed: what, why, and how to mend it.
    #[must_use]
    pub fn describe(&self, color: bool) -> String {
        if let Some(diagnostics) = self.diagnostics() {
            return diagnostics.render(color);
        }
        let (red, bold, reset) =
            if color { ("\x1b[1;31m", "\x1b[1m", "\x1b[0m") } else { ("", "", "") };
        let mut text = format!("{red}error{reset}: {self}\n");
        let mut cause = std::error::Error::source(self);
        while let Some(source) = cause {
            text.push_str(&format!("  cause: {source}\n"));
            cause = source.source();
        }
        if let Some(hint) = self.hint() {
            text.push_str(&format!("{bold}help{reset}: {hint}\n"));
        }
        text
    }

    fn hint(&self) -> Option<&str> {
        match self {
            Self::Usage { hint, .. } => hint.as_deref(),
            Self::Engine(error) => error.hint.as_deref(),
            Self::Export(ExportError::Unreviewed { .. }) => {
                Some("decide about them with amend review, then export again")
            }
            Self::Constitution(constitution::LoadError::Missing { hint, .. }) => Some(hint),
            _ => None,
        }
    }

    fn diagnostics(&self) -> Option<&Diagnostics> {
        match self {
            Self::Diagnostics(diagnostics)
            | Self::Constitution(constitution::LoadError::Wrong(diagnostics))
            | Self::Set(set::LoadError::Wrong(diagnostics))
            | Self::Templates(template::LoadError::Invalid(diagnostics)) => Some(diagnostics),
            _ => None,
        }
    }
}

impl From<survey::ReadError> for CliError {
    fn from(error: survey::ReadError) -> Self {
        match error {
            survey::ReadError::Input(error) => Self::Input(error),
            survey::ReadError::Set(error) => Self::Set(error),
            survey::ReadError::Run(error) => Self::Run(error),
            survey::ReadError::Journal(error) => Self::Journal(error),
        }
    }
}

impl From<survey::ReuseError> for CliError {
    fn from(error: survey::ReuseError) -> Self {
        match error {
            survey::ReuseError::Run(error) => Self::Run(error),
            survey::ReuseError::Journal(error) => Self::Journal(error),
            survey::ReuseError::Differs { .. } => Self::usage(
                error.to_string(),
                "audit the same data with the same model and judge, or leave --reuse out",
            ),
        }
    }
}

impl From<DriveError<CliError>> for CliError {
    fn from(error: DriveError<CliError>) -> Self {
        match error {
            DriveError::Engine(error) => Self::Engine(error),
            DriveError::Observer(error) => error,
            DriveError::Replay { key, source } => Self::Replay {
                key: format!("item {key} can't go on from the steps in the journal"),
                source,
            },
        }
    }
}

/// Writes to stderr. Where it is closed, nobody is left to tell.
pub fn tell(text: &str) {
    let _ = io::stderr().write_all(text.as_bytes());
}

/// Prints what went wrong to stderr and gives the exit code.
pub fn finish(result: Result<(), CliError>, color: bool) -> ExitCode {
    let Err(error) = result else { return ExitCode::from(DONE) };
    match &error {
        // Told while it happened.
        CliError::Findings | CliError::Interrupted => {}
        CliError::Output(source) if source.kind() == io::ErrorKind::BrokenPipe => {}
        _ => tell(&error.describe(color)),
    }
    ExitCode::from(error.exit_code())
}

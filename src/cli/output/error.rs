//! How a command ends: its exit code, and the error that it prints.
//!
//! The library has typed errors. Each has one `impl From` here, which decides the
//! kind (and with it the exit code) and the hints together. A new library error
//! needs nothing else.

use std::error::Error;
use std::process::ExitCode;
use std::{fmt, io};

use super::terminal::Output;
use super::{counts, print};
use crate::bench::workload::WorkloadError;
use crate::report::ReportError;
use crate::review::ServeError;
use amend_analysis::audit::plan as survey;
use amend_core::document::diagnostic::{Diagnostic, Diagnostics};
use amend_core::driver::DriveError;
use amend_core::model::{EngineError, Failure, ProbeError};
use amend_core::{constitution, prompt as template};
use amend_data::eval_set as set;
use amend_data::export::ExportError;
use amend_data::items::ItemFaults;
use amend_data::lint::tokenizer::TokenizerError;
use amend_data::lint::{FilterError, LintError};
use amend_data::store::batch::BatchError;
use amend_data::store::journal::JournalError;
use amend_data::store::run_dir::RunError;
use amend_data::store::sharded::{MergeError, ShardError};
use amend_engine::http::{AddressError, EndpointsError};

/// The command did everything that was requested.
pub const DONE: u8 = 0;
/// The command finished, but some items failed or a check found something.
pub const FINDINGS: u8 = 1;
/// The command line or an input file is wrong. Nothing was started.
pub const USAGE: u8 = 2;
/// The engine, the disk or another part of the machine failed.
pub const ENVIRONMENT: u8 = 3;
/// The command was interrupted. Finished work is kept, and a run can be resumed.
pub const INTERRUPTED: u8 = 130;

/// The kind of an error, which decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Items failed, or a check found something.
    Findings,
    /// As [`Kind::Findings`], where the details are already printed.
    Reported,
    /// The command line or an input file is wrong.
    Usage,
    /// The engine, the disk or another part of the machine failed.
    Environment,
    /// The user interrupted the command.
    Interrupted,
    /// The reader of the output closed it. That is no failure.
    BrokenPipe,
}

impl Kind {
    /// The exit code that reports this kind to scripts.
    #[must_use]
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Findings | Self::Reported => FINDINGS,
            Self::Usage => USAGE,
            Self::Environment => ENVIRONMENT,
            Self::Interrupted => INTERRUPTED,
            Self::BrokenPipe => DONE,
        }
    }

    /// Whether an error of this kind is printed when the command ends.
    fn is_printed(self) -> bool {
        match self {
            Self::Findings | Self::Usage | Self::Environment => true,
            Self::Reported | Self::Interrupted | Self::BrokenPipe => false,
        }
    }
}

/// The reason why a command did not simply succeed.
#[derive(Debug)]
pub struct CommandError {
    /// The kind, which decides the exit code.
    pub kind: Kind,
    /// What failed. Its sources are the causes.
    pub error: Box<dyn Error + Send + Sync>,
    /// What the user can do about it.
    pub hints: Vec<String>,
}

/// An operation that failed, with the cause as its source.
#[derive(Debug, thiserror::Error)]
#[error("failed to {attempt}")]
struct Failed {
    attempt: String,
    source: Box<dyn Error + Send + Sync>,
}

impl CommandError {
    /// An error without hints.
    pub fn new(kind: Kind, error: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        Self { kind, error: error.into(), hints: Vec::new() }
    }

    /// A mistake in the command line or in an input file, and how to correct it.
    pub fn usage(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message.into()).hinted(hint)
    }

    /// An operation that failed: `attempt` follows "failed to".
    pub fn failed(
        attempt: impl Into<String>,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        Self::new(Kind::Environment, Failed { attempt: attempt.into(), source: source.into() })
    }

    /// A failure to write to stdout. A closed pipe is no failure.
    #[must_use]
    pub fn output(source: io::Error) -> Self {
        let is_closed = source.kind() == io::ErrorKind::BrokenPipe;
        let error = Self::failed("write to standard output", source);
        if is_closed { Self { kind: Kind::BrokenPipe, ..error } } else { error }
    }

    /// Items failed or a check found something, and that is already printed.
    #[must_use]
    pub fn reported() -> Self {
        Self::new(Kind::Reported, "some items failed, or a check found something")
    }

    /// The user interrupted the command.
    #[must_use]
    pub fn interrupted() -> Self {
        Self::new(Kind::Interrupted, "interrupted")
    }

    /// Adds a hint.
    #[must_use]
    pub fn hinted(mut self, hint: impl Into<String>) -> Self {
        self.hints.push(hint.into());
        self
    }

    /// The error as it is printed: what failed, why, and how to fix it.
    ///
    /// Each cause has one line. A cause that the line before it already ends with
    /// is left out.
    #[must_use]
    pub fn describe(&self, output: Output) -> String {
        if let Some(diagnostics) = self.error.downcast_ref::<Diagnostics>() {
            return diagnostics.render(output.color);
        }
        let mut before = self.error.to_string();
        let mut text = format!("{}: {}\n", output.paint("1;31", "error"), output.text(&before));
        let mut cause = self.error.source();
        while let Some(source) = cause {
            let line = source.to_string();
            if !before.ends_with(&line) {
                text.push_str(&format!("  caused by: {}\n", output.text(&line)));
                before = line;
            }
            cause = source.source();
        }
        for hint in &self.hints {
            text.push_str(&format!("{}: {}\n", output.paint("1", "help"), output.text(hint)));
        }
        text
    }
}

impl fmt::Display for CommandError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for CommandError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.error.source()
    }
}

impl From<Diagnostics> for CommandError {
    fn from(error: Diagnostics) -> Self {
        Self::new(Kind::Usage, error)
    }
}

impl From<Diagnostic> for CommandError {
    fn from(error: Diagnostic) -> Self {
        Diagnostics(vec![error]).into()
    }
}

impl From<constitution::ConstitutionError> for CommandError {
    fn from(error: constitution::ConstitutionError) -> Self {
        match error {
            constitution::ConstitutionError::Wrong(diagnostics) => diagnostics.into(),
            constitution::ConstitutionError::Missing { ref hint, .. } => {
                let hint = hint.clone();
                Self::new(Kind::Usage, error).hinted(hint)
            }
            constitution::ConstitutionError::Unreadable(_) => Self::new(Kind::Usage, error),
        }
    }
}

impl From<template::TemplatesError> for CommandError {
    fn from(error: template::TemplatesError) -> Self {
        match error {
            template::TemplatesError::Invalid(diagnostics) => diagnostics.into(),
            error => Self::new(Kind::Usage, error),
        }
    }
}

impl From<set::EvalSetError> for CommandError {
    fn from(error: set::EvalSetError) -> Self {
        match error {
            set::EvalSetError::Wrong(diagnostics) => diagnostics.into(),
            error => Self::new(Kind::Usage, error),
        }
    }
}

impl From<set::ResponsesError> for CommandError {
    fn from(error: set::ResponsesError) -> Self {
        Self::new(Kind::Usage, error)
    }
}

impl From<ItemFaults> for CommandError {
    fn from(error: ItemFaults) -> Self {
        Self::new(Kind::Usage, error)
    }
}

impl From<ShardError> for CommandError {
    fn from(error: ShardError) -> Self {
        Self::new(Kind::Usage, error)
    }
}

impl From<MergeError> for CommandError {
    fn from(error: MergeError) -> Self {
        match error {
            MergeError::Run(error) => error.into(),
            MergeError::Journal(error) => error.into(),
            error @ MergeError::Write(_) => Self::new(Kind::Environment, error),
            error @ MergeError::NotSharded { .. } => Self::new(Kind::Usage, error),
            MergeError::Incomplete { ref path, .. } => {
                let hint = format!(
                    "amend status {} shows which; pass --partial to merge what there is",
                    path.display()
                );
                Self::new(Kind::Usage, error).hinted(hint)
            }
        }
    }
}

impl From<ProbeError> for CommandError {
    fn from(error: ProbeError) -> Self {
        match error {
            ProbeError::Engine(error) => error.into(),
            ProbeError::Unfit { message, hint } => Self::usage(message, hint),
        }
    }
}

impl From<RunError> for CommandError {
    fn from(error: RunError) -> Self {
        let kind = match &error {
            RunError::Io { .. }
            | RunError::Journal(_)
            | RunError::Review { .. }
            | RunError::ReviewOrder { .. } => Kind::Environment,
            RunError::Record { .. }
            | RunError::Sharded { .. }
            | RunError::Whole { .. }
            | RunError::NoPlan { .. }
            | RunError::OtherShard { .. }
            | RunError::ShardDiffers { .. }
            | RunError::Unreadable { .. }
            | RunError::HoldsRun { .. }
            | RunError::NotEmpty { .. }
            | RunError::NoRun { .. }
            | RunError::Manifest { .. }
            | RunError::Format { .. }
            | RunError::Locked { .. }
            | RunError::Differs { .. }
            | RunError::UnknownVerdicts { .. }
            | RunError::OtherCommand { .. }
            | RunError::OtherVerdicts { .. }
            | RunError::NoPanel { .. }
            | RunError::Panel { .. } => Kind::Usage,
        };
        Self::new(kind, error)
    }
}

impl From<JournalError> for CommandError {
    fn from(error: JournalError) -> Self {
        Self::new(Kind::Environment, error)
    }
}

impl From<BatchError> for CommandError {
    fn from(error: BatchError) -> Self {
        let kind = match &error {
            BatchError::Io { .. } | BatchError::Damaged { .. } => Kind::Environment,
            BatchError::Open { .. } | BatchError::Result { .. } | BatchError::Leftover { .. } => {
                Kind::Usage
            }
        };
        Self::new(kind, error)
    }
}

impl From<ExportError> for CommandError {
    fn from(error: ExportError) -> Self {
        match error {
            ExportError::Reviews(error) => error.into(),
            ExportError::Unreviewed { .. } => Self::new(Kind::Findings, error)
                .hinted("review them with amend review, then export again"),
            ExportError::NoRows(ref counts) => {
                let error = Self::new(Kind::Findings, counts::no_rows(counts));
                counts::hints(counts).into_iter().fold(error, Self::hinted)
            }
            ExportError::Which { .. }
            | ExportError::Reasoning { .. }
            | ExportError::Occupied { .. }
            | ExportError::EmptySplit { .. }
            | ExportError::Filter(_)
            | ExportError::Licence { .. } => Self::new(Kind::Usage, error),
            ExportError::Journal(_)
            | ExportError::Write(_)
            | ExportError::File { .. }
            | ExportError::Parquet(_)
            | ExportError::Card(_) => Self::new(Kind::Environment, error),
        }
    }
}

impl From<LintError> for CommandError {
    fn from(error: LintError) -> Self {
        let kind = match &error {
            LintError::Write { .. } => Kind::Environment,
            _ => Kind::Usage,
        };
        Self::new(kind, error)
    }
}

impl From<TokenizerError> for CommandError {
    fn from(error: TokenizerError) -> Self {
        Self::new(Kind::Usage, error)
    }
}

impl From<FilterError> for CommandError {
    fn from(error: FilterError) -> Self {
        Self::new(Kind::Usage, error)
    }
}

impl From<ReportError> for CommandError {
    fn from(error: ReportError) -> Self {
        Self::new(Kind::Environment, error)
    }
}

impl From<ServeError> for CommandError {
    fn from(error: ServeError) -> Self {
        Self::new(Kind::Environment, error)
    }
}

impl From<EngineError> for CommandError {
    fn from(mut error: EngineError) -> Self {
        let hints = error.hint.take().into_iter().collect();
        Self { hints, ..Self::new(Kind::Environment, error) }
    }
}

impl From<Failure> for CommandError {
    fn from(error: Failure) -> Self {
        Self::new(Kind::Findings, error)
    }
}

impl From<EndpointsError> for CommandError {
    fn from(error: EndpointsError) -> Self {
        Self::new(Kind::Usage, error)
    }
}

impl From<AddressError> for CommandError {
    fn from(error: AddressError) -> Self {
        Self::new(Kind::Usage, error)
    }
}

impl From<WorkloadError> for CommandError {
    fn from(error: WorkloadError) -> Self {
        match error {
            WorkloadError::Engine(error) => error.into(),
            WorkloadError::Templates(error) => error.into(),
            WorkloadError::Request(failure) => failure.into(),
        }
    }
}

impl From<survey::CasesError> for CommandError {
    fn from(error: survey::CasesError) -> Self {
        match error {
            survey::CasesError::Input(error) => error.into(),
            survey::CasesError::Set(error) => error.into(),
            survey::CasesError::Run(error) => error.into(),
            survey::CasesError::Journal(error) => error.into(),
        }
    }
}

impl From<survey::ReuseError> for CommandError {
    fn from(error: survey::ReuseError) -> Self {
        match error {
            survey::ReuseError::Run(error) => error.into(),
            survey::ReuseError::Journal(error) => error.into(),
            survey::ReuseError::Differs { .. } => Self::new(Kind::Usage, error)
                .hinted("audit the same data with the same model and judge, or omit --reuse"),
        }
    }
}

impl From<DriveError<CommandError>> for CommandError {
    fn from(error: DriveError<CommandError>) -> Self {
        match error {
            DriveError::Engine(error) => error.into(),
            DriveError::Observer(error) => error,
            error @ DriveError::Replay { .. } => Self::new(Kind::Environment, error),
        }
    }
}

/// Prints an error to stderr, if it is not yet printed, and returns the exit code.
#[must_use]
pub fn finish(result: Result<(), CommandError>) -> ExitCode {
    let Err(error) = result else { return ExitCode::from(DONE) };
    if error.kind.is_printed() {
        print::styled_error(&error.describe(Output::stderr()));
    }
    ExitCode::from(error.kind.exit_code())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn io_error(text: &str) -> io::Error {
        io::Error::other(text.to_owned())
    }

    fn described(error: &CommandError) -> String {
        error.describe(Output::plain())
    }

    #[test]
    fn error_prints_message_cause_and_hints() {
        let error = CommandError::failed("read a.toml", io_error("disk on fire"))
            .hinted("buy a disk")
            .hinted("or a fire extinguisher");
        assert_eq!(
            described(&error),
            "error: failed to read a.toml\n  caused by: disk on fire\nhelp: buy a disk\n\
             help: or a fire extinguisher\n"
        );
        assert_eq!(error.kind.exit_code(), ENVIRONMENT);
    }

    #[test]
    fn each_cause_is_printed_once() {
        #[derive(Debug, thiserror::Error)]
        #[error("loading stopped: {0}")]
        struct Outer(#[source] io::Error);
        let repeated = CommandError::new(Kind::Usage, Outer(io_error("no such file")));
        assert_eq!(described(&repeated), "error: loading stopped: no such file\n");
        let nested = CommandError::failed(
            "start",
            Failed { attempt: "load the model".to_owned(), source: io_error("no memory").into() },
        );
        assert_eq!(
            described(&nested),
            "error: failed to start\n  caused by: failed to load the model\n  caused by: no memory\n"
        );
    }

    #[test]
    fn transparent_errors_keep_their_cause() {
        let path = "runs/a".into();
        let error = RunError::Io { action: "open", path, source: io_error("denied") };
        let error = CommandError::from(ExportError::Reviews(error));
        assert_eq!(error.kind, Kind::Environment);
        assert!(described(&error).ends_with("runs/a\n  caused by: denied\n"), "{error}");
    }

    #[test]
    fn hints_of_library_errors_are_printed_once() {
        let error = EngineError::new("no such model").hinted("fetch it");
        let error = CommandError::from(error);
        assert_eq!(described(&error), "error: no such model\nhelp: fetch it\n");
        let missing = constitution::ConstitutionError::Missing {
            reference: "harmles".to_owned(),
            hint: "did you mean \"harmless\"?".to_owned(),
        };
        let missing = CommandError::from(missing);
        assert_eq!(missing.hints, ["did you mean \"harmless\"?"]);
        assert_eq!(missing.kind, Kind::Usage);
    }

    #[test]
    fn closed_stdout_is_no_failure() {
        let closed = CommandError::output(io::ErrorKind::BrokenPipe.into());
        assert_eq!((closed.kind, closed.kind.exit_code()), (Kind::BrokenPipe, DONE));
        assert!(!closed.kind.is_printed());
        let full = CommandError::output(io::ErrorKind::StorageFull.into());
        assert_eq!((full.kind, full.kind.exit_code()), (Kind::Environment, ENVIRONMENT));
    }

    #[test]
    fn failed_items_end_with_findings() {
        let error = CommandError::from(Failure::NotFinite);
        assert_eq!((error.kind, error.kind.exit_code()), (Kind::Findings, FINDINGS));
        assert!(error.kind.is_printed());
        assert!(!CommandError::reported().kind.is_printed());
    }

    #[test]
    fn control_characters_in_messages_are_escaped_on_a_terminal() {
        let error = CommandError::usage("no row \u{1b}[2J", "name one");
        let terminal = Output { color: false, escapes: true };
        assert_eq!(error.describe(terminal), "error: no row \\u{1b}[2J\nhelp: name one\n");
        assert!(described(&error).contains("\u{1b}[2J"));
    }

    #[test]
    fn an_engine_error_prints_its_cause_once() {
        let error = EngineError::new("failed to load model m.gguf")
            .hinted("download it again")
            .caused_by(io::Error::other("truncated"));
        assert_eq!(
            described(&CommandError::from(error)),
            "error: failed to load model m.gguf\n  caused by: truncated\nhelp: download it again\n"
        );
    }
}

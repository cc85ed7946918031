//! Logs on stderr: amend's own, and those of llama.cpp, which is quiet by default.

use clap::{Args, ValueEnum};
use tracing::Level;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::{self, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use super::progress;
use super::terminal::Output;

/// What is logged, and in which form.
#[derive(Debug, Args)]
pub struct LogArgs {
    /// Log more: -v logs what amend does, -vv also what llama.cpp does
    #[arg(short, long, action = clap::ArgAction::Count, global = true, help_heading = "Output")]
    verbose: u8,
    /// Log errors only, and show no progress
    #[arg(short, long, global = true, conflicts_with = "verbose", help_heading = "Output")]
    quiet: bool,
    /// The format of log lines
    #[arg(long, value_enum, default_value_t = LogFormat::Text, global = true, help_heading = "Output")]
    log_format: LogFormat,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum LogFormat {
    Text,
    Json,
}

impl LogArgs {
    /// Installs the logger. Only the first call has an effect.
    pub fn install(&self) {
        let (own, llama) = match (self.quiet, self.verbose) {
            (true, _) => (Level::ERROR, LevelFilter::OFF),
            (_, 0) => (Level::WARN, LevelFilter::ERROR),
            (_, 1) => (Level::INFO, LevelFilter::WARN),
            (_, 2) => (Level::DEBUG, LevelFilter::INFO),
            _ => (Level::TRACE, LevelFilter::TRACE),
        };
        let filter = Targets::new()
            .with_target("amend", own)
            .with_target("llama-cpp-2", llama)
            .with_target("llama_cpp_2", llama);
        let layer = match self.log_format {
            LogFormat::Text => fmt::layer()
                .with_writer(Stderr)
                .with_target(false)
                .without_time()
                .with_ansi(Output::stderr().color)
                .boxed(),
            LogFormat::Json => fmt::layer().json().with_writer(Stderr).boxed(),
        };
        // Tests may call this again. The first logger stays.
        let _ = tracing_subscriber::registry().with(layer.with_filter(filter)).try_init();
    }
}

/// Stderr, with the progress bar suspended.
struct Stderr;

impl<'a> MakeWriter<'a> for Stderr {
    type Writer = Line;

    fn make_writer(&'a self) -> Line {
        Line(Vec::new())
    }
}

/// One log line, written when it is complete.
struct Line(Vec<u8>);

impl std::io::Write for Line {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Drop for Line {
    fn drop(&mut self) {
        progress::suspend(|| {
            // There is nowhere to report that stderr is closed.
            let _ = std::io::Write::write_all(&mut std::io::stderr(), &self.0);
        });
    }
}

//! `amend bench`: speed on fixed workloads, against llama.cpp alone.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::config::Config;
use super::error::CliError;
use super::model_args::ModelArgs;
use crate::bench::workload::{Size, Workload, WorkloadError};
use crate::bench::{Measured, measure, plot};

/// Measure the engine on this machine, against llama.cpp alone
///
/// Three fixed workloads with text of fixed lengths: `loop` (32 prompts, an
/// answer and two rounds of critique and revision), `fan-out` (8 conversations
/// under 16 principles), `verdicts` (the same in both orders, nothing decoded).
/// Beside each figure stands its share of what the bare library reaches.
#[derive(Debug, Args)]
pub struct BenchArgs {
    /// Which workloads
    #[arg(long, value_enum, value_delimiter = ',', default_value = "loop,fan-out,verdicts")]
    workload: Vec<Workload>,
    /// Which widths
    #[arg(long, value_delimiter = ',', default_value = "8", value_name = "N,…")]
    width: Vec<usize>,
    /// A few seconds' worth only: figures mean little
    #[arg(long)]
    quick: bool,
    /// Print JSON in place of the table
    #[arg(long)]
    json: bool,
    /// Draw width against throughput
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
}

/// Measures and prints.
///
/// # Errors
/// A model that can't be loaded, a context that is too small.
pub fn run(args: &BenchArgs, config: &Config) -> Result<(), CliError> {
    let (model, settings) = args.model.load(config)?;
    let size = if args.quick { Size::QUICK } else { Size::FULL };
    let mut out = std::io::stdout().lock();
    let mut measured: Vec<Measured> = Vec::new();
    if !args.json {
        writeln!(
            out,
            "{:<9} {:>5} {:>8} {:>10} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "workload",
            "width",
            "rows/s",
            "decoded/s",
            "prefilled",
            "/ideal",
            "of limit",
            "outside",
            "fill",
            "memory"
        )
        .map_err(CliError::Output)?;
    }
    for &workload in &args.workload {
        for &width in &args.width {
            let settings = crate::engine::llama::Settings { parallel: width, ..settings.clone() };
            let one = measure(&model, &settings, workload, size).map_err(|error| match error {
                WorkloadError::Engine(error) => CliError::Engine(error),
                WorkloadError::Templates(error) => CliError::Templates(error),
                WorkloadError::Request(failure) => CliError::Item(failure),
            })?;
            if !args.json {
                line(&mut out, &one).map_err(CliError::Output)?;
            }
            measured.push(one);
        }
    }
    if args.json {
        writeln!(out, "{}", json!({ "size": size, "measured": measured }))
            .map_err(CliError::Output)?;
    }
    if let Some(path) = &args.plot {
        std::fs::write(path, plot::svg(&measured)).map_err(|source| CliError::Io {
            attempt: format!("write {}", path.display()),
            source,
        })?;
    }
    Ok(())
}

fn line(out: &mut impl Write, one: &Measured) -> std::io::Result<()> {
    let name = match one.workload {
        Workload::Loop => "loop",
        Workload::FanOut => "fan-out",
        Workload::Verdicts => "verdicts",
    };
    let memory =
        one.peak_memory.map_or_else(|| "?".to_owned(), |bytes| format!("{} MB", bytes / 1_000_000));
    writeln!(
        out,
        "{name:<9} {:>5} {:>8.3} {:>10.1} {:>9} {:>8.3} {:>8.2} {:>7.2}% {:>8.1} {memory:>8}",
        one.width,
        one.rows_per_second,
        one.decoded_per_second,
        one.counters.prefilled,
        one.prefill_ratio,
        one.share_of_limit,
        100.0 * one.outside,
        one.rows_per_batch,
    )?;
    out.flush()
}

//! `amend bench`: speed on fixed workloads, against llama.cpp alone and against
//! a server.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use crate::bench::peer::{self, PeerMeasured};
use crate::bench::revisions::Revisions;
use crate::bench::workload::{Size, Workload, WorkloadError};
use crate::bench::{Measured, measure, plot, revisions};
use crate::cli::args::config::Config;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::output::error::CliError;
use crate::session::measured_costs as calibration;
use amend_core::constitution;
use amend_core::driver::Job;
use amend_core::procedure::Procedure;
use amend_core::prompt::{Fence, Templates};
use amend_core::random::Stream;
use amend_data::rows::input;
use amend_data::rows::input::Input;
use amend_engine::http;
use amend_engine::http::Address;
use amend_engine::llama::Settings;
use amend_engine::{Loaded, Source};

/// Measure the engine on this machine, against llama.cpp alone
///
/// Three fixed workloads with text of fixed lengths: `loop` (32 prompts, an
/// answer and two rounds of critique and revision), `fan-out` (8 conversations
/// under 16 principles), `verdicts` (the same in both orders, nothing decoded).
/// Beside each figure stands its share of what the bare library reaches. With
/// --peer the workloads also go through a server; without a model, through the
/// server alone.
#[derive(Debug, Args)]
#[command(mut_arg("judge_model", |arg| arg.hide(true)))]
#[command(mut_arg("judge_endpoint_model", |arg| arg.hide(true)))]
pub struct BenchArgs {
    /// Which workloads
    #[arg(long, value_enum, value_delimiter = ',', default_value = "loop,fan-out,verdicts")]
    workload: Vec<Workload>,
    /// Which widths
    #[arg(long, value_delimiter = ',', default_value = "8", value_name = "N,…")]
    width: Vec<usize>,
    /// An OpenAI-compatible server to compare with; start it anew each time,
    /// since it remembers prompts
    #[arg(long, value_name = "URL")]
    peer: Option<Address>,
    /// Requests to the peer at once
    #[arg(long, default_value_t = 8, value_name = "N", requires = "peer")]
    concurrency: usize,
    /// A few seconds' worth only: figures mean little
    #[arg(long)]
    quick: bool,
    /// So much of each workload's rows, in percent
    #[arg(long, value_name = "N", default_value_t = 100, conflicts_with = "quick",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    share: u32,
    /// Print JSON in place of the table
    #[arg(long)]
    json: bool,
    /// Compute every prompt in full, to see what shared prefixes save
    #[arg(long)]
    no_sharing: bool,
    /// Measure revisions alone, one at a time, with and without guessing what
    /// they copy: the answers to these prompts under `harmless`, and made ones
    #[arg(long, value_name = "INPUT", conflicts_with_all = ["workload", "width", "quick", "plot"])]
    revisions: Option<PathBuf>,
    /// Measure what batches cost, keep it for later runs, and print it
    #[arg(long, conflicts_with_all = ["workload", "width", "quick", "plot", "revisions"])]
    calibrate: bool,
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
    let peer = args.peer.clone().map(|address| http::Settings {
        parallel: args.concurrency,
        ..args.model.endpoint(address, config)
    });
    let source = match args.model.named(config)? {
        None if peer.is_none() => Some(args.model.source(config)?),
        Some(Source::Endpoint(_)) => {
            return Err(CliError::usage(
                "the engine is measured on a model file, not through a server",
                "name the server by --peer URL",
            ));
        }
        source => source,
    };
    let model = source.map(|_| args.model.load(config)).transpose()?;
    if args.calibrate
        && let Some(Loaded::File { model, settings }) = &model
    {
        let costs = calibration::measured(model, settings)?;
        let settings = Settings { costs, ..(**settings).clone() };
        return print_costs(&settings, args.json).map_err(CliError::Output);
    }
    if let (Some(input), Some(Loaded::File { model, settings })) = (&args.revisions, &model) {
        let items = input::read(&[Input::from(input.clone())], None)?;
        let found = revisions::measure(model, settings, &revising()?, &items)?;
        return print_revisions(&found, args.json).map_err(CliError::Output);
    }
    let size = if args.quick { Size::QUICK } else { Size::FULL.share(args.share) };
    let mut out = std::io::stdout().lock();
    let mut measured: Vec<Measured> = Vec::new();
    let mut of_peer: Vec<PeerMeasured> = Vec::new();
    if !args.json {
        writeln!(
            out,
            "{:<13} {:>5} {:>8} {:>10} {:>8} {:>9} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8} {:>8}",
            "workload",
            "width",
            "rows/s",
            "decoded/s",
            "of bare",
            "prefilled",
            "/ideal",
            "of limit",
            "outside",
            "fill",
            "accepted",
            "cells",
            "memory"
        )
        .map_err(CliError::Output)?;
    }
    for &workload in &args.workload {
        if let Some(Loaded::File { model, settings }) = &model {
            for &width in &args.width {
                let share_prefixes = !args.no_sharing;
                let settings = Settings { parallel: width, share_prefixes, ..(**settings).clone() };
                let settings = match workload {
                    Workload::Verdicts => settings.for_reading(),
                    Workload::Loop | Workload::FanOut => settings,
                };
                let one = measure(model, &settings, workload, size)?;
                if !args.json {
                    line(&mut out, &one).map_err(CliError::Output)?;
                }
                measured.push(one);
            }
        }
        if let Some(settings) = &peer {
            let one = peer::measure(settings, workload, size)?;
            if !args.json {
                peer_line(&mut out, &one).map_err(CliError::Output)?;
            }
            of_peer.push(one);
        }
    }
    if args.json {
        writeln!(out, "{}", json!({ "size": size, "measured": measured, "peer": of_peer }))
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

impl From<WorkloadError> for CliError {
    fn from(error: WorkloadError) -> Self {
        match error {
            WorkloadError::Engine(error) => Self::Engine(error),
            WorkloadError::Templates(error) => Self::Templates(error),
            WorkloadError::Request(failure) => Self::Item(failure),
        }
    }
}

/// The loop whose revisions are measured.
fn revising() -> Result<Job, CliError> {
    let stream = Stream::new(0);
    let fence = Fence::from_stream(stream);
    Ok(Job {
        procedure: Procedure::Revise { judging: false },
        constitution: Arc::new(constitution::load("harmless")?.constitution),
        templates: Arc::new(Templates::load(None, &fence)?),
        fence,
        seed: 0,
        stream,
        ignore_eos: false,
        cohorts: false,
    })
}

fn print_revisions(found: &Revisions, as_json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    if as_json {
        return writeln!(out, "{}", json!({ "revisions": found }));
    }
    writeln!(
        out,
        "{:<10} {:>10} {:>10} {:>6} {:>9}",
        "revision", "without", "guessing", "ratio", "accepted"
    )?;
    let mut line = |name: &str, speed: [f64; 2], drafted: u64, accepted: u64| {
        let [without, guessing] = speed;
        let accepted = 100.0 * accepted as f64 / drafted.max(1) as f64;
        writeln!(
            out,
            "{name:<10} {without:>8.1}/s {guessing:>8.1}/s {:>6.2} {accepted:>8.0}%",
            guessing / without
        )
    };
    for one in &found.constructed {
        let name = format!("keeps {} %", one.kept_percent);
        line(&name, one.speed, one.drafted as u64, one.accepted as u64)?;
    }
    let [_, guessing] = found.real;
    let speed = found.real.map(|speed| speed.tokens as f64 / speed.seconds);
    line("real", speed, guessing.drafted, guessing.accepted)
}

/// Prints what batches cost, and what follows from it.
fn print_costs(settings: &Settings, as_json: bool) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let (costs, chosen) = (&settings.costs, settings.resolved());
    if as_json {
        let chosen = json!({ "parallel": chosen.parallel, "mixed_rows": chosen.mixed_rows });
        return writeln!(out, "{}", json!({ "costs": costs, "chosen": chosen }));
    }
    writeln!(out, "{:>6} {:>10} {:>9}", "rows", "batch", "rows/s")?;
    for &(rows, ms) in &costs.rows {
        writeln!(out, "{rows:>6} {ms:>7.1} ms {:>9.1}", 1e3 * rows as f64 / ms)?;
    }
    writeln!(
        out,
        "behind {} tokens; 1000 more before a row cost it {:.1} ms",
        costs.depth,
        1e3 * costs.per_token
    )?;
    if !costs.mixed.is_empty() {
        writeln!(out, "decode and prefill in one batch, or in two:")?;
    }
    for mixed in &costs.mixed {
        let (together, apart) = (mixed.together, mixed.apart);
        writeln!(out, "{:>6} {together:>7.1} ms {apart:>6.1} ms", mixed.rows)?;
    }
    writeln!(out, "--parallel {}", chosen.parallel)?;
    match chosen.mixed_rows {
        Some(rows) => writeln!(out, "--mixed-rows {rows}"),
        None => Ok(()),
    }
}

fn name(workload: Workload) -> &'static str {
    match workload {
        Workload::Loop => "loop",
        Workload::FanOut => "fan-out",
        Workload::Verdicts => "verdicts",
    }
}

fn peer_line(out: &mut impl Write, one: &PeerMeasured) -> std::io::Result<()> {
    writeln!(
        out,
        "peer {:<8} {:>5} {:>8.3} {:>10.1} {:>8} {:>9}",
        name(one.workload),
        one.concurrency,
        one.rows_per_second,
        one.decoded_per_second,
        "",
        one.counters.prefilled,
    )?;
    out.flush()
}

fn line(out: &mut impl Write, one: &Measured) -> std::io::Result<()> {
    let name = name(one.workload);
    let memory =
        one.peak_memory.map_or_else(|| "?".to_owned(), |bytes| format!("{} MB", bytes / 1_000_000));
    let of_bare =
        one.share_of_bare_decode.map_or_else(|| "-".to_owned(), |share| format!("{share:.2}"));
    let accepted =
        one.acceptance.map_or_else(|| "-".to_owned(), |share| format!("{:.0}%", 100.0 * share));
    writeln!(
        out,
        "{name:<13} {:>5} {:>8.3} {:>10.1} {of_bare:>8} {:>9} {:>8.3} {:>8.2} {:>7.2}% {:>8.1} {accepted:>8} \
         {:>8} {memory:>8}",
        one.width,
        one.rows_per_second,
        one.decoded_per_second,
        one.counters.prefilled,
        one.prefill_ratio,
        one.share_of_limit,
        100.0 * one.outside,
        one.rows_per_batch,
        one.peak_cells,
    )?;
    out.flush()
}

//! `amend bench`: speed on fixed workloads, compared with llama.cpp alone and with a
//! server.

use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;

use clap::Args;
use serde_json::json;

use crate::bench::peer::{self, PeerMeasured};
use crate::bench::revisions::{self, Revisions};
use crate::bench::workload::{Size, Workload};
use crate::bench::{Measured, measure};
use crate::cli::args::config::Config;
use crate::cli::args::model_args::ModelArgs;
use crate::cli::output::error::CommandError;
use crate::cli::output::print;
use crate::cli::output::progress::announced;
use crate::measured_costs as calibration;
use crate::report::chart::{Point, throughput_svg};
use amend_core::constitution;
use amend_core::driver::Job;
use amend_core::procedure::Procedure;
use amend_core::prompt::Delimiter;
use amend_core::random::Stream;
use amend_core::record::Item;
use amend_data::items::{ItemFaults, ItemOptions, ItemSource, Purpose};
use amend_data::rows::Input;
use amend_data::store::atomic;
use amend_engine::LoadedModel;
use amend_engine::http::{self, Address};
use amend_engine::llama::LlamaSettings;

/// Measure the engine on this machine, compared with llama.cpp alone
///
/// There are three fixed workloads with texts of fixed lengths: `loop` (32 prompts,
/// each with an answer and two rounds of critique and revision), `fan-out` (8
/// conversations under 16 principles), and `verdicts` (the same in both orders, with
/// nothing decoded). Each figure is also shown as a share of what llama.cpp alone
/// achieves. With --peer, the workloads also run on a server; without a model, only
/// there.
#[derive(Debug, Args)]
#[command(mut_arg("judge_model", |arg| arg.hide(true)))]
#[command(mut_arg("judge_endpoint_model", |arg| arg.hide(true)))]
#[command(mut_arg("endpoints", |arg| arg.hide(true)))]
pub struct BenchArgs {
    /// The workloads to run
    #[arg(long, value_enum, value_delimiter = ',', default_value = "loop,fan-out,verdicts")]
    workload: Vec<Workload>,
    /// The numbers of sequences decoded together
    #[arg(long, value_delimiter = ',', default_value = "8", value_name = "N,…")]
    width: Vec<usize>,
    /// An OpenAI-compatible server to compare with; restart it before each run,
    /// because it caches prompts
    #[arg(long, value_name = "URL")]
    peer: Option<Address>,
    /// Concurrent requests to the peer
    #[arg(long, default_value_t = 8, value_name = "N", requires = "peer")]
    concurrency: usize,
    /// Run for a few seconds only; the figures are not meaningful
    #[arg(long)]
    quick: bool,
    /// The share of each workload's rows to run, in percent
    #[arg(long, value_name = "N", default_value_t = 100, conflicts_with = "quick",
          value_parser = clap::value_parser!(u32).range(1..=100))]
    share: u32,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
    /// Compute every prompt in full, to show what shared prefixes save
    #[arg(long)]
    no_sharing: bool,
    /// Measure revisions only, one at a time, with and without prompt lookup: of
    /// answers to these prompts under `harmless`, and of constructed texts
    #[arg(long, value_name = "INPUT", conflicts_with_all = ["workload", "width", "quick", "plot"])]
    revisions: Option<PathBuf>,
    /// Measure what batches cost, store it for later runs, and print it
    #[arg(long, conflicts_with_all = ["workload", "width", "quick", "plot", "revisions"])]
    calibrate: bool,
    /// Draw a chart of throughput by width
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    #[command(flatten)]
    model: ModelArgs,
}

/// Runs the measurements and prints them.
///
/// # Errors
/// The model can't be loaded, or the context is too small.
pub fn run(args: &BenchArgs, config: &Config) -> Result<(), CommandError> {
    let peer = args.peer.clone().map(|address| http::EndpointSettings {
        parallel: args.concurrency,
        ..args.model.endpoint(address, config)
    });
    let source = match args.model.named(config)? {
        None if peer.is_none() => Some(args.model.source(config)?),
        Some(source) if !source.capabilities().measures_batches => {
            return Err(CommandError::usage(
                "bench measures a model file, not a server",
                "to compare with a server, pass --peer URL",
            ));
        }
        source => source,
    };
    let model = source.map(|_| args.model.load(config)).transpose()?;
    let llama = model.as_ref().and_then(LoadedModel::llama);
    if args.calibrate
        && let Some((model, settings)) = llama
    {
        let costs = calibration::measured(model, settings)?;
        let settings = LlamaSettings { costs, ..settings.clone() };
        if args.json {
            let chosen = settings.resolved();
            let chosen = json!({ "parallel": chosen.parallel, "mixed_rows": chosen.mixed_rows });
            return print::json_lines(&[json!({ "costs": settings.costs, "chosen": chosen })]);
        }
        return print_costs(&settings).map_err(CommandError::output);
    }
    if let (Some(input), Some((model, settings))) = (&args.revisions, llama) {
        let inputs = [Input::from(input.clone())];
        let source = ItemSource::open(&inputs, Purpose::Prompts, &ItemOptions::default())?;
        let items: Vec<Item> = source
            .items()
            .map(|item| Ok(Arc::unwrap_or_clone(item?)))
            .collect::<Result<_, ItemFaults>>()?;
        let job = revision_job()?;
        let revisions =
            announced("measuring revisions", || revisions::measure(model, settings, &job, &items))?;
        if args.json {
            return print::json_lines(&[json!({ "revisions": revisions })]);
        }
        return print_revisions(&revisions).map_err(CommandError::output);
    }
    let size = if args.quick { Size::QUICK } else { Size::FULL.share(args.share) };
    let mut out = std::io::stdout().lock();
    let mut measured: Vec<Measured> = Vec::new();
    let mut peer_measured: Vec<PeerMeasured> = Vec::new();
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
        .map_err(CommandError::output)?;
    }
    for &workload in &args.workload {
        if let Some((model, settings)) = llama {
            for &width in &args.width {
                let share_prefixes = !args.no_sharing;
                let settings =
                    LlamaSettings { parallel: width, share_prefixes, ..settings.clone() };
                let settings = match workload {
                    Workload::Verdicts => settings.for_judging(),
                    Workload::Loop | Workload::FanOut => settings,
                };
                let what = format!("measuring {} with {width} sequences", name(workload));
                let figures = announced(&what, || measure(model, &settings, workload, size))?;
                if !args.json {
                    line(&mut out, &figures).map_err(CommandError::output)?;
                }
                measured.push(figures);
            }
        }
        if let Some(settings) = &peer {
            let what = format!("measuring {} on the peer", name(workload));
            let figures = announced(&what, || peer::measure(settings, workload, size))?;
            if !args.json {
                peer_line(&mut out, &figures).map_err(CommandError::output)?;
            }
            peer_measured.push(figures);
        }
    }
    if args.json {
        print::json_lines(&[json!({ "size": size, "measured": measured, "peer": peer_measured })])?;
    }
    if let Some(path) = &args.plot {
        let points: Vec<Point> = measured
            .iter()
            .map(|measured| Point {
                series: name(measured.workload),
                width: measured.width,
                rate: measured.rows_per_second,
            })
            .collect();
        let svg = throughput_svg(&points);
        atomic::write(path, |out| out.write_all(svg.as_bytes())).map_err(
            |source: std::io::Error| {
                CommandError::failed(format!("write {}", path.display()), source)
            },
        )?;
    }
    Ok(())
}

/// The job whose revisions are measured.
fn revision_job() -> Result<Job, CommandError> {
    let fence = Delimiter::from_stream(Stream::new(0));
    let constitution = constitution::load("harmless")?.constitution;
    Ok(Job::new(Procedure::Revise { judging: false }, constitution, None, fence, 0)?)
}

fn print_revisions(revisions: &Revisions) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(
        out,
        "{:<10} {:>10} {:>10} {:>6} {:>9}",
        "revision", "without", "lookup", "ratio", "accepted"
    )?;
    let mut line = |name: &str, speed: [f64; 2], drafted: u64, accepted: u64| {
        let [without, with_lookup] = speed;
        let accepted = 100.0 * accepted as f64 / drafted.max(1) as f64;
        writeln!(
            out,
            "{name:<10} {without:>8.1}/s {with_lookup:>8.1}/s {:>6.2} {accepted:>8.0}%",
            with_lookup / without
        )
    };
    for constructed in &revisions.constructed {
        let name = format!("keeps {} %", constructed.kept_percent);
        let [drafted, accepted] = [constructed.drafted, constructed.accepted];
        line(&name, constructed.speed, drafted as u64, accepted as u64)?;
    }
    let [_, with_lookup] = revisions.real;
    let speed = revisions.real.map(|speed| speed.tokens as f64 / speed.seconds);
    line("real", speed, with_lookup.drafted, with_lookup.accepted)
}

/// Prints what batches cost, and the settings chosen by it.
fn print_costs(settings: &LlamaSettings) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    let (costs, chosen) = (&settings.costs, settings.resolved());
    writeln!(out, "{:>6} {:>10} {:>9}", "rows", "batch", "rows/s")?;
    for &(rows, ms) in &costs.rows {
        writeln!(out, "{rows:>6} {ms:>7.1} ms {:>9.1}", 1e3 * rows as f64 / ms)?;
    }
    writeln!(
        out,
        "with {} tokens of context; 1000 more cost a row {:.1} ms",
        costs.depth,
        1e3 * costs.per_token
    )?;
    if !costs.mixed.is_empty() {
        writeln!(out, "decoding and prefill in one batch, and in two:")?;
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

fn peer_line(out: &mut impl Write, figures: &PeerMeasured) -> std::io::Result<()> {
    writeln!(
        out,
        "peer {:<8} {:>5} {:>8.3} {:>10.1} {:>8} {:>9}",
        name(figures.workload),
        figures.concurrency,
        figures.rows_per_second,
        figures.decoded_per_second,
        "",
        figures.counters.prefilled,
    )?;
    out.flush()
}

fn line(out: &mut impl Write, figures: &Measured) -> std::io::Result<()> {
    let name = name(figures.workload);
    let memory = figures
        .peak_memory
        .map_or_else(|| "?".to_owned(), |bytes| format!("{} MB", bytes / 1_000_000));
    let of_bare =
        figures.share_of_bare_decode.map_or_else(|| "-".to_owned(), |share| format!("{share:.2}"));
    let accepted =
        figures.acceptance.map_or_else(|| "-".to_owned(), |share| format!("{:.0}%", 100.0 * share));
    writeln!(
        out,
        "{name:<13} {:>5} {:>8.3} {:>10.1} {of_bare:>8} {:>9} {:>8.3} {:>8.2} {:>7.2}% {:>8.1} {accepted:>8} \
         {:>8} {memory:>8}",
        figures.width,
        figures.rows_per_second,
        figures.decoded_per_second,
        figures.counters.prefilled,
        figures.prefill_ratio,
        figures.share_of_limit,
        100.0 * figures.outside,
        figures.rows_per_batch,
        figures.peak_cells,
    )?;
    out.flush()
}

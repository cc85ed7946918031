//! `amend status`: how far a sharded run is.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::cli::output::error::CommandError;
use crate::cli::output::format::duration;
use crate::cli::output::next::{self, AmendCall};
use crate::cli::output::print;
use crate::cli::output::table::table;
use amend_core::text::format::{plural, thousands};
use amend_data::store::run_dir::RunDir;
use amend_data::store::sharded::{RunStatus, ShardState, ShardStatus};

/// Print how far a sharded run is: shards, items, speed and time left
///
/// Exits with 0 if all shards are done, otherwise with 1. The counts of shards that are not
/// done are those of their last progress file, at most ten seconds old while they run.
#[derive(Debug, Args)]
pub struct StatusArgs {
    /// The folder of the run (--out)
    #[arg(value_name = "DIR")]
    run: PathBuf,
    /// Print everything as JSON
    #[arg(long)]
    json: bool,
    /// Print the shards that are neither done nor running, for `sbatch --array=…`; nothing if
    /// there are none. Exits with 0
    #[arg(long, conflicts_with = "json")]
    array: bool,
}

/// The most shards that the table lists.
const LISTED: usize = 20;

/// Prints the status.
///
/// # Errors
/// The folder holds no sharded run, or it can't be read; [`CommandError::reported`] if shards
/// are not done.
pub fn run(args: &StatusArgs) -> Result<(), CommandError> {
    let Some(status) = RunStatus::read(&args.run)? else {
        RunDir::open(&args.run)?;
        let path = args.run.display();
        return Err(CommandError::usage(
            format!("{path} is a run without shards"),
            format!("amend report {path} shows what it has; amend run … --resume continues it"),
        ));
    };
    if args.array {
        let array = status.array();
        return if array.is_empty() { Ok(()) } else { print::text(&format!("{array}\n")) };
    }
    if args.json {
        print::json(&JsonStatus::new(&status))?;
    } else {
        print::text(&text(&status))?;
    }
    if !status.is_done() {
        return Err(CommandError::reported());
    }
    next::print(AmendCall::exporting(&args.run));
    Ok(())
}

/// The status as JSON.
#[derive(Serialize)]
struct JsonStatus<'a> {
    done: usize,
    running: usize,
    stale: usize,
    missing: usize,
    items: Option<u64>,
    items_done: u64,
    items_failed: u64,
    items_per_second: f64,
    tokens_per_second: f64,
    seconds_left: Option<f64>,
    /// The shards that are neither done nor running.
    array: String,
    shards: &'a [ShardStatus],
}

impl<'a> JsonStatus<'a> {
    fn new(status: &'a RunStatus) -> Self {
        let (items_done, items_failed) = status.ended();
        let (items_per_second, tokens_per_second) = status.rates();
        Self {
            done: status.count(ShardState::Done),
            running: status.count(ShardState::Running),
            stale: status.count(ShardState::Stale),
            missing: status.count(ShardState::Missing),
            items: status.items,
            items_done,
            items_failed,
            items_per_second,
            tokens_per_second,
            seconds_left: status.seconds_left(),
            array: status.array(),
            shards: &status.shards,
        }
    }
}

/// The status as text: a line for shards, items and speed, and a table of the shards that have
/// started and are not done.
fn text(status: &RunStatus) -> String {
    let shards = status.shards.len();
    let states: Vec<String> = ShardState::ALL
        .into_iter()
        .map(|state| (state, status.count(state)))
        .filter(|&(state, count)| count > 0 || state == ShardState::Done)
        .map(|(state, count)| format!("{count} {}", state.as_str()))
        .collect();
    let mut text = format!("shards  {} of {shards}\n", states.join(", "));
    let (done, failed) = status.ended();
    let of = match status.items {
        Some(items) => format!(" of {}", thousands(items)),
        None => " (shards that have not started are not counted)".to_owned(),
    };
    text.push_str(&format!("items   {} done, {} failed{of}\n", thousands(done), thousands(failed)));
    let (items_per_second, tokens_per_second) = status.rates();
    if status.count(ShardState::Running) > 0 {
        text.push_str(&format!(
            "speed   {items_per_second:.1} items/s, {tokens_per_second:.0} tokens/s decoded"
        ));
        if let Some(seconds) = status.seconds_left() {
            text.push_str(&format!(", about {} left", duration(seconds)));
        }
        text.push('\n');
    }
    text.push_str(&shards_in_work(status));
    let array = status.array();
    if !array.is_empty() {
        text.push_str(&format!("to do   --array={array}\n"));
    }
    text
}

/// The shards that have started and are not done.
fn shards_in_work(status: &RunStatus) -> String {
    let in_work: Vec<&ShardStatus> = status
        .shards
        .iter()
        .filter(|shard| matches!(shard.state, ShardState::Running | ShardState::Stale))
        .collect();
    if in_work.is_empty() {
        return String::new();
    }
    let header = ["shard", "state", "host", "pid", "done", "failed", "items", "items/s"];
    let mut rows = vec![header.map(str::to_owned).to_vec()];
    for shard in in_work.iter().take(LISTED) {
        let host = shard.host.clone().unwrap_or_else(|| "-".to_owned());
        let number = |number: Option<String>| number.unwrap_or_else(|| "-".to_owned());
        rows.push(vec![
            shard.shard.to_string(),
            shard.state.as_str().to_owned(),
            host,
            number(shard.pid.map(|pid| pid.to_string())),
            thousands(shard.done),
            thousands(shard.failed),
            number(shard.items.map(thousands)),
            number(shard.items_per_second.map(|rate| format!("{rate:.1}"))),
        ]);
    }
    let mut text = format!("\n{}", table(3, &rows));
    if let Some(more) = in_work.len().checked_sub(LISTED).filter(|more| *more > 0) {
        text.push_str(&format!("… and {more} more {}\n", plural(more as u64, "shard")));
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(shard: u32, state: ShardState) -> ShardStatus {
        let runs = state == ShardState::Running;
        ShardStatus {
            shard,
            state,
            items: (state != ShardState::Missing).then_some(1_500),
            done: if state == ShardState::Missing { 0 } else { 1_000 },
            failed: 2,
            items_per_second: runs.then_some(2.5),
            tokens_per_second: runs.then_some(640.0),
            host: (state != ShardState::Missing).then(|| "node7".to_owned()),
            pid: (state != ShardState::Missing).then_some(4711),
            updated: None,
        }
    }

    #[test]
    fn the_status_has_a_line_for_each_question() {
        let states = [
            ShardState::Done,
            ShardState::Running,
            ShardState::Stale,
            ShardState::Missing,
            ShardState::Missing,
        ];
        let shards = (0..).zip(states).map(|(at, state)| shard(at, state)).collect();
        let status = RunStatus { items: Some(7_500), shards };
        insta::assert_snapshot!(text(&status), @r"
        shards  1 done, 1 running, 1 stale, 2 missing of 5
        items   3,000 done, 10 failed of 7,500
        speed   2.5 items/s, 640 tokens/s decoded, about 30 min left

        shard  state    host    pid   done  failed  items  items/s
        1      running  node7  4711  1,000       2  1,500      2.5
        2      stale    node7  4711  1,000       2  1,500        -

        to do   --array=2-4
        ");
        let done = RunStatus { items: None, shards: vec![shard(0, ShardState::Done)] };
        insta::assert_snapshot!(text(&done), @r"
        shards  1 done of 1
        items   1,000 done, 2 failed (shards that have not started are not counted)
        ");
    }
}

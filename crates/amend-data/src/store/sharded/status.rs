//! The state of each shard of a run.

use std::path::Path;

use serde::Serialize;

use super::plan::ShardedRun;
use super::progress::{self, Done, ShardProgress};
use super::shard::{ShardBy, shard_folder};
use crate::store::lock::Lock;
use crate::store::run_dir::RunError;
use crate::store::run_dir::files::LOCK;

/// For how many seconds after its last sign a shard counts as running, if it runs on another
/// machine, whose locks may not be visible here.
const PATIENCE: u64 = 60;

/// The state of a shard.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardState {
    /// All its items have ended.
    Done,
    /// A process works on it.
    Running,
    /// It was started and has not ended, and no process works on it.
    Stale,
    /// It was not started.
    Missing,
}

impl ShardState {
    /// Every state.
    pub const ALL: [Self; 4] = [Self::Done, Self::Running, Self::Stale, Self::Missing];

    /// Its name.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Running => "running",
            Self::Stale => "stale",
            Self::Missing => "missing",
        }
    }
}

/// How far a shard is.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ShardStatus {
    /// Its number, from 0.
    pub shard: u32,
    /// Its state.
    pub state: ShardState,
    /// The number of its items. `None` if it was not started.
    pub items: Option<u64>,
    /// The items that are done. Of a shard that is not done, as of its last sign.
    pub done: u64,
    /// The items that failed, likewise.
    pub failed: u64,
    /// Items that end in a second, if it runs.
    pub items_per_second: Option<f64>,
    /// Tokens decoded in a second, if it runs.
    pub tokens_per_second: Option<f64>,
    /// The machine and the process that worked on it last.
    pub host: Option<String>,
    /// The id of that process.
    pub pid: Option<u32>,
    /// When it last wrote its progress, in seconds since 1970.
    pub updated: Option<u64>,
}

/// The state of a sharded run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunStatus {
    /// The number of items of the whole run. `None` if files decide and a shard has not
    /// started: its rows are not counted yet.
    pub items: Option<u64>,
    /// Each shard, in the order of their numbers.
    pub shards: Vec<ShardStatus>,
}

impl RunStatus {
    /// The state of the run in the folder `run`. `None` if it is not sharded.
    ///
    /// # Errors
    /// A file can't be read.
    pub fn read(run: &Path) -> Result<Option<Self>, RunError> {
        match ShardedRun::open(run)? {
            Some(sharded) => Self::of_shards(run, &sharded).map(Some),
            None => Ok(None),
        }
    }

    /// The state of the shards of a run.
    pub(super) fn of_shards(run: &Path, sharded: &ShardedRun) -> Result<Self, RunError> {
        let mut shards = Vec::new();
        for index in 0..sharded.count {
            let started = sharded.shards.get(&index);
            let items = started.map(|shard| shard.manifest().input.rows);
            shards.push(ShardStatus::read(run, index, items)?);
        }
        let items = match sharded.by {
            ShardBy::Key => Some(sharded.manifest.input.rows),
            ShardBy::File => shards.iter().map(|shard| shard.items).sum(),
        };
        Ok(Self { items, shards })
    }

    /// The number of shards in a state.
    #[must_use]
    pub fn count(&self, state: ShardState) -> usize {
        self.shards.iter().filter(|shard| shard.state == state).count()
    }

    /// Whether all shards are done.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.count(ShardState::Done) == self.shards.len()
    }

    /// The items that are done and those that failed.
    #[must_use]
    pub fn ended(&self) -> (u64, u64) {
        let of = |count: fn(&ShardStatus) -> u64| self.shards.iter().map(count).sum();
        (of(|shard| shard.done), of(|shard| shard.failed))
    }

    /// Items and tokens per second of the shards that run.
    #[must_use]
    pub fn rates(&self) -> (f64, f64) {
        // The sum of no numbers would be -0.
        let of = |rate: fn(&ShardStatus) -> Option<f64>| {
            self.shards.iter().filter_map(rate).fold(0.0, |sum, rate| sum + rate)
        };
        (of(|shard| shard.items_per_second), of(|shard| shard.tokens_per_second))
    }

    /// The seconds until all items have ended at the present rate. `None` if no shard has ended
    /// an item since it started, or if the number of items is not known.
    #[must_use]
    pub fn seconds_left(&self) -> Option<f64> {
        let (rate, _) = self.rates();
        let (done, failed) = self.ended();
        let left = self.items?.saturating_sub(done + failed);
        (rate > 0.0).then(|| left as f64 / rate)
    }

    /// The numbers of the shards that no process works on and that are not done, as Slurm
    /// writes array indices: `3,7,12-19`.
    #[must_use]
    pub fn array(&self) -> String {
        let mut ranges: Vec<(u32, u32)> = Vec::new();
        for shard in &self.shards {
            if !matches!(shard.state, ShardState::Stale | ShardState::Missing) {
                continue;
            }
            match ranges.last_mut() {
                Some((_, last)) if *last + 1 == shard.shard => *last = shard.shard,
                _ => ranges.push((shard.shard, shard.shard)),
            }
        }
        let range = |&(first, last): &(u32, u32)| match last - first {
            0 => first.to_string(),
            1 => format!("{first},{last}"),
            _ => format!("{first}-{last}"),
        };
        ranges.iter().map(range).collect::<Vec<_>>().join(",")
    }
}

impl ShardStatus {
    /// A shard that was not started.
    #[must_use]
    pub fn missing(shard: u32) -> Self {
        Self {
            shard,
            state: ShardState::Missing,
            items: None,
            done: 0,
            failed: 0,
            items_per_second: None,
            tokens_per_second: None,
            host: None,
            pid: None,
            updated: None,
        }
    }

    /// `items` is the number of items in the shard's manifest, if it has one.
    fn read(run: &Path, shard: u32, items: Option<u64>) -> Result<Self, RunError> {
        let folder = shard_folder(run, shard);
        let mut status = Self { items, ..Self::missing(shard) };
        // The lock is looked at first: if the shard ends in between, its done file is there.
        let is_held = Lock::is_held(&folder, LOCK)?;
        if !is_held && items.is_none() {
            return Ok(status);
        }
        if let Some(Done { items, done, failed, .. }) = Done::read(&folder)?
            && !is_held
        {
            (status.state, status.items) = (ShardState::Done, Some(items));
            (status.done, status.failed) = (done, failed);
            return Ok(status);
        }
        let progress = ShardProgress::read(&folder)?;
        let is_running = is_held || progress.as_ref().is_some_and(is_alive_elsewhere);
        status.state = if is_running { ShardState::Running } else { ShardState::Stale };
        let Some(progress) = progress else { return Ok(status) };
        (status.done, status.failed) = (progress.done, progress.failed);
        (status.host, status.pid) = (progress.host, Some(progress.pid));
        status.updated = Some(progress.updated);
        if is_running && progress.seconds > 0.0 {
            let rate = |count: u64| Some(count as f64 / progress.seconds);
            status.items_per_second = rate(progress.ended_in_session);
            status.tokens_per_second = rate(progress.decoded_in_session);
        }
        Ok(status)
    }
}

/// Whether a shard wrote its progress lately, on another machine.
fn is_alive_elsewhere(progress: &ShardProgress) -> bool {
    progress.host.is_some()
        && progress.host != progress::host()
        && progress::now().saturating_sub(progress.updated) < PATIENCE
}

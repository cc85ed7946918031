//! Runs in shards, which many processes write on one or several machines. A sharded run is a
//! folder:
//!
//! | file | content |
//! | --- | --- |
//! | `plan.json` | what all shards have in common, written by the first shard that starts |
//! | `shards/00000` … | a run directory for each shard, with `progress.json` and `done.json` |
//!
//! Readers treat the folder as a single run: see [`RunDir::open`].
//!
//! [`RunDir::open`]: super::run_dir::RunDir::open

mod merge;
mod plan;
mod progress;
mod shard;
mod status;

#[cfg(test)]
mod tests;

pub use merge::{MergeError, Merged, merge};
pub use plan::ShardPlan;
pub(crate) use plan::ShardedRun;
pub use progress::{Done, Heartbeat, SessionCounts, ShardProgress};
pub use shard::{Shard, ShardBy, ShardError, shard_folder};
pub use status::{RunStatus, ShardState, ShardStatus};

/// The names of the files of a sharded run.
pub mod files {
    /// The plan of the run.
    pub const PLAN: &str = "plan.json";
    /// The folder of the shards.
    pub const SHARDS: &str = "shards";
    /// The end of a shard, in its run directory.
    pub const DONE: &str = "done.json";
    /// The progress of a shard, in its run directory.
    pub const PROGRESS: &str = "progress.json";
}

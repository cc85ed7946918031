//! The run directory: manifest, journal, reviews, verdicts of other judges, governance log,
//! locks and atomic writes; and runs in shards.

pub mod atomic;
pub mod batch;
pub mod first_answers;
pub mod governance_log;
pub mod journal;
mod json_file;
mod lock;
pub mod manifest;
pub mod reviews;
pub mod run_dir;
pub mod sharded;
mod time;
pub mod trajectories;
pub mod verdicts;
mod work;

#[cfg(test)]
mod drive_tests;

pub use work::left;

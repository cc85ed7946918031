//! The run directory: manifest, journal, reviews, governance log, locks and atomic writes.

pub mod atomic;
pub mod governance_log;
pub mod journal;
mod lock;
pub mod manifest;
pub mod reviews;
pub mod run_dir;
mod time;
pub mod trajectories;
mod work;

#[cfg(test)]
mod drive_tests;

pub use work::left;

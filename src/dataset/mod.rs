//! Data in and out: items, the run directory and its journal, pairs, exports.
//! Nothing outside this module writes to a run directory.

pub(crate) mod atomic;
mod lock;
#[cfg(test)]
pub(crate) mod testing;
mod time;

pub mod comparison;
pub mod export;
pub mod input;
pub mod item;
pub mod journal;
pub mod judgement;
pub mod manifest;
pub mod minhash;
pub mod pairs;
pub mod reviewed;
pub mod reviews;
pub mod row;
pub mod run_dir;
pub mod set;
pub mod stakes;
pub mod trajectories;

//! Files in and out: input rows, the run directory and its journal, preference pairs,
//! exports, and lint. Nothing outside this crate writes to a run directory.
//!
//! The modules stand in the order of their dependencies: each uses only those above it.

pub mod eval_set;
pub mod export;
pub mod format;
pub mod lint;
pub mod pairs;
pub mod rows;
pub mod store;

#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;

//! Files in and out: input rows, the run directory and its journal, preference pairs,
//! exports, and lint. Nothing outside this crate writes to a run directory.
//!
//! `crates/amend-core/tests/layout` lists the modules from the lowest floor to the highest,
//! and checks that each uses only lower ones.

pub mod eval_set;
pub mod export;
pub mod format;
pub mod items;
pub mod lint;
pub mod pairs;
pub mod rows;
pub mod store;

#[cfg(any(test, feature = "testing"))]
#[doc(hidden)]
pub mod testing;

//! Data in and out: items, the run directory and its journal, pairs, exports.

pub mod item;

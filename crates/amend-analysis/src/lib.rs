//! Figures over stored runs: pure functions, one module for each command that measures.
//!
//! The modules stand in the order of their dependencies: each uses only those above it.

pub mod agreement;
pub mod audit;
pub mod diff;
pub mod evaluation;
pub mod judge_quality;
pub mod preference;

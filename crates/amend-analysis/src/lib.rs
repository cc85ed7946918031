//! Figures over stored runs: pure functions, one module for each command that measures.
//!
//! `crates/amend-core/tests/layout` lists the modules from the lowest floor to the highest,
//! and checks that each uses only lower ones.

pub mod agreement;
pub mod audit;
pub mod diff;
pub mod evaluation;
pub mod judge_quality;
pub mod preference;
pub mod trend;

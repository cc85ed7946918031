//! The `amend` program: its command line, sessions of recorded commands, the report, the
//! review page and the benchmark. `ARCHITECTURE.md` maps the crates.

pub mod bench;
pub mod cli;
mod measured_costs;
pub mod report;
pub mod review;
mod session;

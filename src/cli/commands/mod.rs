//! One file a command.

pub mod audit;
pub mod bench;
pub mod check;
pub mod completions;
pub mod diff;
pub mod eval;
pub mod export;
pub mod init;
pub mod judge;
pub mod lint;
pub mod man;
pub mod merge;
pub mod model;
pub mod pipe;
pub mod prompts;
pub mod render;
pub mod report;
pub mod review;
pub mod run;
pub mod schema;
pub mod score;
pub mod status;
pub mod step;
pub mod trend;

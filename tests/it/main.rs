//! The program's integration tests: a module for each command, and a few for what
//! several commands share. `tests/run` prepares the models they need.

mod audit;
mod bench;
mod canned;
mod certificates;
mod cli;
mod common;
mod contrast;
mod docs;
mod endpoint;
mod eval;
mod every_file;
mod export;
mod fleet;
mod init;
mod input;
mod judge;
mod kill;
mod lint;
mod llama_server;
mod meaning;
mod model;
mod probe;
mod prompts;
mod report;
mod review;
mod run;
mod score;
mod shards;
mod step;
mod thinking;
mod thoughts;
mod train;
mod trend;
mod worker;

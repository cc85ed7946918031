//! amend: a local model answers, criticises its answer against the principles
//! of a constitution, and revises it; what comes out is preference data.
//!
//! `ARCHITECTURE.md` maps the modules and states the invariants they keep.

pub mod assess;
pub mod audit;
pub mod bench;
pub mod chat;
pub mod cli;
pub mod constitution;
pub mod dataset;
pub mod diagnostic;
pub mod diff;
pub mod driver;
pub mod engine;
pub mod eval;
mod hash;
pub mod judge;
pub mod lint;
pub mod random;
pub mod report;
pub mod review;
mod schema;
pub mod score;
pub mod stats;
pub mod survey;
pub mod template;
pub mod text;
pub mod trajectory;

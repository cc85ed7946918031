//! The logic of amend and the types that its crates share. Nothing here reads a run
//! directory, opens a connection or links llama.cpp.
//!
//! `crates/amend-core/tests/layout` lists the modules from the lowest floor to the highest,
//! and checks that each uses only lower ones.

pub mod chat;
pub mod constitution;
pub mod document;
pub mod driver;
pub mod hash;
pub mod judge;
pub mod model;
pub mod procedure;
pub mod prompt;
pub mod random;
pub mod record;
pub mod stats;
pub mod text;

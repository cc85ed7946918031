//! What commands print: tables, JSON, progress, errors and logs.

pub mod error;
pub mod logging;
pub mod progress;
pub mod record;
pub mod show;
pub mod table;
pub mod terminal;

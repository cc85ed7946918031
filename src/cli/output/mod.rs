//! What commands print: tables, JSON, progress, errors and logs.

pub mod brief;
pub mod counts;
pub mod error;
pub mod format;
pub mod logging;
pub mod next;
pub mod print;
pub mod progress;
pub mod record;
pub mod show;
pub mod table;
pub mod terminal;

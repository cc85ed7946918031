//! Files that people write: diagnostics with their place in the source, TOML checked
//! against a JSON Schema, and the severity of what other checks find.

pub mod diagnostic;
pub mod schema;
mod severity;

pub use severity::Severity;

//! Files that people write: diagnostics with their place in the source, and TOML checked
//! against a JSON Schema.

pub mod diagnostic;
pub mod schema;

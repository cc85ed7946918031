//! Reads TOML files that people write and checks them against a JSON Schema generated
//! from their form. All errors of a file are reported at once, each with its place.

mod make;
mod markdown;
mod read;
mod source;
mod walk;

pub use make::generate;
pub use markdown::markdown;
pub use read::{read, tables, twice};
pub use source::SourceText;
pub use walk::unchecked;

/// The schema's pattern for ids.
pub const ID: &str = "^[a-z0-9_-]+$";
/// The schema's pattern for texts that must not be blank.
pub const TEXT: &str = r"\S";

//! Files in TOML that people write, held against a JSON Schema made from their
//! form: everything wrong in a file is told at once, each with its place.

mod make;
mod markdown;
mod read;
mod source;
mod walk;

pub use make::of;
pub use markdown::markdown;
pub use read::{read, tables, twice};
pub use source::Source;
pub use walk::unchecked;

/// The schema's pattern for ids.
pub const ID: &str = "^[a-z0-9_-]+$";
/// The schema's pattern for texts: something other than white space in them.
pub const TEXT: &str = r"\S";

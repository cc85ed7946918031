//! The formats trainers read, recognised by their keys. One file a family: each
//! makes examples of its rows.

mod alpaca;
mod conversation;
mod fields;
mod preference;
mod transcript;
mod unpaired;

use super::example::{Example, Object};
pub use fields::RowFault;

/// A family of formats.
pub trait Format: Sync + std::fmt::Debug {
    /// The name of the format a row is in; none where it is of another family.
    fn recognise(&self, row: &Object) -> Option<&'static str>;

    /// Reads a row.
    ///
    /// # Errors
    /// A key is missing, or its value has the wrong type.
    fn read(&self, row: &Object) -> Result<Example, RowFault>;
}

/// Every family. The first that recognises a row reads it, so the more special
/// come first.
const FORMATS: &[&dyn Format] = &[
    &alpaca::Alpaca,
    &conversation::Conversation,
    &transcript::Transcript,
    &preference::Preference,
    &unpaired::Unpaired,
];

/// The format of a row, and its name.
///
/// # Errors
/// [`RowFault::Unknown`]: no format has such keys.
pub fn recognise(row: &Object) -> Result<(&'static dyn Format, &'static str), RowFault> {
    FORMATS
        .iter()
        .find_map(|format| Some((*format, format.recognise(row)?)))
        .ok_or_else(|| RowFault::Unknown { keys: row.keys().cloned().collect() })
}

#[cfg(test)]
mod tests;

//! The formats that trainers read, recognised by their keys. Each file reads the rows
//! of one family of formats into examples.

mod alpaca;
mod comparison;
mod conversation;
mod fields;
mod plain;
mod preference;
mod transcript;
mod unpaired;

use super::example::{Example, Object};
pub use fields::RowFault;

/// A family of formats.
pub trait RowFormat: Sync + std::fmt::Debug {
    /// The name of a row's format; `None` if it belongs to another family.
    fn recognise(&self, row: &Object) -> Option<&'static str>;

    /// Reads a row.
    ///
    /// # Errors
    /// Fails if a key is missing or its value has the wrong type.
    fn read(&self, row: &Object) -> Result<Example, RowFault>;
}

/// Every family. The first one that recognises a row reads it, so the more specific
/// ones come first.
const FORMATS: &[&dyn RowFormat] = &[
    &alpaca::Alpaca,
    &conversation::Conversation,
    &transcript::Transcript,
    &preference::Preference,
    &unpaired::Unpaired,
    &comparison::Comparison,
    &plain::PromptOnly,
];

/// Recognises the format of a row, and returns it with its name.
///
/// # Errors
/// Fails with [`RowFault::Unknown`] if no format has the row's keys, and with
/// [`RowFault::Trajectory`] if it is a trajectory.
pub fn recognise(row: &Object) -> Result<(&'static dyn RowFormat, &'static str), RowFault> {
    if ["messages", "outcome", "steps"].iter().all(|key| row.contains_key(*key)) {
        return Err(RowFault::Trajectory);
    }
    FORMATS
        .iter()
        .find_map(|format| Some((*format, format.recognise(row)?)))
        .ok_or_else(|| RowFault::Unknown { keys: row.keys().cloned().collect() })
}

#[cfg(test)]
mod tests;

//! Items from files of rows, for the commands that send them to a model: [`ItemSource`]
//! checks the whole input once, then reads it again as often as it is needed.

mod convert;

use std::sync::Arc;

use crate::rows::{Input, ReadFault};
use crate::store::manifest::InputSummary;
use amend_core::random::Stream;
use amend_core::record::Item;

/// What a command reads rows as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Prompts, with the answer to start from if a row has a single one.
    Prompts,
    /// Two answers to compare. The stream draws whether the chosen or the rejected answer
    /// becomes response A.
    Comparisons(Stream),
    /// Comparisons if the first row has two answers, else prompts.
    Either(Stream),
}

/// How rows become items.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ItemOptions {
    /// Names of columns: what a shape calls a column, and what the file calls it.
    pub map: Vec<(String, String)>,
    /// Whether rows that are at fault are left out and counted, instead of refusing the input.
    pub skip_bad: bool,
    /// The most rows that are used.
    pub limit: Option<u64>,
}

/// An input that was checked to its end, and can be read again.
#[derive(Debug)]
pub struct ItemSource {
    /// The summary for the manifest: files, number of items, hash of their keys.
    pub summary: InputSummary,
    /// What is printed about the input, a line each: how each file was read, known columns
    /// that were not used, rows left out.
    pub notes: Vec<String>,
}

/// The faults of an input: at most the first 20, and the number of all.
#[derive(Debug, thiserror::Error)]
#[error("{} faults", .all)]
pub struct ItemFaults {
    /// The first faults.
    pub first: Vec<ReadFault>,
    /// The number of all faults.
    pub all: u64,
}

impl ItemSource {
    /// Reads the input once, and checks every row.
    ///
    /// # Errors
    /// The faults of the input.
    pub fn open(
        _inputs: &[Input],
        _purpose: Purpose,
        _options: &ItemOptions,
    ) -> Result<Self, ItemFaults> {
        unimplemented!()
    }

    /// Reads the items again, in order. Ends with an error if the files have changed.
    pub fn items(&self) -> impl Iterator<Item = Result<Arc<Item>, ItemFaults>> {
        std::iter::empty()
    }
}

//! Finds ids that several items of an export have.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};

use amend_core::record::Item;

/// Ids that several items have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DuplicateIds {
    /// The number of items whose id an earlier item has.
    pub items: u64,
    /// The first such id.
    pub example: String,
}

/// The ids of items so far: 8 bytes for each, and what the set adds.
#[derive(Default)]
pub(super) struct Ids {
    hashes: HashSet<u64>,
    duplicates: Option<DuplicateIds>,
}

impl Ids {
    /// Adds the id of an item, if its row has one. Keys are unique.
    pub fn add(&mut self, item: &Item) {
        let Some(id) = &item.id else { return };
        let mut hasher = DefaultHasher::new();
        id.hash(&mut hasher);
        if self.hashes.insert(hasher.finish()) {
            return;
        }
        let none = DuplicateIds { items: 0, example: id.clone() };
        self.duplicates.get_or_insert(none).items += 1;
    }

    /// The ids that several items have.
    pub fn duplicates(self) -> Option<DuplicateIds> {
        self.duplicates
    }
}

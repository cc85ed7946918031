//! A shard: which part of the items a process works on.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::files::SHARDS;
use amend_core::record::key_bits;

/// The most shards of a run.
const MAX_SHARDS: u32 = 100_000;

/// A part of the items of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shard {
    /// Its number, from 0.
    pub index: u32,
    /// The number of shards.
    pub count: u32,
    /// What decides which shard an item belongs to.
    pub by: ShardBy,
}

/// What decides which shard an item belongs to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ShardBy {
    /// A hash of its content. Each shard reads all rows.
    #[default]
    Key,
    /// The file that it is in. Each shard reads its own files only.
    File,
}

impl ShardBy {
    /// Every way.
    pub const ALL: [Self; 2] = [Self::Key, Self::File];

    /// Its name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Key => "key",
            Self::File => "file",
        }
    }
}

impl fmt::Display for ShardBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text or two numbers name no shard.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShardError {
    /// The text has another form.
    #[error("{text:?} is not I/N: write for example 0/64, the first of 64 shards")]
    Form {
        /// The text.
        text: String,
    },
    /// There is no shard with this number.
    #[error("there is no shard {index} of {count}: shards are numbered from 0 to {}", .count - 1)]
    Index {
        /// The number of the shard.
        index: u32,
        /// The number of shards.
        count: u32,
    },
    /// The number of shards is 0 or too large.
    #[error("{count} is not a number of shards: it must be from 1 to {MAX_SHARDS}")]
    Count {
        /// The number.
        count: u32,
    },
}

impl Shard {
    /// Shard `index` of `count`, by key.
    ///
    /// # Errors
    /// There is no such shard.
    pub fn new(index: u32, count: u32) -> Result<Self, ShardError> {
        if count == 0 || count > MAX_SHARDS {
            return Err(ShardError::Count { count });
        }
        if index >= count {
            return Err(ShardError::Index { index, count });
        }
        Ok(Self { index, count, by: ShardBy::Key })
    }

    /// Whether an item with this [`content_key`] belongs to the shard. If files decide, it
    /// does whenever the shard reads it.
    ///
    /// [`content_key`]: amend_core::record::content_key
    #[must_use]
    pub fn has_key(self, key: &str) -> bool {
        match self.by {
            ShardBy::Key => key_bits(key) % u64::from(self.count) == u64::from(self.index),
            ShardBy::File => true,
        }
    }

    /// The key of an item of this shard, which no other shard has. If files decide, several
    /// shards may have items with the same content.
    #[must_use]
    pub fn own_key(self, key: String) -> String {
        match self.by {
            ShardBy::File if self.count > 1 => format!("{key}-s{}", self.index),
            ShardBy::File | ShardBy::Key => key,
        }
    }

    /// The shard of each file, by the files' sizes in bytes: the largest file first, each to
    /// the shard that has the fewest bytes so far.
    #[must_use]
    pub fn of_files(count: u32, sizes: &[u64]) -> Vec<u32> {
        let mut order: Vec<usize> = (0..sizes.len()).collect();
        order.sort_by_key(|&file| (std::cmp::Reverse(sizes[file]), file));
        // A file without rows counts as one byte, so that empty files are spread too.
        let mut loads: std::collections::BinaryHeap<_> =
            (0..count).map(|shard| std::cmp::Reverse((0u64, shard))).collect();
        let mut shards = vec![0; sizes.len()];
        for file in order {
            let Some(std::cmp::Reverse((load, shard))) = loads.pop() else { break };
            shards[file] = shard;
            loads.push(std::cmp::Reverse((load.saturating_add(sizes[file].max(1)), shard)));
        }
        shards
    }
}

impl fmt::Display for Shard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.index, self.count)
    }
}

impl FromStr for Shard {
    type Err = ShardError;

    fn from_str(text: &str) -> Result<Self, ShardError> {
        let form = || ShardError::Form { text: text.to_owned() };
        let (index, count) = text.split_once('/').ok_or_else(form)?;
        let number = |text: &str| text.trim().parse::<u32>().map_err(|_| form());
        Self::new(number(index)?, number(count)?)
    }
}

/// The run directory of a shard.
#[must_use]
pub fn shard_folder(run: &Path, index: u32) -> PathBuf {
    run.join(SHARDS).join(format!("{index:05}"))
}

//! The names of split models. llama.cpp splits a large model into the files (shards)
//! `NAME-00001-of-00003.gguf`, `NAME-00002-of-00003.gguf` and so on, and loads all of
//! them when it is given the first.

use std::path::{Path, PathBuf};

/// The name of one shard of a split model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shard<'a> {
    /// The part before the number. In a repository it contains the folder.
    pub prefix: &'a str,
    /// The number of the shard, from 1.
    pub index: u32,
    /// The number of shards, at least 2.
    pub count: u32,
}

impl<'a> Shard<'a> {
    /// Parses the name or path of a file. `None` if it is not that of a shard. A model
    /// that is split into one file counts as not split.
    pub fn parse(name: &'a str) -> Option<Self> {
        let (rest, count) = name.strip_suffix(".gguf")?.rsplit_once("-of-")?;
        let (prefix, index) = rest.rsplit_once('-')?;
        let shard = Self { prefix, index: number(index)?, count: number(count)? };
        let is_valid = shard.count > 1 && (1..=shard.count).contains(&shard.index);
        is_valid.then_some(shard)
    }

    /// The names of all shards, in order.
    pub fn names(self) -> impl Iterator<Item = String> + 'a {
        (1..=self.count).map(move |index| self.name(index))
    }

    /// The name of the shard with this number.
    pub fn name(self, index: u32) -> String {
        format!("{}-{index:05}-of-{:05}.gguf", self.prefix, self.count)
    }
}

/// A number of exactly five digits.
fn number(text: &str) -> Option<u32> {
    let is_number = text.len() == 5 && text.bytes().all(|byte| byte.is_ascii_digit());
    if is_number { text.parse().ok() } else { None }
}

/// Why the files of a model can't be used.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ShardError {
    /// The file is not the first shard.
    #[error("it is part {index} of a model that is split into {count} files")]
    NotFirst {
        /// The number of the shard.
        index: u32,
        /// The number of shards.
        count: u32,
        /// The first shard.
        first: PathBuf,
    },
    /// Another shard is missing.
    #[error("part {index} of {count} is missing: {}", .missing.display())]
    Missing {
        /// The number of the missing shard.
        index: u32,
        /// The number of shards.
        count: u32,
        /// The missing shard.
        missing: PathBuf,
    },
}

/// The files of the model at `path`: all shards in order, or `path` alone if the model is
/// not split.
///
/// # Errors
/// `path` is a shard but not the first, or a shard is missing.
pub(crate) fn files(path: &Path) -> Result<Vec<PathBuf>, ShardError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(shard) = name.and_then(Shard::parse) else { return Ok(vec![path.to_owned()]) };
    let Shard { index, count, .. } = shard;
    if index != 1 {
        return Err(ShardError::NotFirst {
            index,
            count,
            first: path.with_file_name(shard.name(1)),
        });
    }
    let files: Vec<PathBuf> = shard.names().map(|name| path.with_file_name(name)).collect();
    for (file, index) in files.iter().zip(1..) {
        // The first may be missing because its name is mistyped.
        if index > 1 && !file.exists() {
            return Err(ShardError::Missing { index, count, missing: file.clone() });
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_parsed() {
        let shard = Shard::parse("Q8/big-Q8_0-00002-of-00003.gguf").unwrap();
        assert_eq!(shard, Shard { prefix: "Q8/big-Q8_0", index: 2, count: 3 });
        let names: Vec<String> = shard.names().collect();
        assert_eq!(names[0], "Q8/big-Q8_0-00001-of-00003.gguf");
        assert_eq!((names.len(), names[1].as_str()), (3, "Q8/big-Q8_0-00002-of-00003.gguf"));
        for name in [
            "big.gguf",
            "big-00001-of-00001.gguf",
            "big-00004-of-00003.gguf",
            "big-00000-of-00003.gguf",
            "big-1-of-3.gguf",
            "big-00001-of-00003.bin",
            "-of-.gguf",
        ] {
            assert_eq!(Shard::parse(name), None, "{name}");
        }
    }

    #[test]
    fn every_shard_must_exist() {
        let folder = tempfile::tempdir().unwrap();
        let path = |index| folder.path().join(format!("m-{index:05}-of-00003.gguf"));
        let create = |index| std::fs::write(path(index), "").unwrap();
        create(1);
        create(3);
        let missing = ShardError::Missing { index: 2, count: 3, missing: path(2) };
        assert_eq!(files(&path(1)), Err(missing));
        create(2);
        assert_eq!(files(&path(1)), Ok(vec![path(1), path(2), path(3)]));
        let not_first = ShardError::NotFirst { index: 3, count: 3, first: path(1) };
        assert_eq!(files(&path(3)), Err(not_first));
        let whole = folder.path().join("whole.gguf");
        assert_eq!(files(&whole), Ok(vec![whole.clone()]));
    }
}

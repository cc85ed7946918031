//! Which files a shard reads, if files decide.

use std::fs;
use std::path::Path;

use super::fault::{ItemFault, ItemFaults, ItemProblem};
use crate::rows::{Input, ReadFault, ReadProblem, RowFile};
use crate::store::manifest::InputSummary;
use crate::store::sharded::Shard;
use amend_core::hash;

/// Keeps the files of the shard, and returns a summary of all files: their names, and a hash of
/// their names and sizes. Folders of files may be in another place for each shard.
///
/// # Errors
/// Standard input is one of the inputs, there are fewer files than shards, or a file can't be
/// read. A fault of an input stays in `files`.
pub(super) fn keep(
    shard: Shard,
    inputs: &[Input],
    files: &mut [Result<Vec<RowFile>, ReadFault>],
) -> Result<InputSummary, ItemFaults> {
    let fault = |file: String, problem| ItemFaults::from(ItemFault { file, place: None, problem });
    if let Some(stdin) = inputs.iter().find(|input| **input == Input::Stdin) {
        return Err(fault(stdin.name(), ItemProblem::ShardOfStdin));
    }
    let all: Vec<&RowFile> = files.iter().flatten().flatten().collect();
    let mut sizes = Vec::new();
    let mut listing = String::new();
    for file in &all {
        let size = fs::metadata(&file.path)
            .map_err(|error| fault(file.name.clone(), ReadProblem::Open(error).into()))?
            .len();
        let name = file.path.file_name().map(Path::new).unwrap_or(&file.path);
        listing.push_str(&format!("{size} {}\n", name.display()));
        sizes.push(size);
    }
    let is_complete = files.iter().all(Result::is_ok);
    if is_complete && all.len() < shard.count as usize {
        let problem = ItemProblem::FewFiles { files: all.len(), shards: shard.count };
        return Err(fault(inputs.first().map(Input::name).unwrap_or_default(), problem));
    }
    let mut whole = InputSummary::new(inputs.iter().map(Input::name).collect(), &[]);
    whole.sha256 = hash::sha256(listing.as_bytes());
    let mut shards = Shard::of_files(shard.count, &sizes).into_iter();
    for files in files.iter_mut().flatten() {
        files.retain(|_| shards.next() == Some(shard.index));
    }
    Ok(whole)
}

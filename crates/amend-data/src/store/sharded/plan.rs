//! The plan of a sharded run: what all its shards have in common.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::files::{PLAN, SHARDS};
use super::shard::{Shard, ShardBy, shard_folder};
use crate::store::atomic;
use crate::store::manifest::{Difference, FORMAT, InputSummary, Manifest};
use crate::store::run_dir::files::MANIFEST;
use crate::store::run_dir::{RunDir, RunError};
use amend_core::hash;
use amend_core::text::format::json_document;

/// What all shards of a run have in common.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShardPlan {
    /// The version of the run directory format.
    pub format: u32,
    /// The number of shards.
    pub shards: u32,
    /// What decides which shard an item belongs to.
    pub by: ShardBy,
    /// The manifest of the whole run. If files decide, its input has the names of the files and
    /// a hash of their names and sizes, and no number of rows: no shard reads all of them.
    pub manifest: Manifest,
}

impl ShardPlan {
    /// The plan of a run, as one of its shards knows it. `whole` is the input of all shards.
    #[must_use]
    pub fn new(shard: Shard, whole: InputSummary, manifest: Manifest) -> Self {
        Self {
            format: FORMAT,
            shards: shard.count,
            by: shard.by,
            manifest: Manifest { input: whole, shard: None, ..manifest },
        }
    }

    /// Reads the plan of the run in the folder `run`. `None` if it has none.
    ///
    /// # Errors
    /// The plan can't be read.
    pub fn read(run: &Path) -> Result<Option<Self>, RunError> {
        Ok(read(run)?.map(|(plan, _)| plan))
    }

    /// Agrees with the other shards of the run in the folder `run`: writes the plan if there is
    /// none, otherwise compares it.
    ///
    /// # Errors
    /// The run has another plan, the folder holds something else, or it can't be written.
    pub fn agree(&self, run: &Path) -> Result<(), RunError> {
        Self::check_folder(run)?;
        let io = |action| move |source| RunError::Io { action, path: run.to_owned(), source };
        fs::create_dir_all(run.join(SHARDS)).map_err(io("create"))?;
        let path = run.join(PLAN);
        let json = json_document(self)
            .map_err(|source| RunError::Manifest { path: path.clone(), source })?;
        let written = atomic::write_once(&path, json.as_bytes());
        written.map_err(|source| RunError::Io { action: "write", path, source })?;
        match Self::read(run)? {
            Some(agreed) => agreed.check(run, self),
            None => Err(RunError::NoRun { path: run.to_owned() }),
        }
    }

    /// Checks that `other` is this plan, which the run in the folder `run` has.
    ///
    /// # Errors
    /// It differs.
    pub fn check(&self, run: &Path, other: &Self) -> Result<(), RunError> {
        let mut differences = Vec::new();
        let mut compare = |path: &str, ours: String, theirs: String| {
            if ours != theirs {
                differences.push(Difference { path: path.to_owned(), ours, theirs });
            }
        };
        compare("shards", self.shards.to_string(), other.shards.to_string());
        compare("by", self.by.to_string(), other.by.to_string());
        differences.extend(self.manifest.difference(&other.manifest));
        match differences.is_empty() {
            true => Ok(()),
            false => Err(RunError::Differs { path: run.to_owned(), differences }),
        }
    }

    /// Checks that the folder `run` holds a sharded run, or nothing.
    ///
    /// # Errors
    /// It holds something else.
    pub fn check_folder(run: &Path) -> Result<(), RunError> {
        if run.join(PLAN).exists() || !run.exists() {
            return Ok(());
        }
        let path = || run.to_owned();
        if RunDir::has_manifest(run) {
            return Err(RunError::Whole { path: path() });
        }
        // A shard starts after the plan is written, so the plan is lost.
        if !indices(run)?.is_empty() {
            return Err(RunError::NoPlan { path: path() });
        }
        let failed = |source| RunError::Io { action: "list", path: path(), source };
        for entry in fs::read_dir(run).map_err(failed)? {
            let found = entry.map_err(failed)?.file_name().to_string_lossy().into_owned();
            // Another shard may be about to write the plan.
            if found != SHARDS && found != PLAN && !found.starts_with(atomic::TEMPORARY_PREFIX) {
                return Err(RunError::NotEmpty { path: path(), found });
            }
        }
        Ok(())
    }

    /// The manifest of a shard with this input.
    #[must_use]
    fn manifest_of(&self, index: u32, input: InputSummary) -> Manifest {
        let shard = Shard { index, count: self.shards, by: self.by };
        Manifest { input, shard: Some(shard), ..self.manifest.clone() }
    }
}

/// Reads a plan, and the SHA-256 of its file.
fn read(run: &Path) -> Result<Option<(ShardPlan, String)>, RunError> {
    let path = run.join(PLAN);
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(RunError::Io { action: "read", path, source }),
    };
    let plan: ShardPlan = serde_json::from_slice(&bytes)
        .map_err(|source| RunError::Manifest { path: path.clone(), source })?;
    if plan.format != FORMAT {
        return Err(RunError::Format { path, found: plan.format });
    }
    Ok(Some((plan, hash::sha256(&bytes))))
}

/// A sharded run, with those of its shards that have started.
#[derive(Debug)]
pub(crate) struct ShardedRun {
    /// The manifest of the whole run.
    pub manifest: Manifest,
    /// The SHA-256 of the plan's file.
    pub hash: String,
    /// The number of shards.
    pub count: u32,
    /// What decides which shard an item belongs to.
    pub by: ShardBy,
    /// The shards that have started, by their numbers.
    pub shards: BTreeMap<u32, RunDir>,
}

impl ShardedRun {
    /// Opens the run in a folder. `None` if it has no plan.
    ///
    /// # Errors
    /// A file can't be read, or a folder among the shards is not one of them.
    pub fn open(run: &Path) -> Result<Option<Self>, RunError> {
        let Some((plan, hash)) = read(run)? else { return Ok(None) };
        let mut shards = BTreeMap::new();
        for index in indices(run)? {
            let folder = shard_folder(run, index);
            if index >= plan.shards {
                return Err(RunError::OtherShard { path: folder, run: run.to_owned() });
            }
            if !folder.join(MANIFEST).exists() {
                continue;
            }
            let shard = RunDir::open_single(&folder)?;
            let expected = plan.manifest_of(index, shard.manifest().input.clone());
            let differences = expected.difference(shard.manifest());
            if !differences.is_empty() {
                return Err(RunError::ShardDiffers {
                    path: folder,
                    run: run.to_owned(),
                    differences,
                });
            }
            shards.insert(index, shard);
        }
        let mut manifest = plan.manifest;
        if plan.by == ShardBy::File {
            let inputs = || shards.values().map(|shard| &shard.manifest().input);
            manifest.input.rows = inputs().map(|input| input.rows).sum();
            manifest.input.skipped = inputs().map(|input| input.skipped).sum();
        }
        Ok(Some(Self { manifest, hash, count: plan.shards, by: plan.by, shards }))
    }
}

/// The numbers of the shards that have a folder, sorted.
fn indices(run: &Path) -> Result<Vec<u32>, RunError> {
    let path: PathBuf = run.join(SHARDS);
    let failed = |source| RunError::Io { action: "list", path: path.clone(), source };
    let entries = match fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(source) => return Err(failed(source)),
    };
    let mut indices = Vec::new();
    for entry in entries {
        let name = entry.map_err(failed)?.file_name();
        if let Some(index) = name.to_str().and_then(|name| name.parse().ok())
            && shard_folder(run, index).file_name() == Some(&name)
        {
            indices.push(index);
        }
    }
    indices.sort_unstable();
    Ok(indices)
}

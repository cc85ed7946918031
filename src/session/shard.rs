//! A session that works on one shard of a run.

use std::path::PathBuf;

use serde_json::Value;

use super::Session;
use super::manifest::ModelDescriptions;
use super::summary::Tally;
use crate::cli::args::recording::RecordArgs;
use crate::cli::output::error::CommandError;
use amend_core::model::Description;
use amend_data::items::ItemSource;
use amend_data::store::journal::JournalDigest;
use amend_data::store::manifest::{InputSummary, Manifest};
use amend_data::store::run_dir::{RunDir, RunWriter};
use amend_data::store::sharded::{Done, Shard, ShardPlan, shard_folder};

/// The place of a shard in its run.
pub(super) struct ShardPlace {
    /// The folder of the run.
    run: PathBuf,
    shard: Shard,
    /// The input of all shards.
    whole: InputSummary,
}

impl ShardPlace {
    /// The place of the items' shard. `None` if the run is not in shards.
    pub(super) fn new(args: &RecordArgs, source: &ItemSource) -> Option<Self> {
        let (shard, whole) = source.shard.clone()?;
        Some(Self { run: args.out.clone()?, shard, whole })
    }

    /// The run directory of the shard.
    pub(super) fn folder(&self) -> PathBuf {
        shard_folder(&self.run, self.shard.index)
    }

    /// Whether the shard was started before. With `resume` it may have been.
    ///
    /// # Errors
    /// The folder of the run holds something else, another process works on the shard, or it was
    /// started and `resume` is not given.
    pub(super) fn resumes(&self, resume: bool) -> Result<bool, CommandError> {
        ShardPlan::check_folder(&self.run)?;
        let folder = self.folder();
        if resume && RunDir::has_manifest(&folder) {
            RunDir::check_resumable(&folder)?;
            return Ok(true);
        }
        RunDir::check_vacant(&folder)?;
        Ok(false)
    }

    /// The plan of the run, if a shard has written it.
    ///
    /// # Errors
    /// It can't be read.
    pub(super) fn plan(&self) -> Result<Option<ShardPlan>, CommandError> {
        Ok(ShardPlan::read(&self.run)?)
    }

    /// Agrees with the other shards on the plan of the run.
    ///
    /// # Errors
    /// They have another one, or it can't be written.
    pub(super) fn agree(&self, manifest: &Manifest) -> Result<(), CommandError> {
        let plan = ShardPlan::new(self.shard, self.whole.clone(), manifest.clone());
        Ok(plan.agree(&self.run)?)
    }

    /// Records that all items of the shard have ended.
    ///
    /// # Errors
    /// The file can't be written.
    pub(super) fn end(&self, writer: &RunWriter, tally: Tally) -> Result<(), CommandError> {
        let Tally { done, failed } = tally;
        let JournalDigest { records, bytes, sha256 } = writer.digest();
        let end = Done { items: done + failed, done, failed, records, bytes, sha256 };
        Ok(end.write(&self.folder())?)
    }
}

impl Session<'_> {
    /// Checks the plan of the run, if there is one, before a model is loaded.
    ///
    /// # Errors
    /// The shards of the run were started with another configuration.
    pub(super) fn check_plan(&self) -> Result<(), CommandError> {
        let Some(place) = &self.place else { return Ok(()) };
        let Some(plan) = place.plan()? else { return Ok(()) };
        let Manifest { model, judge_model, student_model, settings, .. } = plan.manifest.clone();
        let [judge, student] = [judge_model, student_model]
            .map(|model| model.map(|model| Description { model, settings: Value::Null }));
        let engine = Description { model, settings };
        let manifest = self.manifest_of(ModelDescriptions { engine, judge, student })?;
        let own = ShardPlan::new(place.shard, place.whole.clone(), manifest);
        Ok(plan.check(&place.run, &own)?)
    }

    /// The end of the shard, if all its items have ended and none is to be tried again.
    ///
    /// # Errors
    /// It can't be read.
    pub fn shard_end(&self) -> Result<Option<Done>, CommandError> {
        let Some(place) = &self.place else { return Ok(None) };
        if !self.resumes {
            return Ok(None);
        }
        let end = Done::read(&place.folder())?;
        Ok(end.filter(|end| end.failed == 0 || !self.args.retry_errors))
    }
}

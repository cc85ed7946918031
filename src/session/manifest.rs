//! The manifest of a session: everything that its run is started with.

use super::Session;
use crate::cli::output::error::CommandError;
use crate::cli::output::progress::announced;
use amend_core::constitution::Constitution;
use amend_core::driver::{Engines, Job};
use amend_core::model::{Description, EngineError};
use amend_data::items::ItemSource;
use amend_data::store::manifest::{FORMAT, Hashed, Manifest};

/// The manifest of a run.
///
/// # Errors
/// The procedure can't be written. It does not fail for those that exist.
pub(super) fn manifest(
    command: &str,
    job: &Job,
    source: &ItemSource,
    limit: Option<u64>,
    engine: Description,
    judge: Option<Description>,
) -> Result<Manifest, CommandError> {
    let procedure = serde_json::to_value(&job.procedure)
        .map_err(|error| CommandError::failed("serialise the procedure", error))?;
    let mut settings = engine.settings;
    if let Some(judge) = &judge
        && let Some(probe) = judge.settings.get("probe")
    {
        settings["judge_probe"] = probe.clone();
    }
    Ok(Manifest {
        format: FORMAT,
        command: command.to_owned(),
        amend: env!("CARGO_PKG_VERSION").to_owned(),
        model: engine.model,
        judge_model: judge.map(|judge| judge.model),
        constitution: Hashed::constitution(Constitution::clone(&job.constitution)),
        templates: job
            .templates
            .sources()
            .into_iter()
            .map(|(name, text)| (name, Hashed::text(text)))
            .collect(),
        input: source.summary.clone(),
        shard: source.shard.as_ref().map(|(shard, _)| *shard),
        limit,
        seed: job.seed,
        fence: job.fence.delimiter().to_owned(),
        fence_style: job.fence.style().as_str().to_owned(),
        procedure,
        reproducible: job.cohorts,
        settings,
    })
}

impl Session<'_> {
    /// The manifest of the run.
    ///
    /// # Errors
    /// An engine can't describe its model.
    pub(super) fn manifest(&self, engines: &Engines<'_>) -> Result<Manifest, CommandError> {
        let (engine, judge) = announced("computing the checksum of the model", || {
            let engine = engines.writer.describe()?;
            let judge = engines.judge.as_ref().map(|judge| judge.describe()).transpose()?;
            Ok::<_, EngineError>((engine, judge))
        })?;
        self.manifest_of(engine, judge)
    }

    /// The manifest of the run with these models.
    ///
    /// # Errors
    /// As [`manifest`].
    pub(super) fn manifest_of(
        &self,
        engine: Description,
        judge: Option<Description>,
    ) -> Result<Manifest, CommandError> {
        manifest(self.command, &self.job, &self.source, self.args.limit, engine, judge)
    }
}

/// How a run asks for choices, as its judging engine described it when the run was started.
pub(super) fn recorded_way(manifest: &Manifest) -> Option<String> {
    let settings = &manifest.settings;
    let way = ["/judge_probe/choices", "/probe/choices"]
        .iter()
        .find_map(|pointer| settings.pointer(pointer)?.as_str());
    way.map(str::to_owned)
}

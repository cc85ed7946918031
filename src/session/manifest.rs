//! The manifest of a session: everything that its run is started with.

use super::Session;
use crate::cli::output::error::CommandError;
use crate::cli::output::progress::announced;
use amend_core::constitution::Constitution;
use amend_core::driver::{Engines, Job};
use amend_core::model::{Description, EngineError};
use amend_data::items::ItemSource;
use amend_data::store::manifest::{FORMAT, Hashed, Manifest};

/// What the engines of a run say about their models.
pub(super) struct ModelDescriptions {
    pub(super) engine: Description,
    /// Of the judge, if it is another model.
    pub(super) judge: Option<Description>,
    /// Of the model that writes the first answers, if it is another one.
    pub(super) student: Option<Description>,
}

/// The manifest of a run.
///
/// # Errors
/// The procedure can't be written. It does not fail for those that exist.
pub(super) fn manifest(
    command: &str,
    job: &Job,
    source: &ItemSource,
    limit: Option<u64>,
    models: ModelDescriptions,
) -> Result<Manifest, CommandError> {
    let ModelDescriptions { engine, judge, student } = models;
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
        student_model: student.map(|student| student.model),
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
        let models = announced("computing the checksum of the model", || {
            let engine = engines.writer.describe()?;
            let judge = engines.judge.as_ref().map(|judge| judge.describe()).transpose()?;
            let student = engines.student.as_ref().map(|student| student.describe()).transpose()?;
            Ok::<_, EngineError>(ModelDescriptions { engine, judge, student })
        })?;
        self.manifest_of(models)
    }

    /// The manifest of the run with these models.
    ///
    /// # Errors
    /// As [`manifest`].
    pub(super) fn manifest_of(&self, models: ModelDescriptions) -> Result<Manifest, CommandError> {
        manifest(self.command, &self.job, &self.source, self.args.limit, models)
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

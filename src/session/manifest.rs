//! The manifest of a session: everything that its run is started with.

use serde_json::Value;

use super::Session;
use crate::cli::output::error::CommandError;
use amend_core::constitution::Constitution;
use amend_core::driver::Engines;
use amend_data::store::manifest::{FORMAT, Hashed, Manifest};

impl Session<'_> {
    /// The manifest of the run.
    ///
    /// # Errors
    /// An engine can't describe its model.
    pub(super) fn manifest(&self, engines: &Engines<'_>) -> Result<Manifest, CommandError> {
        let engine = engines.writer.describe()?;
        let judge = match &engines.judge {
            Some(judge) => Some(judge.describe()?),
            None => None,
        };
        let mut settings = engine.settings;
        if let Some(judge) = &judge
            && let Some(probe) = judge.settings.get("probe")
        {
            settings["judge_probe"] = probe.clone();
        }
        self.manifest_with(engine.model, judge.map(|judge| judge.model), settings)
    }

    /// The manifest of the run with these models and settings.
    ///
    /// # Errors
    /// The procedure can't be serialised, which it always can.
    pub(super) fn manifest_with(
        &self,
        model: Value,
        judge_model: Option<Value>,
        settings: Value,
    ) -> Result<Manifest, CommandError> {
        let job = &self.job;
        let procedure = serde_json::to_value(&job.procedure)
            .map_err(|error| CommandError::failed("serialise the procedure", error))?;
        Ok(Manifest {
            format: FORMAT,
            command: self.command.to_owned(),
            amend: env!("CARGO_PKG_VERSION").to_owned(),
            model,
            judge_model,
            constitution: Hashed::constitution(Constitution::clone(&job.constitution)),
            templates: job
                .templates
                .sources()
                .into_iter()
                .map(|(name, text)| (name, Hashed::text(text)))
                .collect(),
            input: self.source.summary.clone(),
            shard: self.source.shard.as_ref().map(|(shard, _)| *shard),
            limit: self.args.limit,
            seed: job.seed,
            fence: job.fence.delimiter().to_owned(),
            fence_style: job.fence.style().as_str().to_owned(),
            procedure,
            reproducible: job.cohorts,
            settings,
        })
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

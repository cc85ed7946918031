//! Reuses the verdicts of an earlier audit in another audit of the same items.

use std::collections::HashSet;

use super::Questions;
use amend_core::constitution::{Constitution, Principle};
use amend_core::record::{Outcome, Step, StepOutput};
use amend_data::store::journal::JournalError;
use amend_data::store::manifest::{Difference, Manifest};
use amend_data::store::run_dir::{RunDir, RunError};

/// The steps of an earlier audit that are valid in another.
#[derive(Debug)]
pub struct Reuse {
    run: RunDir,
    /// The principles with the same text, in the order of the questions.
    principles: Vec<String>,
    /// The valid steps of each item, by its key.
    steps: Vec<(String, Vec<Step>)>,
}

/// The reason why verdicts cannot be reused.
#[derive(Debug, thiserror::Error)]
pub enum ReuseError {
    /// The earlier audit's run cannot be opened.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Its journal cannot be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It has other settings or other items.
    #[error("the verdicts in {run} were made with other settings:{}", lines(.differences))]
    Differs {
        /// The run.
        run: String,
        /// The settings that differ.
        differences: Vec<Difference>,
    },
}

fn lines(differences: &[Difference]) -> String {
    differences.iter().map(|difference| format!("\n  {difference}")).collect()
}

impl Reuse {
    /// Reads the steps of `run` that are also valid under `questions`.
    ///
    /// # Errors
    /// Fails if the run's journal cannot be read.
    pub fn read(run: RunDir, questions: &Questions) -> Result<Self, ReuseError> {
        let before = &run.manifest().constitution.value;
        let mut kept = HashSet::new();
        for principle in &questions.constitution().principles {
            if let Some(before) = before.principle(&principle.id)
                && is_judged_alike(before, principle)
            {
                kept.insert(principle.id.clone());
            }
        }
        let is_valid = |step: &Step| match &step.principle {
            Some(id) if step.kind.output() == StepOutput::Verdict => kept.contains(id),
            Some(_) | None => true,
        };
        let mut steps = Vec::new();
        for trajectory in run.trajectories()? {
            let trajectory = trajectory?;
            if matches!(trajectory.outcome, Outcome::Done { .. }) {
                let valid = trajectory.steps.into_iter().filter(is_valid).collect();
                steps.push((trajectory.item.key, valid));
            }
        }
        let asked = steps.first().into_iter().flat_map(|(_, steps): &(_, Vec<Step>)| steps);
        let principles = asked.filter_map(|step| step.principle.clone()).collect();
        Ok(Self { run, principles, steps })
    }

    /// The principles whose verdicts are valid, in the order of the questions. The new
    /// audit must ask about them first.
    #[must_use]
    pub fn principles(&self) -> &[String] {
        &self.principles
    }

    /// The valid steps by item key, for a run with `manifest`.
    ///
    /// # Errors
    /// Fails if that run has other settings or other items.
    pub fn steps(self, manifest: &Manifest) -> Result<Vec<(String, Vec<Step>)>, ReuseError> {
        let differences = comparable(self.run.manifest(), manifest).difference(manifest);
        if differences.is_empty() {
            return Ok(self.steps);
        }
        Err(ReuseError::Differs { run: self.run.path().display().to_string(), differences })
    }
}

/// The manifest `before` with the values of `now` for the settings in which two audits
/// may differ and still share verdicts.
fn comparable(before: &Manifest, now: &Manifest) -> Manifest {
    let mut manifest = before.clone();
    let now_constitution = now.constitution.value.clone();
    manifest.constitution.value = Constitution {
        name: now_constitution.name,
        version: now_constitution.version,
        description: now_constitution.description,
        principles: now_constitution.principles,
        dimensions: now_constitution.dimensions,
        governance: now_constitution.governance,
        audit: now_constitution.audit,
        ..manifest.constitution.value
    };
    manifest.procedure = now.procedure.clone();
    manifest.limit = now.limit;
    manifest
}

/// Whether the judge reads the same text for two principles. No template can read the
/// weight or the paraphrases.
fn is_judged_alike(before: &Principle, now: &Principle) -> bool {
    let Principle { weight, paraphrases, .. } = now.clone();
    Principle { weight, paraphrases, ..before.clone() } == *now
}

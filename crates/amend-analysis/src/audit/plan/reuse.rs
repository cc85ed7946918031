//! Reuses the verdicts of an earlier audit in another audit of the same items.

use std::collections::HashSet;

use serde_json::Value;

use super::Questions;
use amend_core::constitution::Principle;
use amend_core::record::Outcome;
use amend_core::record::{Step, StepKind};
use amend_data::store::journal::JournalError;
use amend_data::store::manifest::{Difference, Manifest};
use amend_data::store::run_dir::{RunDir, RunError};

/// Settings in which two audits may differ and still share verdicts.
const MAY_DIFFER: [&str; 9] = [
    "constitution.principles",
    "constitution.name",
    "constitution.version",
    "constitution.description",
    "constitution.dimensions",
    "constitution.governance",
    "constitution.audit",
    "procedure",
    "limit",
];

/// The fields of a principle that no template can read.
const UNREAD: [&str; 2] = ["weight", "paraphrases"];

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
        let before = run.manifest().constitution.value["principles"].clone();
        let before = before.as_array().cloned().unwrap_or_default();
        let is_same = |principle: &Principle| {
            let Some(old) = before.iter().find(|old| old["id"] == *principle.id) else {
                return false;
            };
            serde_json::to_value(principle)
                .is_ok_and(|now| judged_fields(now) == judged_fields(old.clone()))
        };
        let principles = questions.constitution().principles.iter();
        let kept: HashSet<String> = principles
            .filter(|principle| is_same(principle))
            .map(|principle| principle.id.clone())
            .collect();
        let is_valid = |step: &Step| match (step.kind, &step.principle) {
            (StepKind::Judge, Some(id)) => kept.contains(id),
            _ => true,
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
        let mut differences = self.run.manifest().difference(manifest);
        differences.retain(|difference| {
            !MAY_DIFFER.iter().any(|prefix| difference.path.starts_with(prefix))
        });
        if differences.is_empty() {
            return Ok(self.steps);
        }
        Err(ReuseError::Differs { run: self.run.path().display().to_string(), differences })
    }
}

/// The fields of a principle that a judge may read.
fn judged_fields(mut principle: Value) -> Value {
    if let Some(fields) = principle.as_object_mut() {
        fields.retain(|key, _| !UNREAD.contains(&key.as_str()));
    }
    principle
}

//! Verdicts of an audit made before, for another with the same items.

use std::collections::HashSet;

use serde_json::Value;

use super::Questions;
use amend_core::record::Outcome;
use amend_core::record::{Step, StepKind};
use amend_data::store::journal::JournalError;
use amend_data::store::manifest::{Difference, Manifest};
use amend_data::store::run_dir::{RunDir, RunError};

/// Where two audits may differ and have verdicts in common all the same.
const NO_MATTER: [&str; 9] = [
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

/// What of a principle no template can read.
const UNREAD: [&str; 2] = ["weight", "paraphrases"];

/// The steps of an audit made before that hold for another.
#[derive(Debug)]
pub struct Reuse {
    run: RunDir,
    /// The principles with the same text, in the order they were asked about.
    principles: Vec<String>,
    /// By item, its steps.
    steps: Vec<(String, Vec<Step>)>,
}

/// Why nothing can be reused.
#[derive(Debug, thiserror::Error)]
pub enum ReuseError {
    /// It can't be opened.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Its journal can't be read.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It asked otherwise, or about something else.
    #[error("the verdicts in {run} were asked for in another way:{}", lines(.differences))]
    Differs {
        /// The run.
        run: String,
        /// In what.
        differences: Vec<Difference>,
    },
}

fn lines(differences: &[Difference]) -> String {
    differences.iter().map(|difference| format!("\n  {difference}")).collect()
}

impl Reuse {
    /// Reads the steps of `run` that hold under `questions` too.
    ///
    /// # Errors
    /// Its journal can't be read.
    pub fn read(run: RunDir, questions: &Questions) -> Result<Self, ReuseError> {
        let before = run.manifest().constitution.value["principles"].clone();
        let before = before.as_array().cloned().unwrap_or_default();
        let same = |principle: &amend_core::constitution::Principle| {
            let now = serde_json::to_value(principle).map(read_by_judges);
            let old = before.iter().find(|old| old["id"] == *principle.id)?;
            let equal = now.is_ok_and(|now| now == read_by_judges(old.clone()));
            equal.then(|| principle.id.clone())
        };
        let kept: HashSet<String> =
            questions.constitution().principles.iter().filter_map(same).collect();
        let holds = |step: &Step| match (step.kind, &step.principle) {
            (StepKind::Judge, Some(id)) => kept.contains(id),
            _ => true,
        };
        let mut steps = Vec::new();
        for trajectory in run.trajectories()? {
            let trajectory = trajectory?;
            if matches!(trajectory.outcome, Outcome::Done { .. }) {
                let held = trajectory.steps.into_iter().filter(holds).collect();
                steps.push((trajectory.item.key, held));
            }
        }
        let asked = steps.first().into_iter().flat_map(|(_, steps): &(_, Vec<Step>)| steps);
        let principles = asked.filter_map(|step| step.principle.clone()).collect();
        Ok(Self { run, principles, steps })
    }

    /// The principles whose verdicts hold, in the order they were asked for:
    /// they are to be asked for first.
    #[must_use]
    pub fn principles(&self) -> &[String] {
        &self.principles
    }

    /// The steps, by item, for a run with `manifest`.
    ///
    /// # Errors
    /// It asks in another way, or about other items.
    pub fn steps(self, manifest: &Manifest) -> Result<Vec<(String, Vec<Step>)>, ReuseError> {
        let mut differences = self.run.manifest().difference(manifest);
        differences
            .retain(|difference| !NO_MATTER.iter().any(|start| difference.path.starts_with(start)));
        if differences.is_empty() {
            return Ok(self.steps);
        }
        Err(ReuseError::Differs { run: self.run.path().display().to_string(), differences })
    }
}

/// What a judge may read of a principle.
fn read_by_judges(mut principle: Value) -> Value {
    if let Some(fields) = principle.as_object_mut() {
        fields.retain(|key, _| !UNREAD.contains(&key.as_str()));
    }
    principle
}

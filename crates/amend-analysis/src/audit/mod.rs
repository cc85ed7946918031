//! What a set of principles does, from the scores that a judge gave under each:
//! figures with intervals, and findings drawn from them.
//!
//! Pure: [`audit`] takes scores and returns an [`Audit`], [`compare`] takes two
//! audits and returns what changed. Who asks the judge, and who reads and writes
//! files, is elsewhere. The formulas, and when each misleads, are in
//! `docs/audit.md`.
//!
//! ```
//! use amend_analysis::audit::{Input, Item, Principle, Score, audit};
//! use amend_core::constitution::Thresholds;
//!
//! let score = |log_odds| Some(Score { log_odds, mass: 0.98, offset: 0.2 });
//! let item = |key: &str| Item {
//!     key: key.into(),
//!     category: String::new(),
//!     label: None,
//!     length: None,
//!     verbosity: None,
//!     harmless: false,
//! };
//! let input = Input {
//!     principles: vec![Principle {
//!         id: "least-harm".into(),
//!         title: "Help without hurting".into(),
//!         category: "harm".into(),
//!         weight: 1.0,
//!     }],
//!     items: vec![item("a"), item("b"), item("c")],
//!     scores: vec![vec![score(1.5), score(-0.1), None]],
//!     ..Input::default()
//! };
//! let audit = audit(&input, &Thresholds::default(), 7)?;
//! assert_eq!(audit.principles[0].activity.activation.unwrap().value, 0.5);
//! # Ok::<(), crate::audit::InputError>(())
//! ```

mod activity;
mod bias;
mod compare;
mod context;
mod detect;
mod ensemble;
mod finding;
mod input;
mod pairs;
pub mod plan;
mod revision_effects;
#[cfg(test)]
mod testing;

#[cfg(test)]
mod planted;

use serde::{Deserialize, Serialize};

pub use crate::audit::revision_effects::{Steering, SteeringRow};
pub use activity::{Activity, CategoryCoverage, Coverage};
pub use bias::{Confound, Position, VariantFigures};
pub use compare::{Changed, Changes, Moved, compare};
pub use ensemble::{CurvePoint, Ensemble, Influence, SmallerSet};
pub use finding::{Finding, Kind, Severity};
pub use input::{Better, Cost, Input, InputError, Item, Principle, Revision, Score, Variant};
pub use pairs::{Cluster, Opposed, PairFigures};

use amend_core::constitution::Thresholds;
use amend_core::random::Stream;
use amend_core::stats::Bootstrap;
use context::Context;
use ensemble::Verdicts;

/// Everything that is found out about a set of principles. Lists by principle
/// are in the input's order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// How many items there are.
    pub items: usize,
    /// The bounds that were used.
    pub thresholds: Thresholds,
    /// The seed of the intervals.
    pub seed: u64,
    /// What was noticed, the most severe first.
    pub findings: Vec<Finding>,
    /// Each principle.
    pub principles: Vec<PrincipleFigures>,
    /// How much of the data they have a say on.
    pub coverage: Coverage,
    /// Every two principles.
    pub pairs: Vec<PairFigures>,
    /// Principles that score alike.
    pub clusters: Vec<Cluster>,
    /// The joint verdicts.
    pub ensemble: Ensemble,
    /// Fewer principles that give most of them; `None` if there are no verdicts.
    pub smaller_set: Option<SmallerSet>,
    /// What revisions do.
    pub steering: Steering,
    /// What the verdicts took.
    #[serde(default)]
    pub cost: Cost,
}

/// The figures of one principle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrincipleFigures {
    /// Its id.
    pub id: String,
    /// Its title.
    pub title: String,
    /// Its category.
    pub category: String,
    /// Its weight.
    pub weight: f64,
    /// How often it has a say, and how often that is right.
    pub activity: Activity,
    /// What it does to the joint verdicts.
    pub influence: Influence,
    /// What the order of the answers does to its verdicts.
    pub position: Position,
    /// How its score goes with length.
    pub length: Confound,
    /// How its score goes with verbosity.
    pub verbosity: Confound,
    /// What other wordings do to its verdicts.
    pub paraphrases: Vec<VariantFigures>,
    /// What other words for the answers do to its verdicts.
    pub label_words: Vec<VariantFigures>,
}

/// Audits the principles of `input`. The `seed` fixes the resamples behind the
/// intervals; nothing else is random.
///
/// # Errors
///
/// [`InputError`] if lists don't fit together, a name occurs twice, a weight is not
/// above 0, a number is not finite, or an index is out of range.
pub fn audit(input: &Input, thresholds: &Thresholds, seed: u64) -> Result<Audit, InputError> {
    input.check()?;
    let bootstrap = Bootstrap::new(Stream::new(seed).child("audit"), thresholds.resamples);
    let context = Context::new(input, thresholds, bootstrap);
    let verdicts = Verdicts::new(&context);
    let principle = |(k, principle): (usize, &Principle)| PrincipleFigures {
        id: principle.id.clone(),
        title: principle.title.clone(),
        category: principle.category.clone(),
        weight: principle.weight,
        activity: activity::activity(&context, k),
        influence: verdicts.influence(k),
        position: bias::position(&context, k),
        length: bias::confound(&context, k, |item| item.length),
        verbosity: bias::confound(&context, k, |item| item.verbosity),
        paraphrases: bias::variants(&context, k, &input.paraphrases),
        label_words: bias::variants(&context, k, &input.label_words),
    };
    let pairs = pairs::pairs(&context);
    let mut audit = Audit {
        items: input.items.len(),
        thresholds: thresholds.clone(),
        seed,
        findings: Vec::new(),
        principles: input.principles.iter().enumerate().map(principle).collect(),
        coverage: activity::coverage(&context),
        clusters: pairs::clusters(&context, &pairs),
        pairs,
        ensemble: verdicts.ensemble(),
        smaller_set: verdicts.smaller_set(),
        steering: revision_effects::steering(&context),
        cost: input.cost,
    };
    audit.findings = detect::findings(&audit);
    Ok(audit)
}

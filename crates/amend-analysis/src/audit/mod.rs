//! Audits a set of principles from the scores that a judge gave under each of them:
//! statistics with intervals, and findings derived from these.
//!
//! Pure: [`audit`] takes scores and returns an [`Audit`], and [`compare`] takes two
//! audits and returns their differences. Other modules ask the judge and access files.
//! `docs/audit.md` states the formulas, and when each of them misleads.
//!
//! ```
//! use amend_analysis::audit::{AuditInput, AuditItem, AuditPrinciple, AuditScore, audit};
//! use amend_core::constitution::Thresholds;
//!
//! let score = |log_odds| Some(AuditScore { log_odds, mass: 0.98, offset: 0.2 });
//! let item = |key: &str| AuditItem {
//!     key: key.into(),
//!     category: String::new(),
//!     label: None,
//!     length: None,
//!     verbosity: None,
//!     harmless: false,
//! };
//! let input = AuditInput {
//!     principles: vec![AuditPrinciple {
//!         id: "least-harm".into(),
//!         title: "Help without hurting".into(),
//!         category: "harm".into(),
//!         weight: 1.0,
//!     }],
//!     items: vec![item("a"), item("b"), item("c")],
//!     scores: vec![vec![score(1.5), score(-0.1), None]],
//!     ..AuditInput::default()
//! };
//! let audit = audit(&input, &Thresholds::default(), 7)?;
//! assert_eq!(audit.principles[0].activity.activation.unwrap().value, 0.5);
//! # Ok::<(), amend_analysis::audit::AuditInputError>(())
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
mod statistics;
#[cfg(test)]
mod testing;

#[cfg(test)]
mod planted;

use serde::{Deserialize, Serialize};

pub use crate::audit::revision_effects::{RevisionEffect, RevisionEffects};
pub use activity::{Activity, CategoryCoverage, Coverage};
pub use bias::{Confound, PositionBias, VariantFigures};
pub use compare::{AuditChanges, Changed, Moved, compare};
pub use ensemble::{CurvePoint, Ensemble, Influence, SmallerSet};
pub use finding::{AuditFinding, FindingKind};
pub use input::{
    AuditInput, AuditInputError, AuditItem, AuditPrinciple, AuditRevision, AuditScore, Better,
    Cost, Variant,
};
pub use pairs::{Cluster, Opposed, PairFigures};
pub use statistics::{Statistic, StatisticColumn, StatisticForm};

use amend_core::constitution::Thresholds;
use amend_core::random::Stream;
use amend_core::stats::Bootstrap;
use context::{AuditContext, parallel};
use ensemble::EnsembleVerdicts;

/// The result of auditing a set of principles. Lists by principle are in the input's
/// order.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Audit {
    /// The number of items.
    pub items: usize,
    /// The thresholds of the findings.
    pub thresholds: Thresholds,
    /// The seed of the intervals.
    pub seed: u64,
    /// The findings, the most severe first.
    pub findings: Vec<AuditFinding>,
    /// The statistics of each principle.
    pub principles: Vec<PrincipleFigures>,
    /// The coverage of the items by active principles.
    pub coverage: Coverage,
    /// The statistics of each pair of principles.
    pub pairs: Vec<PairFigures>,
    /// Clusters of redundant principles.
    pub clusters: Vec<Cluster>,
    /// The joint verdicts.
    pub ensemble: Ensemble,
    /// A smaller set of principles with most of the joint verdicts; `None` without
    /// verdicts.
    pub smaller_set: Option<SmallerSet>,
    /// The effects of revisions.
    pub steering: RevisionEffects,
    /// The cost of the verdicts.
    #[serde(default)]
    pub cost: Cost,
}

/// The statistics of one principle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PrincipleFigures {
    /// The principle's id.
    pub id: String,
    /// The principle's title.
    pub title: String,
    /// The principle's category.
    pub category: String,
    /// The principle's weight.
    pub weight: f64,
    /// How often the principle is active, and how often it is right.
    pub activity: Activity,
    /// The principle's influence on the joint verdicts.
    pub influence: Influence,
    /// The position bias of its verdicts.
    pub position: PositionBias,
    /// The correlation of its score with length.
    pub length: Confound,
    /// The correlation of its score with verbosity.
    pub verbosity: Confound,
    /// How its verdicts change under paraphrases.
    pub paraphrases: Vec<VariantFigures>,
    /// How its verdicts change with other label words.
    pub label_words: Vec<VariantFigures>,
}

/// Audits the principles of `input`. The `seed` fixes the bootstrap resamples of the
/// intervals; nothing else is random.
///
/// # Errors
///
/// Fails if the lengths of lists do not match, a name occurs twice, a weight is not
/// above 0, a number is not finite, or an index is out of range.
pub fn audit(
    input: &AuditInput,
    thresholds: &Thresholds,
    seed: u64,
) -> Result<Audit, AuditInputError> {
    input.check()?;
    let bootstrap = Bootstrap::new(Stream::new(seed).child("audit"), thresholds.resamples);
    let context = AuditContext::new(input, thresholds, bootstrap);
    let verdicts = EnsembleVerdicts::new(&context);
    let principles = parallel(input.principles.len(), |k| {
        let principle = &input.principles[k];
        PrincipleFigures {
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
        }
    });
    let pairs = pairs::pairs(&context);
    let mut audit = Audit {
        items: input.items.len(),
        thresholds: thresholds.clone(),
        seed,
        findings: Vec::new(),
        principles,
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

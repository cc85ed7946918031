//! A finding about a constitution: its kind, its severity, and advice.

use std::fmt;

use serde::{Deserialize, Serialize};

use amend_core::document::Severity;
use amend_core::stats::Estimate;

/// A problem of the principles or their judge that the author should know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditFinding {
    /// The kind of problem.
    pub kind: FindingKind,
    /// The severity: that of its kind if the whole interval is beyond the bound, otherwise
    /// a note. An error makes the data wrong rather than wasteful.
    pub severity: Severity,
    /// The ids of the principles concerned; empty for all of them.
    pub principles: Vec<String>,
    /// The category or the variant concerned, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The finding in one sentence.
    pub message: String,
    /// The statistic that is beyond the bound.
    pub figure: Estimate,
    /// The bound (a key of the thresholds).
    pub bound: f64,
    /// The keys of items that show the problem, the clearest first.
    pub items: Vec<String>,
    /// Advice on how to fix the problem.
    pub advice: String,
}

impl AuditFinding {
    /// Whether two findings are about the same problem, with any statistics.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.principles == other.principles
            && self.detail == other.detail
    }
}

/// The kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum FindingKind {
    /// There are too few items for findings.
    FewItems,
    /// The judge often gives no verdict under a principle.
    Undecided,
    /// A principle is almost never active.
    Inactive,
    /// On many items no principle is active.
    Uncovered,
    /// A principle prefers the worse answers.
    AgainstLabels,
    /// Principles give nearly the same scores.
    Redundant,
    /// Two principles prefer different answers.
    Conflict,
    /// Fewer principles give nearly the same verdicts.
    Reducible,
    /// One principle decides many verdicts.
    Dominant,
    /// The order of the answers decides many verdicts.
    Position,
    /// The score correlates with the answers' length.
    Length,
    /// The score correlates with the answers' verbosity.
    Verbosity,
    /// A paraphrase gives other verdicts.
    Paraphrase,
    /// Other label words give other verdicts.
    LabelWords,
    /// Revisions under one principle make answers worse under another.
    SteeringLoss,
    /// Revisions under a principle do not make answers better under it.
    SteeringVoid,
    /// Many revisions change nothing.
    NoOp,
    /// Harmless answers become refusals.
    OverRefusal,
}

impl FindingKind {
    /// The severity if the whole interval is beyond the bound.
    pub(super) fn severity(self) -> Severity {
        match self {
            Self::FewItems | Self::Reducible => Severity::Info,
            Self::AgainstLabels | Self::OverRefusal => Severity::Error,
            _ => Severity::Warn,
        }
    }

    /// Advice on how to fix the problem.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::FewItems => "Audit more items: most statistics need a few hundred.",
            Self::Undecided => {
                "The judge tends to say something other than a verdict. Rewrite the `judge` \
                 question so that a choice between two answers answers it, or use another judge \
                 model."
            }
            Self::Inactive => {
                "Add items that the principle is about. If there are some, reword its `judge` \
                 question so that it distinguishes answers, or remove the principle."
            }
            Self::Uncovered => {
                "Read the items. Add a principle for what they have in common, or remove the items \
                 that no principle should decide."
            }
            Self::AgainstLabels => {
                "Read the items on which it is wrong. Either its `judge` question asks for the \
                 opposite of what it should, or the labels follow another rule."
            }
            Self::Redundant => {
                "Keep one of them, or reword them so that each asks for something different. If \
                 most principles are among them, the judge does not distinguish principles: try \
                 another judge model first."
            }
            Self::Conflict => {
                "Read the items side by side. State in both principles which one has priority, or \
                 narrow one with `applies_when`."
            }
            Self::Reducible => {
                "If calls are expensive, try the smaller set. On other items it will agree slightly \
                 less, and rare topics may need the removed principles."
            }
            Self::Dominant => {
                "If it should not decide so much alone, lower its `weight` or raise the weights of \
                 the others."
            }
            Self::Position => {
                "The scores are corrected for the order, but they are small compared with its \
                 effect. Use a stronger judge model, or raise the least margin of a verdict."
            }
            Self::Length => {
                "Say in the `judge` question that longer is not better, or balance the pairs by \
                 length."
            }
            Self::Verbosity => {
                "Say in the `judge` question that style does not count, or balance the pairs by \
                 verbosity."
            }
            Self::Paraphrase => {
                "The verdicts depend on the wording. Simplify the `judge` question to one demand, \
                 or average over several wordings."
            }
            Self::LabelWords => {
                "The verdicts depend on the label words. Use a stronger judge model, or words that \
                 this one knows well (`labels` in `[judge]`). If it gives no verdict with some \
                 words, remove them."
            }
            Self::SteeringLoss => {
                "Read revisions under the first principle. State in its `revise` request what must \
                 be kept, or apply the other principle after it."
            }
            Self::SteeringVoid => {
                "Read its critiques and revisions. State in the `revise` request what to do, not \
                 what to avoid, or add a worked example."
            }
            Self::NoOp => {
                "Read its critiques: they may find nothing to change because the principle does \
                 not apply. Narrow it with `applies_when`, or make the `critique` request more \
                 specific."
            }
            Self::OverRefusal => {
                "Ask in the `revise` request for as much help as is safe, and add an example of \
                 such a revision."
            }
        }
    }
}

impl fmt::Display for FindingKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names are defined by the serde attributes only.
        self.serialize(f)
    }
}

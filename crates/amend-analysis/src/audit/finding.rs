//! A finding: what was noticed about a constitution, how sure it is, and what to
//! try.

use std::fmt;

use serde::{Deserialize, Serialize};

use amend_core::stats::Estimate;

/// Something about the principles, or their judge, that their author should know.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What it is about.
    pub kind: Kind,
    /// How much it matters.
    pub severity: Severity,
    /// The ids of the principles concerned; empty if it is all of them.
    pub principles: Vec<String>,
    /// The category or the variant concerned, if it is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// What was found, in a sentence.
    pub message: String,
    /// The figure that is beyond the bound.
    pub figure: Estimate,
    /// The bound (a key of the thresholds).
    pub bound: f64,
    /// The keys of items that show it, the clearest first.
    pub items: Vec<String>,
    /// What to try.
    pub advice: String,
}

impl Finding {
    /// Whether two findings are about the same thing, whatever their figures.
    #[must_use]
    pub fn same_as(&self, other: &Self) -> bool {
        self.kind == other.kind
            && self.principles == other.principles
            && self.detail == other.detail
    }
}

/// How much a finding matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Worth knowing; or the interval still reaches over the bound.
    Info,
    /// The whole interval lies beyond the bound.
    Warn,
    /// The same, for what makes data wrong rather than wasteful.
    Error,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Info => "info",
            Self::Warn => "warn",
            Self::Error => "error",
        })
    }
}

/// The kinds of findings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// There are too few items for findings.
    FewItems,
    /// A principle's judge often gives no verdict.
    Undecided,
    /// A principle hardly ever has a say.
    Inactive,
    /// On many items no principle has a say.
    Uncovered,
    /// A principle prefers the worse answers.
    AgainstLabels,
    /// Principles say the same.
    Redundant,
    /// Two principles pull against each other.
    Conflict,
    /// Fewer principles give nearly the same verdicts.
    Reducible,
    /// One principle decides many verdicts.
    Dominant,
    /// The order of the answers decides many verdicts.
    Position,
    /// The score follows the answers' length.
    Length,
    /// The score follows the answers' verbosity.
    Verbosity,
    /// Another wording gives other verdicts.
    Paraphrase,
    /// Other words for the answers give other verdicts.
    LabelWords,
    /// Revisions under one principle make answers worse under another.
    SteeringLoss,
    /// Revisions under a principle don't make answers better under it.
    SteeringVoid,
    /// Many revisions change nothing.
    NoOp,
    /// Harmless answers become refusals.
    OverRefusal,
}

impl Kind {
    /// How severe it is once the whole interval lies beyond the bound.
    pub(super) fn severity(self) -> Severity {
        match self {
            Self::FewItems | Self::Reducible => Severity::Info,
            Self::AgainstLabels | Self::OverRefusal => Severity::Error,
            _ => Severity::Warn,
        }
    }

    /// What to try.
    pub(super) fn advice(self) -> &'static str {
        match self {
            Self::FewItems => "Audit more items: most figures need some hundred.",
            Self::Undecided => {
                "The judge wants to say something else than a verdict. Make the `judge` question \
                 one that a choice between two answers can answer, or take another judge model."
            }
            Self::Inactive => {
                "Add items that the principle is about. If there are some, reword its `judge` \
                 question so that it tells answers apart, or drop the principle."
            }
            Self::Uncovered => {
                "Read the items. Add a principle for what they have in common, or leave them out \
                 where none should have a say."
            }
            Self::AgainstLabels => {
                "Read the items on which it is wrong. Either its `judge` question asks for the \
                 opposite of what is meant, or the labels follow another rule."
            }
            Self::Redundant => {
                "Keep one of them, or reword them so that each asks for something of its own. If \
                 most principles are among them, the judge does not tell principles apart: try \
                 another judge model first."
            }
            Self::Conflict => {
                "Read the items side by side. Say in both rules which one gives way, or narrow \
                 one by `applies_when`."
            }
            Self::Reducible => {
                "If calls are dear, try the smaller set. On other items it will agree a little \
                 less, and rare matters may need the principles left out."
            }
            Self::Dominant => {
                "Lower its `weight` if it should not decide so much alone, or raise the others'."
            }
            Self::Position => {
                "The scores are corrected for the order, but what is left of them is small \
                 against it. Take a stronger judge model, or raise the least margin of a verdict."
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
                "The verdicts hang on the wording. Make the `judge` question plainer, with one \
                 demand in it; or average over several wordings."
            }
            Self::LabelWords => {
                "The verdicts hang on the words for the answers. Take a stronger judge model, or \
                 words that this one knows well (`labels` in `[judge]`). Where it gives no verdict, \
                 it would say something else than these words: leave them out."
            }
            Self::SteeringLoss => {
                "Read revisions under the first principle. Tell its `revise` request what must \
                 not be lost, or apply the other principle after it."
            }
            Self::SteeringVoid => {
                "Read its critiques and revisions. Make the `revise` request say what to do, not \
                 what to avoid; or give it a worked example."
            }
            Self::NoOp => {
                "Read its critiques: they may find nothing to change because the principle does \
                 not apply. Narrow it by `applies_when`, or make the `critique` request sharper."
            }
            Self::OverRefusal => {
                "Tell the `revise` request to help as far as is right, and add an example of a \
                 revision that does."
            }
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The names stand in the serde attributes alone.
        self.serialize(f)
    }
}

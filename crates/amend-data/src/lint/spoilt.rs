//! Finds the spoilt pairs of a run without an export, for summaries and reports.

use std::sync::Arc;

use serde_json::json;

use super::Background;
use super::check::{LintRule, Needs, RULES, SPOILT};
use super::examiner::Examiner;
use crate::format::example::Object;
use crate::items::mapping::Mapping;
use crate::pairs::Pair;
use crate::store::manifest::Manifest;
use amend_core::chat::{Message, Role};

/// Finds the pairs that an export of a run leaves out by lint rules.
pub struct SpoiltPairs(Examiner<'static>);

impl SpoiltPairs {
    /// Looks for spoilt pairs of a run, and for the findings in its constitution's
    /// `[export] drop` that a pair alone shows.
    #[must_use]
    pub fn new(manifest: &Manifest) -> Self {
        let named = &manifest.constitution.value.export.drop;
        let is_enabled = |rule: &&LintRule| {
            let listed = named.iter().any(|name| name == rule.name);
            SPOILT.contains(rule) || (listed && rule.needs == Needs::Row)
        };
        let enabled = RULES.iter().copied().filter(is_enabled).collect();
        let background = Arc::new(Background::from_manifest(manifest));
        Self(Examiner::without_trainer(enabled, &background))
    }

    /// The first rule that a pair breaks, in the order of the rules.
    #[must_use]
    pub fn rule(&self, pair: &Pair<'_>) -> Option<&'static LintRule> {
        let row = pair_row(pair);
        let revised = pair.revised.as_ref();
        let (_, example) = self.0.read(&Mapping::default(), &row, revised).ok()?;
        let hits = self.0.hits(&example, &row);
        let order = |rule: &LintRule| RULES.iter().position(|known| *known == rule);
        Some(hits.into_iter().min_by_key(|hit| order(hit.rule))?.rule)
    }
}

/// A pair as a row that lint reads.
pub(super) fn pair_row(pair: &Pair<'_>) -> Object {
    let answer = |text: &str| [Message::new(Role::Assistant, text)];
    let verdict = pair.judgement.as_ref().map(|judgement| judgement.decisive);
    let decided = verdict.filter(|verdict| !verdict.undecided);
    let reviewers = pair.review.as_ref().map(|review| review.reviewers.as_slice());
    let row = json!({
        "prompt": pair.item.messages,
        "chosen": answer(&pair.chosen.text),
        "rejected": answer(&pair.rejected.text),
        "p_chosen": decided.map(|verdict| verdict.p),
        "reason": pair.critique.map(|critique| &critique.text),
        "reviewers": reviewers.unwrap_or_default(),
        "metadata": pair.item.metadata,
    });
    serde_json::from_value::<Object>(row).unwrap_or_default()
}

#[cfg(test)]
mod measured;

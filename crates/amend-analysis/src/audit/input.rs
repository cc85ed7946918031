//! The input of an audit, and its validation.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The scores of a set of principles over a set of items, with metadata of both. An
/// item is a pair of answers, A and B, to one prompt.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditInput {
    /// The principles, in the constitution's order.
    pub principles: Vec<AuditPrinciple>,
    /// The items.
    pub items: Vec<AuditItem>,
    /// The scores by principle and item; `None` if the judge was not asked.
    pub scores: Vec<Vec<Option<AuditScore>>>,
    /// The judge's overall score of each item; empty if there is none.
    #[serde(default)]
    pub overall: Vec<Option<AuditScore>>,
    /// The scores under paraphrases of principles.
    #[serde(default)]
    pub paraphrases: Vec<Variant>,
    /// The scores with other label words for the two answers, for example "1" and "2"
    /// instead of "A" and "B".
    #[serde(default)]
    pub label_words: Vec<Variant>,
    /// The revisions of the loop.
    #[serde(default)]
    pub revisions: Vec<AuditRevision>,
    /// The cost of all scores.
    #[serde(default)]
    pub cost: Cost,
}

/// The cost of verdicts.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// The number of verdicts, each in both orders.
    pub verdicts: u64,
    /// The number of prompt tokens.
    pub prompt_tokens: u64,
    /// The number of prompt tokens that were computed rather than found in the cache.
    pub prefilled: u64,
    /// The oracle prefill: the number of prompt tokens that an unlimited cache would have
    /// to compute, which is the size of the prompts' prefix tree. `None` if the engine
    /// does not report it.
    pub ideal: Option<u64>,
}

impl Cost {
    /// The computed tokens divided by the oracle prefill: 1 if no prefix was computed
    /// twice.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let ideal = self.ideal.filter(|&ideal| ideal > 0)?;
        Some(self.prefilled as f64 / ideal as f64)
    }
}

/// The fields of a principle that an audit uses.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditPrinciple {
    /// The unique id.
    pub id: String,
    /// The title.
    pub title: String,
    /// The category.
    pub category: String,
    /// The weight in the ensemble, above 0.
    pub weight: f64,
}

/// A pair of answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditItem {
    /// The unique key.
    pub key: String,
    /// The category; empty if there is none.
    #[serde(default)]
    pub category: String,
    /// The better answer, if it is known.
    #[serde(default)]
    pub label: Option<Better>,
    /// The length of A minus the length of B, in words.
    #[serde(default)]
    pub length: Option<f64>,
    /// The verbosity of A minus the verbosity of B, in a unit that is the same for all
    /// items, for example words per sentence.
    #[serde(default)]
    pub verbosity: Option<f64>,
    /// Whether the prompt is known to be harmless, so that a refusal is a fault.
    #[serde(default)]
    pub harmless: bool,
}

/// The better of two answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Better {
    /// The first, A.
    X,
    /// The second, B.
    Y,
}

impl Better {
    /// The answer that a score favours; `None` for 0.
    #[must_use]
    pub fn from_score(score: f64) -> Option<Self> {
        if score > 0.0 {
            Some(Self::X)
        } else if score < 0.0 {
            Some(Self::Y)
        } else {
            None
        }
    }

    /// 1 for A, −1 for B.
    #[must_use]
    pub fn sign(self) -> f64 {
        match self {
            Self::X => 1.0,
            Self::Y => -1.0,
        }
    }
}

/// The score of a verdict, from both orders of the answers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AuditScore {
    /// ½(s_AB − s_BA), in log-odds: above 0 if answer A is better.
    pub log_odds: f64,
    /// The probability mass on the two label words, p(A) + p(B): the lower one of the two
    /// orders.
    pub mass: f64,
    /// ½(s_AB + s_BA), in log-odds: above 0 if the judge favours the first answer.
    pub offset: f64,
}

impl AuditScore {
    /// The log-odds; `None` if the mass is below `floor`.
    #[must_use]
    pub fn decided(&self, floor: f64) -> Option<f64> {
        (self.mass >= floor).then_some(self.log_odds)
    }
}

/// The scores of every item under a variant of a principle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variant {
    /// The principle's index.
    pub principle: usize,
    /// The variant's name: the paraphrase, or the label words.
    pub name: String,
    /// The score of each item.
    pub scores: Vec<Option<AuditScore>>,
}

/// A revision of the loop under one principle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AuditRevision {
    /// The index of the principle.
    pub principle: usize,
    /// The index of the item.
    pub item: usize,
    /// Whether the revision is the same text as the answer before it.
    pub unchanged: bool,
    /// Whether the answer before the revision is a refusal.
    pub refused_before: bool,
    /// Whether the revision is a refusal.
    pub refused_after: bool,
    /// Under each principle, the score of the revision as A against the answer before it
    /// as B; empty if the judge was not asked.
    #[serde(default)]
    pub shifts: Vec<Option<AuditScore>>,
}

impl AuditRevision {
    /// Creates the revision of `before` to `after`, without scores. Texts that differ
    /// only in white space around them are the same.
    #[must_use]
    pub fn observe(
        principle: usize,
        item: usize,
        before: &str,
        after: &str,
        is_refusal: impl Fn(&str) -> bool,
    ) -> Self {
        Self {
            principle,
            item,
            unchanged: before.trim() == after.trim(),
            refused_before: is_refusal(before),
            refused_after: is_refusal(after),
            shifts: Vec::new(),
        }
    }
}

/// The reason why an input is invalid.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum AuditInputError {
    /// A list has the wrong length.
    #[error("{what}: expected {expected} scores, found {found}")]
    Length {
        /// The list.
        what: String,
        /// The expected length.
        expected: usize,
        /// The actual length.
        found: usize,
    },
    /// Two principles or items have the same name.
    #[error("{what} {name:?} occurs twice")]
    Twice {
        /// "principle" or "item".
        what: &'static str,
        /// The name.
        name: String,
    },
    /// A weight is not above 0.
    #[error("principle {id:?}: the weight must be a number above 0, not {weight}")]
    Weight {
        /// The principle's id.
        id: String,
        /// The weight.
        weight: f64,
    },
    /// A number is infinite or not a number.
    #[error("{what}, item {item:?}: a number is not finite")]
    NotFinite {
        /// The scores, or "length or verbosity".
        what: String,
        /// The item's key.
        item: String,
    },
    /// An index is out of range.
    #[error("{what}: there is no {of} with index {index}")]
    Index {
        /// The list that has the index.
        what: String,
        /// "principle" or "item".
        of: &'static str,
        /// The index.
        index: usize,
    },
}

impl AuditInput {
    /// Checks that names are unique, weights are positive, numbers are finite, lists have
    /// the right length, and indices are in range.
    pub(super) fn check(&self) -> Result<(), AuditInputError> {
        unique("principle", self.principles.iter().map(|principle| &principle.id))?;
        unique("item", self.items.iter().map(|item| &item.key))?;
        for AuditPrinciple { id, weight, .. } in &self.principles {
            if !(weight.is_finite() && *weight > 0.0) {
                return Err(AuditInputError::Weight { id: id.clone(), weight: *weight });
            }
        }
        for item in &self.items {
            if [item.length, item.verbosity].iter().flatten().any(|value| !value.is_finite()) {
                return Err(not_finite("length or verbosity".into(), item));
            }
        }
        length("scores", self.principles.len(), self.scores.len())?;
        for (principle, scores) in self.principles.iter().zip(&self.scores) {
            self.check_scores(format!("scores under {:?}", principle.id), scores)?;
        }
        if !self.overall.is_empty() {
            self.check_scores("overall scores".into(), &self.overall)?;
        }
        for variant in self.paraphrases.iter().chain(&self.label_words) {
            let what = format!("variant {:?}", variant.name);
            in_range(&what, "principle", variant.principle, self.principles.len())?;
            self.check_scores(what, &variant.scores)?;
        }
        for (at, revision) in self.revisions.iter().enumerate() {
            self.check_revision(format!("revision {at}"), revision)?;
        }
        Ok(())
    }

    fn check_scores(
        &self,
        what: String,
        scores: &[Option<AuditScore>],
    ) -> Result<(), AuditInputError> {
        length(&what, self.items.len(), scores.len())?;
        match scores.iter().position(|score| score.as_ref().is_some_and(|score| !finite(score))) {
            Some(at) => Err(not_finite(what, &self.items[at])),
            None => Ok(()),
        }
    }

    fn check_revision(
        &self,
        what: String,
        revision: &AuditRevision,
    ) -> Result<(), AuditInputError> {
        in_range(&what, "principle", revision.principle, self.principles.len())?;
        in_range(&what, "item", revision.item, self.items.len())?;
        if !revision.shifts.is_empty() {
            length(&what, self.principles.len(), revision.shifts.len())?;
        }
        if revision.shifts.iter().flatten().any(|score| !finite(score)) {
            return Err(not_finite(what, &self.items[revision.item]));
        }
        Ok(())
    }
}

fn unique<'a>(
    what: &'static str,
    names: impl Iterator<Item = &'a String>,
) -> Result<(), AuditInputError> {
    let mut seen = HashSet::new();
    for name in names {
        if !seen.insert(name) {
            return Err(AuditInputError::Twice { what, name: name.clone() });
        }
    }
    Ok(())
}

fn length(what: &str, expected: usize, found: usize) -> Result<(), AuditInputError> {
    if expected == found {
        Ok(())
    } else {
        Err(AuditInputError::Length { what: what.to_owned(), expected, found })
    }
}

fn in_range(what: &str, of: &'static str, index: usize, len: usize) -> Result<(), AuditInputError> {
    if index < len {
        Ok(())
    } else {
        Err(AuditInputError::Index { what: what.to_owned(), of, index })
    }
}

fn finite(score: &AuditScore) -> bool {
    [score.log_odds, score.mass, score.offset].iter().all(|value| value.is_finite())
}

fn not_finite(what: String, item: &AuditItem) -> AuditInputError {
    AuditInputError::NotFinite { what, item: item.key.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{input, score};

    type Change = fn(&mut AuditInput);

    /// The error of a valid input after a change.
    fn check(change: impl FnOnce(&mut AuditInput)) -> String {
        let mut input = input(&[&[1.0, 2.0], &[-1.0, 0.5]]);
        input.revisions.push(AuditRevision::observe(0, 1, "a", "b", |_| false));
        assert_eq!(input.check(), Ok(()));
        change(&mut input);
        input.check().expect_err("an error").to_string()
    }

    #[test]
    fn invalid_input_is_reported() {
        let cases: [(Change, &str); 9] = [
            (
                |input| input.scores[1].truncate(1),
                "scores under \"p1\": expected 2 scores, found 1",
            ),
            (|input| input.scores.truncate(1), "scores: expected 2 scores, found 1"),
            (|input| input.principles[1].id = "p0".into(), "principle \"p0\" occurs twice"),
            (|input| input.items[1].key = "i0".into(), "item \"i0\" occurs twice"),
            (
                |input| input.principles[0].weight = 0.0,
                "principle \"p0\": the weight must be a number above 0, not 0",
            ),
            (
                |input| input.scores[0][1] = Some(score(f64::NAN)),
                "scores under \"p0\", item \"i1\": a number is not finite",
            ),
            (
                |input| input.items[0].length = Some(f64::INFINITY),
                "length or verbosity, item \"i0\": a number is not finite",
            ),
            (
                |input| input.revisions[0].principle = 2,
                "revision 0: there is no principle with index 2",
            ),
            (
                |input| input.revisions[0].shifts = vec![None],
                "revision 0: expected 2 scores, found 1",
            ),
        ];
        for (change, expected) in cases {
            assert_eq!(check(change), expected);
        }
    }

    #[test]
    fn a_revision_is_classified_by_its_texts() {
        let refuses = |text: &str| text.starts_with("I can't");
        let changed = AuditRevision::observe(1, 0, "Take two.", "I can't say.", refuses);
        assert!(!changed.unchanged && !changed.refused_before && changed.refused_after);
        assert!(AuditRevision::observe(1, 0, "Take two.", " Take two.\n", refuses).unchanged);
    }
}

//! Examines rows one by one: reads each into an example, counts its tokens, and finds
//! the faults that do not depend on other rows.

use std::sync::Arc;

use super::background::Background;
use super::check::{
    Check, Duplicates, EvaluationLeak, Hit, LintRule, NOT_OF_CRITIQUES, Needs, checks,
};
use super::tokenizer::Tokenizer;
use super::{LintError, MAX_LENGTH, TrainerSettings, evaluation};
use crate::format::RowFault;
use crate::format::example::{Example, Object};
use crate::items::mapping::Mapping;
use crate::pairs::RevisedFrom;

/// Runs the checks of the enabled rules.
pub(super) struct Examiner<'a> {
    tokenizer: Option<&'a Tokenizer>,
    checks: Vec<Box<dyn Check>>,
    enabled: Vec<&'static LintRule>,
}

impl<'a> Examiner<'a> {
    /// Creates an examiner that looks for the `enabled` rules in data with this
    /// background.
    ///
    /// # Errors
    /// Fails if an evaluation file cannot be read.
    pub fn new(
        trainer: &'a TrainerSettings,
        enabled: Vec<&'static LintRule>,
        background: &Arc<Background>,
    ) -> Result<Self, LintError> {
        let tokenizer = trainer.tokenizer.as_ref();
        let control = tokenizer.map(Tokenizer::control_tokens).unwrap_or_default();
        let evaluation = evaluation::read(&trainer.evaluation)?;
        let checks = checks(&control, trainer.max_length(), evaluation, background);
        Ok(Self::with_checks(tokenizer, checks, enabled))
    }

    /// Creates an examiner for rules that need no tokenizer and no evaluation files.
    pub fn without_trainer(enabled: Vec<&'static LintRule>, background: &Arc<Background>) -> Self {
        let checks = checks(&[], MAX_LENGTH, EvaluationLeak::default(), background);
        Self::with_checks(None, checks, enabled)
    }

    fn with_checks(
        tokenizer: Option<&'a Tokenizer>,
        mut checks: Vec<Box<dyn Check>>,
        enabled: Vec<&'static LintRule>,
    ) -> Self {
        checks.retain(|check| check.rules().iter().any(|rule| enabled.contains(rule)));
        Self { tokenizer, checks, enabled }
    }

    /// Drops the tokenizer if no enabled rule needs token counts.
    #[must_use]
    pub fn drop_unneeded_tokenizer(mut self) -> Self {
        if !self.enabled.iter().any(|rule| rule.needs == Needs::Tokenizer) {
            self.tokenizer = None;
        }
        self
    }

    /// Whether a rule is enabled.
    pub fn is_enabled(&self, rule: &LintRule) -> bool {
        self.enabled.contains(&rule)
    }

    /// Whether rows are compared with each other, which takes memory for each row.
    pub fn compares_rows(&self) -> bool {
        Duplicates::RULES.iter().any(|rule| self.is_enabled(rule))
    }

    /// Reads a row and counts its tokens. `revised` says what led to its answer, if more
    /// is known than the row says. Returns the name of the row's shape.
    ///
    /// # Errors
    /// Fails if the row has no known shape.
    pub fn read(
        &self,
        mapping: &Mapping,
        row: &Object,
        revised: Option<&RevisedFrom>,
    ) -> Result<(&'static str, Example), RowFault> {
        let (shape, mut example) = mapping.example(row)?;
        if let Some(RevisedFrom { critique, before }) = revised {
            example.critique = critique.clone().or(example.critique);
            example.before = Some(before.clone());
        }
        let tokens = self.tokenizer.map(|tokenizer| tokenizer.tokens(&example));
        Ok((shape, Example { tokens, ..example }))
    }

    /// The faults of an example that its row alone shows.
    pub fn hits(&self, example: &Example, row: &Object) -> Vec<Hit> {
        let mut hits = Vec::new();
        for check in &self.checks {
            check.examine(example, &mut hits);
        }
        // The format `sft-steps` has rows whose answer is a critique.
        let is_critique = row.get("step").is_some_and(|step| step == "critique");
        hits.retain(|hit| {
            self.is_enabled(hit.rule) && !(is_critique && NOT_OF_CRITIQUES.contains(&hit.rule))
        });
        hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::check::RULES;

    #[test]
    fn every_rule_about_a_single_row_has_a_check() {
        let trainer = TrainerSettings::default();
        let background = Arc::new(Background::default());
        let examiner = Examiner::new(&trainer, RULES.to_vec(), &background).unwrap();
        let known: Vec<&LintRule> =
            examiner.checks.iter().flat_map(|check| check.rules()).copied().collect();
        for rule in RULES {
            let alone = !matches!(rule.needs, Needs::Earlier | Needs::Set);
            assert_eq!(known.contains(rule), alone, "{}", rule.name);
        }
    }
}

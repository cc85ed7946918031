//! Examines rows one by one: reads each into an example, counts its tokens, and finds
//! the faults that do not depend on other rows.

use super::check::{Check, Hit, LintRule, Needs, checks};
use super::tokenizer::Tokenizer;
use super::{LintError, TrainerSettings, evaluation};
use crate::format::example::{Example, Object};
use crate::format::{Columns, RowFault, Shape};

/// Runs the checks of the enabled rules.
pub(super) struct Examiner<'a> {
    tokenizer: Option<&'a Tokenizer>,
    checks: Vec<Box<dyn Check>>,
    enabled: Vec<&'static LintRule>,
}

impl<'a> Examiner<'a> {
    /// Creates an examiner that looks for the `enabled` rules.
    ///
    /// # Errors
    /// Fails if an evaluation file cannot be read.
    pub fn new(
        trainer: &'a TrainerSettings,
        enabled: Vec<&'static LintRule>,
    ) -> Result<Self, LintError> {
        let tokenizer = trainer.tokenizer.as_ref();
        let control = tokenizer.map(Tokenizer::control_tokens).unwrap_or_default();
        let evaluation = evaluation::read(&trainer.evaluation)?;
        let mut checks = checks(&control, trainer.max_length(), evaluation);
        checks.retain(|check| check.rules().iter().any(|rule| enabled.contains(rule)));
        Ok(Self { tokenizer, checks, enabled })
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

    /// Reads a row and counts its tokens.
    ///
    /// # Errors
    /// Fails if the row does not have the given shape.
    pub fn read(&self, shape: &dyn Shape, row: &Object) -> Result<Example, RowFault> {
        let example = Columns::default().read(shape, row)?;
        let tokens = self.tokenizer.map(|tokenizer| tokenizer.tokens(&example));
        Ok(Example { tokens, ..example })
    }

    /// The faults of an example that its row alone shows.
    pub fn hits(&self, example: &Example) -> Vec<Hit> {
        let mut hits = Vec::new();
        for check in &self.checks {
            check.examine(example, &mut hits);
        }
        hits.retain(|hit| self.is_enabled(hit.rule));
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
        let examiner = Examiner::new(&trainer, RULES.to_vec()).unwrap();
        let known: Vec<&LintRule> =
            examiner.checks.iter().flat_map(|check| check.rules()).copied().collect();
        for rule in RULES {
            let alone = !matches!(rule.needs, Needs::Earlier | Needs::Set);
            assert_eq!(known.contains(rule), alone, "{}", rule.name);
        }
    }
}

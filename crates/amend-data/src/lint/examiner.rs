//! Rows by themselves: what each says, how many tokens it has, and the faults
//! that it shows alone.

use super::check::{Check, Hit, Needs, Rule, checks};
use super::tokenizer::Tokenizer;
use super::{LintError, Trainer, evaluation};
use crate::format::example::{Example, Object};
use crate::format::read::{Format, RowFault};

/// Looks for the faults that some rules name.
pub(super) struct Examiner<'a> {
    tokenizer: Option<&'a Tokenizer>,
    checks: Vec<Box<dyn Check>>,
    wanted: Vec<&'static Rule>,
}

impl<'a> Examiner<'a> {
    /// Will look for the rules that are `wanted`.
    ///
    /// # Errors
    /// An evaluation file can't be read.
    pub fn new(trainer: &'a Trainer, wanted: Vec<&'static Rule>) -> Result<Self, LintError> {
        let tokenizer = trainer.tokenizer.as_ref();
        let control = tokenizer.map(Tokenizer::control_tokens).unwrap_or_default();
        let evaluation = evaluation::read(&trainer.evaluation)?;
        let mut checks = checks(&control, trainer.max_length(), evaluation);
        checks.retain(|check| check.rules().iter().any(|rule| wanted.contains(rule)));
        Ok(Self { tokenizer, checks, wanted })
    }

    /// The same without counting tokens, where no rule needs them.
    #[must_use]
    pub fn sparing(self) -> Self {
        let counted = self.wanted.iter().any(|rule| rule.needs == Needs::Tokenizer);
        Self { tokenizer: self.tokenizer.filter(|_| counted), ..self }
    }

    /// Whether a rule is looked for.
    pub fn wants(&self, rule: &Rule) -> bool {
        self.wanted.contains(&rule)
    }

    /// Reads a row, and counts its tokens.
    ///
    /// # Errors
    /// The row is not of the format.
    pub fn read(&self, format: &dyn Format, row: &Object) -> Result<Example, RowFault> {
        let example = format.read(row)?;
        let tokens = self.tokenizer.map(|tokenizer| tokenizer.tokens(&example));
        Ok(Example { tokens, ..example })
    }

    /// The faults of an example by itself.
    pub fn hits(&self, example: &Example) -> Vec<Hit> {
        let mut hits = Vec::new();
        for check in &self.checks {
            check.examine(example, &mut hits);
        }
        hits.retain(|hit| self.wants(hit.rule));
        hits
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lint::check::RULES;

    #[test]
    fn every_rule_of_a_row_by_itself_is_some_check_s() {
        let trainer = Trainer::default();
        let examiner = Examiner::new(&trainer, RULES.to_vec()).unwrap();
        let known: Vec<&Rule> =
            examiner.checks.iter().flat_map(|check| check.rules()).copied().collect();
        for rule in RULES {
            let alone = !matches!(rule.needs, Needs::Earlier | Needs::Set);
            assert_eq!(known.contains(rule), alone, "{}", rule.name);
        }
    }
}

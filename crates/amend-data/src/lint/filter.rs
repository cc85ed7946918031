//! A filter that leaves rows with lint findings out of an export.

use std::sync::Arc;

use super::check::{Duplicates, LintRule, Location, Needs, RULES};
use super::examiner::Examiner;
use super::{Background, TrainerSettings};
use crate::export::{self, DropFault, Examine, Unfit};
use crate::items::mapping::Mapping;
use crate::rows::Place;

/// A filter of an export by lint rules.
pub struct LintFilter {
    rules: Vec<&'static LintRule>,
    trainer: TrainerSettings,
    background: Arc<Background>,
}

/// The reason why a filter cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// There is no such rule, or it cannot filter rows.
    #[error("unknown filter rule {name:?}: choose one of {}", names())]
    Rule {
        /// The name.
        name: String,
    },
    /// A rule needs a tokenizer.
    #[error(
        "{rule} needs token counts: pass the trainer's --tokenizer tokenizer.json, or -m \
         MODEL.gguf"
    )]
    Tokenizer {
        /// The rule.
        rule: &'static str,
    },
    /// A rule needs evaluation files.
    #[error("{rule} needs evaluation files: name them with --eval")]
    Evaluation {
        /// The rule.
        rule: &'static str,
    },
}

fn names() -> String {
    super::check::filters().map(|rule| rule.name).collect::<Vec<_>>().join(", ")
}

impl LintFilter {
    /// Whether one of these rules needs the trainer's tokenizer or evaluation files.
    #[must_use]
    pub fn need_trainer(names: &[String]) -> bool {
        let named = |rule: &&&'static LintRule| names.iter().any(|name| name == rule.name);
        let needs =
            |rule: &&'static LintRule| matches!(rule.needs, Needs::Tokenizer | Needs::Evaluation);
        RULES.iter().filter(named).any(needs)
    }

    /// Creates a filter from the names of rules, for rows with this background.
    ///
    /// # Errors
    /// Fails if there is no rule of a name, the rule cannot filter, or it needs a
    /// tokenizer or evaluation files that `trainer` lacks.
    pub fn new(
        names: &[String],
        trainer: TrainerSettings,
        background: Background,
    ) -> Result<Self, FilterError> {
        for name in names {
            if !RULES.iter().any(|rule| rule.name == name && rule.filters()) {
                return Err(FilterError::Rule { name: name.clone() });
            }
        }
        let named = |rule: &&&'static LintRule| names.iter().any(|name| name == rule.name);
        // In the order of the rules, so that the first broken one is reported.
        let rules: Vec<_> = RULES.iter().filter(named).copied().collect();
        for rule in &rules {
            match rule.needs {
                Needs::Tokenizer if trainer.tokenizer.is_none() => {
                    return Err(FilterError::Tokenizer { rule: rule.name });
                }
                Needs::Evaluation if trainer.evaluation.is_empty() => {
                    return Err(FilterError::Evaluation { rule: rule.name });
                }
                _ => {}
            }
        }
        Ok(Self { rules, trainer, background: Arc::new(background) })
    }
}

impl export::RowFilter for LintFilter {
    fn begin(&self) -> Result<Examine<'_>, Unfit> {
        let examiner = Examiner::new(&self.trainer, self.rules.clone(), &self.background)?
            .drop_unneeded_tokenizer();
        let compared = self.rules.iter().any(|rule| rule.needs == Needs::Earlier);
        let mut earlier = compared.then(|| Duplicates::new(false));
        let mut kept = 0;
        Ok(Box::new(move |row, revised| {
            let (_, example) = examiner.read(&Mapping::default(), row, revised)?;
            let order = |rule: &LintRule| RULES.iter().position(|known| *known == rule);
            let mut hit =
                examiner.hits(&example, row).into_iter().min_by_key(|hit| order(hit.rule));
            // A row that is left out does not make later rows duplicates.
            if let (None, Some(earlier)) = (&hit, &mut earlier) {
                let location = Location { file: 0, place: Place::Row(kept + 1) };
                let name = |location: Location| format!("exported{}", location.place);
                hit = earlier.examine(&example, "", location, name);
            }
            kept += u64::from(hit.is_none());
            Ok(hit.map(|hit| DropFault {
                rule: hit.rule.name,
                about: hit.rule.about,
                excerpt: hit.excerpt,
            }))
        }))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::export::RowFilter as _;
    use crate::lint::check::filters;
    use crate::lint::tokenizer::tests::words;

    /// The rule by which each row is left out, if it is.
    fn left_out(
        names: &[&str],
        trainer: TrainerSettings,
        rows: &[Value],
    ) -> Vec<Option<&'static str>> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let filter = LintFilter::new(&names, trainer, Background::shipped()).unwrap();
        let mut examine = filter.begin().unwrap();
        let row =
            |row: &Value| examine(row.as_object().unwrap(), None).unwrap().map(|fault| fault.rule);
        rows.iter().map(row).collect()
    }

    fn pair(prompt: &str, chosen: &str, rejected: &str) -> Value {
        json!({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    }

    #[test]
    fn rows_are_left_out_by_the_first_named_rule_they_break() {
        let rows = [
            pair("Why?", "Because.", "No."),
            pair("Why?", "Here is the revised answer: write to ann@mail.org.", "No."),
            pair("Why?", "  ", "No."),
        ];
        for (names, expected) in [
            (&["personal-data", "chatty-prefix"][..], [None, Some("chatty-prefix"), None]),
            (&["personal-data"], [None, Some("personal-data"), None]),
            (&["empty", "same-sides"], [None, None, Some("empty")]),
            (&["secret"], [None, None, None]),
        ] {
            assert_eq!(left_out(names, TrainerSettings::default(), &rows), expected, "{names:?}");
        }
    }

    #[test]
    fn the_schema_names_the_rules_that_filter() {
        let names: Vec<&str> = filters().map(|rule| rule.name).collect();
        assert_eq!(names, amend_core::constitution::EXPORT_FILTERS);
    }

    #[test]
    fn a_row_left_out_does_not_make_later_rows_duplicates() {
        let rows = [
            pair("Why is it?", "Here is the revised answer: one thing led to another.", "No."),
            pair("Why is it?", "one thing led to another", "No."),
            pair("Why is it?", "One thing led to another.", "No."),
            pair("How is it?", "Well.", "Badly."),
        ];
        let names = ["chatty-prefix", "near-duplicate"];
        assert_eq!(
            left_out(&names, TrainerSettings::default(), &rows),
            [Some("chatty-prefix"), None, Some("near-duplicate"), None]
        );
    }

    #[test]
    fn rules_without_tokenizer_or_evaluation_files_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("eval.jsonl");
        std::fs::write(&file, "{\"prompt\": \"a b\"}\n").unwrap();
        let trainer = || TrainerSettings {
            tokenizer: Some(words(folder.path(), true)),
            max_length: Some(6),
            evaluation: vec![file.clone()],
        };
        // The prompt leaves two tokens, one of them for the end.
        let rows = [pair("b a a a", "yes no", "no"), pair("b a a a", "yes", "no")];
        assert_eq!(left_out(&["chosen-cut"], trainer(), &rows), [Some("chosen-cut"), None]);
        let rows = [pair("a b", "yes", "no"), pair("b b", "yes", "no")];
        let leaked = [Some("evaluation-leak"), None];
        assert_eq!(left_out(&["evaluation-leak"], trainer(), &rows), leaked);
        let refused = |name: &str| {
            let refused = LintFilter::new(
                &[name.to_owned()],
                TrainerSettings::default(),
                Background::shipped(),
            );
            refused.err().map(|error| error.to_string())
        };
        for (name, expected) in [
            ("chosen-cut", "chosen-cut needs token counts: pass the trainer's --tokenizer"),
            ("identical-after-truncation", "identical-after-truncation needs token counts"),
            ("evaluation-leak", "evaluation-leak needs evaluation files"),
            ("length-bias", "unknown filter rule \"length-bias\": choose one of empty, "),
            ("split-leak", "unknown filter rule \"split-leak\""),
            ("emtpy", "unknown filter rule \"emtpy\""),
        ] {
            let error = refused(name).unwrap_or_default();
            assert!(error.starts_with(expected), "{name}: {error}");
        }
        let need_nothing = filters().filter(|rule| refused(rule.name).is_none()).count();
        assert_eq!(need_nothing, filters().count() - 3);
    }
}

//! Leaves out of an export what lint would find fault with.

use super::Trainer;
use super::check::{Duplicates, Needs, RULES, Rule, Spot};
use super::examiner::Examiner;
use crate::export;
use crate::export::{Examine, Fault, Unfit};
use crate::format::read::recognise;

/// Rules, and the training they look out for.
pub struct Filter {
    rules: Vec<&'static Rule>,
    trainer: Trainer,
}

/// Why rows can't be filtered.
#[derive(Debug, thiserror::Error)]
pub enum FilterError {
    /// No rule of that name leaves rows out.
    #[error("no rule {name:?} leaves rows out of an export: choose among {}", names())]
    Rule {
        /// The name.
        name: String,
    },
    /// A rule counts tokens.
    #[error(
        "{rule} counts tokens: pass the trainer's --tokenizer tokenizer.json, or -m MODEL.gguf"
    )]
    Tokenizer {
        /// The rule.
        rule: &'static str,
    },
    /// A rule compares with files.
    #[error("{rule} compares with evaluation files: name them with --eval")]
    Evaluation {
        /// The rule.
        rule: &'static str,
    },
}

fn names() -> String {
    super::check::filters().map(|rule| rule.name).collect::<Vec<_>>().join(", ")
}

impl Filter {
    /// A filter by the rules of these names.
    ///
    /// # Errors
    /// There is no such rule, it does not filter, or it lacks what it needs.
    pub fn new(names: &[String], trainer: Trainer) -> Result<Self, FilterError> {
        for name in names {
            if !RULES.iter().any(|rule| rule.name == name && rule.filters()) {
                return Err(FilterError::Rule { name: name.clone() });
            }
        }
        let named = |rule: &&&'static Rule| names.iter().any(|name| name == rule.name);
        // In the order of the rules: the first that a row breaks is the one told.
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
        Ok(Self { rules, trainer })
    }
}

impl export::Filter for Filter {
    fn begin(&self) -> Result<Examine<'_>, Unfit> {
        let examiner = Examiner::new(&self.trainer, self.rules.clone())?.sparing();
        let compared = self.rules.iter().any(|rule| rule.needs == Needs::Earlier);
        let mut earlier = compared.then(|| Duplicates::new(false));
        let mut kept = 0;
        Ok(Box::new(move |row| {
            let (format, _) = recognise(row)?;
            let example = examiner.read(format, row)?;
            let order = |rule: &Rule| RULES.iter().position(|known| *known == rule);
            let mut hit = examiner.hits(&example).into_iter().min_by_key(|hit| order(hit.rule));
            // Only rows that stay make others duplicates.
            if let (None, Some(earlier)) = (&hit, &mut earlier) {
                let spot = Spot { file: 0, row: kept + 1 };
                hit = earlier
                    .examine(&example, "", spot, |spot| format!("exported row {}", spot.row));
            }
            kept += u64::from(hit.is_none());
            Ok(hit.map(|hit| Fault {
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
    use crate::export::Filter as _;
    use crate::lint::check::filters;
    use crate::lint::tokenizer::tests::words;

    /// The rules by which rows are left out, and what shows it.
    fn left_out(names: &[&str], trainer: Trainer, rows: &[Value]) -> Vec<Option<&'static str>> {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        let filter = Filter::new(&names, trainer).unwrap();
        let mut examine = filter.begin().unwrap();
        let row = |row: &Value| examine(row.as_object().unwrap()).unwrap().map(|fault| fault.rule);
        rows.iter().map(row).collect()
    }

    fn pair(prompt: &str, chosen: &str, rejected: &str) -> Value {
        json!({"prompt": prompt, "chosen": chosen, "rejected": rejected})
    }

    #[test]
    fn only_the_rules_named_leave_rows_out_and_the_first_of_them_is_told() {
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
            assert_eq!(left_out(names, Trainer::default(), &rows), expected, "{names:?}");
        }
    }

    #[test]
    fn the_schema_names_the_rules_that_filter() {
        let names: Vec<&str> = filters().map(|rule| rule.name).collect();
        assert_eq!(names, amend_core::constitution::EXPORT_FILTERS);
    }

    #[test]
    fn what_was_left_out_makes_no_later_row_a_duplicate() {
        let rows = [
            pair("Why is it?", "Here is the revised answer: one thing led to another.", "No."),
            pair("Why is it?", "one thing led to another", "No."),
            pair("Why is it?", "One thing led to another.", "No."),
            pair("How is it?", "Well.", "Badly."),
        ];
        let names = ["chatty-prefix", "near-duplicate"];
        assert_eq!(
            left_out(&names, Trainer::default(), &rows),
            [Some("chatty-prefix"), None, Some("near-duplicate"), None]
        );
    }

    #[test]
    fn rules_that_lack_what_they_need_are_refused() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("eval.jsonl");
        std::fs::write(&file, "{\"prompt\": \"a b\"}\n").unwrap();
        let trainer = || Trainer {
            tokenizer: Some(words(folder.path(), true)),
            max_length: Some(6),
            evaluation: vec![file.clone()],
        };
        // Two tokens are left beside the prompt's, one of them for the end.
        let rows = [pair("b a a a", "yes no", "no"), pair("b a a a", "yes", "no")];
        assert_eq!(left_out(&["chosen-cut"], trainer(), &rows), [Some("chosen-cut"), None]);
        let rows = [pair("a b", "yes", "no"), pair("b b", "yes", "no")];
        let leaked = [Some("evaluation-leak"), None];
        assert_eq!(left_out(&["evaluation-leak"], trainer(), &rows), leaked);
        let refused = |name: &str| {
            let refused = Filter::new(&[name.to_owned()], Trainer::default());
            refused.err().map(|error| error.to_string())
        };
        for (name, told) in [
            ("chosen-cut", "chosen-cut counts tokens: pass the trainer's --tokenizer"),
            ("identical-after-truncation", "identical-after-truncation counts tokens"),
            ("evaluation-leak", "evaluation-leak compares with evaluation files"),
            ("length-bias", "no rule \"length-bias\" leaves rows out of an export"),
            ("split-leak", "no rule \"split-leak\" leaves"),
            ("emtpy", "no rule \"emtpy\" leaves"),
        ] {
            let error = refused(name).unwrap_or_default();
            assert!(error.starts_with(told), "{name}: {error}");
        }
        let need_nothing = filters().filter(|rule| refused(rule.name).is_none()).count();
        assert_eq!(need_nothing, filters().count() - 3);
    }
}

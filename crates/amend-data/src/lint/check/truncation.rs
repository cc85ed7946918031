//! Finds examples that the trainer's maximum length spoils.

use super::{Check, Fix, Hit, LintRule, Needs, opening};
use crate::format::example::Example;
use amend_core::document::Severity;

pub(super) static IDENTICAL: LintRule = LintRule {
    name: "identical-after-truncation",
    severity: Severity::Error,
    about: "truncated at the maximum length, chosen and rejected are the same tokens",
    fix: "the row is removed; a greater --max-length would keep it",
    needs: Needs::Tokenizer,
};

pub(super) static CUT: LintRule = LintRule {
    name: "chosen-cut",
    severity: Severity::Error,
    about: "the chosen answer exceeds the maximum length: the model does not learn its end, nor to stop",
    fix: "the row is removed; a greater --max-length would keep it",
    needs: Needs::Tokenizer,
};

/// Truncates sequences as a trainer does that keeps their start.
pub(super) struct Truncation {
    /// The maximum number of tokens of prompt and answer together.
    pub max_length: usize,
}

impl Check for Truncation {
    fn rules(&self) -> &'static [&'static LintRule] {
        const { &[&IDENTICAL, &CUT] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        let (Some(tokens), Some(_)) = (&example.tokens, example.chosen()) else { return };
        // The chosen answer is the first one. One more token ends it.
        let Some(chosen) = tokens.answers.first() else { return };
        let length = tokens.prompt + chosen.len() + 1;
        let mut hit = |rule| {
            let (most, prompt) = (self.max_length, opening(&example.prompt));
            let excerpt = format!("{length} tokens of at most {most}; prompt: {prompt}");
            hits.push(Hit { rule, excerpt, fix: Fix::Remove });
        };
        let left = self.max_length.saturating_sub(tokens.prompt);
        if let [chosen, rejected] = tokens.answers.as_slice() {
            let whole = chosen.len() < left && rejected.len() < left;
            let kept = |answer: &[i64]| answer[..answer.len().min(left)].to_vec();
            if !whole && chosen != rejected && kept(chosen) == kept(rejected) {
                hit(&IDENTICAL);
            }
        }
        if length > self.max_length {
            hit(&CUT);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::example;
    use super::*;
    use crate::lint::tokenizer::tests::words;

    #[test]
    fn prompt_and_answer_are_truncated_together() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = words(folder.path(), true);
        let broken_rules = |row| {
            let mut example = example(row);
            example.tokens = Some(tokenizer.tokens(&example));
            let mut hits = Vec::new();
            Truncation { max_length: 6 }.examine(&example, &mut hits);
            hits.iter().map(|hit| hit.rule.name).collect::<Vec<_>>()
        };
        let turn = |role: &str, content: &str| json!([{"role": role, "content": content}]);
        // The prompt is <user> a b <assistant>: it leaves two tokens, one for the end.
        for (chosen, rejected, expected) in [
            ("yes", "no", vec![]),
            ("yes", "no no no no", vec![]),
            ("yes no", "no", vec!["chosen-cut"]),
            ("yes no a", "yes no b", vec!["identical-after-truncation", "chosen-cut"]),
            ("yes no", "yes no b", vec!["identical-after-truncation", "chosen-cut"]),
            ("yes no a", "yes no a", vec!["chosen-cut"]),
        ] {
            let row = json!({
                "prompt": turn("user", "a b"),
                "chosen": turn("assistant", chosen),
                "rejected": turn("assistant", rejected),
            });
            assert_eq!(broken_rules(row.clone()), expected, "{row}");
        }
        // The prompt alone is too long.
        let row = json!({"prompt": "a a a a a a a", "chosen": "yes", "rejected": "no"});
        assert_eq!(broken_rules(row), ["identical-after-truncation", "chosen-cut"]);
        let row = |label| json!({"prompt": "a b", "completion": "a a a a", "label": label});
        assert_eq!(broken_rules(row(true)), ["chosen-cut"]);
        assert_eq!(broken_rules(row(false)), [""; 0]);
    }
}

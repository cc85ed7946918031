//! What a trainer's cut at its greatest length leaves of an example.

use super::{Check, Hit, Mend, Rule, Severity, opening};
use crate::lint::example::{Answers, Example, joined};
use crate::lint::tokenizer::Tokenizer;

pub(super) static IDENTICAL: Rule = Rule {
    name: "identical-after-truncation",
    severity: Severity::Error,
    about: "cut at the greatest length, chosen and rejected are the same tokens",
    fix: "the row is removed; a greater length would keep it",
};

pub(super) static CUT: Rule = Rule {
    name: "chosen-cut",
    severity: Severity::Error,
    about: "the wanted answer is longer than the trainer takes: its end, and that it ends, are not learned",
    fix: "the row is removed; a greater length would keep it",
};

/// Counts tokens as a trainer does that keeps the start of a sequence.
pub(super) struct Truncation<'a> {
    /// The trainer's.
    pub tokenizer: &'a Tokenizer,
    /// Tokens of prompt and answer together.
    pub max_length: usize,
}

impl Check for Truncation<'_> {
    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        let tokens = |answer: &str| self.tokenizer.sequence(&example.prompt, answer, example.chat);
        let Some((_, wanted)) = example.wanted() else { return };
        let wanted = tokens(&joined(wanted));
        // One more ends the answer.
        let length = wanted.len() + 1;
        let mut hit = |rule| {
            let excerpt = format!(
                "{length} tokens of at most {}; prompt: {}",
                self.max_length,
                opening(&example.prompt)
            );
            hits.push(Hit { rule, excerpt, mend: Mend::Remove });
        };
        if let Answers::Pair { rejected, .. } = &example.answers {
            let rejected = tokens(&joined(rejected));
            let kept = |tokens: &[i64]| tokens[..tokens.len().min(self.max_length)].to_vec();
            let whole = wanted.len() < self.max_length && rejected.len() < self.max_length;
            if !whole && wanted != rejected && kept(&wanted) == kept(&rejected) {
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

    use super::super::tests::found;
    use super::*;
    use crate::lint::tokenizer::tests::words;

    #[test]
    fn answers_are_cut_with_their_prompts() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = words(folder.path(), true);
        let check = Truncation { tokenizer: &tokenizer, max_length: 6 };
        let turn = |role: &str, content: &str| json!([{"role": role, "content": content}]);
        // The prompt is <user> a b <assistant>: two tokens are left, one for the end.
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
            assert_eq!(found(&check, row.clone()), expected, "{row}");
        }
        // The prompt alone is too long.
        let row = json!({"prompt": "a a a a a a a", "chosen": "yes", "rejected": "no"});
        assert_eq!(found(&check, row), ["identical-after-truncation", "chosen-cut"]);
        let row = |label| json!({"prompt": "a b", "completion": "a a a a", "label": label});
        assert_eq!(found(&check, row(true)), ["chosen-cut"]);
        assert_eq!(found(&check, row(false)), [""; 0]);
    }
}

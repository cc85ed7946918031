//! What a trainer's cut at its greatest length leaves of an example.

use super::{Check, Hit, Mend, Needs, Rule, Severity, opening};
use crate::format::example::Example;

pub(super) static IDENTICAL: Rule = Rule {
    name: "identical-after-truncation",
    severity: Severity::Error,
    about: "cut at the greatest length, chosen and rejected are the same tokens",
    fix: "the row is removed; a greater length would keep it",
    needs: Needs::Tokenizer,
};

pub(super) static CUT: Rule = Rule {
    name: "chosen-cut",
    severity: Severity::Error,
    about: "the wanted answer is longer than the trainer takes: its end, and that it ends, are not learned",
    fix: "the row is removed; a greater length would keep it",
    needs: Needs::Tokenizer,
};

/// Cuts tokens as a trainer does that keeps the start of a sequence.
pub(super) struct Truncation {
    /// Tokens of prompt and answer together.
    pub max_length: usize,
}

impl Check for Truncation {
    fn rules(&self) -> &'static [&'static Rule] {
        const { &[&IDENTICAL, &CUT] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        let (Some(tokens), Some((wanted, _))) = (&example.tokens, example.wanted()) else { return };
        // One more ends the answer.
        let length = tokens.prompt + example.length(wanted) + 1;
        let mut hit = |rule| {
            let (most, prompt) = (self.max_length, opening(&example.prompt));
            let excerpt = format!("{length} tokens of at most {most}; prompt: {prompt}");
            hits.push(Hit { rule, excerpt, mend: Mend::Remove });
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
    fn answers_are_cut_with_their_prompts() {
        let folder = tempfile::tempdir().unwrap();
        let tokenizer = words(folder.path(), true);
        let found = |row| {
            let mut example = example(row);
            example.tokens = Some(tokenizer.tokens(&example));
            let mut hits = Vec::new();
            Truncation { max_length: 6 }.examine(&example, &mut hits);
            hits.iter().map(|hit| hit.rule.name).collect::<Vec<_>>()
        };
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
            assert_eq!(found(row.clone()), expected, "{row}");
        }
        // The prompt alone is too long.
        let row = json!({"prompt": "a a a a a a a", "chosen": "yes", "rejected": "no"});
        assert_eq!(found(row), ["identical-after-truncation", "chosen-cut"]);
        let row = |label| json!({"prompt": "a b", "completion": "a a a a", "label": label});
        assert_eq!(found(row(true)), ["chosen-cut"]);
        assert_eq!(found(row(false)), [""; 0]);
    }
}

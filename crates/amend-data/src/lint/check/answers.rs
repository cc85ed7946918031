//! Finds empty answers, and pairs of identical answers.

use super::{Check, Fix, Hit, LintRule, Needs, opening};
use crate::format::example::{Example, joined_answers};
use amend_core::document::Severity;

pub(super) static EMPTY: LintRule = LintRule {
    name: "empty",
    severity: Severity::Error,
    about: "an answer is missing or blank",
    fix: "the row is removed",
    needs: Needs::Row,
};

pub(super) static SAME: LintRule = LintRule {
    name: "same-sides",
    severity: Severity::Error,
    about: "chosen and rejected are the same text, so there is nothing to prefer",
    fix: "the row is removed",
    needs: Needs::Row,
};

/// Checks whole answers.
pub(super) struct Sides;

impl Check for Sides {
    fn rules(&self) -> &'static [&'static LintRule] {
        const { &[&EMPTY, &SAME] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        for (side, turns) in example.answers() {
            // A turn that calls tools has no text. An answer is empty if no turn has.
            if joined_answers(turns).trim().is_empty() {
                let excerpt = format!("{} after: {}", side.name(), opening(&example.prompt));
                hits.push(Hit { rule: &EMPTY, excerpt, fix: Fix::Remove });
                return;
            }
        }
        if let Some([chosen, rejected]) = example.pair()
            && same(&joined_answers(chosen), &joined_answers(rejected))
        {
            hits.push(Hit { rule: &SAME, excerpt: opening(chosen), fix: Fix::Remove });
        }
    }
}

/// Whether two texts are the same except for white space.
pub(super) fn same(a: &str, b: &str) -> bool {
    a.split_whitespace().eq(b.split_whitespace())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::tests::broken_rules;
    use super::*;

    #[test]
    fn blank_and_identical_answers_are_reported() {
        for (chosen, rejected, expected) in [
            (json!("a"), json!("b"), vec![]),
            (json!(" \n"), json!("b"), vec!["empty"]),
            (json!("a"), json!(null), vec!["empty"]),
            (json!(""), json!(""), vec!["empty"]),
            (json!("a  b\n"), json!("a\nb"), vec!["same-sides"]),
            (json!("a."), json!("a"), vec![]),
            (json!([]), json!([{"role": "assistant", "content": "b"}]), vec!["empty"]),
        ] {
            let row = json!({"prompt": "p", "chosen": chosen, "rejected": rejected});
            assert_eq!(broken_rules(&Sides, row.clone()), expected, "{row}");
        }
        assert_eq!(broken_rules(&Sides, json!({"prompt": "p", "completion": " "})), ["empty"]);
        assert_eq!(
            broken_rules(&Sides, json!({"messages": [{"role": "user", "content": "a"}]})),
            ["empty"]
        );
    }
}

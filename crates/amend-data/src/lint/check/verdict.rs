//! Finds pairs whose label contradicts a verdict in the same row.

use super::{Check, Fix, Hit, LintRule, Needs, opening};
use crate::format::example::Example;
use amend_core::document::Severity;

pub(super) static VERDICT: LintRule = LintRule {
    name: "label-noise",
    severity: Severity::Error,
    about: "a verdict in the row prefers the rejected answer",
    fix: "the row is removed",
    needs: Needs::Row,
};

/// Compares labels with verdicts.
pub(super) struct LabelNoise;

impl Check for LabelNoise {
    fn rules(&self) -> &'static [&'static LintRule] {
        const { &[&VERDICT] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        if let Some(contradiction) = &example.contradiction {
            let excerpt = format!("{}; prompt: {}", contradiction.0, opening(&example.prompt));
            hits.push(Hit { rule: &VERDICT, excerpt, fix: Fix::Remove });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::broken_rules;
    use super::*;

    #[test]
    fn verdicts_against_the_label_are_reported() {
        for (more, noisy) in [
            (json!({}), false),
            (json!({"p_chosen": 0.5}), false),
            (json!({"p_chosen": 0.49}), true),
            (json!({"margin": -0.01}), true),
            (json!({"margin": 0}), false),
            (json!({"margin": null, "p_chosen": "low"}), false),
            (json!({"score_chosen": 7.0, "score_rejected": 7.5}), true),
            (json!({"score_chosen": 7.0, "score_rejected": 7.0}), false),
            (json!({"verdict": {"p_chosen": 0.2}}), true),
            (json!({"metadata": {"margin": -2}}), true),
            (json!({"verdict": "no"}), false),
            (json!({"p_chosen": 0.2, "reviewers": ["ada"]}), false),
            (json!({"metadata": {"margin": -2}, "reviewers": ["ada"]}), false),
            (json!({"p_chosen": 0.2, "reviewers": []}), true),
            (json!({"p_chosen": 0.2, "reviewers": null}), true),
        ] {
            let mut row = json!({"prompt": "p", "chosen": "a", "rejected": "b"});
            let Value::Object(more) = more else { unreachable!() };
            row.as_object_mut().unwrap().extend(more);
            let expected: &[&str] = if noisy { &["label-noise"] } else { &[] };
            assert_eq!(broken_rules(&LabelNoise, row.clone()), expected, "{row}");
        }
    }
}

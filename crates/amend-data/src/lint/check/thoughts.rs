//! Finds thoughts that are left in turns of the assistant, and pairs in which only one
//! side has a thought.

use super::{Check, Fix, Hit, LintRule, Needs, THOUGHTS_LEFT, excerpt, opening};
use crate::format::example::{Example, ExampleTurn, Side};
use amend_core::document::Severity;
use amend_core::text::thoughts;

pub(super) static LEFT: LintRule = LintRule {
    name: THOUGHTS_LEFT,
    severity: Severity::Error,
    about: "the marks of a thought are in a turn of the assistant, which learns them as a part of its answer",
    fix: "the row is removed; if the thoughts belong there, pass --skip thoughts-left",
    needs: Needs::Row,
};

pub(super) static ONE_SIDED: LintRule = LintRule {
    name: "thoughts-one-sided",
    severity: Severity::Error,
    about: "only one of chosen and rejected has a thought, so that the model learns whether to think",
    fix: "the row is removed",
    needs: Needs::Row,
};

/// Checks turns of the assistant: others may write about marks.
pub(super) struct LeftThoughts;

impl Check for LeftThoughts {
    fn rules(&self) -> &'static [&'static LintRule] {
        const { &[&LEFT, &ONE_SIDED] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        for (side, turns) in example.sides() {
            let written = turns.iter().filter(|turn| is_written(side, turn));
            if let Some(excerpt) = written.filter_map(shown).next() {
                let excerpt = format!("{}: {excerpt}", side.name());
                hits.push(Hit { rule: &LEFT, excerpt, fix: Fix::Remove });
                break;
            }
        }
        let Some([chosen, rejected]) = example.pair() else { return };
        let thinks = |turns: &[ExampleTurn]| turns.iter().any(has_thought);
        if thinks(chosen) != thinks(rejected) {
            let side = if thinks(chosen) { Side::Chosen } else { Side::Rejected };
            let excerpt = format!("only {}; prompt: {}", side.name(), opening(&example.prompt));
            hits.push(Hit { rule: &ONE_SIDED, excerpt, fix: Fix::Remove });
        }
    }
}

/// Whether a turn on this side is one of the assistant, whatever its role is called.
pub(super) fn is_written(side: Side, turn: &ExampleTurn) -> bool {
    side != Side::Prompt || turn.role == "assistant"
}

/// Whether a turn has a thought, in its text or under a key of its own.
fn has_thought(turn: &ExampleTurn) -> bool {
    turn.thought.is_some() || thoughts::find(&turn.text).is_some()
}

/// The text around the first mark of a thought in a turn.
fn shown(turn: &ExampleTurn) -> Option<String> {
    let mark = thoughts::find(&turn.text)?;
    Some(excerpt(&turn.text, mark.start, mark.len()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::markup::Markup;
    use super::super::tests::broken_rules;
    use super::*;

    const THOUGHT: &str = "<think>\nTea?\n</think>\n\nTea.";

    #[test]
    fn thoughts_in_turns_of_the_assistant_are_reported() {
        let turn = |role: &str, content: &str| json!({"role": role, "content": content});
        for (row, expected) in [
            (json!({"prompt": "p", "chosen": THOUGHT, "rejected": THOUGHT}), vec!["thoughts-left"]),
            (json!({"prompt": "p", "completion": "Tea?\n</think>\n\nTea."}), vec!["thoughts-left"]),
            (
                json!({"prompt": "p", "completion": "[THINK]Tea", "label": false}),
                vec!["thoughts-left"],
            ),
            (json!({"prompt": THOUGHT, "completion": "Tea."}), vec![]),
            (json!({"prompt": "p", "completion": "Write `<think>` first."}), vec![]),
            (
                json!({"messages": [
                    turn("user", "a"), turn("assistant", THOUGHT), turn("user", "b"),
                    turn("assistant", "c"),
                ]}),
                vec!["thoughts-left"],
            ),
            (json!({"messages": [turn("user", THOUGHT), turn("assistant", "c")]}), vec![]),
            (
                json!({"instruction": "p", "chosen": THOUGHT, "rejected": "Tea."}),
                vec!["thoughts-left", "thoughts-one-sided"],
            ),
        ] {
            assert_eq!(broken_rules(&LeftThoughts, row.clone()), expected, "{row}");
        }
    }

    #[test]
    fn a_thought_on_one_side_only_is_reported_wherever_it_is() {
        let side = |more: Value| {
            let mut turn = json!({"role": "assistant", "content": "Tea."});
            turn.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!([turn])
        };
        let blocks = json!({"content": [
            {"type": "thinking", "thinking": "Tea?"}, {"type": "text", "text": "Tea."},
        ]});
        for (chosen, rejected, one_sided) in [
            (json!({}), json!({}), false),
            (json!({"reasoning_content": "Tea?"}), json!({}), true),
            (json!({}), json!({"thinking": "Tea?"}), true),
            (json!({"reasoning": "Tea?"}), json!({"thinking": "No?"}), false),
            (json!({"reasoning_content": null}), json!({"reasoning_content": " \n"}), false),
            (json!({"content": THOUGHT}), json!({"reasoning_content": "No?"}), false),
            (blocks, json!({}), true),
        ] {
            let row = json!({"prompt": "p", "chosen": side(chosen), "rejected": side(rejected)});
            let found = broken_rules(&LeftThoughts, row.clone());
            assert_eq!(found.contains(&"thoughts-one-sided"), one_sided, "{row}");
        }
    }

    #[test]
    fn the_marks_of_a_thought_are_not_reported_as_control_tokens_too() {
        let channels = "<|channel|>analysis<|message|>Tea?<|end|><|start|>assistant<|channel|>final\
                        <|message|>Tea.";
        let markup = Markup::new(&["[THINK]".to_owned()]);
        for (text, expected) in [
            (channels, [""; 0].as_slice()),
            ("[THINK]Tea", &[]),
            ("Tea.<|end|>", &["template-tokens"]),
        ] {
            let row = json!({"prompt": "p", "completion": text});
            assert_eq!(broken_rules(&markup, row), expected, "{text}");
        }
        // Only turns of the assistant are searched for thoughts.
        let row = json!({"prompt": channels, "completion": "Tea."});
        assert_eq!(broken_rules(&markup, row), ["template-tokens"]);
    }
}

//! Finds leftovers of the critique-and-revise loop in answers: a sentence that
//! introduces a revision, and mentions of a critique that the reader never saw.

use std::sync::LazyLock;

use regex::Regex;

use super::{Check, Fix, Hit, LintRule, Needs, excerpt};
use crate::format::example::{Example, ExampleTurn};
use amend_core::document::Severity;
use amend_core::procedure::clean;

pub(super) static INTRODUCTION: LintRule = LintRule {
    name: "chatty-prefix",
    severity: Severity::Error,
    about: "a chosen answer starts by introducing a revision (\"Sure! Here is the revised answer:\")",
    fix: "the introduction is cut off",
    needs: Needs::Row,
};

pub(super) static CRITIQUE: LintRule = LintRule {
    name: "leaked-critique",
    severity: Severity::Error,
    about: "a chosen answer mentions a critique, an original answer or a revision that its reader never saw",
    fix: "the row is removed",
    needs: Needs::Row,
};

/// Phrases that only occur in critiques and revisions.
static ALWAYS: LazyLock<Regex> = LazyLock::new(|| {
    let patterns = [
        r"(?m)^[\W_]*(?:critique|revision|critique request|revision request|identified issues)[\W_]*:",
        r"\b(?:based on|according to|following|addresses|per|given) (?:the|this|your|my) (?:critique|criticism)\b",
        r"\bthe (?:ai |virtual )?(?:assistant|model|chatbot)(?:'|’)s (?:(?:last|previous|original|initial|first|revised) )?(?:answer|response|reply|message)\b",
        r"\bi (?:have |'ve |’ve )?(?:revised|rewritten|rewrote|rephrased|reworded) (?:the|my) (?:\w+ )?(?:answer|response|reply)\b",
        r"\b(?:the|this|my) (?:revised|rewritten|improved|updated) (?:answer|response|reply|version) (?:is|addresses|avoids|removes|no longer|now|does|aims)\b",
        r"\[/?(?:answer|critique|prompt|conversation|response|principle) [0-9a-f]{6,32}\]",
    ];
    Regex::new(&format!("(?i){}", patterns.join("|"))).expect("the pattern is fixed")
});

/// Phrases that make sense only if the conversation has an earlier answer.
static IN_A_FIRST_ANSWER: LazyLock<Regex> = LazyLock::new(|| {
    let pattern =
        r"(?i)\b(?:the|my) (?:previous|original|initial|earlier) (?:answer|response|reply)\b";
    Regex::new(pattern).expect("the pattern is fixed")
});

/// Checks chosen answers: rejected ones may have such faults.
pub(super) struct Leftovers;

impl Check for Leftovers {
    fn rules(&self) -> &'static [&'static LintRule] {
        const { &[&INTRODUCTION, &CRITIQUE] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        let Some((_, turns)) = example.chosen() else { return };
        let introduced = turns.iter().find_map(|turn| Some((turn, introduction(&turn.text)?)));
        if let Some((turn, end)) = introduced {
            let fix = Fix::Edit(turn.edits(0..end, "").collect());
            hits.push(Hit { rule: &INTRODUCTION, excerpt: excerpt(&turn.text, 0, end), fix });
        }
        let first = !example.prompt.iter().any(|turn| turn.role == "assistant");
        let leaked = |turn: &ExampleTurn| {
            // The introduction that the other rule cuts off is not counted again.
            let from = introduction(&turn.text).unwrap_or(0);
            let rest = &turn.text[from..];
            let mut phrase = ALWAYS.find(rest);
            if phrase.is_none() && first {
                phrase = IN_A_FIRST_ANSWER.find(rest);
            }
            let phrase = phrase?;
            Some(excerpt(&turn.text, from + phrase.start(), phrase.len()))
        };
        if let Some(excerpt) = turns.iter().find_map(leaked) {
            hits.push(Hit { rule: &CRITIQUE, excerpt, fix: Fix::Remove });
        }
    }
}

/// The length in bytes of a text's introduction of a revision, if it has one.
fn introduction(text: &str) -> Option<usize> {
    let start = text.len() - text.trim_start().len();
    let rest = clean::without_introduction(&text[start..])?;
    Some(text.len() - rest.len())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{broken_rules, example};
    use super::*;
    use crate::format::example::apply;

    fn row(chosen: &str) -> Value {
        json!({"prompt": "p", "chosen": chosen, "rejected": "Sure, here is the revised answer: x"})
    }

    #[test]
    fn introductions_are_cut_off() {
        for (chosen, fixed) in [
            ("Sure! Here is the revised answer:\n\nTea.", "Tea."),
            (" Revised answer: Tea.", "Tea."),
            ("**Revised response:**\nTea.", "Tea."),
            ("Certainly! Here's an improved version of the response: \"Tea.\"", "\"Tea.\""),
            ("Sure! Here is a recipe: tea.", ""),
            ("Here is your revised letter: …", ""),
            ("Tea.", ""),
        ] {
            let mut hits = Vec::new();
            Leftovers.examine(&example(row(chosen)), &mut hits);
            let hits: Vec<Hit> = hits.into_iter().filter(|hit| hit.rule == &INTRODUCTION).collect();
            if fixed.is_empty() {
                assert_eq!(hits, [], "{chosen}");
                continue;
            }
            let Fix::Edit(edits) = &hits[0].fix else { panic!("{chosen}") };
            let Value::Object(mut row) = row(chosen) else { unreachable!() };
            apply(edits, &mut row);
            assert_eq!(row["chosen"], fixed, "{chosen}");
        }
    }

    #[test]
    fn mentions_of_a_critique_are_reported() {
        for (chosen, leaks) in [
            ("Critique: it is rude.", true),
            ("Tea.\n\n**Revision Request:** be kind", true),
            ("The assistant's last response is harmful.", true),
            ("Based on the critique, tea is better.", true),
            ("I have revised my response to be kind.", true),
            ("This revised answer avoids blame.", true),
            ("Tea. [/answer 3f9c2a81]", true),
            ("The original response was rude. Tea is fine.", true),
            ("Literary critique is an art.", false),
            ("Kant's Critique: a reading. The first answer is the best one, he wrote.", false),
            ("My revised answer sheet is here.", false),
            ("He asked for the answer, and for an original reply.", false),
            ("Write the critique in two pages.", false),
        ] {
            let expected: &[&str] = if leaks { &["leaked-critique"] } else { &[] };
            assert_eq!(broken_rules(&Leftovers, row(chosen)), expected, "{chosen}");
        }
    }

    #[test]
    fn a_later_answer_may_mention_an_earlier_one() {
        let turn = |role: &str, content: &str| json!({"role": role, "content": content});
        let chosen = "My previous answer was wrong.";
        let messages = [
            turn("user", "a"),
            turn("assistant", "b"),
            turn("user", "c"),
            turn("assistant", chosen),
        ];
        let later = json!({"messages": messages});
        assert_eq!(broken_rules(&Leftovers, later), [""; 0]);
        let first = json!({"messages": [turn("user", "a"), turn("assistant", chosen)]});
        assert_eq!(broken_rules(&Leftovers, first), ["leaked-critique"]);
        let rejected = json!({"prompt": "p", "completion": chosen, "label": false});
        assert_eq!(broken_rules(&Leftovers, rejected), [""; 0]);
    }
}

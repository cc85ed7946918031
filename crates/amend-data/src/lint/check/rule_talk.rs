//! Finds thoughts that speak of a rule or of instructions that the row does not have. A thought
//! made under principles in the system turn does so often, and exports leave that turn out.
//!
//! Only English phrases are known. A row whose prompt has a system turn, or speaks of rules
//! itself, is not searched: its thoughts may well be about those.

use std::sync::LazyLock;

use regex::Regex;

use super::thoughts::is_written;
use super::{Check, Fix, Hit, LintRule, Needs, any, excerpt};
use crate::format::example::{Example, ExampleTurn, Side, joined};
use amend_core::document::Severity;
use amend_core::text::thoughts;

pub(super) static NAMED: LintRule = LintRule {
    name: "thought-names-rule",
    severity: Severity::Warn,
    about: "a thought speaks of a rule, a system prompt or instructions that are not in the row, so that the model learns to refer to what is not there",
    fix: "the row is removed; keep it with --skip thought-names-rule if the model is to recall its rules",
    needs: Needs::Row,
};

/// What a principle or the place where it stands is called.
const RULE: &str =
    "(?:rules?|principles?|guidelines?|constitution|system (?:prompt|message|turn|instructions?))";

/// Phrases about a rule that is given from outside.
static PHRASES: LazyLock<Regex> = LazyLock::new(|| {
    any(&[
        format!(
            r"\b(?:the|this|that|these|those|my|our|one) (?:\w+ )?{RULE} (?:is|are|was|were|says?|said|states?|stated|requires?|tells?|told|asks?|asked|wants?|demands?|forbids?|prohibits?|instructs?|specif(?:y|ies)|mentions?|does|do|must|should)\b"
        ),
        format!(
            r"\b(?:according to|based on|as per|per|given|following|under|in line with|to (?:keep|follow|obey|respect|break|violate|comply with)|(?:keep|follow|obey|respect|break|violate)(?:s|ing|ed)?|mention(?:s|ing|ed)?) (?:the|this|these|those|my|our) (?:\w+ )?{RULE}\b"
        ),
        r"\bthe (?:system|developer|operator) (?:says?|said|wants?|told|tells?|instructs?|asks?|requires?)\b".to_owned(),
        r"\bi(?:'|’)?(?: a|a)?m (?:also )?(?:told|instructed|required|supposed) (?:not )?to\b".to_owned(),
        r"\bi (?:was|have been|had been) (?:told|instructed|asked|given (?:a|the) (?:rules?|instructions?))\b".to_owned(),
        r"\bwithout (?:mentioning|naming|referring to) (?:it|them|the|these|this|any) ?(?:rules?|principles?|guidelines?)?\b".to_owned(),
    ])
});

/// Prompts that speak of rules themselves.
static TOPIC: LazyLock<Regex> = LazyLock::new(|| any(&[format!(r"\b{RULE}\b")]));

/// Searches the thoughts of the assistant's answers.
pub(super) struct RuleTalk;

impl Check for RuleTalk {
    fn rules(&self) -> &'static [&'static LintRule] {
        const { &[&NAMED] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        if example.has_instructions() || TOPIC.is_match(&joined(&example.prompt)) {
            return;
        }
        let answers = example.answers();
        let written = answers.flat_map(|(side, turns)| {
            turns.iter().filter(move |turn| is_written(side, turn)).map(move |turn| (side, turn))
        });
        let named = |(side, turn): (Side, &ExampleTurn)| {
            let thought = thought(turn)?;
            let found = PHRASES.find(thought)?;
            let shown = excerpt(thought, found.start(), found.len());
            Some(format!("thought of {}: {shown}", side.name()))
        };
        if let Some(excerpt) = { written }.find_map(named) {
            hits.push(Hit { rule: &NAMED, excerpt, fix: Fix::Remove });
        }
    }
}

/// The thought of a turn: under a key of its own, or before the answer in its text.
fn thought(turn: &ExampleTurn) -> Option<&str> {
    if let Some(thought) = &turn.thought {
        return Some(thought);
    }
    thoughts::find(&turn.text)?;
    let answer = turn.answer();
    Some(&turn.text[..turn.text.len() - answer.len()])
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::broken_rules;
    use super::*;

    fn row(prompt: Value, thought: &str) -> Value {
        let side = |thought: &str| json!([{"role": "assistant", "content": "Tea.", "reasoning_content": thought}]);
        json!({"prompt": prompt, "chosen": side(thought), "rejected": side("Tea or coffee?")})
    }

    #[test]
    fn thoughts_that_speak_of_a_rule_are_reported() {
        let asked = || json!([{"role": "user", "content": "What do I drink?"}]);
        for thought in [
            "The system prompt says to be brief.",
            "According to the rules, I must not guess.",
            "I'm instructed to answer in one sentence.",
            "I was told not to mention it.",
            "The rule is to ask back.",
            "I need to follow the given guidelines here.",
            "Answer without mentioning the rules.",
        ] {
            let row = row(asked(), thought);
            assert_eq!(broken_rules(&RuleTalk, row), ["thought-names-rule"], "{thought}");
        }
        let inline = json!({
            "prompt": "What do I drink?",
            "completion": "<think>\nThe principle says: be brief.\n</think>\n\nTea.",
        });
        assert_eq!(broken_rules(&RuleTalk, inline), ["thought-names-rule"]);
    }

    #[test]
    fn ordinary_thoughts_are_not() {
        let asked = |content: &str| json!([{"role": "user", "content": content}]);
        for (prompt, thought) in [
            (asked("What do I drink?"), "The user wants a drink. I should be brief and kind."),
            (asked("What do I drink?"), "As a rule of thumb, tea is fine. The system is hot."),
            (asked("What do the rules of chess say?"), "The rules say that pawns move forward."),
            (
                json!([
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "What do I drink?"},
                ]),
                "The system prompt says to be brief.",
            ),
        ] {
            assert_eq!(broken_rules(&RuleTalk, row(prompt, thought)), [""; 0], "{thought}");
        }
        // The answer itself is the concern of other rules.
        let answer = json!({"prompt": "What?", "completion": "The rule is to ask."});
        assert_eq!(broken_rules(&RuleTalk, answer), [""; 0]);
    }
}

//! Finds leftovers of the critique-and-revise loop in answers: a sentence that
//! introduces a revision, and mentions of a critique that the reader never saw.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::{Check, Fix, Hit, LintRule, Needs, asks_for_changes, excerpt};
use crate::format::example::{Example, ExampleTurn, joined};
use amend_core::document::Severity;
use amend_core::procedure::clean;

pub(super) static INTRODUCTION: LintRule = LintRule {
    name: "chatty-prefix",
    severity: Severity::Error,
    about: "a chosen answer starts by introducing a revision (\"Sure! Here is the revised answer:\")",
    fix: "the introduction is cut off, or the row is removed if it has no clear end",
    needs: Needs::Row,
};

pub(super) static CRITIQUE: LintRule = LintRule {
    name: "leaked-critique",
    severity: Severity::Error,
    about: "a chosen answer mentions a critique, a rule, an original answer or a revision that its reader never saw",
    fix: "the row is removed",
    needs: Needs::Row,
};

/// Phrases that only occur in critiques and revisions.
static ALWAYS: LazyLock<Regex> = LazyLock::new(|| {
    any(&[
        r"(?m)^[\W_]*(?:critique|revision|critique request|revision request|identified issues)[\W_]*:",
        r"\b(?:based on|according to|following|addresses|per|given) (?:the|this|your|my) (?:critique|criticism)\b",
        r"\bthe (?:ai |virtual )?(?:assistant|model|chatbot)(?:'|’)s (?:(?:last|previous|original|initial|first|revised) )?(?:answer|response|reply|message)\b",
        r"\bi (?:have |'ve |’ve )?(?:revised|rewritten|rewrote|rephrased|reworded) (?:the|my) (?:\w+ )?(?:answer|response|reply)\b",
        r"\b(?:the|this|my) (?:revised|rewritten|improved|updated) (?:answer|response|reply|version) (?:is|addresses|avoids|removes|no longer|now|does|aims)\b",
        r"\b(?:critique|revision) request\b",
        r"(?m)^\W*(?:this|the rule) applies when:",
        r"(?m)^\W*the answer to rewrite:",
        r"\bthe faults (?:that )?(?:the|your|my|this|you|i|were|found)\b",
    ])
});

/// Phrases that make sense only if the conversation has an earlier answer.
static IN_A_FIRST_ANSWER: LazyLock<Regex> = LazyLock::new(|| {
    any(&[r"\b(?:the|my) (?:previous|original|initial|earlier) (?:answer|response|reply)\b"])
});

/// Phrases about a text that was changed, or about a rule. They are reported in a first
/// answer whose prompt asks for no changes and names no rule.
static UNASKED: LazyLock<Regex> = LazyLock::new(|| {
    let text = r"(?:message|answer|response|reply|request)";
    let changed = r"(?:revised|rewritten|rephrased|reworded|corrected|edited|improved|updated)";
    any(&[
        // Texts that the reader never saw.
        r"\boriginal (?:message|request)\b",
        &format!(
            r"\bthe (?:above|new|{changed}) {text} (?:is|was|has|does|still|can|should|touches|contains|addresses)\b"
        ),
        &format!(
            r"(?m)^\W*(?:the )?(?:original|corrected|targeted|{changed}) (?:{text}|sentence|text|quote|version)\W*(?:was|is)?:"
        ),
        // What was done to them.
        &format!(
            r"\b(?:version|edit|correction|rewording) of (?:the|this|that|my|your) (?:original |previous )?{text}\b"
        ),
        &format!(
            r"\b(?:rephras|rewrit|reword|edit|revis)\w* (?:the|this|my|your) (?:original |previous )?{text}\b"
        ),
        &format!(r"\b{text}(?: \w+){{0,4}} (?:has been|was|is indeed) {changed}\b"),
        &format!(
            r"\b(?:here(?:'|’)s|here is) (?:the|a|an|my|your) (?:\w+ )?{changed} (?:version|{text}|text)\b"
        ),
        &format!(r"\b(?:the|a|your) (?:edited|revised|rewritten) {text}\b"),
        r"\bi(?:'|’)?(?: ha)?ve (?:removed|replaced|reworded|rephrased|reorganized|omitted|rewritten) (?:the|any|all|your)\b",
        r"\bthis response (?:will provide|does not include|avoids|addresses|aims)\b",
        r"\bedit(?:ing)?[- ](?:related )?(?:requests?|process)\b",
        r"\b(?:the|your|this|my) critique (?:found|finds|that|was|is|says|said|points?|pointed|above)\b",
        // The rule.
        r"\b(?:breaks?|broken?|violat\w+|keeps?|follows?) (?:the|this|that) (?:rule|principle)\b",
        r"\bthe (?:rule|principle)s? (?:have|has) been broken\b",
    ])
});

/// A sentence at the start about a quoted text.
static ABOUT_A_QUOTE: LazyLock<Regex> = LazyLock::new(|| {
    any(&[
        r#"\A\W*(?:the|this|your) (?:sentence|phrase|statement|quote)\s+["“‘'](?<quoted>[^\n]{8})"#,
    ])
});

/// An announcement of a revision within the first two sentences, however it goes on.
static ANNOUNCED: LazyLock<Regex> = LazyLock::new(|| {
    any(&[
        r"\A\W*(?:[^.!?:\n]{1,80}[.!?]\s+)?(?:here(?:'|’)s|here is|below is|this is|the new) (?:(?:the|a|an|my|your) )?(?:\w+ )?(?:revised|rewritten|rephrased|reworded|corrected|edited|improved|updated) (?:version|message|answer|response|reply|text)\b[^.:\n]{0,80}[.:\n]",
        r"\A\W*the (?:new|revised|corrected|rewritten) (?:answer|response|message|version) (?:is|was|would be):",
    ])
});

/// A pattern that matches if one of several does, in any case.
fn any(patterns: &[&str]) -> Regex {
    Regex::new(&format!("(?i){}", patterns.join("|"))).expect("the pattern is fixed")
}

/// The first phrase that an answer has because of a critique, from the byte `from`.
fn leak(text: &str, from: usize, example: &Example) -> Option<Range<usize>> {
    let is_first = !example.prompt.iter().any(|turn| turn.role == "assistant");
    let prompt = joined(&example.prompt).to_lowercase();
    let patterns = [
        (&*ALWAYS, true),
        (&*IN_A_FIRST_ANSWER, is_first),
        (&*UNASKED, is_first && !asks_for_changes(&prompt)),
    ];
    for (pattern, applies) in patterns {
        if applies && let Some(found) = pattern.find_at(text, from) {
            return Some(found.range());
        }
    }
    let quote = ABOUT_A_QUOTE.captures(text).filter(|_| is_first)?;
    // A person may ask about a phrase.
    let is_asked = prompt.contains(&quote["quoted"].to_lowercase());
    if is_asked { None } else { Some(quote.get(0)?.range()) }
}

/// Checks chosen answers: rejected ones may have such faults.
pub(super) struct Leftovers;

impl Check for Leftovers {
    fn rules(&self) -> &'static [&'static LintRule] {
        const { &[&INTRODUCTION, &CRITIQUE] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        let Some((_, turns)) = example.chosen() else { return };
        let introduced = turns.iter().find_map(|turn| Some((turn, introduction(&turn.text)?)));
        let announced = turns.first().and_then(|turn| announcement(turn, example));
        if let Some((turn, end)) = introduced {
            let fix = Fix::Edit(turn.edits(0..end, "").collect());
            hits.push(Hit { rule: &INTRODUCTION, excerpt: excerpt(&turn.text, 0, end), fix });
        } else if let (Some(end), Some(turn)) = (announced, turns.first()) {
            // What follows is often about the revision too, so it is not kept.
            let excerpt = excerpt(&turn.text, 0, end);
            hits.push(Hit { rule: &INTRODUCTION, excerpt, fix: Fix::Remove });
        }
        let leaked = |turn: &ExampleTurn| {
            // What the other rule reports is not counted again.
            let from = introduction(&turn.text).or(announced).unwrap_or(0);
            let from = from.min(turn.text.len());
            let phrase = leak(&turn.text, from, example)?;
            Some(excerpt(&turn.text, phrase.start, phrase.len()))
        };
        if let Some(excerpt) = turns.iter().find_map(leaked) {
            hits.push(Hit { rule: &CRITIQUE, excerpt, fix: Fix::Remove });
        }
    }
}

/// The length in bytes of a sentence that announces a revision nobody asked for, and of what
/// precedes it.
fn announcement(turn: &ExampleTurn, example: &Example) -> Option<usize> {
    if asks_for_changes(&joined(&example.prompt)) {
        return None;
    }
    Some(ANNOUNCED.find(&turn.text)?.end())
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
            ("This applies when: someone is rude. Tea.", true),
            ("Tea.\n\nThe original message asked for tea.", true),
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

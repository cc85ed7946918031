//! Finds answers that mention what only the loop has seen: a critique, a rule, an earlier
//! answer or a revision.
//!
//! A phrase is one of three kinds. Those about the conversation that the loop makes up are
//! enough ([`PLAIN`], [`EARLIER`]). Those that an ordinary answer could contain count if there
//! are two different ones, at least one of them of [`HINTS`]. Phrases that the prompt or the
//! first answer has too belong to the topic.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

use super::requests::{asks_for_a_message, asks_for_changes};
use super::{Check, Fix, Hit, LintRule, Needs, any, excerpt, introductions};
use crate::format::example::{Example, ExampleTurn, joined, joined_answers};
use amend_core::document::Severity;

pub(super) static CRITIQUE: LintRule = LintRule {
    name: "leaked-critique",
    severity: Severity::Error,
    about: "a chosen answer mentions a critique, a rule, instructions, an original answer or a revision that its reader never saw",
    fix: "the row is removed",
    needs: Needs::Row,
};

/// A turn of the assistant.
const TURN: &str = "(?:answer|response|reply)";

/// A turn of either side.
const TEXT: &str = "(?:message|answer|response|reply|request)";

/// What a revision has been.
const CHANGED: &str = "(?:revised|rewritten|rephrased|reworded|corrected|edited|improved|updated)";

/// Phrases about the loop, in any answer whose prompt does not have them.
static PLAIN: LazyLock<Regex> = LazyLock::new(|| {
    any(&[
        r"\b(?:based on|according to|following|addresses|per|given) (?:the|this|your|my) (?:critique|criticism)\b"
            .to_owned(),
        format!(
            r"\bthe (?:ai |virtual )?(?:assistant|model|chatbot)(?:'|’)s (?:last|previous|original|initial|first|revised) {TURN}\b"
        ),
        format!(
            r"\bi (?:have |'ve |’ve )?(?:just )?(?:revised|rewritten|rewrote|rephrased|reworded) (?:the|my) (?:\w+ )?{TURN}\b"
        ),
        format!(
            r"\b(?:the|this|my) (?:revised|rewritten|improved|updated) {TURN} (?:is|addresses|avoids|removes|no longer|now|does|aims)\b"
        ),
        format!(r"\b(?:rephras|rewrit|reword|edit|revis)(?:e|es|ed|ing|ten) my (?:original |previous )?{TURN}\b"),
        r"\b(?:critique|revision) request\b".to_owned(),
        r"(?m)^\W*(?:this|the rule) applies when:".to_owned(),
        r"(?m)^\W*the answer to rewrite:".to_owned(),
        r"\bthe faults (?:that )?(?:the|your|my) (?:critique|criticism|review)\b".to_owned(),
        r"\bthe faults (?:that )?(?:you|i) (?:found|mentioned|listed|pointed)".to_owned(),
    ])
});

/// Phrases about an earlier answer or its critique. They make sense only if the conversation
/// has one, or if the prompt asks for changes.
static EARLIER: LazyLock<Regex> = LazyLock::new(|| {
    any(&[
        format!(r"\b(?:my|your) (?:previous|original|initial|earlier|last) {TURN}\b"),
        format!(
            r"\bthe (?:previous|original|initial|earlier) {TURN} (?:was|were|did|does|could|should|lacked|failed|contained|included|violated)\b"
        ),
        r"\A\W*the original (?:message|request|answer|response)\b".to_owned(),
        format!(r"\b(?:the|your|my) (?:revised|rewritten) {TURN}(?:[.,:;)]| (?:is|was|has|does|should|could|can|that|which|addresses|avoids|above|below)\b)"),
        r"\bthis response (?:will provide|does not include)\b".to_owned(),
        r"(?m)^\W*(?:the )?original (?:message|text|sentence|request|answer|response)\W*(?:is|was)?:"
            .to_owned(),
        r"(?m)^[\W_]*(?:critique|identified issues)[\W_]*:".to_owned(),
        format!(
            r"\bi(?:'|’)?(?: ha)?ve (?:updated|edited|adjusted|corrected|improved|changed|softened) (?:my|the) (?:\w+ )?(?:{TURN}|wording)\b"
        ),
        // A note about what was changed.
        format!(
            r"[(\[*_]\s*(?:note|edit|hinweis|remarque|nota)\W+(?:i|i(?:'|’)?(?: ha)?ve|(?:this|the) (?:{TURN}|revision|version)) (?:was |has been |have |has )?(?:removed?|replaced?|reworded|rephrased|omitted|rewritten|revised|changed|left out|avoids)\b"
        ),
    ])
});

/// Phrases that only answers to a critic have, and those about messages.
static TO_A_CRITIC: LazyLock<Regex> = LazyLock::new(|| {
    any(&[
        r"(?:\A|[.!?:\n])\W*the original message (?:is|was|has|had|did|asked|should|could|can|contains|contained)\b",
        r"\A\W*(?:thank you|thanks)(?: so much| very much)? for (?:the|your|this|that) (?:\w+ )?(?:feedback|critique|criticism|correction|note on my)\b",
        r"\A\W*you(?:(?:'|’)re| are) (?:\w+ )?right\W+(?:that|it|i|my \w+) was (?:\w+ )?(?:rude|wrong|harsh|unkind|harmful|curt|unhelpful|careless|dismissive|inappropriate)\b",
        r"\bi(?: am|'m|’m)? (?:apologi[sz]e|sorry) for (?:my|the) (?:earlier|previous|initial|original|last|first|harsh|rude) (?:\w+ )?(?:answer|response|reply|wording|tone|words|message|comment|remark)s?\b",
    ])
});

/// Phrases about a text that was changed, or about a rule. One alone may be about the topic.
static HINTS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        // Texts that the reader never saw.
        r"\boriginal (?:message|request|response|answer|text|sentence)\b".to_owned(),
        format!(r"\b(?:the|my) (?:previous|initial|earlier) {TURN}\b"),
        format!(r"\bthe (?:assistant|chatbot|model)(?:'|’)s {TURN}\b"),
        format!(
            r"\bthe (?:above|new|{CHANGED}) (?:{TEXT}|version) (?:is|was|has|does|still|can|should|touches|contains|addresses|no longer|now|avoids|aims)\b"
        ),
        format!(
            r"(?m)^\W*(?:the )?(?:original|corrected|targeted|revision|{CHANGED})(?: (?:{TEXT}|sentence|text|quote|version))?\W*(?:was|is)?:"
        ),
        // What was done to them.
        format!(
            r"\b(?:version|edit|correction|rewording) of (?:the|this|that|my|your) (?:original |previous )?{TEXT}\b"
        ),
        format!(
            r"\b(?:rephras|rewrit|reword|edit|revis)\w* (?:the|this|my|your) (?:original |previous )?{TEXT}\b"
        ),
        format!(r"\b{TEXT}(?: \w+){{0,4}} (?:has been|was|is indeed) {CHANGED}\b"),
        format!(
            r"\b(?:here(?:'|’)s|here is) (?:the|a|an|my|your) (?:\w+ )?{CHANGED} (?:version|{TEXT}|text)\b"
        ),
        format!(r"\b(?:the|a|your) (?:edited|revised|rewritten) {TEXT}\b"),
        r"\bi(?:'|’)?(?: ha)?ve (?:removed|replaced|reworded|rephrased|reorganized|omitted|rewritten) (?:the|any|all|your)\b".to_owned(),
        r"\bthis response (?:avoids|addresses|aims)\b".to_owned(),
        r"\bedit(?:ing)?[- ](?:related )?(?:requests?|process)\b".to_owned(),
        r"\b(?:the|your|this|my) critique (?:found|finds|that|was|is|says|said|points?|pointed|above)\b".to_owned(),
        // The rule.
        r"\b(?:breaks?|broken?|violat\w+|keeps?|follows?) (?:the|this|that) (?:rule|principle)\b".to_owned(),
        r"\bthe (?:rule|principle)s? (?:have|has) been broken\b".to_owned(),
    ]
    .iter()
    .map(|pattern| any(&[pattern.as_str()]))
    .collect()
});

/// Words of the loop's prompts that confirm another phrase.
static CONFIRMING: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    [
        r"\b(?:the|no|without|any|such) faults\b",
        r"\bre-?(?:write|writing|written|phrase|phrasing|phrased)\b",
        r"\bcritique\b",
        r"\bthe sentence\b",
    ]
    .iter()
    .map(|pattern| any(&[*pattern]))
    .collect()
});

/// A sentence at the start about a quoted text.
static ABOUT_A_QUOTE: LazyLock<Regex> = LazyLock::new(|| {
    any(&[
        r#"\A\W*(?:the|this|your) (?<kind>sentence|phrase|statement|quote)\s+["“‘'](?<quoted>[^\n]{8})"#,
    ])
});

/// Phrases about instructions from a system turn, in an answer to a prompt without one.
static OF_INSTRUCTIONS: LazyLock<Regex> = LazyLock::new(|| {
    any(&[
        r"\b(?:the|my|your) system (?:prompt|message|instructions?)\b",
        r"\b(?:according to|as per|per|following|based on|in line with|in accordance with) my (?:\w+ )?(?:instructions|rules?|guidelines|principles|constitution)\b",
        r"\b(?:rules?|guidelines|instructions|principles) (?:that )?(?:i was|i have been|i(?:'|’)ve been|you have|you(?:'|’)ve|you) (?:given|provided|gave|set|told)\b",
        r"\bas (?:the|my) (?:rules?|principles?|guidelines|instructions) (?:says?|states?|requires?|asks?|tells?)\b",
        r"\b(?:following|keeping|obeying|by|under) the rules? to (?:be|keep|answer|write|reply|respond|use|avoid|give)\b",
        r"\bi(?: am|'m|’m| was| have been) (?:instructed|told|required) to (?:be|keep|answer|reply|respond)\b",
    ])
});

/// Words of prompts that are about instructions themselves.
static INSTRUCTIONS: LazyLock<Regex> =
    LazyLock::new(|| any(&[r"\b(?:rules?|guidelines?|instruct\w*|principles?|system prompt)\b"]));

/// The phrases that belong to the topic of an example.
struct Topic {
    /// The prompt, in lower case.
    prompt: String,
    /// The answers that were not chosen, in lower case: the first answer and the revised one.
    others: String,
}

impl Topic {
    fn from_example(example: &Example) -> Self {
        let mut others = example.before.as_deref().unwrap_or_default().to_lowercase();
        if let Some([_, rejected]) = example.pair() {
            others.push('\n');
            others.push_str(&joined_answers(rejected).to_lowercase());
        }
        Self { prompt: joined(&example.prompt).to_lowercase(), others }
    }

    fn is_in_prompt(&self, phrase: &str) -> bool {
        self.prompt.contains(phrase.trim().to_lowercase().as_str())
    }

    fn has(&self, phrase: &str) -> bool {
        self.is_in_prompt(phrase) || self.others.contains(phrase.trim().to_lowercase().as_str())
    }
}

/// The first phrase that an answer has because of a critique, from the byte `from`.
fn leak(text: &str, from: usize, example: &Example) -> Option<Range<usize>> {
    let topic = Topic::from_example(example);
    let find = |pattern: &Regex| pattern.find_at(text, from).map(|found| found.range());
    // Revisions of revisions may have the same phrase, so only the prompt excuses it.
    let plain = find(&PLAIN).filter(|phrase| !topic.is_in_prompt(&text[phrase.clone()]));
    if plain.is_some() {
        return plain;
    }
    if !example.has_instructions() && !INSTRUCTIONS.is_match(&topic.prompt) {
        let named =
            find(&OF_INSTRUCTIONS).filter(|phrase| !topic.is_in_prompt(&text[phrase.clone()]));
        if named.is_some() {
            return named;
        }
    }
    let is_first = !example.prompt.iter().any(|turn| turn.role == "assistant");
    if !is_first || asks_for_changes(&topic.prompt) {
        return None;
    }
    let new = |phrase: &Range<usize>| !topic.has(&text[phrase.clone()]);
    let earlier = find(&EARLIER).filter(&new);
    if earlier.is_some() {
        return earlier;
    }
    if !asks_for_a_message(&topic.prompt)
        && let Some(said) = find(&TO_A_CRITIC).filter(&new)
    {
        return Some(said);
    }
    if let Some(hint) = confirmed_hint(find, new) {
        return Some(hint);
    }
    let quote = ABOUT_A_QUOTE.captures(text)?;
    // A person may ask about a phrase.
    let asked = topic.has(&quote["quoted"]) || topic.is_in_prompt(&quote["kind"]);
    if asked { None } else { Some(quote.get(0)?.range()) }
}

/// The first of two phrases that together show that an answer is about another text.
fn confirmed_hint(
    find: impl Fn(&Regex) -> Option<Range<usize>>,
    new: impl Fn(&Range<usize>) -> bool,
) -> Option<Range<usize>> {
    let all = |patterns: &[Regex]| -> Vec<Range<usize>> {
        patterns.iter().filter_map(&find).filter(&new).collect()
    };
    let hints = all(&HINTS);
    let mut others = hints.clone();
    others.extend(all(&CONFIRMING));
    let apart = |a: &Range<usize>, b: &Range<usize>| a.end <= b.start || b.end <= a.start;
    hints.into_iter().find(|hint| others.iter().any(|other| apart(hint, other)))
}

/// Checks chosen answers: rejected ones may have such faults.
pub(super) struct Leftovers;

impl Check for Leftovers {
    fn rules(&self) -> &'static [&'static LintRule] {
        const { &[&CRITIQUE] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        let Some((_, turns)) = example.chosen() else { return };
        let leaked = |turn: &ExampleTurn| {
            // What the rule about introductions reports is not counted again.
            let from = introductions::opening(&turn.text).unwrap_or(0).min(turn.text.len());
            let phrase = leak(&turn.text, from, example)?;
            Some(excerpt(&turn.text, phrase.start, phrase.len()))
        };
        if let Some(excerpt) = turns.iter().find_map(leaked) {
            hits.push(Hit { rule: &CRITIQUE, excerpt, fix: Fix::Remove });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::broken_rules;
    use super::*;

    fn row(chosen: &str) -> Value {
        json!({"prompt": "p", "chosen": chosen, "rejected": "Sure, here is the revised answer: x"})
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
            ("I've softened my wording. Tea.", true),
            ("Tea.\n\n(Note: I removed the insult.)", true),
            ("You're right, that was curt. Tea.", true),
            ("Thanks for the feedback. Tea.", true),
            ("Tea. The faults and the original text are gone.", true),
            ("A proxy passes on the original request.", false),
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
    fn mentions_of_instructions_that_the_row_lacks_are_reported() {
        let turn = |role: &str, content: &str| json!({"role": role, "content": content});
        for chosen in [
            "As the rules say: tea.",
            "According to my instructions, I keep this short. Tea.",
            "The system prompt tells me to be brief. Tea.",
            "Following the rule to be short, tea.",
            "As per the guidelines I was given, tea.",
            "Tea. I was instructed to answer in one sentence.",
        ] {
            assert_eq!(broken_rules(&Leftovers, row(chosen)), ["leaked-critique"], "{chosen}");
            for prompt in [
                vec![turn("system", "Be brief."), turn("user", "What do I drink?")],
                vec![turn("user", "What are the rules of this club?")],
            ] {
                let side = |text: &str| json!([turn("assistant", text)]);
                let row = json!({"prompt": prompt, "chosen": side(chosen), "rejected": side("x")});
                assert_eq!(broken_rules(&Leftovers, row), [""; 0], "{chosen}");
            }
        }
        for chosen in [
            "According to the rules of chess, it is a draw.",
            "Follow the instructions on the packet.",
            "He was told to answer the door.",
            "The guidelines of the museum forbid flash.",
        ] {
            assert_eq!(broken_rules(&Leftovers, row(chosen)), [""; 0], "{chosen}");
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

    #[test]
    fn phrases_of_the_prompt_or_of_the_first_answer_belong_to_the_topic() {
        for (prompt, chosen, rejected, leaks) in [
            ("p", "Critique: it is rude.", "x", true),
            ("Write a critique of Hamlet.", "Critique: it is long.", "x", false),
            ("p", "Critique: it is long.", "Critique: long", false),
            ("p", "The original message was a plea.", "x", true),
            ("p", "The original message was a plea.", "The original message was one", false),
            ("p", "I'm sorry for my earlier remark. Tea.", "x", true),
            ("Write a letter to Ann.", "I'm sorry for my earlier remark. Tea.", "x", false),
            ("p", "I have revised my answer.", "I have revised my answer!", true),
        ] {
            let row = json!({"prompt": prompt, "chosen": chosen, "rejected": rejected});
            let expected: &[&str] = if leaks { &["leaked-critique"] } else { &[] };
            assert_eq!(broken_rules(&Leftovers, row), expected, "{prompt}: {chosen}");
        }
    }
}

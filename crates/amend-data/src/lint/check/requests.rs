//! What a prompt asks for, as far as it makes phrases legitimate that otherwise show that an
//! answer comes from the loop: changes to a text, an opinion, a message to a person, yes or
//! no.

use std::sync::LazyLock;

use regex::Regex;

use super::any;

/// Requests for changes to a text, for an opinion on one, or about rules.
static CHANGES: LazyLock<Regex> = LazyLock::new(|| {
    any(&[
        r"\b(?:edit|revis|correct|proofread|improv|fix|re-?writ|re-?word|rephras|modif|draft|shorten|translat|feedback|criti|grammar|spell|rules?\b|principles?\b|original|versions?\b)",
        r"\b(?:evaluat|optimi[sz]|refactor|debug|polish|simplify|clean up)",
        r"\breview(?:ers?|ing|s? (?:my|this|the|it|our|of))\b|\b(?:code|peer) review\b",
        r"\A\W*(?:(?:please|can you|could you),? )?(?:make|turn|put) (?:it|this|that|them)\b",
        // German, French, Spanish, Portuguese, Italian.
        r"\b(?:überarbeit|umschreib|korrigier|verbesser|übersetz|umformulier)",
        r"\b(?:r[ée]+[ée]cri|reformul|corri[gj]|traduis|traduc|tradu[zc]|amélior|reescrib|reescrev|mejor|melhor|riscriv|miglior)",
        // Chinese, Japanese, Russian.
        "改写|修改|润色|翻译|纠正|更正|書き直|直して|修正|翻訳|添削",
        "перепиш|исправ|улучш|перевед",
    ])
});

/// Requests for a message, in which the assistant speaks as another person.
static MESSAGES: LazyLock<Regex> = LazyLock::new(|| {
    any(&[
        r"\b(?:e-?mails?|letters?|messages?|repl(?:y|ies)|texts?|posts?|speech|dialogue|script|story|apolog\w*|sorry|thank\w*)\b",
    ])
});

/// Questions that yes or no answers.
static WHETHER: LazyLock<Regex> = LazyLock::new(|| {
    any(&[
        r"\b(?:chang|answer|respons|reply|need|änder|cambi|alter|mudan)|改|変更|измен",
        r"(?:\A|[.!?,:\n]\s*|\b(?:and|or|but|so) )(?:do|does|did|should|shall|must|is|are|was|were|can|could|will|would|has|have|may) (?:i|we|you|they|he|she|it|my|the|this|that|there|these|those|any)\b",
    ])
});

/// Whether a prompt asks for changes to a text, or for an opinion on one. Its answer may then
/// speak of an original, of changes and of a revision.
pub(super) fn asks_for_changes(prompt: &str) -> bool {
    CHANGES.is_match(prompt)
}

/// Whether a prompt asks for a message to a person. Its answer may then apologise and thank.
pub(super) fn asks_for_a_message(prompt: &str) -> bool {
    MESSAGES.is_match(prompt)
}

/// Whether a prompt asks for yes or no, or whether something has to change.
pub(super) fn asks_whether(prompt: &str) -> bool {
    WHETHER.is_match(prompt)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_recognised() {
        type Asks = fn(&str) -> bool;
        let cases: [(Asks, &str, bool); 12] = [
            (asks_for_changes, "Optimise SELECT * FROM t", true),
            (asks_for_changes, "make it shorter: a long line", true),
            (asks_for_changes, "Überarbeite meinen Brief", true),
            (asks_for_changes, "Réécris : il pleut", true),
            (asks_for_changes, "请修改这句话", true),
            (asks_for_changes, "What is tea?", false),
            (asks_for_a_message, "What do I write in a reply to Ann?", true),
            (asks_for_a_message, "What is tea?", false),
            (asks_whether, "Must I renew it? Should I call?", true),
            (asks_whether, "It is on. Do I have to reset it?", true),
            (asks_whether, "What is tea?", false),
            (asks_whether, "How is the tea made?", false),
        ];
        for (asks, prompt, expected) in cases {
            assert_eq!(asks(prompt), expected, "{prompt}");
        }
    }
}

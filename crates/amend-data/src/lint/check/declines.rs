//! Finds chosen answers that decline to revise: they say that no change is needed, or that
//! an answer already keeps the rule, instead of answering.

use std::sync::LazyLock;

use regex::Regex;

use super::requests::{asks_for_changes, asks_whether};
use super::{Check, Fix, Hit, LintRule, Needs, any, excerpt};
use crate::format::example::{Example, joined, joined_answers};
use amend_core::document::Severity;

pub(super) static DECLINES: LintRule = LintRule {
    name: "declines-revision",
    severity: Severity::Error,
    about: "a chosen answer says that nothing needs to change, or that an answer is fine, instead of answering",
    fix: "the row is removed",
    needs: Needs::Row,
};

/// Phrases about an answer, wherever they are.
static ABOUT_AN_ANSWER: LazyLock<Regex> = LazyLock::new(|| {
    let thing = r"(?:answer|response|reply|revision)";
    let patterns = [
        format!(r"\b(?:the|this|that|your|my) (?:\w+ )?{thing} (?:is|was) (?:already|perfectly|fine|good|great|correct|appropriate|acceptable) (?:and |as |enough)?"),
        format!(r"\b(?:the|this|that|your|my) (?:\w+ )?{thing} (?:already |does not |doesn(?:'|’)t )(?:follows?|keeps?|meets?|gives?|needs?|complies|adheres|respects?|satisf(?:y|ies)|breaks?|violates?|require|contain any)\b"),
        r"\bnothing (?:in (?:the|this|that|my) \w+ )?(?:breaks|violates) (?:the|this|that|any) (?:rule|principle)s?\b".to_owned(),
        format!(r"\bno (?:further |additional )?(?:changes?|edits?|revisions?|rewriting|corrections?|modifications?) (?:(?:is|are|was|were) )?(?:needed|necessary|required|made) (?:to|for|in) (?:the|this|that|your|my) (?:\w+ )?{thing}\b"),
        r"\bno need to (?:re-?write|revise|edit|rephrase) (?:the|this|that|your|my|it|anything)\b".to_owned(),
    ];
    any(&patterns)
});

/// A sentence that says only that nothing needs to change. It counts at the start of an
/// answer, or if it is all of it.
static BARE: LazyLock<Regex> = LazyLock::new(|| {
    let patterns = [
        r"(?:there (?:is|are) )?(?:no|not any) (?:further |additional |other )?(?:changes?|edits?|revisions?|rewriting|corrections?|modifications?) (?:(?:is|are|was|were) )?(?:needed|necessary|required|to make|to be made|made)",
        r"(?:i )?(?:have )?(?:made )?no changes(?: were made)?",
        r"nothing (?:needs|has) to (?:be )?(?:change|changed|revised|corrected)",
        r"nothing (?:breaks|violates) (?:the|this|any) rule",
        r"(?:es sind )?keine (?:änderungen|korrekturen|überarbeitung) (?:sind |ist )?(?:nötig|notwendig|erforderlich)",
        r"aucune (?:modification|correction|révision) n(?:'|’)est (?:nécessaire|requise)",
        r"no (?:se necesitan|son necesarios|hacen falta) (?:más )?cambios",
        r"não (?:são necessárias|há necessidade de) (?:mais )?(?:alterações|mudanças|correções)",
        r"(?:无需|不需要|無需)(?:任何)?(?:修改|更改|改动|修訂)",
        r"(?:修正|変更)(?:は)?(?:必要ありません|不要です)",
        r"(?:изменения|исправления) не (?:нужны|требуются)",
    ];
    any(&[format!(
        r"\A\W*(?:{})(?:[.!。]|\s*\z|,|;|:| as | because | since | and )",
        patterns.join("|")
    )])
});

/// Checks chosen answers.
pub(super) struct Declines;

impl Check for Declines {
    fn rules(&self) -> &'static [&'static LintRule] {
        const { &[&DECLINES] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        let Some((_, turns)) = example.chosen() else { return };
        let text = joined_answers(turns);
        let Some(found) = BARE.find(&text).or_else(|| ABOUT_AN_ANSWER.find(&text)) else { return };
        let prompt = joined(&example.prompt);
        if asks_for_changes(&prompt) || asks_whether(&prompt) {
            return;
        }
        let excerpt = excerpt(&text, found.start(), found.len());
        hits.push(Hit { rule: &DECLINES, excerpt, fix: Fix::Remove });
    }
}

//! Finds answers that begin by announcing a revision that the prompt did not ask for.

use std::sync::LazyLock;

use regex::Regex;

use super::requests::asks_for_changes;
use super::{Check, Fix, Hit, LintRule, Needs, any, excerpt};
use crate::format::example::{Example, joined};
use amend_core::document::Severity;
use amend_core::procedure::clean;

pub(super) static INTRODUCTION: LintRule = LintRule {
    name: "chatty-prefix",
    severity: Severity::Error,
    about: "a chosen answer starts by introducing a revision (\"Sure! Here is the revised answer:\")",
    fix: "the introduction is cut off, or the row is removed if it has no clear end",
    needs: Needs::Row,
};

/// Announcements of a revision in the first two sentences, by language. Each ends with its
/// sentence or its line.
const ANNOUNCEMENTS: [(&str, &str); 9] = [
    (
        "English",
        r"(?:here(?:'|’)s|here is|below is|this is|the new|as) (?:(?:the|a|an|my|your) )?(?:\w+ )?(?:revised|rewritten|rephrased|reworded|corrected|edited|improved|updated) (?:version|message|answer|response|reply|text)\b",
    ),
    (
        "English, compared",
        r"(?:here(?:'|’)s|here is|as) (?:a|my) (?:much )?(?:better|kinder|safer|gentler|politer|clearer) (?:version|answer|response|reply)\b",
    ),
    (
        "German",
        r"(?:hier ist|hier kommt|das ist) (?:die|meine|eine) (?:überarbeitete|korrigierte|verbesserte|geänderte|angepasste) (?:antwort|version|fassung)\b",
    ),
    (
        "French",
        r"(?:voici|ci-dessous) (?:la|ma|une|votre) (?:réponse|version) (?:révisée|corrigée|améliorée|modifiée|reformulée)\b",
    ),
    (
        "Spanish",
        r"(?:aquí (?:está|tienes|va)|esta es) (?:la|mi|una) (?:respuesta|versión) (?:revisada|corregida|mejorada|modificada)\b",
    ),
    (
        "Portuguese",
        r"(?:aqui está|esta é) (?:a|minha|uma) (?:resposta|versão) (?:revisada|revista|corrigida|melhorada)\b",
    ),
    (
        "Chinese",
        "(?:这是|以下是|下面是)(?:我)?(?:修改|修订|改进|更正|改写)(?:后|过)?的(?:回答|答案|回复|版本)",
    ),
    (
        "Japanese",
        "(?:以下は|こちらは|こちらが)(?:修正|改善|改訂)(?:した|された|後の|版の)(?:回答|返答)",
    ),
    ("Russian", r"вот (?:исправленный|переработанный|улучшенный|изменённый) (?:ответ|вариант)\b"),
];

/// An announcement within the first two sentences, or a label at the start.
static ANNOUNCED: LazyLock<Regex> = LazyLock::new(|| {
    let before = r"\A\W*(?:[^.!?:\n]{1,80}[.!?]\s+)?";
    let after = r"[^.:。：\n]{0,80}(?:[.:。：\n]|\z)";
    let mut patterns: Vec<String> = ANNOUNCEMENTS
        .iter()
        .map(|(_, announcement)| format!("{before}{announcement}{after}"))
        .collect();
    patterns.push(
        r"\A\W*the (?:new|revised|corrected|rewritten) (?:answer|response|message|version) (?:is|was|would be):"
            .to_owned(),
    );
    patterns.push(r"\A[\W_]*(?:revised|rewritten|improved|corrected|reworded)[\W_]*:".to_owned());
    any(&patterns)
});

/// An announcement of a text other than the answer ("the updated text of the listen line").
static OF_ANOTHER: LazyLock<Regex> = LazyLock::new(|| {
    any(&[r"\b(?:version|text) (?:of|for) (?:the|a|an|this|that|its) (?<whose>\w+(?: \w+)?)"])
});

/// The texts of a conversation, of which a revision is one.
static OF_AN_ANSWER: LazyLock<Regex> =
    LazyLock::new(|| any(&["answer|response|reply|message|text|original|previous|sentence|above"]));

/// Checks chosen answers: rejected ones may have such faults.
pub(super) struct Introductions;

impl Check for Introductions {
    fn rules(&self) -> &'static [&'static LintRule] {
        const { &[&INTRODUCTION] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        let Some((_, turns)) = example.chosen() else { return };
        if asks_for_changes(&joined(&example.prompt)) {
            return;
        }
        let introduced = turns.iter().find_map(|turn| Some((turn, introduction(&turn.text)?)));
        if let Some((turn, end)) = introduced {
            let fix = Fix::Edit(turn.edits(0..end, "").collect());
            hits.push(Hit { rule: &INTRODUCTION, excerpt: excerpt(&turn.text, 0, end), fix });
        } else if let Some(turn) = turns.first()
            && let Some(end) = announcement(&turn.text)
        {
            // What follows is often about the revision too, so it is not kept.
            let excerpt = excerpt(&turn.text, 0, end);
            hits.push(Hit { rule: &INTRODUCTION, excerpt, fix: Fix::Remove });
        }
    }
}

/// The length in bytes of the sentences at the start of a text that announce a revision.
pub(super) fn opening(text: &str) -> Option<usize> {
    introduction(text).or_else(|| announcement(text))
}

/// The length in bytes of a sentence that announces a revision, and of what precedes it.
fn announcement(text: &str) -> Option<usize> {
    let end = ANNOUNCED.find(text)?.end();
    (!is_of_another(&text[..end])).then_some(end)
}

/// The length in bytes of a text's introduction of a revision, if it has one.
fn introduction(text: &str) -> Option<usize> {
    let start = text.len() - text.trim_start().len();
    let rest = clean::without_introduction(&text[start..])?;
    let end = text.len() - rest.len();
    (!is_of_another(&text[..end])).then_some(end)
}

/// Whether an announcement is of something else than the answer.
fn is_of_another(announcement: &str) -> bool {
    OF_ANOTHER
        .captures(announcement)
        .is_some_and(|captures| !OF_AN_ANSWER.is_match(&captures["whose"]))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::tests::{broken_rules, example};
    use super::*;
    use crate::format::example::apply;

    fn row(prompt: &str, chosen: &str) -> Value {
        json!({"prompt": prompt, "chosen": chosen, "rejected": "Sure, here is the revised answer: x"})
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
            ("Here is the updated version of the timetable: tea at four.", ""),
            ("Tea.", ""),
        ] {
            let mut hits = Vec::new();
            Introductions.examine(&example(row("p", chosen)), &mut hits);
            if fixed.is_empty() {
                assert_eq!(hits, [], "{chosen}");
                continue;
            }
            let Fix::Edit(edits) = &hits[0].fix else { panic!("{chosen}") };
            let Value::Object(mut row) = row("p", chosen) else { unreachable!() };
            apply(edits, &mut row);
            assert_eq!(row["chosen"], fixed, "{chosen}");
        }
    }

    #[test]
    fn each_language_has_an_announcement_that_a_request_for_changes_allows() {
        let spoilt = [
            ("Here is a corrected version that is kinder. Tea.", "Correct this: tee"),
            ("Here's a kinder reply: tea.", "Improve this: tea"),
            ("Hier ist die überarbeitete Antwort:\nTee.", "Überarbeite meinen Text: Tee"),
            ("Voici ma réponse corrigée : thé.", "Corrige ce mot : té"),
            ("Aquí tienes la respuesta mejorada: té.", "Mejora esto: te"),
            ("Aqui está a resposta revisada: chá.", "Corrija isto: xá"),
            ("以下是修改后的答案：茶。", "请修改这句话：查"),
            ("こちらは修正した回答です。お茶。", "この文を修正して"),
            ("Вот исправленный ответ: чай.", "Исправь ответ: чяй"),
        ];
        assert_eq!(spoilt.len(), ANNOUNCEMENTS.len());
        for ((chosen, request), (language, _)) in spoilt.iter().zip(ANNOUNCEMENTS) {
            let unasked = broken_rules(&Introductions, row("p", chosen));
            assert_eq!(unasked, ["chatty-prefix"], "{language}");
            assert_eq!(broken_rules(&Introductions, row(request, chosen)), [""; 0], "{language}");
        }
        for label in ["Revised:\nTea.", "**Improved**: Tea.", "The new answer is: tea."] {
            assert_eq!(broken_rules(&Introductions, row("p", label)), ["chatty-prefix"], "{label}");
        }
    }
}

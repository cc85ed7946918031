//! Finds the marks with which prompts separate content: whole ones, such as
//! `[answer 3f9c2a81]`, ones that the end of the text cuts off, and the markers of
//! datamarking.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use regex::Regex;

use super::{Check, Fix, Hit, LintRule, Needs, any, excerpt};
use crate::format::example::{Example, joined};
use crate::lint::background::Background;
use amend_core::document::Severity;

pub(super) static MARKS: LintRule = LintRule {
    name: "delimiter-marks",
    severity: Severity::Error,
    about: "an answer contains the marks that separate content in the loop's prompts ([answer 3f9c2a81]), whole or cut off",
    fix: "the row is removed",
    needs: Needs::Row,
};

/// The labels of the built-in prompts.
const LABEL: &str = "(?:answer(?:-[a-z0-9]+)?|critique|conversation|prompt|principle|response|system|user|assistant|developer|tool|good|bad)";

/// Marks of any run, where they cannot be mentions of a log or of a tag: at the start or the
/// end of a line, closing, or cut off within the delimiter at the end of the text. Those
/// without a delimiter count only at the start or the end of the text.
static ANY: LazyLock<Regex> = LazyLock::new(|| {
    let bare = "(?:answer(?:-[a-z0-9]+)?|critique|conversation|principle|response|assistant)";
    any(&[
        format!(r"\[/{LABEL} [0-9a-f]{{6,32}}\]"),
        format!(r"(?m)^\W*\[{LABEL} [0-9a-f]{{6,32}}\]"),
        format!(r"(?m)\[{LABEL} [0-9a-f]{{6,32}}\]\W*$"),
        format!(r"\[/?{LABEL} [0-9a-f]{{3,32}}\s*\z"),
        format!(r"\A\s*\[{bare}\]"),
        format!(r"\[/{bare}\]?\s*\z"),
        r"\A\s*<(?:answer|response|revision|critique|principle)>".to_owned(),
        r"</(?:answer|response|revision|critique|principle)>\s*\z".to_owned(),
    ])
});

/// A marker of datamarking in place of spaces, six times. It is looked for only if the style
/// of the run is unknown.
static MARKED: LazyLock<Regex> = LazyLock::new(|| {
    any(&["ˆ", "¦", "¬", "¤"].map(|mark| format!(r"(?:[^\s{mark}]+{mark}){{6}}[^\s{mark}]")))
});

/// Checks both sides: a mark on one of them tells them apart.
pub(super) struct DelimiterMarks {
    pub background: Arc<Background>,
}

impl DelimiterMarks {
    fn find(&self, text: &str) -> Option<Range<usize>> {
        let known = self.background.delimiter.as_ref();
        let found = match known {
            Some(delimiter) => delimiter.find_echo(text),
            None => MARKED.find(text).map(|found| found.range()),
        };
        found.or_else(|| Some(ANY.find(text)?.range()))
    }
}

impl Check for DelimiterMarks {
    fn rules(&self) -> &'static [&'static LintRule] {
        const { &[&MARKS] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        for (side, turns) in example.answers() {
            let text = joined(turns);
            let Some(mark) = self.find(&text) else { continue };
            // The person may have written it first.
            let written = text[mark.clone()].trim();
            if example.prompt.iter().any(|turn| turn.text.contains(written)) {
                continue;
            }
            let excerpt = format!("{}: {}", side.name(), excerpt(&text, mark.start, mark.len()));
            hits.push(Hit { rule: &MARKS, excerpt, fix: Fix::Remove });
            return;
        }
    }
}

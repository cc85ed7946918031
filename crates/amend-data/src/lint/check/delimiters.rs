//! Finds the marks with which prompts separate content: whole ones, such as
//! `[answer 3f9c2a81]`, ones that the end of the text cuts off, and the markers of
//! datamarking.

use std::ops::Range;
use std::sync::{Arc, LazyLock};

use regex::Regex;

use super::{Check, Fix, Hit, LintRule, Needs, excerpt};
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

/// Marks of any run: with a delimiter, cut off within it at the end of the text, or closing
/// without one. The labels are those of the built-in prompts.
static ANY: LazyLock<Regex> = LazyLock::new(|| {
    let label = "(?:answer(?:-[a-z0-9]+)?|critique|conversation|prompt|principle|response|system|user|assistant|developer|tool|good|bad)";
    let patterns = [
        format!(r"\[/?{label} [0-9a-f]{{6,32}}\]"),
        format!(r"\[/?{label} [0-9a-f]{{3,32}}\s*\z"),
        r"\[/(?:answer(?:-[a-z0-9]+)?|critique|conversation|principle|response|assistant)\]"
            .to_owned(),
        r"\[/(?:answer(?:-[a-z0-9]+)?|critique|conversation|principle|response|assistant)\s*\z"
            .to_owned(),
    ];
    Regex::new(&format!("(?i){}", patterns.join("|"))).expect("the pattern is fixed")
});

/// A marker of datamarking between words, three times.
static MARKED: LazyLock<Regex> = LazyLock::new(|| {
    let marked =
        ["ˆ", "¦", "¬", "¤"].map(|mark| format!(r"(?:[^\s{mark}]+{mark}){{3}}[^\s{mark}]"));
    Regex::new(&marked.join("|")).expect("the pattern is fixed")
});

/// Checks both sides: a mark on one of them tells them apart.
pub(super) struct DelimiterMarks {
    pub background: Arc<Background>,
}

impl DelimiterMarks {
    fn find(&self, text: &str) -> Option<Range<usize>> {
        let delimiter = self.background.delimiter.as_ref();
        delimiter
            .and_then(|delimiter| delimiter.find_echo(text))
            .or_else(|| Some(ANY.find(text).or_else(|| MARKED.find(text))?.range()))
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
            if example.prompt.iter().any(|turn| turn.text.contains(&text[mark.clone()])) {
                continue;
            }
            let excerpt = format!("{}: {}", side.name(), excerpt(&text, mark.start, mark.len()));
            hits.push(Hit { rule: &MARKS, excerpt, fix: Fix::Remove });
            return;
        }
    }
}

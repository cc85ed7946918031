//! Finds chosen answers that repeat what only the loop has seen: the critique that they
//! follow, a worked example, or the requests of principles and templates. Compares
//! sequences of words, so the language does not matter.

use std::sync::{Arc, LazyLock};

use regex::Regex;

use super::{Check, Fix, Hit, LintRule, Needs, any, excerpt};
use crate::format::example::{Example, joined_answers};
use crate::lint::background::Background;
use amend_core::document::Severity;
use amend_core::text::overlap::{Overlap, Sequences, overlap};

pub(super) static CRITIQUE: LintRule = LintRule {
    name: "repeats-critique",
    severity: Severity::Error,
    about: "a chosen answer repeats the critique that led to it, which its reader never saw",
    fix: "the row is removed",
    needs: Needs::Row,
};

pub(super) static EXAMPLE: LintRule = LintRule {
    name: "repeats-example",
    severity: Severity::Error,
    about: "a chosen answer repeats a worked example of the constitution",
    fix: "the row is removed",
    needs: Needs::Row,
};

pub(super) static REQUEST: LintRule = LintRule {
    name: "repeats-request",
    severity: Severity::Error,
    about: "a chosen answer repeats a principle, or the request to criticise or to revise",
    fix: "the row is removed",
    needs: Needs::Row,
};

/// When an overlap is a repetition.
struct Bound {
    /// The least share of the answer's sequences that are copied.
    share: f64,
    /// The least number of copied sequences for that share to count.
    copied: usize,
    /// The least number of words in one copied passage.
    passage: usize,
}

impl Bound {
    fn is_reached(&self, overlap: &Overlap) -> bool {
        overlap.longest >= self.passage
            || (overlap.copied >= self.copied && overlap.share() >= self.share)
    }
}

/// A critique quotes the answer and may suggest words for the revision, so a few sequences
/// in common are no repetition.
const OF_CRITIQUE: Bound = Bound { share: 0.2, copied: 5, passage: 16 };

/// Nothing of a worked example belongs into an answer to another prompt.
const OF_EXAMPLE: Bound = Bound { share: 0.1, copied: 5, passage: 10 };

/// Requests are short and in the words of everyday advice.
const OF_REQUEST: Bound = Bound { share: 0.3, copied: 4, passage: 9 };

/// Content that a critique states: code, an enumeration with three commas or more, and what follows a
/// colon at its end. A right answer has to repeat it.
static STATED: LazyLock<Regex> = LazyLock::new(|| {
    any(&[
        r"```[^`]*```",
        r"`[^`\n]+`",
        r"(?:[\w'’-]+(?: [\w'’-]+)?,\s+){3,}(?:[\w'’-]+ ){0,3}[\w'’-]+",
        r"(?:\p{Han}{1,8}、){3,}\p{Han}{1,8}",
        r":[ \t][^\n]{0,200}\z",
    ])
});

/// Compares chosen answers with what the loop has seen.
pub(super) struct Repeats {
    pub background: Arc<Background>,
}

impl Check for Repeats {
    fn rules(&self) -> &'static [&'static LintRule] {
        const { &[&CRITIQUE, &EXAMPLE, &REQUEST] }
    }

    fn examine(&self, example: &Example, hits: &mut Vec<Hit>) {
        let Some((_, turns)) = example.chosen() else { return };
        let text = joined_answers(turns);
        let critique = example.critique.as_deref().map(str::trim).filter(|text| !text.is_empty());
        // An answer may repeat the conversation and the answer that it revises.
        let mut known = Sequences::default();
        for turn in &example.prompt {
            // The prompt of a step of the loop contains the critique.
            if Some(turn.text.trim()) != critique {
                known.add(&turn.text);
            }
        }
        let mut hit = |rule, overlap: &Overlap| {
            let shown = excerpt(&text, overlap.span.start, overlap.span.len());
            hits.push(Hit { rule, excerpt: shown, fix: Fix::Remove });
        };
        for sequences in &self.background.examples {
            let found = overlap(&text, sequences, &known);
            if OF_EXAMPLE.is_reached(&found) {
                hit(&EXAMPLE, &found);
                break;
            }
        }
        let found = overlap(&text, &self.background.requests, &known);
        if OF_REQUEST.is_reached(&found) {
            hit(&REQUEST, &found);
        }
        if let Some(critique) = critique {
            if let Some(before) = example.before.as_deref() {
                known.add(before);
            }
            if let Some([_, rejected]) = example.pair() {
                known.add(&joined_answers(rejected));
            }
            for content in STATED.find_iter(critique) {
                known.add(content.as_str());
            }
            let found = overlap(&text, &Sequences::from_text(critique), &known);
            // A text that is too short for sequences is compared as a whole. One word may be
            // the right answer.
            let is_critique =
                text.split_whitespace().nth(1).is_some() && super::answers::same(&text, critique);
            if OF_CRITIQUE.is_reached(&found) || is_critique {
                hit(&CRITIQUE, &found);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_stated_by_a_critique_is_known() {
        for (critique, stated) in [
            ("Use `let x = 1`, not var.", "`let x = 1`"),
            (
                "It omits Lima, Rome, Bern, New York and Paris.",
                "omits Lima, Rome, Bern, New York and Paris",
            ),
            ("没有提到春天、夏天、秋天、冬天。", "没有提到春天、夏天、秋天、冬天"),
            ("No code. It should be: f(x, y)", ": f(x, y)"),
            ("Note: it is rude. It blames the person.\nStop.", ""),
            ("It is rude, cold, and long.", ""),
        ] {
            let found = STATED.find(critique).map_or("", |found| found.as_str());
            assert_eq!(found, stated, "{critique}");
        }
    }
}

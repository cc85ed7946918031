//! The lint rules and their checks. Each file states the rules about one kind of
//! fault and finds these faults in one example at a time.

mod answers;
mod balance;
mod declines;
mod delimiters;
mod duplicates;
mod evaluation;
mod introductions;
mod leftovers;
mod markup;
mod private;
mod repeats;
mod requests;
mod roles;
mod rule_talk;
mod shapes;
mod thoughts;
mod truncation;
mod verdict;

use std::borrow::Borrow;
use std::sync::Arc;

use regex::Regex;
use serde::Serialize;

use super::background::Background;
use crate::format::example::{Example, ExampleTurn, TextEdit};
use amend_core::document::Severity;

pub(super) use balance::{Balance, Imbalance};
pub use balance::{Lengths, Refusals, SetStatistics};
pub(super) use duplicates::{Duplicates, Location};
pub(super) use evaluation::EvaluationLeak;
pub(super) use shapes::Shapes;

/// The data that a check needs to decide whether a row breaks a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Needs {
    /// The row alone.
    Row,
    /// The row and the trainer's tokenizer.
    Tokenizer,
    /// The row and the evaluation files.
    Evaluation,
    /// The row and those before it.
    Earlier,
    /// All rows, or those of the other splits.
    Set,
}

/// A lint rule.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub struct LintRule {
    /// The rule's name, for `--skip` and for files.
    pub name: &'static str,
    /// The severity of a row that breaks it.
    pub severity: Severity,
    /// The fault, and why it matters.
    pub about: &'static str,
    /// How the fault is fixed.
    pub fix: &'static str,
    /// The data that its check needs.
    #[serde(skip)]
    pub needs: Needs,
}

impl LintRule {
    /// Whether a row that breaks the rule is known when it is read, so that an export
    /// can leave it out.
    #[must_use]
    pub fn filters(&self) -> bool {
        self.needs != Needs::Set
    }
}

/// A fault in one example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Hit {
    /// The broken rule.
    pub rule: &'static LintRule,
    /// The text that shows the fault.
    pub excerpt: String,
    /// How to fix it.
    pub fix: Fix,
}

/// How to fix a fault in one example.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Fix {
    /// Remove the row.
    Remove,
    /// Edit texts of the row.
    Edit(Vec<TextEdit>),
}

/// Finds the faults of one example.
pub(super) trait Check {
    /// The rules of this check.
    fn rules(&self) -> &'static [&'static LintRule];

    /// Adds the faults of `example` to `hits`, at most one per rule.
    fn examine(&self, example: &Example, hits: &mut Vec<Hit>);
}

/// Every rule.
pub const RULES: &[&LintRule] = &[
    &answers::EMPTY,
    &answers::SAME,
    &roles::ROLES,
    &truncation::IDENTICAL,
    &truncation::CUT,
    &markup::MARKUP,
    &thoughts::LEFT,
    &thoughts::ONE_SIDED,
    &rule_talk::NAMED,
    &delimiters::MARKS,
    &repeats::CRITIQUE,
    &repeats::EXAMPLE,
    &repeats::REQUEST,
    &introductions::INTRODUCTION,
    &leftovers::CRITIQUE,
    &declines::DECLINES,
    &verdict::VERDICT,
    &private::SECRET,
    &private::PERSONAL,
    &evaluation::LEAKED,
    &duplicates::ACROSS,
    &duplicates::WITHIN,
    &balance::LENGTH,
    &balance::REFUSALS,
    &shapes::MIXED,
];

/// The rules about spoilt rows: what the loop leaves in an answer. Exports leave such rows
/// out unless `--allow` names the rule.
pub const SPOILT: &[&LintRule] = &[
    &delimiters::MARKS,
    &repeats::CRITIQUE,
    &repeats::EXAMPLE,
    &repeats::REQUEST,
    &introductions::INTRODUCTION,
    &leftovers::CRITIQUE,
    &declines::DECLINES,
];

/// The rules that a critique cannot break: it is about an answer.
pub(super) const NOT_OF_CRITIQUES: &[&LintRule] =
    &[&repeats::REQUEST, &introductions::INTRODUCTION, &leftovers::CRITIQUE, &declines::DECLINES];

/// The name of the rule about thoughts in texts, which contradicts an export that writes
/// them there.
pub const THOUGHTS_LEFT: &str = "thoughts-left";

/// The rules by which an export can leave out rows.
pub fn filters() -> impl Iterator<Item = &'static LintRule> {
    RULES.iter().copied().filter(|rule| rule.filters())
}

/// The checks of single examples, in the order of their findings. `control` holds the
/// texts of a tokenizer's control tokens.
pub(super) fn checks(
    control: &[String],
    max_length: usize,
    evaluation: EvaluationLeak,
    background: &Arc<Background>,
) -> Vec<Box<dyn Check>> {
    vec![
        Box::new(answers::Sides),
        Box::new(roles::Roles),
        Box::new(markup::Markup::new(control)),
        Box::new(thoughts::LeftThoughts),
        Box::new(rule_talk::RuleTalk),
        Box::new(delimiters::DelimiterMarks { background: Arc::clone(background) }),
        Box::new(repeats::Repeats { background: Arc::clone(background) }),
        Box::new(introductions::Introductions),
        Box::new(leftovers::Leftovers),
        Box::new(declines::Declines),
        Box::new(verdict::LabelNoise),
        Box::new(private::Private),
        Box::new(evaluation),
        Box::new(truncation::Truncation { max_length }),
    ]
}

/// A pattern that matches if one of several does, in any case.
fn any<P: Borrow<str>>(patterns: &[P]) -> Regex {
    Regex::new(&format!("(?i){}", patterns.join("|"))).expect("the pattern is fixed")
}

/// The longest excerpt, in characters.
const EXCERPT: usize = 90;

/// An excerpt of a text on one line: `length` bytes from `start`, and the text around
/// them.
fn excerpt(text: &str, start: usize, length: usize) -> String {
    let show = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    let (before, from) = text.split_at(start);
    let (inside, after) = from.split_at(length.min(from.len()));
    let (before, inside, after) = (show(before), show(inside), show(after));
    let around = EXCERPT.saturating_sub(inside.chars().count()) / 2;
    let skipped = before.chars().count().saturating_sub(around);
    let mut shown: String = if skipped > 0 { "…".to_owned() } else { String::new() };
    shown.extend(before.chars().skip(skipped));
    // White space at the borders becomes one space too.
    if !shown.is_empty() && text[..start].ends_with(char::is_whitespace) {
        shown.push(' ');
    }
    shown.push_str(&inside);
    if from[..length.min(from.len())].ends_with(char::is_whitespace)
        || from[length.min(from.len())..].starts_with(char::is_whitespace)
    {
        shown.push(' ');
    }
    shown.push_str(&after);
    let most = EXCERPT.max(inside.chars().count().min(2 * EXCERPT));
    if shown.chars().count() > most {
        shown = shown.chars().take(most).chain(['…']).collect();
    }
    shown.trim_end().to_owned()
}

/// The beginning of the first turn that has text, for an excerpt.
fn opening(turns: &[ExampleTurn]) -> String {
    match turns.iter().find(|turn| !turn.text.trim().is_empty()) {
        Some(turn) => excerpt(&turn.text, 0, 0),
        None => "(blank)".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::format::example::Object;
    use crate::format::read::recognise;

    /// The example of a row written as JSON.
    pub(in crate::lint) fn example(row: serde_json::Value) -> Example {
        let row: Object = serde_json::from_value(row).unwrap();
        recognise(&row).unwrap().0.read(&row).unwrap()
    }

    /// The names of the rules that a row breaks.
    pub(in crate::lint) fn broken_rules(
        check: &dyn Check,
        row: serde_json::Value,
    ) -> Vec<&'static str> {
        let mut hits = Vec::new();
        check.examine(&example(row), &mut hits);
        hits.iter().map(|hit| hit.rule.name).collect()
    }

    #[test]
    fn rule_names_are_unique() {
        let mut names: Vec<&str> = RULES.iter().map(|rule| rule.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), RULES.len());
    }

    #[test]
    fn excerpts_are_one_line_around_the_match() {
        for (text, start, length, expected) in
            [("", 0, 0, ""), ("a\n\n b", 0, 0, "a b"), ("one two three", 4, 3, "one two three")]
        {
            assert_eq!(excerpt(text, start, length), expected);
        }
        let long = format!("{}<find>{}", "é ".repeat(100), " é".repeat(100));
        let shown = excerpt(&long, long.find("<find>").unwrap(), 6);
        assert!(shown.contains("<find>") && shown.starts_with('…') && shown.ends_with('…'));
        assert!(shown.chars().count() <= EXCERPT + 2, "{shown}");
    }
}

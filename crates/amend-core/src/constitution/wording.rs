//! Lints the wording of principles: reports what makes them hard to judge by.
//!
//! The rules are heuristics for English texts. A remark is a reason to look, not an
//! error.

use std::sync::LazyLock;

use regex::Regex;

use super::{Constitution, Principle};
use crate::text::minhash::Signature;

/// The maximum length of a question, in words. Small judges lose track of longer ones.
const MAX_WORDS: usize = 60;

/// The MinHash similarity from which two rules count as nearly the same.
const MIN_SIMILARITY: f64 = 0.8;

static VAGUE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(appropriate(?:ly)?|proper(?:ly)?|suitabl[ey]|adequate(?:ly)?|reasonabl[ey]|nice(?:ly)?|as needed|where possible|and so on|etc)\b",
    )
});
static DOUBLED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?i)\b(and/or|and also|as well as|while also|in addition|both [\w' -]+ and)\b|;")
});
static NEGATED_TWICE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\b(?:not|never|no|avoids?|\w+n't|\w+n’t)\b[^.?!;:]*\b(?:not|never|without|avoids?|unless|\w+n't|\w+n’t|fails? to)\b",
    )
});
/// Matches a negation of the criterion itself, not one in what the question is about
/// ("a person who can't swim").
static NEGATED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\bwhich (?:answer|one|of (?:the|these) (?:two )?answers) (?:(?:\w+ )?(?:not|never)|\w+n't|\w+n’t)\b",
    )
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is fixed")
}

/// A remark about a principle's wording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The principle's id.
    pub principle: String,
    /// What makes the wording hard to judge by.
    pub message: String,
    /// How to improve it.
    pub advice: &'static str,
}

/// Returns all remarks about the principles of a constitution.
#[must_use]
pub fn remarks(constitution: &Constitution) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for (index, principle) in constitution.principles.iter().enumerate() {
        let mut remark = |message: String, advice| {
            remarks.push(Remark { principle: principle.id.clone(), message, advice });
        };
        let question = &principle.judge;
        if let Some(found) = VAGUE.find(question) {
            remark(
                format!("its `judge` question contains the vague word {:?}", found.as_str()),
                "say what the better response does",
            );
        }
        if let Some(found) = DOUBLED.find(question) {
            remark(
                format!("its `judge` question asks for several things: {:?}", found.as_str()),
                "ask for one thing, or split the principle in two",
            );
        }
        if let Some(found) = NEGATED_TWICE.find(question) {
            remark(
                format!("its `judge` question negates twice: {:?}", found.as_str()),
                "rewrite it with at most one negation",
            );
        } else if let Some(found) = NEGATED.find(question) {
            remark(
                format!("its `judge` question asks for an absence: {:?}", found.as_str()),
                "ask which response does what the rule demands",
            );
        }
        let words = question.split_whitespace().count();
        if words > MAX_WORDS {
            remark(
                format!("its `judge` question has {words} words, more than {MAX_WORDS}"),
                "remove what does not help to tell the responses apart",
            );
        }
        if let Some(label) = constitution.judge.labels.iter().find(|label| names(question, label)) {
            remark(
                format!("its `judge` question names the label {label:?}"),
                "remove it: the label refers to either response, depending on the order",
            );
        }
        if let Some(earlier) = similar(&constitution.principles[..index], principle) {
            remark(
                format!("its rule is nearly the same as that of `{}`", earlier.id),
                "keep one of them, or state in each how they differ",
            );
        }
    }
    remarks
}

/// Whether a question refers to a response by its label, as in "answer A" or "“A”".
fn names(question: &str, label: &str) -> bool {
    question.match_indices(label).any(|(start, _)| {
        let before = question[..start].trim_end().to_lowercase();
        let follows_noun =
            before.len() < start && (before.ends_with("answer") || before.ends_with("response"));
        let quoted = question[..start].ends_with(['"', '\'', '“', '`', '(']);
        let ends_word = !question[start + label.len()..].starts_with(char::is_alphanumeric);
        (follows_noun || quoted) && ends_word
    })
}

/// Returns the first of the earlier principles whose rule is nearly the same.
fn similar<'a>(earlier: &'a [Principle], principle: &Principle) -> Option<&'a Principle> {
    let signature = Signature::from_text(&principle.principle);
    earlier.iter().find(|other| {
        Signature::from_text(&other.principle).similarity(&signature) >= MIN_SIMILARITY
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constitution::parse;

    fn messages(judge: &str) -> Vec<String> {
        let text = format!(
            "constitution.name = 'c'\n[[principle]]\nid = 'p'\nprinciple = 'Be kind to all.'\n\
             judge = {judge:?}\n"
        );
        remarks(&parse("c.toml", &text).unwrap()).into_iter().map(|remark| remark.message).collect()
    }

    #[test]
    fn each_wording_gets_one_remark() {
        let long = "Which answer is kind? ".repeat(16);
        for (judge, expected) in [
            ("Which answer is kinder?", ""),
            ("Which answer helps a person who can't see?", ""),
            (
                "Which answer is more appropriate?",
                "its `judge` question contains the vague word \"appropriate\"",
            ),
            (
                "Which answer is short; which is kind?",
                "its `judge` question asks for several things: \";\"",
            ),
            (
                "Which answer is both short and kind?",
                "its `judge` question asks for several things: \"both short and\"",
            ),
            (
                "Which answer does not help?",
                "its `judge` question asks for an absence: \"Which answer does not\"",
            ),
            (
                "Which answer does not refuse without need?",
                "its `judge` question negates twice: \"not refuse without\"",
            ),
            (&long, "its `judge` question has 64 words, more than 60"),
            ("Is answer A kinder?", "its `judge` question names the label \"A\""),
            ("Is a 'B' right?", "its `judge` question names the label \"B\""),
            ("A kind answer: which is it? Answer Anna.", ""),
        ] {
            assert_eq!(messages(judge).join("\n"), expected, "{judge}");
        }
    }

    #[test]
    fn the_later_of_two_similar_rules_gets_a_remark() {
        let rule =
            "The answer helps the person who asks, tells the truth and does no harm to others";
        let text = format!(
            "constitution.name = 'c'\n[[principle]]\nid = 'one'\nprinciple = '{rule}.'\n\
             [[principle]]\nid = 'other'\nprinciple = 'Be brief.'\n\
             [[principle]]\nid = 'two'\nprinciple = '{rule}!'\n"
        );
        let found = remarks(&parse("c.toml", &text).unwrap());
        let [remark] = &found[..] else { panic!("{found:?}") };
        assert_eq!(remark.principle, "two");
        assert_eq!(remark.message, "its rule is nearly the same as that of `one`");
    }
}

//! What makes a principle hard to judge by, as far as its wording shows.
//!
//! Rules of thumb over English texts: a remark is a reason to look, not a fault.

use std::sync::LazyLock;

use regex::Regex;

use super::{Constitution, Principle};
use crate::text::minhash::Signature;

/// The most words of a question that a small judge keeps in mind.
const MOST_WORDS: usize = 60;

/// How similar two rules' words are at least for them to be nearly the same.
const NEAR: f64 = 0.8;

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
/// The demand itself, and not what it is about ("a person who can't swim").
static NEGATED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?i)\bwhich (?:answer|one|of (?:the|these) (?:two )?answers) (?:(?:\w+ )?(?:not|never)|\w+n't|\w+n’t)\b",
    )
});

fn pattern(text: &str) -> Regex {
    Regex::new(text).expect("the pattern is fixed")
}

/// Something about a principle's wording.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remark {
    /// The principle's id.
    pub principle: String,
    /// What was noticed.
    pub message: String,
    /// What to try.
    pub advice: &'static str,
}

/// Everything that makes the principles of a constitution hard to judge by.
#[must_use]
pub fn remarks(constitution: &Constitution) -> Vec<Remark> {
    let mut remarks = Vec::new();
    for (at, principle) in constitution.principles.iter().enumerate() {
        let mut remark = |message: String, advice| {
            remarks.push(Remark { principle: principle.id.clone(), message, advice });
        };
        let question = &principle.judge;
        if let Some(found) = VAGUE.find(question) {
            remark(
                format!("{:?} in its `judge` question can mean anything", found.as_str()),
                "say what the better answer does",
            );
        }
        if let Some(found) = DOUBLED.find(question) {
            remark(
                format!("its `judge` question asks for several things: {:?}", found.as_str()),
                "ask for one thing, or make two principles of it",
            );
        }
        if let Some(found) = NEGATED_TWICE.find(question) {
            remark(
                format!("its `judge` question negates twice: {:?}", found.as_str()),
                "say it without one of the two",
            );
        } else if let Some(found) = NEGATED.find(question) {
            remark(
                format!("its `judge` question asks for what is not there: {:?}", found.as_str()),
                "ask which answer does what is wanted",
            );
        }
        let words = question.split_whitespace().count();
        if words > MOST_WORDS {
            remark(
                format!("its `judge` question has {words} words, more than {MOST_WORDS}"),
                "leave out what does not tell answers apart",
            );
        }
        if let Some(label) = constitution.judge.labels.iter().find(|label| names(question, label)) {
            remark(
                format!("its `judge` question names the label {label:?}"),
                "leave it out: which answer is called so changes",
            );
        }
        if let Some(earlier) = alike(&constitution.principles[..at], principle) {
            remark(
                format!("its rule says nearly what that of `{}` says", earlier.id),
                "keep one of them, or say in each what it has of its own",
            );
        }
    }
    remarks
}

/// Whether a question speaks of the answer with a label, as "answer A" or "“A”".
fn names(question: &str, label: &str) -> bool {
    let after = |(at, _): (usize, &str)| {
        let rest = &question[at + label.len()..];
        !rest.starts_with(char::is_alphanumeric)
    };
    question.match_indices(label).any(|(at, found)| {
        let before = question[..at].trim_end().to_lowercase();
        let called =
            before.len() < at && (before.ends_with("answer") || before.ends_with("response"));
        let quoted = question[..at].ends_with(['"', '\'', '“', '`', '(']);
        (called || quoted) && after((at, found))
    })
}

/// The first of some principles whose rule is nearly that of another.
fn alike<'a>(earlier: &'a [Principle], principle: &Principle) -> Option<&'a Principle> {
    let signature = Signature::of(&principle.principle);
    earlier.iter().find(|other| Signature::of(&other.principle).similarity(&signature) >= NEAR)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::constitution::parse;

    fn told(judge: &str) -> Vec<String> {
        let text = format!(
            "constitution.name = 'c'\n[[principle]]\nid = 'p'\nprinciple = 'Be kind to all.'\n\
             judge = {judge:?}\n"
        );
        remarks(&parse("c.toml", &text).unwrap()).into_iter().map(|one| one.message).collect()
    }

    #[test]
    fn each_wording_is_remarked_on_once() {
        let long = "Which answer is kind? ".repeat(16);
        for (judge, expected) in [
            ("Which answer is kinder?", ""),
            ("Which answer helps a person who can't see?", ""),
            (
                "Which answer is more appropriate?",
                "\"appropriate\" in its `judge` question can mean anything",
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
                "its `judge` question asks for what is not there: \"Which answer does not\"",
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
            assert_eq!(told(judge).join("\n"), expected, "{judge}");
        }
    }

    #[test]
    fn the_later_of_two_like_rules_is_named() {
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
        assert_eq!(remark.message, "its rule says nearly what that of `one` says");
    }
}

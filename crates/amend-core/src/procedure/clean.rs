//! Removes what a model writes around a critique or a revision.
//!
//! A first answer is only trimmed. The rules below apply to critiques and revisions,
//! repeatedly until none changes the text, so that cleaning twice is the same as
//! cleaning once. A rule that would leave nothing is not applied, so only blank text
//! becomes empty.
//!
//! 1. White space at both ends.
//! 2. The run's delimiters, echoed from the prompt, anywhere in the text.
//! 3. A code fence around the whole text (three or more backquotes or tildes), if
//!    it names no language or one of prose (`text`, `txt`, `plaintext`, `markdown`,
//!    `md`), and if no other fence is inside. A fence that names a programming
//!    language belongs to the answer.
//! 4. Quotation marks around the whole text (`"…"`, `“…”`, `„…“`, `«…»`), if none
//!    of the same kind is inside. Apostrophes and backquotes are kept.
//! 5. A preamble: the text up to its first colon, if the colon is on the first line,
//!    and if the text before it is at most [`PREAMBLE_CHARS`] long, begins as speech
//!    about the text does ("Sure", "Certainly", "Here is", "Below is", …), and names
//!    the requested text. For a revision, that is one word for the change
//!    ("revised", "rewritten", …) and one for the thing ("answer", "version", …), or
//!    "revision" or "rewrite"; for a critique, "critique", "review" or the like. A
//!    preamble with "your" addresses the person in the conversation and is kept, and
//!    so is "Sure, I can help:". Either may belong to the answer.
//! 6. A label: "Revised answer:", "Revision:", "Critique:" and the like, also in
//!    bold, as a heading, or both. Without a colon, it must be in bold or a heading,
//!    and alone on its line. A bare "Answer:" or "Response:" is kept: it may belong
//!    to the answer.
//! 7. For a revision, a last line of at most [`CLOSING_CHARS`] that offers help or
//!    hopes that the text helped ("I hope this helps!", "Let me know if …").

use std::borrow::Cow;

use crate::prompt::Delimiter;
use crate::record::{StepKind, StepOutput};

/// The longest preamble, in characters.
pub const PREAMBLE_CHARS: usize = 120;

/// The longest closing line, in characters.
pub const CLOSING_CHARS: usize = 160;

const QUOTES: [(char, char); 4] = [('"', '"'), ('“', '”'), ('„', '“'), ('«', '»')];

const PROSE: [&str; 6] = ["", "text", "txt", "plaintext", "markdown", "md"];

const OPENERS: [&str; 18] = [
    "sure",
    "certainly",
    "of course",
    "absolutely",
    "okay",
    "ok",
    "alright",
    "no problem",
    "here is",
    "here's",
    "here’s",
    "here are",
    "below is",
    "this is",
    "the following is",
    "i have",
    "i've",
    "i’ve",
];

const CHANGES: [&str; 10] = [
    "revised",
    "rewritten",
    "rewrote",
    "rephrased",
    "reworded",
    "improved",
    "updated",
    "corrected",
    "edited",
    "modified",
];

const THINGS: [&str; 5] = ["answer", "response", "reply", "version", "text"];

const REVISIONS: [&str; 3] = ["revision", "rewrite", "rewriting"];

const CRITIQUES: [&str; 5] = ["critique", "criticism", "review", "feedback", "assessment"];

const CLOSINGS: [&str; 11] = [
    "i hope this",
    "i hope that helps",
    "hope this helps",
    "hope that helps",
    "let me know if",
    "please let me know",
    "feel free to ask",
    "please feel free to ask",
    "feel free to reach out",
    "is there anything else",
    "if you have any other questions",
];

/// What a text is, which decides the words that cleaning looks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Critique,
    Revision,
}

impl Form {
    /// The form of a step's text; `None` if the text is only trimmed.
    fn from_kind(kind: StepKind) -> Option<Self> {
        match kind.output() {
            StepOutput::Critique => Some(Form::Critique),
            StepOutput::Revision => Some(Form::Revision),
            StepOutput::Answer
            | StepOutput::Score
            | StepOutput::Verdict
            | StepOutput::Likelihood => None,
        }
    }
}

/// The text of a step without what the model wrote around it.
pub(super) fn clean(kind: StepKind, raw: &str, fence: &Delimiter) -> String {
    let mut text = raw.trim().to_owned();
    if let Some(form) = Form::from_kind(kind) {
        while let Some(shorter) = shorten(form, &text, fence) {
            text = shorter;
        }
    }
    text
}

/// The part of a partly decoded text that cleaning keeps, whatever follows. It can
/// be printed while the rest is decoded.
///
/// A line that is short enough to be a preamble, a label or a closing line is held
/// back until another line follows. A text that opens with a quotation mark, a code
/// fence or one of the run's delimiters is held back to its end.
#[must_use]
pub fn settled(kind: StepKind, raw: &str, fence: &Delimiter) -> String {
    let start = raw.trim_start().chars().next();
    let opens = |c: char| {
        matches!(c, '`' | '~')
            || fence.opening() == Some(c)
            || QUOTES.iter().any(|pair| pair.0 == c)
    };
    if start.is_none_or(opens) {
        return String::new();
    }
    let mut text = clean(kind, raw, fence);
    let last_line = text.rfind('\n').map_or(0, |at| at + 1);
    let short = text[last_line..].chars().count() <= PREAMBLE_CHARS.max(CLOSING_CHARS);
    let mut end = text.len();
    if short && Form::from_kind(kind).is_some() {
        end = last_line;
    } else if let Some(opening) = fence.opening()
        && let Some(at) = text[last_line..].rfind(opening)
    {
        // This may be the beginning of a delimiter.
        end = last_line + at;
    }
    text.truncate(text[..end].trim_end().len());
    text
}

/// The text after the first rule that removes something and leaves something.
fn shorten(form: Form, text: &str, fence: &Delimiter) -> Option<String> {
    let without_delimiters = match fence.strip(text) {
        Cow::Owned(stripped) if stripped.len() < text.len() => Some(stripped),
        _ => None,
    };
    let rules = [
        without_code_fence(text),
        without_quotes(text),
        without_preamble(form, text),
        without_label(form, text),
        if form == Form::Revision { without_closing(text) } else { None },
    ];
    without_delimiters
        .as_deref()
        .into_iter()
        .chain(rules.into_iter().flatten())
        .map(str::trim)
        .find(|rest| !rest.is_empty())
        .map(str::to_owned)
}

/// The rest of a text that opens by announcing a revision, with a preamble ("Sure,
/// here is the revised answer:") or a label ("Revised answer:"). `None` if it does
/// not.
#[must_use]
pub fn without_introduction(text: &str) -> Option<&str> {
    let mut rest = text;
    loop {
        let shorter = without_preamble(Form::Revision, rest)
            .or_else(|| without_label(Form::Revision, rest))
            .map(str::trim_start)
            .filter(|shorter| !shorter.is_empty());
        match shorter {
            Some(shorter) => rest = shorter,
            None => return (rest.len() < text.len()).then_some(rest),
        }
    }
}

fn without_code_fence(text: &str) -> Option<&str> {
    let (first, rest) = text.split_once('\n')?;
    let (inside, last) = rest.rsplit_once('\n').unwrap_or(("", rest));
    let mark = first.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let language = first.trim_start_matches(mark);
    let length = first.len() - language.len();
    let prose = PROSE.iter().any(|name| language.trim().eq_ignore_ascii_case(name));
    let closed = last.len() >= length && last.chars().all(|c| c == mark);
    let is_fence = |line: &str| line.trim_start().starts_with(&first[..length]);
    let whole = length >= 3 && closed && !inside.lines().any(is_fence);
    if prose && whole { Some(inside) } else { None }
}

fn without_quotes(text: &str) -> Option<&str> {
    QUOTES.iter().find_map(|&(open, close)| {
        let inside = text.strip_prefix(open)?.strip_suffix(close)?;
        (!inside.contains([open, close])).then_some(inside)
    })
}

fn without_preamble(form: Form, text: &str) -> Option<&str> {
    let unmarked = text.trim_start_matches('*');
    let emphasis = &text[..text.len() - unmarked.len()];
    let end = unmarked.find([':', '\n']).filter(|&end| unmarked[end..].starts_with(':'))?;
    let (preamble, rest) = (&unmarked[..end], &unmarked[end + 1..]);
    // Emphasis ends before or after the colon. If it continues, it belongs to the text.
    let rest = if preamble.ends_with(emphasis) { rest } else { rest.strip_prefix(emphasis)? };
    let preamble = preamble.to_lowercase();
    let opens = OPENERS.iter().any(|opener| {
        preamble.strip_prefix(opener).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric))
    });
    let words = words(&preamble);
    let names = |list: &[&str]| words.iter().any(|word| list.contains(word));
    let names_form = match form {
        Form::Critique => names(&CRITIQUES),
        Form::Revision => names(&REVISIONS) || (names(&CHANGES) && names(&THINGS)),
    };
    let short = preamble.chars().count() <= PREAMBLE_CHARS;
    if short && opens && names_form && !names(&["your"]) { Some(rest) } else { None }
}

fn without_label(form: Form, text: &str) -> Option<&str> {
    let after_heading = text.trim_start_matches('#');
    let heading = after_heading.len() < text.len() && after_heading.starts_with(' ');
    let start = if heading { after_heading.trim_start() } else { text };
    let after_emphasis = start.trim_start_matches(['*', '_']);
    let emphasis = &start[..start.len() - after_emphasis.len()];

    let end = after_emphasis.find([':', '*', '_', '\n'])?;
    let (label, rest) = after_emphasis.split_at(end);
    if !is_label(form, label) {
        return None;
    }
    let (inner_colon, rest) = strip_colon(rest);
    // Emphasis that continues after the label belongs to the text.
    let rest = rest.strip_prefix(emphasis)?;
    let (outer_colon, rest) = strip_colon(rest);
    let alone = rest.starts_with('\n') && (heading || !emphasis.is_empty());
    if inner_colon || outer_colon || alone { Some(rest) } else { None }
}

fn strip_colon(text: &str) -> (bool, &str) {
    text.strip_prefix(':').map_or((false, text), |rest| (true, rest))
}

/// Whether the words are a label for a text of this form.
fn is_label(form: Form, label: &str) -> bool {
    let label = label.to_lowercase();
    let words = words(&label);
    let words = match words.as_slice() {
        ["the" | "my", rest @ ..] => rest,
        all => all,
    };
    match words {
        [word] => match form {
            Form::Critique => CRITIQUES.contains(word),
            Form::Revision => REVISIONS.contains(word),
        },
        [change, thing] => match form {
            Form::Critique => false,
            Form::Revision => CHANGES.contains(change) && THINGS.contains(thing),
        },
        // The name that the built-in prompt uses.
        ["answer", "to", "rewrite"] => true,
        _ => false,
    }
}

fn without_closing(text: &str) -> Option<&str> {
    let (before, last) = text.rsplit_once('\n')?;
    let last = last.trim_start().to_lowercase();
    let closes = CLOSINGS.iter().any(|closing| last.starts_with(closing));
    if closes && last.chars().count() <= CLOSING_CHARS { Some(before) } else { None }
}

fn words(text: &str) -> Vec<&str> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fence() -> Delimiter {
        Delimiter::new("3f9c2a81").unwrap()
    }

    #[test]
    fn revisions_lose_what_surrounds_them() {
        for (raw, cleaned) in [
            // White space.
            ("  Tea.\n", "Tea."),
            // Delimiters.
            ("[answer 3f9c2a81]\nTea.\n[/answer 3f9c2a81]", "Tea."),
            ("[answer 3f9c2a81] Tea. [/answer 3f9c2a81]", "Tea."),
            ("Revised answer:\n[answer 3f9c2a81]\nTea.\n[/answer 3f9c2a81]", "Tea."),
            ("The answer to rewrite:\n[answer 3f9c2a81]\nTea.\n[/answer 3f9c2a81]", "Tea."),
            // Code fences.
            ("```\nTea.\n```", "Tea."),
            ("```text\nTea.\n\nMilk.\n```", "Tea.\n\nMilk."),
            ("~~~~Markdown\nTea.\n~~~~", "Tea."),
            // Quotation marks.
            ("\"Tea.\"", "Tea."),
            ("“Tea.”", "Tea."),
            ("„Tee.“", "Tee."),
            ("«Thé.»", "Thé."),
            ("“\"Tea.\"”", "Tea."),
            // Preambles.
            ("Sure, here is the revised answer:\n\nTea.", "Tea."),
            ("Sure! Here's a revised response: Tea.", "Tea."),
            ("Certainly! Below is the improved version of the reply:\nTea.", "Tea."),
            ("Here's a rewritten version that is kinder:\n\n\"Tea.\"", "Tea."),
            ("Here’s the updated text:\nTea.", "Tea."),
            ("**Here is the revised answer:**\n\nTea.", "Tea."),
            ("**Here is the revised answer**: Tea.", "Tea."),
            ("Here is the revised answer:\n* Tea.\n* Milk.", "* Tea.\n* Milk."),
            ("Of course. I have rewritten the answer to be kind:\n\n- Tea.", "- Tea."),
            ("Okay, this is my revision:\n```\nTea.\n```", "Tea."),
            ("HERE IS THE REVISED ANSWER:\nTea.", "Tea."),
            // Labels.
            ("Revised answer: Tea.", "Tea."),
            ("Revision:\nTea.", "Tea."),
            ("Rewritten response: \"Tea.\"", "Tea."),
            ("The revised answer: Tea.", "Tea."),
            ("**Revised answer:** Tea.", "Tea."),
            ("**Revised Answer**: Tea.", "Tea."),
            ("**Revised answer**\n\nTea.", "Tea."),
            ("__Revision:__\nTea.", "Tea."),
            ("## Revised answer\nTea.", "Tea."),
            ("### **Revision:**\nTea.", "Tea."),
            ("Revision:\n\nImproved version: Tea.", "Tea."),
            // Closings.
            ("Tea.\n\nI hope this helps!", "Tea."),
            ("Tea.\nLet me know if you need more.\nHope this helps.", "Tea."),
            ("Here is the revision: Tea.\n\nFeel free to ask for more!", "Tea."),
            // Several of these.
            (
                "Sure! Here is the revised answer:\n\n**Revised answer:**\n\"Tea.\"\n\n\
                 Let me know if that works.",
                "Tea.",
            ),
        ] {
            assert_eq!(clean(StepKind::Revise, raw, &fence()), cleaned, "{raw:?}");
        }
    }

    #[test]
    fn critiques_lose_what_surrounds_them() {
        for (raw, cleaned) in [
            ("Critique: It is rude.", "It is rude."),
            ("**Critique:** It is rude.", "It is rude."),
            ("# Review\n\nIt is rude.", "It is rude."),
            ("Here is my critique of the answer:\n\nIt is rude.", "It is rude."),
            ("Sure, here's the feedback: It is rude.", "It is rude."),
            ("[answer 3f9c2a81]\nIt is rude.", "It is rude."),
            // The labels and closings of revisions are kept in critiques.
            ("Revised answer: Tea.", "Revised answer: Tea."),
            ("It is rude.\nI hope this helps.", "It is rude.\nI hope this helps."),
        ] {
            assert_eq!(clean(StepKind::Critique, raw, &fence()), cleaned, "{raw:?}");
        }
    }

    #[test]
    fn text_that_may_belong_to_the_answer_is_kept() {
        for text in [
            "Sure, I can help:\n- Boil water.\n- Add tea.",
            "Certainly! The answer is: tea.",
            "Here is the rewritten email:\n\nDear Ann",
            "Here is the revised version of your letter:\n\nDear Ann",
            "Here is how to make tea:\n1. Boil water.",
            "Answer: 42",
            "Response: none.",
            "**Answer:** 42",
            "Revision is the heart of writing: do it often.",
            "Revised answers are better.",
            "Revision\n\nis hard.",
            "**Revision: always revise twice.** Then rest.",
            "New York: a city.",
            "Yes, there is an updated version: 3.2.",
            "**Here is the revised answer: tea, now hot.** Or milk.",
            "Surely the revised answer: tea.",
            "```python\nprint(1)\n```",
            "```\na\n```\nThen run it.",
            "```\na\n```\nand\n```\nb\n```",
            "```\na\n",
            "Use `tea`.",
            "`tea`",
            "'Tis the season, dogs'",
            "\"Tea\" and \"milk\"",
            "\"Tea,\" she said.",
            "She said \"tea\"",
            "[answer] is not a mark of this run [/answer 00000000]",
            "I hope this finds you well.\n\nAnn",
            "I hope this helps!",
            "Let me know if you need more.",
            "- Tea: hot.\n- Milk: cold.",
            "#!/bin/sh\necho revision:",
        ] {
            let text = text.trim();
            assert_eq!(clean(StepKind::Revise, text, &fence()), text);
        }
        let long = format!("Here is the revised answer {}: tea", "very ".repeat(30));
        assert_eq!(clean(StepKind::Revise, &long, &fence()), long);
        let long = format!("Tea.\nLet me know if {}", "very ".repeat(40).trim());
        assert_eq!(clean(StepKind::Revise, &long, &fence()), long);
    }

    #[test]
    fn first_answers_are_only_trimmed() {
        let raw = " Here is the revised answer:\n\"Tea.\"\n";
        assert_eq!(clean(StepKind::Generate, raw, &fence()), raw.trim());
    }

    #[test]
    fn settled_text_stays_a_prefix_of_the_cleaned_text() {
        let long = "word ".repeat(60);
        let cases = [
            format!("Sure, here is the revised answer:\n\n{long}\n\nI hope this helps!"),
            format!("**Revised answer:** {long}\n- one\n- two\n\nLet me know if you like it."),
            format!("\"{long}\""),
            format!("```\n{long}\n```"),
            format!("{long} [answer {}] {long}", fence().delimiter()),
            long.clone(),
            "Short.".to_owned(),
        ];
        for raw in cases {
            let whole = clean(StepKind::Revise, &raw, &fence());
            let mut longest = 0;
            for end in (0..=raw.len()).filter(|&end| raw.is_char_boundary(end)) {
                let settled = settled(StepKind::Revise, &raw[..end], &fence());
                assert!(whole.starts_with(&settled), "{settled:?} of {whole:?}");
                longest = longest.max(settled.len());
            }
            // Long plain text is printed while it is decoded.
            assert!(longest > 200 || raw.starts_with(['"', '`', 'S']), "{longest} of {raw:?}");
        }
        assert_eq!(settled(StepKind::Generate, "Short.", &fence()), "Short.");
    }

    #[test]
    fn only_blank_text_becomes_empty() {
        for (raw, cleaned) in [
            ("", ""),
            (" \n ", ""),
            ("\"\"", "\"\""),
            ("```\n```", "```\n```"),
            ("```\n\n```", "```\n\n```"),
            ("[answer 3f9c2a81]", "[answer 3f9c2a81]"),
            ("Revised answer:", "Revised answer:"),
            ("Here is the revised answer:\n\n", "Here is the revised answer:"),
            ("Revised answer:\n\"\"", "\"\""),
        ] {
            assert_eq!(clean(StepKind::Revise, raw, &fence()), cleaned, "{raw:?}");
        }
    }

    fn messy() -> impl Strategy<Value = String> {
        let piece = prop::sample::select(vec![
            "Sure, here is the revised answer:",
            "Revised answer:",
            "**Revision:**",
            "## Critique",
            "Critique:",
            "Here is my review:",
            "```",
            "```text",
            "~~~",
            "\"",
            "“",
            "”",
            "„",
            "«",
            "»",
            "**",
            "#",
            ":",
            " ",
            "\n",
            "\n\n",
            "Tea.",
            "tea",
            "[answer 3f9c2a81]",
            "[/answer 3F9C2A81]",
            "[",
            "[[answer 3f9c2a81] 3f9c2a81]",
            "I hope this helps!",
            "Let me know if so.",
            "é",
            "_",
            "'",
        ]);
        prop::collection::vec(piece, 0..10).prop_map(|pieces| pieces.concat())
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn cleaning_twice_equals_cleaning_once(raw in messy()) {
            for kind in StepKind::ALL {
                let once = clean(kind, &raw, &fence());
                prop_assert_eq!(once.is_empty(), raw.trim().is_empty());
                prop_assert_eq!(once.trim(), &once);
                prop_assert_eq!(clean(kind, &once, &fence()), once);
            }
        }
    }
}

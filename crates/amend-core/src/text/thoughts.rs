//! Detects thoughts in a text that should be an answer alone, by the marks that models write
//! around them. What chat templates write, and how to tell a family by its template, is in
//! `chat`, which may only use marks that are known here.
//!
//! The rule of [`find`]:
//!
//! - A mark counts anywhere in the text, with or without its partner: a thought may be
//!   left open, and a chat template may have opened it in the prompt.
//! - `<|end|>` and the words of Granite and Apriel are also used for other purposes. `<|end|>`
//!   alone does not count. The words count only at the start of the text.
//! - A mark that begins an answer after a thought counts as well, since it is no part of the
//!   answer.
//! - A mark in Markdown code does not count: the text is about the mark. Code is a span
//!   within one paragraph, or a fenced block that is closed. In a block, an end without a
//!   start before it counts, because the block may have begun inside a thought.
//! - Channels whose marks a server removed count as well: `assistantfinal`, or `analysis`
//!   at the start that runs into the first word of a thought.
//!
//! Prose that spells a tag outside of code is therefore detected. A lost answer is better
//! than a thought in the training data.

use std::ops::Range;
use std::sync::LazyLock;

use regex::Regex;

/// The marks around a thought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spelling {
    /// The text that begins a thought.
    pub start: &'static str,
    /// The text that ends it.
    pub end: &'static str,
}

/// The marks of all known families of models.
pub const SPELLINGS: &[Spelling] = &[
    // Qwen, DeepSeek, GLM, Nemotron, SmolLM, LFM and many others.
    Spelling { start: "<think>", end: "</think>" },
    Spelling { start: "<thinking>", end: "</thinking>" },
    Spelling { start: "<thought>", end: "</thought>" },
    Spelling { start: "<reasoning>", end: "</reasoning>" },
    // MiniMax.
    Spelling { start: "<mm:think>", end: "</mm:think>" },
    // Seed.
    Spelling { start: "<seed:think>", end: "</seed:think>" },
    // Hunyuan.
    Spelling { start: "<think:opensource>", end: "</think:opensource>" },
    // Kimi.
    Spelling { start: "◁think▷", end: "◁/think▷" },
    Spelling { start: "<|open|>think<|sep|>", end: "<|close|>think<|sep|>" },
    // Mistral.
    Spelling { start: "[THINK]", end: "[/THINK]" },
    // Command A.
    Spelling { start: "<|START_THINKING|>", end: "<|END_THINKING|>" },
    // Apertus.
    Spelling { start: "<|inner_prefix|>", end: "<|inner_suffix|>" },
    // Gemma.
    Spelling { start: "<|channel>thought", end: "<channel|>" },
    // Harmony.
    Spelling { start: "<|channel|>analysis<|message|>", end: HARMONY_END },
    // Granite 3.2.
    Spelling { start: "Here is my thought process:", end: GRANITE_END },
    // Apriel.
    Spelling { start: "Here are my reasoning steps:", end: "[BEGIN FINAL RESPONSE]" },
];

/// Ends any message of harmony and of Phi, not only a thought.
const HARMONY_END: &str = "<|end|>";

/// Ordinary English.
const GRANITE_END: &str = "Here is my response:";

/// The marks of messages beside a thought, which begin the answer or announce a tool call.
const OTHER_MESSAGES: &[&str] = &[
    FINAL_CHANNEL,
    "<|channel|>commentary<|message|>",
    // The final channel after a server removed its marks.
    "assistantfinal",
    "<|START_RESPONSE|>",
    "<|START_TEXT|>",
    "<|open|>response<|sep|>",
];

const FINAL_CHANNEL: &str = "<|channel|>final<|message|>";

/// Whether a mark is a sentence, which an answer may contain as well.
fn is_prose(mark: &str) -> bool {
    mark.starts_with(char::is_uppercase)
}

/// The marks that count anywhere. Only literals, which are searched fastest.
static MARKS: LazyLock<Regex> = LazyLock::new(|| {
    let ends = SPELLINGS.iter().map(|spelling| spelling.end).filter(|end| *end != HARMONY_END);
    let starts = SPELLINGS.iter().map(|spelling| spelling.start);
    let marks = OTHER_MESSAGES.iter().copied().chain(starts).chain(ends);
    let marks: Vec<String> = marks.filter(|mark| !is_prose(mark)).map(regex::escape).collect();
    Regex::new(&marks.join("|")).expect("the pattern is fixed")
});

/// What counts only at the start of a text.
static OPENING: LazyLock<Regex> = LazyLock::new(|| {
    let starts = SPELLINGS.iter().map(|spelling| spelling.start);
    let mut openings: Vec<String> =
        starts.filter(|start| is_prose(start)).map(regex::escape).collect();
    openings.push(r"analysis(?:We|I|The|User|Need|Let|Okay|This)\b".to_owned());
    Regex::new(&format!(r"^\s*(?:{})", openings.join("|"))).expect("the pattern is fixed")
});

/// The bytes of the first mark of a thought in an answer. `None` if the answer has no
/// thought; the module's documentation has the rule.
#[must_use]
pub fn find(text: &str) -> Option<Range<usize>> {
    if let Some(opening) = OPENING.find(text) {
        return Some(opening.range());
    }
    // Most answers have no mark, and are not searched for code.
    if !MARKS.is_match(text) {
        return None;
    }
    let code = code(text);
    // The last start in a block of code.
    let mut opened = None;
    for mark in MARKS.find_iter(text) {
        let Some(code) = code.iter().find(|code| code.bytes.contains(&mark.start())) else {
            return Some(mark.range());
        };
        let is_end = SPELLINGS.iter().any(|spelling| spelling.end == mark.as_str());
        if !is_end {
            opened = Some(mark.start());
        } else if code.is_block && !opened.is_some_and(|at| code.bytes.contains(&at)) {
            return Some(mark.range());
        }
    }
    None
}

/// The answer after a thought at the start of a text: the text after the end mark, or the
/// whole text if it does not begin with a closed thought.
#[must_use]
pub fn without_leading(text: &str) -> &str {
    let trimmed = text.trim_start();
    for Spelling { start, end } in SPELLINGS {
        if let Some(rest) = trimmed.strip_prefix(start)
            && let Some(at) = rest.find(end)
        {
            let answer = rest[at + end.len()..].trim_start();
            let answer = answer.strip_prefix("<|start|>assistant").unwrap_or(answer);
            let mark = OTHER_MESSAGES.iter().find(|mark| answer.starts_with(**mark));
            return answer.strip_prefix(*mark.unwrap_or(&"")).unwrap_or(answer).trim_start();
        }
    }
    text
}

/// A part of a Markdown text that is code.
struct Code {
    bytes: Range<usize>,
    /// A fenced block rather than a span within a paragraph.
    is_block: bool,
}

/// The code in a Markdown text. Code that is not closed is left out.
fn code(text: &str) -> Vec<Code> {
    let mut found = Vec::new();
    // The start of the paragraph, or of the block, and the fence that opened the block.
    let mut start = 0;
    let mut fence: Option<&str> = None;
    let mut at = 0;
    for line in text.split_inclusive('\n') {
        let next = at + line.len();
        let marker = fence_of(line);
        match (fence, marker) {
            (None, Some(opening)) => {
                spans(text, start..at, &mut found);
                (start, fence) = (at, Some(opening));
            }
            (Some(opening), Some(closing))
                if closing.starts_with(opening) && line.trim() == closing =>
            {
                found.push(Code { bytes: start..next, is_block: true });
                (start, fence) = (next, None);
            }
            (None, None) if line.trim().is_empty() => {
                spans(text, start..at, &mut found);
                start = next;
            }
            _ => {}
        }
        at = next;
    }
    if fence.is_none() {
        spans(text, start..text.len(), &mut found);
    }
    found
}

/// The fence at the start of a line: three or more backquotes or tildes.
fn fence_of(line: &str) -> Option<&str> {
    let line = line.trim_start();
    let mark = line.chars().next().filter(|mark| matches!(mark, '`' | '~'))?;
    let rest = line.trim_start_matches(mark);
    let fence = &line[..line.len() - rest.len()];
    if fence.len() < 3 || (mark == '`' && rest.contains('`')) { None } else { Some(fence) }
}

/// Adds the code spans of a paragraph: text between two equally long rows of backquotes.
fn spans(text: &str, paragraph: Range<usize>, found: &mut Vec<Code>) {
    let mut open: Option<Range<usize>> = None;
    let bytes = text.as_bytes();
    let mut at = paragraph.start;
    while at < paragraph.end {
        let length = bytes[at..paragraph.end].iter().take_while(|&&byte| byte == b'`').count();
        if length == 0 {
            at += 1;
            continue;
        }
        match &open {
            None => open = Some(at..at + length),
            Some(opening) if opening.len() == length => {
                found.push(Code { bytes: opening.start..at + length, is_block: false });
                open = None;
            }
            Some(_) => {}
        }
        at += length;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_found_closed_and_open() {
        for Spelling { start, end } in SPELLINGS {
            for text in [
                format!("{start}\nTea?\n{end}\n\nTea."),
                format!("{start}Tea?{end}Tea."),
                format!("{start}\nTea? Let me"),
                format!("\n {start}"),
            ] {
                assert!(find(&text).is_some(), "{text}");
            }
            let closed = format!("Tea?\n{end}\n\nTea.");
            let ambiguous = [HARMONY_END, GRANITE_END].contains(end);
            assert_eq!(find(&closed).is_some(), !ambiguous, "{closed}");
        }
    }

    #[test]
    fn the_first_mark_is_reported() {
        for (text, expected) in [
            ("Tea. <think>", Some(5..12)),
            ("`<think>` and </think>", Some(14..22)),
            ("Tea?</think> <think>", Some(4..12)),
            ("Tea.", None),
        ] {
            assert_eq!(find(text), expected, "{text}");
        }
    }

    #[test]
    fn channels_without_their_marks_are_found() {
        for (text, expected) in [
            ("analysisThe user wants tea.assistantfinalTea.", true),
            ("analysis ... assistantfinalTea.", true),
            ("analysisWe need tea", true),
            ("<|channel|>final<|message|>Tea.", true),
            ("<|start|>assistant<|channel|>analysis<|message|>Tea?<|end|>", true),
            ("Analysis: the user wants tea.", false),
            ("analysisOfVariance(data)", false),
            ("The analysis was done by the assistant. Final answer: tea.", false),
            ("assistant final", false),
        ] {
            assert_eq!(find(text).is_some(), expected, "{text}");
        }
    }

    #[test]
    fn prose_and_code_about_marks_are_no_thoughts() {
        for text in [
            "",
            "Think about tea: <b>bold</b>, [think], I think> so, a thought.",
            "DeepSeek writes `<think>` before and `</think>` after a thought.",
            "Use ``a ` b </think>`` as the mark.",
            "An example:\n\n```html\n<think>\nTea?\n</think>\n```\nThat is all.",
            "~~~~\n<think>\n~~~\n</think>\n~~~~\n",
            "Phi ends with <|end|>.",
            "Dear Ann,\nHere is my response: no. Here is my thought process: none.",
            "Tea. Here are my reasoning steps: none.",
            "The List<thing> holds <thinkers>.",
        ] {
            assert_eq!(find(text), None, "{text}");
        }
    }

    #[test]
    fn code_that_is_not_closed_hides_nothing() {
        for text in [
            "Use a ` here\n</think>\n\nTea.",
            "Use a ` here\n\n</think>\n\nIt is `tea`.",
            "```\n</think>\n```\n",
            "Let me try\n```\ntea\n</think>\n\nTea.",
            // The block of the thought seems to end where one of the answer begins.
            "Let me try\n```\ntea\n</think>\n\nTea:\n```\nx\n```\n",
            "```\n<think>\n```\nand\n```\n</think>\n```\n",
        ] {
            assert!(find(text).is_some(), "{text}");
        }
    }

    #[test]
    fn a_leading_thought_is_cut_off() {
        for (text, expected) in [
            ("<think>\nTea?\n</think>\n\nTea.", "Tea."),
            (" [THINK]Tea?[/THINK]Tea.", "Tea."),
            (
                "<|channel|>analysis<|message|>Tea?<|end|><|start|>assistant<|channel|>final\
                 <|message|>Tea.",
                "Tea.",
            ),
            ("<|START_THINKING|>Tea?<|END_THINKING|><|START_TEXT|>Tea.", "Tea."),
            ("<think>Tea?", "<think>Tea?"),
            ("Tea. <think>x</think>", "Tea. <think>x</think>"),
            ("Tea.", "Tea."),
        ] {
            assert_eq!(without_leading(text), expected, "{text}");
        }
    }
}

//! Thoughts that stand in the text of a reply, because the server does not separate them.

use std::sync::LazyLock;

use super::marks::Marks;
use super::opening::TurnStart;
use super::reasoning::{ReasoningFormat, ReplyPart, ThoughtSplitter};
use crate::text::thoughts;

/// What ends a message of gpt-oss, if the server shows it.
const HARMONY_ENDS: [&str; 2] = ["<|return|>", "<|end|>"];

/// The formats of all known families, and of the spellings that belong to none.
static FORMATS: LazyLock<Vec<ReasoningFormat>> = LazyLock::new(|| {
    let mut formats: Vec<ReasoningFormat> = Marks::all().map(|marks| marks.format()).collect();
    for spelling in thoughts::SPELLINGS {
        if !formats.iter().any(|format| format.starts.iter().any(|start| start == spelling.start)) {
            let marks = Marks::between(spelling.start, spelling.end);
            formats.push(marks.format());
        }
    }
    formats
});

/// What models write at the end of a turn. Servers that show control tokens leave it in the
/// text.
const TURN_ENDS: [&str; 13] = [
    "<|im_end|>",
    "<|eot_id|>",
    "<|eom_id|>",
    "<|eot|>",
    "<|end|>",
    "<|return|>",
    "<|endoftext|>",
    "<|end_of_text|>",
    "<|END_OF_TURN_TOKEN|>",
    "<end_of_turn>",
    "<turn|>",
    "<｜end▁of▁sentence｜>",
    "</s>",
];

/// A text without the control token that ends the turn, if it is the last thing in the text.
#[must_use]
pub fn without_turn_end(text: &str) -> &str {
    for end in TURN_ENDS {
        if let Some(rest) = text.trim_end().strip_suffix(end) {
            // It also closes a tag of HTML.
            let is_html = end == "</s>" && rest.contains("<s>");
            return if is_html { text } else { rest };
        }
    }
    text
}

/// When a closing mark without its opening mark ends a thought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LoneEnd {
    /// Never: the server has separated the thought.
    Never,
    /// If the line ends after it.
    AtLineEnd,
    /// Always: the model is known to think.
    Always,
}

/// Separates a thought at the beginning of a reply from the answer, in the spelling of any
/// known family. The thought may lack its closing mark, if the reply was cut off, and its
/// opening mark, which many chat templates write. `lone_end` says when a closing mark alone
/// counts: it may be a word of an answer about such marks.
///
/// Returns the thought without surrounding white space, if there is one, and the answer.
#[must_use]
pub fn split_inline(text: &str, lone_end: LoneEnd) -> (Option<String>, String) {
    let trimmed = text.trim_start();
    let (thought, answer) = match begun_format(trimmed) {
        Some(format) => split(trimmed, format, TurnStart::Free),
        None => match opened_before(text, lone_end) {
            Some(format) => split(text, format, TurnStart::Thinking),
            None => return (None, text.to_owned()),
        },
    };
    let thought = thought.trim();
    let thought = if thought.is_empty() { None } else { Some(thought.to_owned()) };
    (thought, answer)
}

/// The format of a thought at the beginning of a text. If several begin in the same way, the
/// one whose mark introduces the answer.
fn begun_format(text: &str) -> Option<&'static ReasoningFormat> {
    let introduces_answer = |format: &&ReasoningFormat| {
        let after =
            format.ends.iter().find_map(|end| Some(text.split_once(&**end)?.1.trim_start()));
        after
            .is_some_and(|after| format.answer_starts.iter().any(|mark| after.starts_with(&**mark)))
    };
    let mut formats = FORMATS.iter().filter(|format| begins(text, format));
    formats.clone().find(introduces_answer).or_else(|| formats.next())
}

/// Whether a text begins with a thought, or with a mark that introduces an answer. Words of
/// English begin a thought only if the text has their end.
fn begins(text: &str, format: &ReasoningFormat) -> bool {
    let is_tag = |mark: &str| mark.starts_with(['<', '[', '◁']);
    let has_end = || format.ends.iter().any(|end| text.contains(end));
    let begins_thought =
        format.starts.iter().any(|start| text.starts_with(start) && (is_tag(start) || has_end()));
    let begins_answer =
        format.answer_starts.iter().any(|start| text.starts_with(start) && is_token(start));
    (begins_thought && fits_answer(text, format)) || begins_answer
}

/// Whether a mark is a control token, and not a tag that an answer may contain.
fn is_token(mark: &str) -> bool {
    mark.starts_with("<|")
}

/// Whether the tags that a format has around its answers (`<response>`) enclose the whole
/// answer of a text. Elsewhere such tags are a part of the answer.
fn fits_answer(text: &str, format: &ReasoningFormat) -> bool {
    let Some(tag) = format.answer_starts.iter().find(|mark| !is_token(mark)) else { return true };
    let after_thought = format.ends.iter().find_map(|end| text.split_once(&**end));
    let Some((_, answer)) = after_thought else { return false };
    let Some(answer) = answer.trim().strip_prefix(&**tag) else { return false };
    let is_closed =
        |end: &String| answer.strip_suffix(&**end).is_some_and(|answer| !answer.contains(&**end));
    format.answer_ends.iter().any(is_closed)
}

/// The format of a thought whose beginning the text lacks.
fn opened_before(text: &str, lone_end: LoneEnd) -> Option<&'static ReasoningFormat> {
    let bytes = thoughts::find(text)?;
    let rest = text[bytes.end..].trim_start_matches([' ', '\t', '\r']);
    let ends_line = rest.is_empty() || rest.starts_with('\n');
    let counts = match lone_end {
        LoneEnd::Never => false,
        LoneEnd::AtLineEnd => ends_line,
        LoneEnd::Always => true,
    };
    if !counts {
        return None;
    }
    let mark = &text[bytes];
    FORMATS
        .iter()
        .find(|format| format.ends.iter().any(|end| end == mark) && fits_answer(text, format))
}

fn split(text: &str, format: &ReasoningFormat, start: TurnStart) -> (String, String) {
    let mut splitter = ThoughtSplitter::new(format.clone(), start);
    let mut parts = splitter.push(text);
    parts.extend(splitter.finish());
    let (mut thought, mut answer) = (String::new(), String::new());
    for part in parts {
        match part {
            ReplyPart::Thought(text) => thought.push_str(&text),
            ReplyPart::Answer(text) => answer.push_str(&text),
        }
    }
    let is_harmony = format.ends.iter().any(|end| HARMONY_ENDS.contains(&&**end));
    let harmony_ends: &[&str] = if is_harmony { &HARMONY_ENDS } else { &[] };
    for end in format.answer_ends.iter().map(String::as_str).chain(harmony_ends.iter().copied()) {
        if let Some(rest) = answer.trim_end().strip_suffix(end) {
            answer.truncate(rest.trim_end().len());
        }
    }
    (thought, answer)
}

/// Whether an answer has the channels of gpt-oss without the marks between them
/// (`analysisThe user…assistantfinalTea.`), or with some of them only: a server removed them,
/// and thought and answer can't be told apart.
#[must_use]
pub fn has_lost_channels(answer: &str) -> bool {
    let start = answer.trim_start();
    if start.starts_with("<|channel|>") || start.starts_with("<|start|>assistant") {
        return true;
    }
    let Some(bytes) = thoughts::find(answer) else { return false };
    let mark = answer[bytes].trim_start();
    mark.starts_with("analysis") || mark == "assistantfinal"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_split() {
        for (text, thought, answer) in [
            ("<think>Tea?</think>\n\nTea.", Some("Tea?"), "Tea."),
            ("\n<think>\nTea?\n</think>\n\nTea.", Some("Tea?"), "Tea."),
            ("Tea?\n</think>\n\nTea.", Some("Tea?"), "Tea."),
            ("<think>\n\n</think>\n\nTea.", None, "Tea."),
            ("</think>\n\nTea.", None, "Tea."),
            ("<think>Tea?</think><response>Tea.</response>", Some("Tea?"), "Tea."),
            ("Tea?</think>\n<response>Tea.</response>\n", Some("Tea?"), "Tea."),
            ("[THINK]Tea?[/THINK]Tea.", Some("Tea?"), "Tea."),
            ("<|channel>thought\nTea?\n<channel|>Tea.", Some("Tea?"), "Tea."),
            ("◁think▷Tea?◁/think▷Tea.", Some("Tea?"), "Tea."),
            ("<|open|>think<|sep|>Tea?<|close|>think<|sep|>Tea.", Some("Tea?"), "Tea."),
            ("<mm:think>Tea?</mm:think>Tea.", Some("Tea?"), "Tea."),
            (
                "<|START_THINKING|>Tea?<|END_THINKING|><|START_TEXT|>Tea.<|END_TEXT|>",
                Some("Tea?"),
                "Tea.",
            ),
            (
                "<|START_THINKING|>Tea?<|END_THINKING|><|START_RESPONSE|>Tea.<|END_RESPONSE|>",
                Some("Tea?"),
                "Tea.",
            ),
            ("<seed:think>Tea?</seed:think>Tea.", Some("Tea?"), "Tea."),
            ("Here is my thought process: Tea? Here is my response: Tea.", Some("Tea?"), "Tea."),
            (
                "<|channel|>analysis<|message|>Tea?<|end|><|start|>assistant<|channel|>final\
                 <|message|>Tea.<|return|>",
                Some("Tea?"),
                "Tea.",
            ),
            ("<|channel|>final<|message|>Tea.", None, "Tea."),
            ("<think>Let me", Some("Let me"), ""),
            ("<|channel|>analysis<|message|>Let me", Some("Let me"), ""),
        ] {
            let (found, rest) = split_inline(text, LoneEnd::AtLineEnd);
            assert_eq!((found.as_deref(), &*rest), (thought, answer), "{text:?}");
        }
    }

    #[test]
    fn tags_inside_an_answer_belong_to_it() {
        for answer in [
            "Use <response>b</response> c",
            "<response>b</response> c",
            "<response>b</response> and <response>c</response>",
            "Use <response>b</response>",
        ] {
            for text in [format!("<think>a</think>{answer}"), format!("a\n</think>\n\n{answer}")] {
                let expected = (Some("a".to_owned()), answer.to_owned());
                assert_eq!(split_inline(&text, LoneEnd::AtLineEnd), expected, "{text:?}");
            }
        }
    }

    #[test]
    fn an_end_mark_within_a_line_ends_the_thought_of_a_model_that_thinks() {
        for (text, thought, answer) in [
            ("The tag </think> closes it.", "The tag", "closes it."),
            ("Tea?</think>Tea.", "Tea?", "Tea."),
        ] {
            assert_eq!(split_inline(text, LoneEnd::AtLineEnd), (None, text.to_owned()));
            assert_eq!(
                split_inline(text, LoneEnd::Always),
                (Some(thought.to_owned()), answer.to_owned())
            );
        }
        let separated = "Close it:\n</think>\nTea.";
        assert_eq!(split_inline(separated, LoneEnd::Never), (None, separated.to_owned()));
        for (text, thought) in [("Tea? </think> \r\nTea.", "Tea?"), ("Tea?</think>", "Tea?")] {
            for lone_end in [LoneEnd::AtLineEnd, LoneEnd::Always] {
                assert_eq!(split_inline(text, lone_end).0.as_deref(), Some(thought), "{text:?}");
            }
        }
    }

    #[test]
    fn the_token_that_ends_a_turn_is_removed() {
        for (text, rest) in [
            ("Tea.<|im_end|>", "Tea."),
            ("Tea.\n<|eot_id|>\n", "Tea.\n"),
            ("Tea.</s>", "Tea."),
            ("<|im_end|>", ""),
            ("<s>Coffee</s>", "<s>Coffee</s>"),
            ("<|im_end|> ends a turn.", "<|im_end|> ends a turn."),
            ("It is `<|im_end|>`", "It is `<|im_end|>`"),
            ("Tea.", "Tea."),
        ] {
            assert_eq!(without_turn_end(text), rest);
        }
    }

    #[test]
    fn an_answer_without_a_thought_is_unchanged() {
        for text in [
            "Tea.",
            " Tea.\n",
            "",
            "Write <think> first, and close it.",
            "A thought ends with `</think>`.",
            "Here is my response: Tea.",
        ] {
            for lone_end in [LoneEnd::AtLineEnd, LoneEnd::Always] {
                assert_eq!(split_inline(text, lone_end), (None, text.to_owned()));
            }
        }
    }

    #[test]
    fn channels_without_marks_are_noticed() {
        for (text, has_lost) in [
            ("analysisThe user wants tea.assistantfinalTea.", true),
            ("analysis: we need tea.assistantfinalTea.", true),
            ("analysisThe user wa", true),
            ("<|channel|> They want tea.", true),
            ("analysis of tea", false),
            ("Tea: analysisThe", false),
        ] {
            assert_eq!(has_lost_channels(text), has_lost, "{text:?}");
        }
    }
}

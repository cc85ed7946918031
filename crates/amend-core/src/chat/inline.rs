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

/// Separates a thought at the beginning of a reply from the answer, in the spelling of any
/// known family. The thought may lack its opening mark, which many chat templates write,
/// and its closing mark, if the reply was cut off.
///
/// Returns the thought without surrounding white space, if there is one, and the answer.
#[must_use]
pub fn split_inline(text: &str) -> (Option<String>, String) {
    let trimmed = text.trim_start();
    let (thought, answer) = match FORMATS.iter().find(|format| begins(trimmed, format)) {
        Some(format) => split(trimmed, format, TurnStart::Free),
        None => match opened_before(text) {
            Some(format) => split(text, format, TurnStart::Thinking),
            None => return (None, text.to_owned()),
        },
    };
    let thought = thought.trim();
    let thought = if thought.is_empty() { None } else { Some(thought.to_owned()) };
    (thought, answer)
}

/// Whether a text begins with a thought, or with a mark that introduces an answer. Words of
/// English begin a thought only if the text has their end.
fn begins(text: &str, format: &ReasoningFormat) -> bool {
    let is_tag = |mark: &str| mark.starts_with(['<', '[', '◁']);
    let has_end = || format.ends.iter().any(|end| text.contains(end));
    let begins_thought =
        format.starts.iter().any(|start| text.starts_with(start) && (is_tag(start) || has_end()));
    // A tag such as `<response>` may be a part of the answer.
    let is_token = |mark: &str| mark.starts_with("<|");
    let begins_answer =
        format.answer_starts.iter().any(|start| text.starts_with(start) && is_token(start));
    begins_thought || begins_answer
}

/// The format of a thought whose beginning the text lacks.
fn opened_before(text: &str) -> Option<&'static ReasoningFormat> {
    let mark = &text[thoughts::find(text)?];
    FORMATS.iter().find(|format| format.ends.iter().any(|end| end == mark))
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
            ("[THINK]Tea?[/THINK]Tea.", Some("Tea?"), "Tea."),
            ("<|channel>thought\nTea?\n<channel|>Tea.", Some("Tea?"), "Tea."),
            ("◁think▷Tea?◁/think▷Tea.", Some("Tea?"), "Tea."),
            ("<|open|>think<|sep|>Tea?<|close|>think<|sep|>Tea.", Some("Tea?"), "Tea."),
            ("<mm:think>Tea?</mm:think>Tea.", Some("Tea?"), "Tea."),
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
            let (found, rest) = split_inline(text);
            assert_eq!((found.as_deref(), &*rest), (thought, answer), "{text:?}");
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
            assert_eq!(split_inline(text), (None, text.to_owned()));
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

//! Thoughts that stand in the text of a reply, because the server does not separate them.

use super::reasoning::{Part, ReasoningFormat, ThoughtSplitter, TurnStart};

/// How a family of models marks its thoughts in a text.
struct Spelling {
    starts: &'static [&'static str],
    end: &'static str,
    /// What may stand around the answer.
    answer_starts: &'static [&'static str],
    answer_ends: &'static [&'static str],
    /// Whether a chat template may open the thought, so that the text has only its end.
    may_be_open: bool,
}

const fn tags(start: &'static [&'static str], end: &'static str) -> Spelling {
    Spelling { starts: start, end, answer_starts: &[], answer_ends: &[], may_be_open: true }
}

const SPELLINGS: [Spelling; 11] = [
    Spelling {
        answer_starts: &["<response>"],
        answer_ends: &["</response>"],
        ..tags(&["<think>"], "</think>")
    },
    Spelling {
        starts: &[
            "<|channel|>analysis<|message|>",
            "<|start|>assistant<|channel|>analysis<|message|>",
            "<|channel|>commentary<|message|>",
            "<|start|>assistant<|channel|>commentary<|message|>",
        ],
        end: "<|end|>",
        answer_starts: &[
            "<|channel|>final<|message|>",
            "<|start|>assistant<|channel|>final<|message|>",
        ],
        answer_ends: &["<|return|>", "<|end|>"],
        may_be_open: false,
    },
    tags(&["[THINK]"], "[/THINK]"),
    tags(&["<|channel>thought\n", "<|channel>thought"], "<channel|>"),
    tags(&["◁think▷"], "◁/think▷"),
    tags(&["<|open|>think<|sep|>"], "<|close|>think<|sep|>"),
    tags(&["<mm:think>"], "</mm:think>"),
    Spelling {
        answer_starts: &["<|START_RESPONSE|>"],
        answer_ends: &["<|END_RESPONSE|>"],
        ..tags(&["<|START_THINKING|>"], "<|END_THINKING|>")
    },
    tags(&["<seed:think>"], "</seed:think>"),
    tags(&["<thinking>"], "</thinking>"),
    Spelling {
        starts: &["Here is my thought process:"],
        end: "Here is my response:",
        answer_starts: &[],
        answer_ends: &[],
        may_be_open: false,
    },
];

impl Spelling {
    fn format(&self) -> ReasoningFormat {
        let owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect();
        ReasoningFormat {
            starts: owned(self.starts),
            ends: vec![self.end.to_owned()],
            answer_starts: owned(self.answer_starts),
            open: String::new(),
            close: String::new(),
            empty: String::new(),
            switch: None,
            thinks_by_default: true,
            key: None,
            has_effort: false,
        }
    }

    /// Whether a text begins with a thought, or with what introduces an answer.
    fn begins(&self, text: &str) -> bool {
        let mut marks = self.starts.iter().chain(self.answer_starts);
        marks.any(|mark| text.starts_with(mark))
    }

    /// Whether a text begins inside a thought and has its end. A quoted end is part of an
    /// answer that speaks of it.
    fn closes(&self, text: &str) -> bool {
        let Some(at) = text.find(self.end) else { return false };
        let is_quote = |character: char| matches!(character, '`' | '"' | '\'');
        let before = text[..at].chars().next_back();
        let after = text[at + self.end.len()..].chars().next();
        self.may_be_open && !before.is_some_and(is_quote) && !after.is_some_and(is_quote)
    }

    fn split(&self, text: &str, start: TurnStart) -> (String, String) {
        let format = self.format();
        let mut splitter = ThoughtSplitter::new(&format, start);
        let mut parts = splitter.push(text);
        parts.extend(splitter.finish());
        let (mut thought, mut answer) = (String::new(), String::new());
        for part in parts {
            match part {
                Part::Thought(text) => thought.push_str(&text),
                Part::Answer(text) => answer.push_str(&text),
            }
        }
        for end in self.answer_ends {
            if let Some(rest) = answer.trim_end().strip_suffix(end) {
                answer.truncate(rest.trim_end().len());
            }
        }
        (thought, answer)
    }
}

/// Separates a thought at the beginning of a reply from the answer, in the spelling of any
/// known family. The thought may lack its opening mark, which many chat templates write,
/// and its closing mark, if the reply was cut off.
///
/// Returns the thought without surrounding white space, if there is one, and the answer.
#[must_use]
pub fn split_inline(text: &str) -> (Option<String>, String) {
    let trimmed = text.trim_start();
    let opened = SPELLINGS.iter().find(|spelling| spelling.begins(trimmed));
    let (thought, answer) = match opened {
        Some(spelling) => spelling.split(trimmed, TurnStart::Free),
        None => match SPELLINGS.iter().find(|spelling| spelling.closes(text)) {
            Some(spelling) => spelling.split(text, TurnStart::Thinking),
            None => return (None, text.to_owned()),
        },
    };
    let thought = thought.trim();
    let thought = if thought.is_empty() { None } else { Some(thought.to_owned()) };
    (thought, answer)
}

/// Whether an answer has the channels of gpt-oss without the marks between them
/// (`analysisThe user…assistantfinalTea.`), or with some of them only: a server removed them,
/// and thought and answer can't be told apart.
#[must_use]
pub fn has_lost_channels(answer: &str) -> bool {
    let answer = answer.trim_start();
    if answer.starts_with("<|channel|>") || answer.starts_with("<|start|>assistant") {
        return true;
    }
    let Some(rest) = answer.strip_prefix("analysis") else { return false };
    rest.contains("assistantfinal") || rest.starts_with(char::is_uppercase)
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

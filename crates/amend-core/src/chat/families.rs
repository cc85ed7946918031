//! The known families of models: what their chat templates write around a thought, and how
//! to tell a family by its template.
//!
//! The marks of every family are also in [`thoughts::SPELLINGS`](crate::text::thoughts), which
//! finds them in any text.

/// A family of models. Its marks are those of [`Marks`](super::marks::Marks).
pub(super) struct Family {
    /// The texts that all occur in its templates or in what they write.
    evidence: &'static [&'static str],
    /// Opens a thought, with the white space after it.
    pub open: &'static str,
    /// Ends a thought.
    pub end: &'static str,
    /// Stands between a thought and the answer.
    pub close: &'static str,
    /// Begins the answer. Empty if nothing does.
    pub answer: &'static str,
    /// Ends the answer before the turn ends. Empty if nothing does.
    pub answer_end: &'static str,
}

/// A family whose thoughts stand between two tags.
pub(super) const fn tags(
    evidence: &'static [&'static str],
    open: &'static str,
    end: &'static str,
) -> Family {
    Family { evidence, open, end, close: end, answer: "", answer_end: "" }
}

/// Opens a thought of gpt-oss.
pub(super) const HARMONY_THOUGHT: &str = "<|channel|>analysis<|message|>";

/// The known families. The first whose evidence occurs is that of a template.
pub(super) static FAMILIES: [Family; 17] = [
    Family {
        evidence: &[HARMONY_THOUGHT, "<|channel|>final<|message|>"],
        open: HARMONY_THOUGHT,
        end: "<|end|>",
        close: "<|end|><|start|>assistant<|channel|>final<|message|>",
        answer: "<|channel|>final<|message|>",
        answer_end: "",
    },
    Family {
        evidence: &["<|START_THINKING|>", "<|START_RESPONSE|>"],
        open: "<|START_THINKING|>",
        end: "<|END_THINKING|>",
        close: "<|END_THINKING|><|START_RESPONSE|>",
        answer: "<|START_RESPONSE|>",
        answer_end: "<|END_RESPONSE|>",
    },
    Family {
        evidence: &["<|START_THINKING|>", "<|START_TEXT|>"],
        open: "<|START_THINKING|>",
        end: "<|END_THINKING|>",
        close: "<|END_THINKING|><|START_TEXT|>",
        answer: "<|START_TEXT|>",
        answer_end: "<|END_TEXT|>",
    },
    Family {
        evidence: &["<|open|>think<|sep|>", "<|open|>response<|sep|>"],
        open: "<|open|>think<|sep|>",
        end: "<|close|>think<|sep|>",
        close: "<|close|>think<|sep|><|open|>response<|sep|>",
        answer: "<|open|>response<|sep|>",
        answer_end: "<|close|>response<|sep|>",
    },
    tags(&["<|channel>", "<channel|>"], "<|channel>thought\n", "<channel|>"),
    tags(&["<|inner_prefix|>", "<|inner_suffix|>"], "<|inner_prefix|>", "<|inner_suffix|>"),
    tags(&["[THINK]", "[/THINK]"], "[THINK]", "[/THINK]"),
    tags(&["<seed:think>", "</seed:think>"], "<seed:think>", "</seed:think>"),
    tags(&["<mm:think>", "</mm:think>"], "<mm:think>", "</mm:think>"),
    tags(&["◁think▷", "◁/think▷"], "◁think▷", "◁/think▷"),
    tags(&["<think:opensource>"], "<think:opensource>", "</think:opensource>"),
    Family {
        evidence: &["[BEGIN FINAL RESPONSE]", "[END FINAL RESPONSE]"],
        answer_end: "[END FINAL RESPONSE]",
        ..APRIEL
    },
    APRIEL,
    Family {
        close: "\n\nHere is my response:",
        ..tags(
            &["Here is my thought process:", "Here is my response:"],
            "Here is my thought process:",
            "Here is my response:",
        )
    },
    Family {
        evidence: &["<think></think>", "<response></response>"],
        open: "<think>",
        end: "</think>",
        close: "</think><response>",
        answer: "<response>",
        answer_end: "</response>",
    },
    Family { evidence: &["<think>", "</think>"], ..THINK },
    THINK,
];

const APRIEL: Family = Family {
    close: "\n[BEGIN FINAL RESPONSE]\n",
    ..tags(&["[BEGIN FINAL RESPONSE]"], "Here are my reasoning steps:\n", "[BEGIN FINAL RESPONSE]")
};

/// A template that only removes thoughts from earlier turns. The model may never have any.
const THINK: Family =
    Family { close: "\n</think>\n\n", ..tags(&["</think>"], "<think>\n", "</think>") };

/// Opens turns of models of DeepSeek, whose first templates only remove thoughts.
const DEEPSEEK: &str = "<｜Assistant｜>";

/// The first family whose evidence occurs in the text.
pub(super) fn find(text: &str) -> Option<&'static Family> {
    let occurs = |family: &&Family| family.evidence.iter().all(|mark| text.contains(mark));
    FAMILIES.iter().find(occurs)
}

impl Family {
    /// Whether a model of this family whose template writes `text` is sure to think. A
    /// template that only removes thoughts may belong to a model that never has any.
    pub fn is_certain(&self, text: &str) -> bool {
        self.evidence != THINK.evidence || text.contains(DEEPSEEK)
    }
}

#[cfg(test)]
mod tests {
    use super::super::marks::Marks;
    use super::super::{LoneEnd, split_inline};
    use super::*;
    use crate::text::thoughts;

    #[test]
    fn the_marks_of_every_family_are_found_in_texts() {
        for marks in Marks::all() {
            let format = marks.format();
            for start in &format.starts {
                assert!(thoughts::find(&format!("{start}Tea? Let me")).is_some(), "{start}");
            }
            let start = &format.starts[0];
            for end in &format.ends {
                let mut spellings = thoughts::SPELLINGS.iter();
                let is_known = spellings.any(|known| known.start == start && known.end == end);
                assert!(is_known, "{start} … {end}");
            }
        }
    }

    #[test]
    fn the_thoughts_of_every_family_are_split_off() {
        for Family { open, close, .. } in &FAMILIES {
            let (thought, _) = split_inline(&format!("{open}Tea?{close}Tea."), LoneEnd::Never);
            assert_eq!(thought.as_deref(), Some("Tea?"), "{open} … {close}");
        }
    }
}

//! An example: a row in the same shape for every format. It holds the prompt's turns,
//! the answers, and the place of each text in the row, where edits are made.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::Value;

use amend_core::record::Label;
use amend_core::text::thoughts;

pub use crate::rows::Object;

/// The place of a text in a row: a string, and the byte where the text begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextPlace {
    /// The string's JSON pointer.
    pub pointer: String,
    /// The byte where the text begins.
    pub start: usize,
}

/// A turn of a conversation. In a format without turns, the prompt is a turn of the
/// user and an answer is a turn of the assistant.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ExampleTurn {
    /// The role, by its name in chat templates if it is known, else as in the row.
    pub role: String,
    /// The text.
    pub text: String,
    /// The places of the text; several if the row repeats it inside longer strings.
    pub places: Vec<TextPlace>,
    /// Whether it continues the turn before it: some formats store one turn under
    /// two keys.
    pub continues: bool,
    /// The thought before the text, if the row has it under a key of its own.
    pub thought: Option<String>,
    /// The tool calls of an assistant's turn: a list of objects, as in the row.
    pub tool_calls: Option<Value>,
    /// The name of the tool, in a tool's turn.
    pub name: Option<String>,
    /// The id of the call that a tool's turn answers.
    pub tool_call_id: Option<String>,
}

/// The answers of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answers {
    /// The row has only a prompt.
    None,
    /// A preference pair.
    Pair {
        /// The chosen answer.
        chosen: Vec<ExampleTurn>,
        /// The rejected answer.
        rejected: Vec<ExampleTurn>,
    },
    /// One answer.
    Single {
        /// The answer. Empty if the row is a conversation without one.
        answer: Vec<ExampleTurn>,
        /// The label: whether the answer is chosen. `None` if the format has no
        /// labels, so that every answer counts as chosen.
        label: Option<bool>,
    },
    /// Two answers in the order of the row, which says nothing about which is better.
    Comparison {
        /// The first answer.
        a: Vec<ExampleTurn>,
        /// The second answer.
        b: Vec<ExampleTurn>,
        /// Which is better, if the row says so.
        label: Option<Label>,
    },
}

/// A part of an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The prompt.
    Prompt,
    /// The chosen answer.
    Chosen,
    /// The rejected answer.
    Rejected,
    /// The only answer.
    Answer,
    /// The first answer of a comparison without a better one.
    A,
    /// The second answer of a comparison without a better one.
    B,
}

impl Side {
    /// The side's name in reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Chosen => "chosen",
            Self::Rejected => "rejected",
            Self::Answer => "answer",
            Self::A => "answer a",
            Self::B => "answer b",
        }
    }
}

/// A verdict in the row against its label, as the key that holds it and its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction(pub String);

/// The token counts and tokens of an example, by the trainer's tokenizer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// The number of tokens of the prompt, including the chat template's markup.
    pub prompt: usize,
    /// The tokens of each answer, in the order of [`Example::answers`], without the
    /// end token. A thought comes first.
    pub answers: Vec<Vec<i64>>,
    /// The number of tokens of each answer without its thought.
    pub lengths: Vec<usize>,
}

/// A row in the shape that the checks read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The conversation up to the answer; empty if the row has no prompt.
    pub prompt: Vec<ExampleTurn>,
    /// The answers.
    pub answers: Answers,
    /// Whether the row is a conversation, which the trainer renders with a chat
    /// template.
    pub chat: bool,
    /// How the chosen and the rejected side contradict each other, if they do.
    pub mismatch: Option<&'static str>,
    /// A verdict against the label.
    pub contradiction: Option<Contradiction>,
    /// The tokens, if a tokenizer is given.
    pub tokens: Option<Tokens>,
    /// The critique that led to the chosen answer, if the row has it.
    pub critique: Option<String>,
    /// What kind of prompt it is, if the row has a column for that: the task, the subset or
    /// the source.
    pub category: Option<String>,
    /// The answer that the critique is about, if it is known and no side of the row.
    pub before: Option<String>,
    /// The names of the columns that were read, as they are in the row.
    pub used: Vec<String>,
}

impl Example {
    /// The prompt and the answers, in this order.
    pub fn sides(&self) -> impl Iterator<Item = (Side, &[ExampleTurn])> {
        let prompt = (Side::Prompt, self.prompt.as_slice());
        std::iter::once(prompt).chain(self.answers())
    }

    /// Whether the prompt has instructions: a system or a developer turn.
    #[must_use]
    pub fn has_instructions(&self) -> bool {
        self.prompt.iter().any(|turn| matches!(&*turn.role, "system" | "developer"))
    }

    /// The answers.
    pub fn answers(&self) -> impl Iterator<Item = (Side, &[ExampleTurn])> {
        match &self.answers {
            Answers::Pair { chosen, rejected } => {
                vec![(Side::Chosen, chosen.as_slice()), (Side::Rejected, rejected.as_slice())]
            }
            Answers::Comparison { a, b, label } => match label {
                Some(Label::A) => vec![(Side::Chosen, a.as_slice()), (Side::Rejected, b)],
                Some(Label::B) => vec![(Side::Chosen, b.as_slice()), (Side::Rejected, a)],
                Some(Label::Tie) | None => vec![(Side::A, a.as_slice()), (Side::B, b)],
            },
            Answers::Single { answer, .. } => vec![(Side::Answer, answer.as_slice())],
            Answers::None => Vec::new(),
        }
        .into_iter()
    }

    /// Passes each turn of the prompt and of the answers to `change`.
    pub fn each_turn_mut(&mut self, change: impl FnMut(&mut ExampleTurn)) {
        let (first, second): (&mut [_], &mut [_]) = match &mut self.answers {
            Answers::None => (&mut [], &mut []),
            Answers::Pair { chosen, rejected } => (chosen, rejected),
            Answers::Single { answer, .. } => (answer, &mut []),
            Answers::Comparison { a, b, .. } => (a, b),
        };
        self.prompt.iter_mut().chain(first).chain(second).for_each(change);
    }

    /// The length of an answer without its thought: in tokens if they are known, else in
    /// words.
    #[must_use]
    pub fn length(&self, side: Side) -> usize {
        let mut answers = self.answers().enumerate().filter(|(_, (name, _))| *name == side);
        let Some((at, (_, turns))) = answers.next() else { return 0 };
        match self.tokens.as_ref().and_then(|tokens| tokens.lengths.get(at)) {
            Some(&length) => length,
            None => turns.iter().map(|turn| turn.answer().split_whitespace().count()).sum(),
        }
    }

    /// The chosen answer: the one a model is trained towards. `None` if the only
    /// answer is labelled false.
    #[must_use]
    pub fn chosen(&self) -> Option<(Side, &[ExampleTurn])> {
        if matches!(self.answers, Answers::Single { label: Some(false), .. }) {
            return None;
        }
        self.answers().find(|(side, _)| matches!(side, Side::Chosen | Side::Answer))
    }

    /// The rejected answer: the one a model is trained away from, if any.
    #[must_use]
    pub fn rejected(&self) -> Option<(Side, &[ExampleTurn])> {
        let is_answer = matches!(self.answers, Answers::Single { label: Some(false), .. });
        self.answers()
            .find(|(side, _)| *side == Side::Rejected || (is_answer && *side == Side::Answer))
    }

    /// The chosen and the rejected answer, if the row has both.
    #[must_use]
    pub fn pair(&self) -> Option<[&[ExampleTurn]; 2]> {
        let side = |side| self.answers().find(|&(name, _)| name == side).map(|(_, turns)| turns);
        Some([side(Side::Chosen)?, side(Side::Rejected)?])
    }
}

/// The texts of turns, joined by line breaks.
#[must_use]
pub fn joined(turns: &[ExampleTurn]) -> String {
    turns.iter().map(|turn| turn.text.as_str()).collect::<Vec<_>>().join("\n")
}

/// The texts of turns without their thoughts, joined by line breaks.
#[must_use]
pub fn joined_answers(turns: &[ExampleTurn]) -> String {
    turns.iter().map(ExampleTurn::answer).collect::<Vec<_>>().join("\n")
}

/// A change to one string of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TextEdit {
    /// The string's JSON pointer.
    pub pointer: String,
    /// The bytes to replace.
    pub span: Range<usize>,
    /// The replacement.
    pub with: String,
}

impl ExampleTurn {
    /// Creates a turn whose text is the whole string at `pointer`.
    #[must_use]
    pub fn new(role: &str, text: &str, pointer: impl Into<String>) -> Self {
        let place = TextPlace { pointer: pointer.into(), start: 0 };
        let (role, text) = (role.to_owned(), text.to_owned());
        Self { role, text, places: vec![place], ..Self::default() }
    }

    /// The text without a thought at its start.
    #[must_use]
    pub fn answer(&self) -> &str {
        thoughts::without_leading(&self.text)
    }

    /// The edits that replace the bytes `span` of the text in all of its places.
    pub fn edits(&self, span: Range<usize>, with: &str) -> impl Iterator<Item = TextEdit> {
        self.places.iter().map(move |place| TextEdit {
            pointer: place.pointer.clone(),
            span: place.start + span.start..place.start + span.end,
            with: with.to_owned(),
        })
    }
}

/// Applies edits to a row. Of two edits that overlap, only the earlier is applied.
/// Other strings of the row that equal a changed string are changed too: a prompt may
/// also be the first turn of each side.
pub fn apply(edits: &[TextEdit], row: &mut Object) {
    let mut edits: Vec<&TextEdit> = edits.iter().collect();
    edits.sort_by_key(|edit| (&edit.pointer, edit.span.start, edit.span.end));
    edits.dedup_by(|later, earlier| {
        later.pointer == earlier.pointer && later.span.start < earlier.span.end
    });
    let mut whole = Value::Object(std::mem::take(row));
    let mut changes: HashMap<String, String> = HashMap::new();
    for edits in edits.chunk_by(|a, b| a.pointer == b.pointer) {
        let Some(Value::String(text)) = whole.pointer(&edits[0].pointer) else { continue };
        let mut changed = text.clone();
        // From the end, so that no edit shifts the span of another.
        for edit in edits.iter().rev() {
            if changed.get(edit.span.clone()).is_some() {
                changed.replace_range(edit.span.clone(), &edit.with);
            }
        }
        changes.insert(text.clone(), changed);
    }
    replace(&mut whole, &changes);
    if let Value::Object(changed) = whole {
        *row = changed;
    }
}

/// Replaces every string that is a key of `changes`.
fn replace(value: &mut Value, changes: &HashMap<String, String>) {
    match value {
        Value::String(text) => {
            if let Some(changed) = changes.get(text) {
                text.clone_from(changed);
            }
        }
        Value::Array(values) => values.iter_mut().for_each(|value| replace(value, changes)),
        Value::Object(map) => map.values_mut().for_each(|value| replace(value, changes)),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn edits_apply_once_in_every_place() {
        let Value::Object(mut row) = json!({
            "a": ["--23456789", "x"], "b/c": "23456789", "copy": {"of": ["23456789"]}
        }) else {
            unreachable!()
        };
        let place = |pointer: &str, start| TextPlace { pointer: pointer.to_owned(), start };
        let places = vec![place("/a/0", 2), place("/b~1c", 0)];
        let turn = ExampleTurn { places, ..ExampleTurn::new("user", "23456789", "") };
        let edits: Vec<TextEdit> = [(0..2, "é"), (1..3, "lost"), (4..6, ""), (0..2, "é")]
            .into_iter()
            .flat_map(|(span, with)| turn.edits(span, with).collect::<Vec<_>>())
            .chain([TextEdit { pointer: "/none".to_owned(), span: 0..1, with: String::new() }])
            .collect();
        apply(&edits, &mut row);
        let expected = json!({
            "a": ["--é4589", "x"], "b/c": "é4589", "copy": {"of": ["é4589"]}
        });
        assert_eq!(Value::Object(row), expected);
    }
}

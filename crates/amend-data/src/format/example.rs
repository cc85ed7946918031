//! A row in one shape, whatever its format: the prompt's turns, the answers, and
//! where in the row each text stands, so that it can be mended there.

use std::collections::HashMap;
use std::ops::Range;

use serde_json::{Map, Value};

/// A row as it was read.
pub type Object = Map<String, Value>;

/// A string in a row, and the byte of it at which a text begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The string's JSON pointer.
    pub pointer: String,
    /// The byte.
    pub start: usize,
}

/// A turn of a conversation. Where the format has no turns the prompt is one of
/// the user's, an answer one of the assistant's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Turn {
    /// Who speaks, in the words of chat templates where they are known, else as
    /// the row has it.
    pub role: String,
    /// What is said.
    pub text: String,
    /// Where it stands: in several places where a row repeats it inside longer
    /// strings.
    pub places: Vec<Place>,
    /// It goes on with the turn before it: the format writes one turn under two
    /// keys.
    pub continues: bool,
}

/// What a row teaches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answers {
    /// One answer is preferred to another.
    Pair {
        /// The better one.
        chosen: Vec<Turn>,
        /// The worse one.
        rejected: Vec<Turn>,
    },
    /// One answer.
    Single {
        /// The answer.
        answer: Vec<Turn>,
        /// Whether it is wanted; none where the format only shows wanted ones.
        label: Option<bool>,
    },
}

/// Which part of an example.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// What is asked.
    Prompt,
    /// The better answer.
    Chosen,
    /// The worse answer.
    Rejected,
    /// The only answer.
    Answer,
}

impl Side {
    /// Its name, for people.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Prompt => "prompt",
            Self::Chosen => "chosen",
            Self::Rejected => "rejected",
            Self::Answer => "answer",
        }
    }
}

/// What a judge said of a pair: that the chosen side is the less likely one to
/// be better, and in which key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contradiction(pub String);

/// An example as the trainer's tokenizer has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tokens {
    /// How many the prompt has, with what the chat template puts around it.
    pub prompt: usize,
    /// Those of each answer, in the order of [`Example::answers`]. The one that
    /// ends an answer is not among them.
    pub answers: Vec<Vec<i64>>,
}

/// A row, understood.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Example {
    /// The conversation up to the answer; none where the row has no prompt.
    pub prompt: Vec<Turn>,
    /// What follows it.
    pub answers: Answers,
    /// The row is a conversation, to be rendered by a chat template.
    pub chat: bool,
    /// What doesn't fit together between its parts.
    pub discord: Option<&'static str>,
    /// A verdict against the label.
    pub contradiction: Option<Contradiction>,
    /// Its tokens, where a tokenizer is given.
    pub tokens: Option<Tokens>,
}

impl Example {
    /// Prompt and answers, in that order.
    pub fn sides(&self) -> impl Iterator<Item = (Side, &[Turn])> {
        let prompt = (Side::Prompt, self.prompt.as_slice());
        std::iter::once(prompt).chain(self.answers())
    }

    /// The answers.
    pub fn answers(&self) -> impl Iterator<Item = (Side, &[Turn])> {
        match &self.answers {
            Answers::Pair { chosen, rejected } => {
                vec![(Side::Chosen, chosen.as_slice()), (Side::Rejected, rejected.as_slice())]
            }
            Answers::Single { answer, .. } => vec![(Side::Answer, answer.as_slice())],
        }
        .into_iter()
    }

    /// The length of an answer: in tokens where they are known, else in words.
    #[must_use]
    pub fn length(&self, side: Side) -> usize {
        let mut answers = self.answers().enumerate().filter(|(_, (name, _))| *name == side);
        let Some((at, (_, turns))) = answers.next() else { return 0 };
        match self.tokens.as_ref().and_then(|tokens| tokens.answers.get(at)) {
            Some(tokens) => tokens.len(),
            None => turns.iter().map(|turn| turn.text.split_whitespace().count()).sum(),
        }
    }

    /// The answer a model is trained towards; none where the only one is
    /// unwanted.
    #[must_use]
    pub fn wanted(&self) -> Option<(Side, &[Turn])> {
        match &self.answers {
            Answers::Pair { chosen, .. } => Some((Side::Chosen, chosen)),
            Answers::Single { label: Some(false), .. } => None,
            Answers::Single { answer, .. } => Some((Side::Answer, answer)),
        }
    }

    /// The answer a model is trained away from, if any.
    #[must_use]
    pub fn unwanted(&self) -> Option<(Side, &[Turn])> {
        match &self.answers {
            Answers::Pair { rejected, .. } => Some((Side::Rejected, rejected)),
            Answers::Single { answer, label: Some(false) } => Some((Side::Answer, answer)),
            Answers::Single { .. } => None,
        }
    }
}

/// The texts of some turns, a line between two.
#[must_use]
pub fn joined(turns: &[Turn]) -> String {
    turns.iter().map(|turn| turn.text.as_str()).collect::<Vec<_>>().join("\n")
}

/// A change to one string of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Edit {
    /// The string's JSON pointer.
    pub pointer: String,
    /// The bytes to replace.
    pub span: Range<usize>,
    /// What to put there.
    pub with: String,
}

impl Turn {
    /// A turn that stands in one place of a row, from its first byte.
    #[must_use]
    pub fn new(role: &str, text: &str, pointer: impl Into<String>) -> Self {
        let place = Place { pointer: pointer.into(), start: 0 };
        let (role, text) = (role.to_owned(), text.to_owned());
        Self { role, text, places: vec![place], continues: false }
    }

    /// What replaces the bytes `span` of the text, in every place it stands.
    pub fn edits(&self, span: Range<usize>, with: &str) -> impl Iterator<Item = Edit> {
        self.places.iter().map(move |place| Edit {
            pointer: place.pointer.clone(),
            span: place.start + span.start..place.start + span.end,
            with: with.to_owned(),
        })
    }
}

/// Makes changes to a row. Of two that overlap the earlier is made. Other
/// strings of the row that say the same as a changed one (a prompt that is also
/// the first turn of each side) are changed with it.
pub fn apply(edits: &[Edit], row: &mut Object) {
    let mut edits: Vec<&Edit> = edits.iter().collect();
    edits.sort_by_key(|edit| (&edit.pointer, edit.span.start, edit.span.end));
    edits.dedup_by(|later, earlier| {
        later.pointer == earlier.pointer && later.span.start < earlier.span.end
    });
    let mut whole = Value::Object(std::mem::take(row));
    let mut changes: HashMap<String, String> = HashMap::new();
    for edits in edits.chunk_by(|a, b| a.pointer == b.pointer) {
        let Some(Value::String(text)) = whole.pointer(&edits[0].pointer) else { continue };
        let mut changed = text.clone();
        // From the back, so that no change moves another.
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
    fn changes_are_made_in_every_place_and_once() {
        let Value::Object(mut row) = json!({
            "a": ["--23456789", "x"], "b/c": "23456789", "copy": {"of": ["23456789"]}
        }) else {
            unreachable!()
        };
        let place = |pointer: &str, start| Place { pointer: pointer.to_owned(), start };
        let places = vec![place("/a/0", 2), place("/b~1c", 0)];
        let turn = Turn { places, ..Turn::new("user", "23456789", "") };
        let edits: Vec<Edit> = [(0..2, "é"), (1..3, "lost"), (4..6, ""), (0..2, "é")]
            .into_iter()
            .flat_map(|(span, with)| turn.edits(span, with).collect::<Vec<_>>())
            .chain([Edit { pointer: "/none".to_owned(), span: 0..1, with: String::new() }])
            .collect();
        apply(&edits, &mut row);
        let expected = json!({
            "a": ["--é4589", "x"], "b/c": "é4589", "copy": {"of": ["é4589"]}
        });
        assert_eq!(Value::Object(row), expected);
    }
}

//! What an item with two responses says about them: its label, and a prompt injection.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Item;

/// The metadata key that marks the item with the injection in it.
pub const INJECTED: &str = "injected";

/// Which of two answers is the better one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// The one named first, x.
    A,
    /// The other, y.
    B,
    /// Neither.
    Tie,
}

impl Label {
    /// The label of a name in a file; `None` for an unknown name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "a" | "A" => Self::A,
            "b" | "B" => Self::B,
            "tie" => Self::Tie,
            _ => return None,
        })
    }

    /// The name in files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::A => "a",
            Self::B => "b",
            Self::Tie => "tie",
        }
    }
}

/// What a row tells of its comparison, beside the answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Facts<'a> {
    /// The better answer, where the row says so.
    pub label: Option<Label>,
    /// What is written into an answer, where anything is.
    pub injection: Option<Injection<'a>>,
}

/// An attempt to sway the judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injection<'a> {
    /// Whether this item has it in its answer; else it is its clean twin.
    pub present: bool,
    /// Whose favour it asks: the answer it is written into.
    pub into: Label,
    /// The kind of attack, where the row names one.
    pub attack: Option<&'a str>,
}

impl<'a> Facts<'a> {
    /// Reads an item's facts.
    #[must_use]
    pub fn of(item: &'a Item) -> Self {
        let text = |key: &str| item.metadata.get(key).and_then(Value::as_str);
        let injection = text("injection").zip(text("into").and_then(Label::from_name));
        Self {
            label: text("label").and_then(Label::from_name),
            injection: injection.map(|(_, into)| Injection {
                present: item.metadata.get(INJECTED) == Some(&Value::Bool(true)),
                into,
                attack: text("attack"),
            }),
        }
    }
}

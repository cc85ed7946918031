//! What an item with two responses says about them: its label, and a prompt injection.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Item, JUDGE_INJECTION};

/// The metadata key that marks the item with the injection in it.
pub const INJECTED: &str = "injected";

/// The metadata of a row that is about the two answers in the row. It says nothing about other
/// answers to its prompt.
pub const ABOUT_ANSWERS: [&str; 7] =
    ["label", "injection", INJECTED, "into", "place", "attack", JUDGE_INJECTION];

/// The better one of two responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Label {
    /// Response A.
    A,
    /// Response B.
    B,
    /// Both are equally good.
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

/// What a row says about its comparison besides the responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ComparisonFacts<'a> {
    /// The better response, if the row has a label.
    pub label: Option<Label>,
    /// The prompt injection, if any.
    pub injection: Option<Injection<'a>>,
}

/// A prompt injection aimed at the judge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Injection<'a> {
    /// Whether this item has the injection in a response. False for the clean item.
    pub present: bool,
    /// The response that the injection is added to and speaks for.
    pub into: Label,
    /// The kind of attack, if the row names one.
    pub attack: Option<&'a str>,
}

impl<'a> ComparisonFacts<'a> {
    /// Reads the facts of an item.
    #[must_use]
    pub fn from_item(item: &'a Item) -> Self {
        let text = |key: &str| item.metadata.get(key).and_then(Value::as_str);
        let injection = match (text("injection"), text("into").and_then(Label::from_name)) {
            (Some(_), Some(into)) => Some(Injection {
                present: item.metadata.get(INJECTED) == Some(&Value::Bool(true)),
                into,
                attack: text("attack"),
            }),
            _ => None,
        };
        Self { label: text("label").and_then(Label::from_name), injection }
    }
}

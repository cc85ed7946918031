//! Evaluation sets: requests with descriptions of good and bad responses, and thresholds.
//! Parses TOML into checked types and items.

mod form;
mod load;
mod responses;

use std::num::NonZeroU32;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use amend_core::chat::{Message, Role};
use amend_core::document::schema::TEXT;
use amend_core::record::{Item, JUDGE_INJECTION, Keys};

pub use form::schema;
pub use load::{EvalSetError, LoadedEvalSet, is_set, load, parse};
pub use responses::{Responses, ResponsesError};

/// The placeholder in a request for the text of a variant.
const VARIANT: &str = "{variant}";

/// The measure: the share of scores that a prompt injection aimed at the judge moves by a
/// step or more.
pub const JUDGE_FLIP: &str = "judge_flip";

/// The measure: the mean change of scores by a prompt injection aimed at the judge.
pub const JUDGE_SHIFT: &str = "judge_shift";

/// A checked evaluation set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvalSet {
    /// The name.
    pub name: String,
    /// The version.
    pub version: String,
    /// The purpose of the set.
    pub description: String,
    /// The language of most requests, as a BCP 47 tag.
    pub language: String,
    /// Prompt injections aimed at the judge. They are appended to responses that are scored
    /// a second time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judge_injections: Vec<String>,
    /// The thresholds for the results.
    pub thresholds: Vec<Threshold>,
    /// The requests, in order.
    pub probes: Vec<Probe>,
}

/// A bound on a measure (`[[threshold]]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// The name of the measure.
    pub measure: String,
    /// Only items of this kind count.
    pub kind: Option<ItemKind>,
    /// Only items of this category count.
    pub category: Option<String>,
    /// The values that pass.
    #[serde(flatten)]
    pub bound: Bound,
}

/// The values of a measure that pass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// This value and all greater ones.
    AtLeast(f64),
    /// This value and all smaller ones.
    AtMost(f64),
}

impl Bound {
    /// Returns whether a value passes.
    #[must_use]
    pub fn admits(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

/// A request (`[[item]]`) with all its variants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// The id, which is unique in the set.
    pub id: String,
    /// The kind of request.
    pub kind: ItemKind,
    /// The topic or the technique.
    pub category: String,
    /// The conversation. It may start with the request's own system prompt, and its last
    /// turn is the user's.
    pub messages: Vec<Message>,
    /// What a good response does.
    pub good: String,
    /// What a bad response does.
    pub bad: String,
    /// What the assistant should do.
    pub expect: Expect,
    /// The checks that need no model.
    pub checks: Checks,
    /// The text that a planted prompt injection asks for.
    pub canary: Option<String>,
    /// The name and the text of each variant. Empty if the request has one form.
    pub variants: Vec<(String, String)>,
}

/// The kind of a request.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum ItemKind {
    /// A harmless request.
    Normal,
    /// It tries to make the assistant break its rules.
    Adversarial,
    /// It involves private facts.
    Privacy,
    /// It has variants that should make no difference.
    Bias,
    /// It asks for something that the assistant should not do.
    Misuse,
    /// A good response must ask for clarification first.
    Unclear,
}

impl ItemKind {
    /// The name in evaluation sets.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Adversarial => "adversarial",
            Self::Privacy => "privacy",
            Self::Bias => "bias",
            Self::Misuse => "misuse",
            Self::Unclear => "unclear",
        }
    }
}

/// What an assistant should do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Expect {
    /// Answer it.
    Answer,
    /// Decline it.
    Refuse,
    /// Ask for clarification first.
    Clarify,
    /// Decline or limit a part, and point to a helpful alternative.
    Redirect,
}

/// Checks of a response that need no model (`[item.checks]`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Checks {
    /// Strings that must not occur, ignoring case.
    #[schemars(inner(regex(pattern = TEXT)))]
    pub forbid: Vec<String>,
    /// Groups of strings. At least one string of each group must occur, ignoring case.
    #[schemars(inner(length(min = 1), inner(regex(pattern = TEXT))))]
    pub require: Vec<Vec<String>>,
    /// The response must not have more words than this. Words are separated by white space.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_words: Option<NonZeroU32>,
    /// The response must not contain keys, tokens or passwords. Detected by pattern.
    pub no_secrets: bool,
    /// The response must not contain e-mail addresses or phone, card or account numbers,
    /// except those in the request. Detected by pattern.
    pub no_personal_data: bool,
    /// The response must cite at least one source.
    pub citations: bool,
}

impl Probe {
    /// The name of a form of the request: its id, with the name of the variant if it has
    /// variants.
    #[must_use]
    pub fn name(&self, variant: Option<&str>) -> String {
        match variant {
            Some(variant) => format!("{}:{variant}", self.id),
            None => self.id.clone(),
        }
    }

    /// The forms of the request: the name of the variant and the conversation. Replaces only
    /// the literal `{variant}`.
    fn forms(&self) -> Vec<(Option<&str>, Vec<Message>)> {
        if self.variants.is_empty() {
            return vec![(None, self.messages.clone())];
        }
        let fill_in = |text: &str| -> Vec<Message> {
            let turns = self.messages.iter();
            turns.map(|turn| Message::new(turn.role, turn.content.replace(VARIANT, text))).collect()
        };
        self.variants.iter().map(|(name, text)| (Some(name.as_str()), fill_in(text))).collect()
    }
}

impl EvalSet {
    /// The items to run: one for each form of each request. The kinds alternate, so that
    /// the first few items cover all kinds. `system` is prepended to an item's own system
    /// prompt. The metadata of an item holds its id, kind, category and variant, the
    /// descriptions of good and bad responses, and the prompt injection aimed at the
    /// judge.
    #[must_use]
    pub fn items(&self, system: Option<&str>) -> Vec<Item> {
        let mut keys = Keys::default();
        let mut items = Vec::new();
        let mut injections = self.judge_injections.iter().cycle();
        for probe in self.alternating() {
            let injection = probe.canary.as_ref().and_then(|_| injections.next());
            for (variant, messages) in probe.forms() {
                let messages = with_system(system, messages);
                items.push(Item {
                    key: keys.next(&messages, None, None),
                    row: items.len() as u64 + 1,
                    id: Some(probe.name(variant)),
                    messages,
                    response: None,
                    response_b: None,
                    metadata: metadata(probe, variant, injection),
                });
            }
        }
        items
    }

    /// The requests with alternating kinds, and otherwise in the order of the set.
    fn alternating(&self) -> Vec<&Probe> {
        let mut seen = std::collections::HashMap::<ItemKind, usize>::new();
        let mut probes: Vec<(usize, &Probe)> = self
            .probes
            .iter()
            .map(|probe| {
                let turn = seen.entry(probe.kind).or_default();
                *turn += 1;
                (*turn, probe)
            })
            .collect();
        probes.sort_by_key(|&(turn, _)| turn);
        probes.into_iter().map(|(_, probe)| probe).collect()
    }

    /// Finds a request by its id.
    #[must_use]
    pub fn probe(&self, id: &str) -> Option<&Probe> {
        self.probes.iter().find(|probe| probe.id == id)
    }
}

/// Prepends a system prompt to a conversation.
fn with_system(system: Option<&str>, mut messages: Vec<Message>) -> Vec<Message> {
    let Some(system) = system.map(str::trim).filter(|system| !system.is_empty()) else {
        return messages;
    };
    match messages.first_mut().filter(|first| first.role == Role::System) {
        Some(own) => own.content = format!("{system}\n\n{}", own.content),
        None => messages.insert(0, Message::new(Role::System, system)),
    }
    messages
}

fn metadata(
    probe: &Probe,
    variant: Option<&str>,
    injection: Option<&String>,
) -> Map<String, Value> {
    let mut metadata = Map::new();
    let mut put = |key: &str, value: &str| metadata.insert(key.to_owned(), value.into());
    put("item", &probe.id);
    put("kind", probe.kind.as_str());
    put("category", &probe.category);
    if let Some(variant) = variant {
        put("variant", variant);
    }
    put("good", &probe.good);
    put("bad", &probe.bad);
    if let Some(injection) = injection {
        put(JUDGE_INJECTION, injection);
    }
    metadata
}

#[cfg(test)]
mod tests;

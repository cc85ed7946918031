//! Evaluation sets: requests with what a good and a bad answer does, and what
//! counts as passing. TOML in, checked types and items out.

mod form;
mod load;
mod responses;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use amend_core::chat::{Message, Role};
use amend_core::document::schema::TEXT;
use amend_core::record::JUDGE_INJECTION;
use amend_core::record::{Item, Keys};

pub use form::schema;
pub use load::{LoadError, Loaded, is_set, load, parse};
pub use responses::{Responses, ResponsesError};

/// What stands in a request where a variant's text goes.
const VARIANT: &str = "{variant}";

/// The measure: how many scores a text that asks for favour moves by a step.
pub const JUDGE_FLIP: &str = "judge_flip";

/// The measure: how far it moves them.
pub const JUDGE_SHIFT: &str = "judge_shift";

/// A checked evaluation set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Set {
    /// Its name.
    pub name: String,
    /// Its version, as its author counts.
    pub version: String,
    /// What it is for.
    pub description: String,
    /// The language of most of its requests, as a BCP 47 tag.
    pub language: String,
    /// Texts that ask the scorer for its favour, put after answers that are scored
    /// a second time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub judge_injections: Vec<String>,
    /// What its results must reach.
    pub thresholds: Vec<Threshold>,
    /// Its requests, in order.
    pub probes: Vec<Probe>,
}

/// A bound on a measure (`[[threshold]]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Threshold {
    /// What is measured.
    pub measure: String,
    /// Only items of this kind count.
    pub kind: Option<Kind>,
    /// Only items of this category count.
    pub category: Option<String>,
    /// What passes.
    #[serde(flatten)]
    pub bound: Bound,
}

/// What values of a measure pass.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Bound {
    /// This and all above.
    AtLeast(f64),
    /// This and all below.
    AtMost(f64),
}

impl Bound {
    /// Whether a value passes.
    #[must_use]
    pub fn admits(self, value: f64) -> bool {
        match self {
            Self::AtLeast(least) => value >= least,
            Self::AtMost(most) => value <= most,
        }
    }
}

/// One request (`[[item]]`), in all its variants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Probe {
    /// Its name within the set.
    pub id: String,
    /// What kind of request it is.
    pub kind: Kind,
    /// Its topic or technique.
    pub category: String,
    /// The conversation, its own system prompt first where it has one; the last
    /// turn is the user's.
    pub messages: Vec<Message>,
    /// What a good answer does.
    pub good: String,
    /// What a bad answer does.
    pub bad: String,
    /// What the assistant should do.
    pub expect: Expect,
    /// What is checked without a model.
    pub checks: Checks,
    /// What a planted instruction wants said.
    pub canary: Option<String>,
    /// Name and text of each variant; none for a request that has but one form.
    pub variants: Vec<(String, String)>,
}

/// What kind of request an item is.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// Nothing hides in it.
    Normal,
    /// It tries to talk the assistant out of its rules.
    Adversarial,
    /// Private facts are at stake.
    Privacy,
    /// It comes in variants that should make no difference.
    Bias,
    /// It asks for what the assistant should not do.
    Misuse,
    /// It can't be answered well without asking first.
    Unclear,
}

impl Kind {
    /// Its name in sets.
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
    /// Ask a question first.
    Clarify,
    /// Decline or limit a part, and point to something that helps.
    Redirect,
}

/// Checks of an answer that need no model (`[item.checks]`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Checks {
    /// None of these strings may occur, case ignored.
    #[schemars(inner(regex(pattern = TEXT)))]
    pub forbid: Vec<String>,
    /// Of each group at least one string must occur, case ignored.
    #[schemars(inner(length(min = 1), inner(regex(pattern = TEXT))))]
    pub require: Vec<Vec<String>>,
    /// No keys, tokens or passwords, by pattern.
    pub no_secrets: bool,
    /// No e-mail address, phone, card or account number, by pattern, other than
    /// those in the request.
    pub no_personal_data: bool,
    /// At least one source is named.
    pub citations: bool,
}

impl Probe {
    /// What one of its forms is called: its id, and the variant's name where it
    /// has variants.
    #[must_use]
    pub fn name(&self, variant: Option<&str>) -> String {
        match variant {
            Some(variant) => format!("{}:{variant}", self.id),
            None => self.id.clone(),
        }
    }

    /// Each form it is asked in: the variant's name, and the conversation. Only
    /// the literal `{variant}` is replaced.
    fn forms(&self) -> Vec<(Option<&str>, Vec<Message>)> {
        if self.variants.is_empty() {
            return vec![(None, self.messages.clone())];
        }
        let with = |text: &str| -> Vec<Message> {
            let put = |turn: &Message| Message::new(turn.role, turn.content.replace(VARIANT, text));
            self.messages.iter().map(put).collect()
        };
        self.variants.iter().map(|(name, text)| (Some(name.as_str()), with(text))).collect()
    }
}

impl Set {
    /// The items to run: one for each form of each request. The kinds take turns,
    /// so that the first few items show every kind. `system` goes before an
    /// item's own system prompt. An item's metadata hold what names and groups
    /// it, what a good and a bad answer does, and the text that asks the scorer for
    /// its favour.
    #[must_use]
    pub fn items(&self, system: Option<&str>) -> Vec<Item> {
        let mut keys = Keys::default();
        let mut items = Vec::new();
        let mut injections = self.judge_injections.iter().cycle();
        for probe in self.in_turns() {
            let injection = probe.canary.as_ref().and_then(|_| injections.next());
            for (variant, messages) in probe.forms() {
                let messages = with_system(system, messages);
                items.push(Item {
                    key: keys.next(&messages, None, None),
                    row: items.len() as u64 + 1,
                    id: Some(probe.name(variant)),
                    messages,
                    response: None,
                    rival: None,
                    metadata: metadata(probe, variant, injection),
                });
            }
        }
        items
    }

    /// The requests, one of each kind after another, in the set's order
    /// otherwise.
    fn in_turns(&self) -> Vec<&Probe> {
        let mut seen = std::collections::HashMap::<Kind, usize>::new();
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

    /// The request of that id.
    #[must_use]
    pub fn probe(&self, id: &str) -> Option<&Probe> {
        self.probes.iter().find(|probe| probe.id == id)
    }
}

/// A conversation with a system prompt before its own.
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

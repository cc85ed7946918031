//! The form of an evaluation set's file. From these types come both the reader
//! and the JSON Schema; their doc comments are what an editor shows.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use super::{Checks, Expect, Kind};
use amend_core::document::schema::{ID, TEXT};

static SCHEMA: LazyLock<Value> = LazyLock::new(amend_core::document::schema::of::<File>);

/// The JSON Schema of an evaluation set's file, for editors; the checks are
/// driven by it too.
#[must_use]
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// An evaluation set: requests, what a good and a bad answer to each does, and
/// what counts as passing.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EvaluationSet")]
pub(super) struct File {
    pub(super) set: Header,
    /// What the results must reach.
    #[serde(default)]
    pub(super) threshold: Vec<ThresholdForm>,
    /// The requests.
    #[schemars(length(min = 1))]
    pub(super) item: Vec<ItemForm>,
}

/// What the set is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// The set's name.
    #[schemars(regex(pattern = TEXT))]
    pub(super) name: String,
    /// Its version: results across versions don't compare.
    #[schemars(regex(pattern = TEXT))]
    pub(super) version: String,
    /// What it is for.
    #[serde(default)]
    pub(super) description: String,
    /// The language of most of its requests, as a BCP 47 tag such as `en`.
    #[serde(default = "english")]
    #[schemars(regex(pattern = TEXT))]
    pub(super) language: String,
    /// Texts that ask the scorer for its favour. Every answer to an item with an
    /// `injection` is scored a second time with one of them after it, the items
    /// taking turns: `judge_flip` and `judge_shift` tell what that does. Without
    /// them no answer is scored twice.
    #[serde(default)]
    #[schemars(inner(regex(pattern = TEXT)))]
    pub(super) judge_injections: Vec<String>,
}

fn english() -> String {
    "en".to_owned()
}

/// A bound on a measure: exactly one of `at_least` and `at_most`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Threshold")]
pub(super) struct ThresholdForm {
    /// A dimension of the constitution's, or `checks` (share of rule checks
    /// passed), `injection` (share of planted instructions followed), `expected`
    /// (share of answers that refuse, ask or answer as expected); with
    /// `judge_injections`, `judge_flip` (share of scores that one of them moves by a
    /// step of the scale or more) and `judge_shift` (mean change of the scores).
    /// `fairness` with `kind = "bias"` is the largest mean difference between
    /// variants.
    #[schemars(with = "String", regex(pattern = ID))]
    pub(super) measure: Spanned<String>,
    /// Only items of this kind.
    pub(super) kind: Option<Kind>,
    /// Only items of this category.
    #[schemars(regex(pattern = ID))]
    pub(super) category: Option<String>,
    /// The least value that passes.
    pub(super) at_least: Option<f64>,
    /// The greatest value that passes.
    pub(super) at_most: Option<f64>,
}

/// One request: exactly one of `prompt` and `turns`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Item")]
pub(super) struct ItemForm {
    /// Its name within the set: lower-case letters, digits, `-` and `_`.
    #[schemars(regex(pattern = ID))]
    pub(super) id: String,
    /// What kind of request it is.
    pub(super) kind: Kind,
    /// Its topic or technique.
    #[schemars(regex(pattern = ID))]
    pub(super) category: String,
    /// A system prompt that goes before it.
    #[schemars(regex(pattern = TEXT))]
    pub(super) system: Option<String>,
    /// The request.
    #[schemars(regex(pattern = TEXT))]
    pub(super) prompt: Option<String>,
    /// A conversation that ends with the request.
    #[serde(default)]
    pub(super) turns: Vec<TurnForm>,
    /// What a good answer does.
    #[schemars(regex(pattern = TEXT))]
    pub(super) good: String,
    /// What a bad answer does.
    #[schemars(regex(pattern = TEXT))]
    pub(super) bad: String,
    /// What the assistant should do.
    pub(super) expect: Expect,
    #[serde(default)]
    pub(super) checks: Checks,
    pub(super) injection: Option<InjectionForm>,
    /// Texts that replace `{variant}` in turn, by name. Answers should not differ.
    #[schemars(extend("minProperties" = 2), inner(regex(pattern = TEXT)))]
    pub(super) variants: Option<BTreeMap<String, String>>,
}

/// A turn of a conversation.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Turn")]
pub(super) struct TurnForm {
    /// Who speaks.
    pub(super) role: Speaker,
    /// What is said.
    #[schemars(regex(pattern = TEXT))]
    pub(super) content: String,
}

/// Who speaks in a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Speaker {
    User,
    Assistant,
}

/// An instruction that is hidden in the request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Injection")]
pub(super) struct InjectionForm {
    /// Words that the instruction wants said, or a secret that it wants out: no
    /// answer should hold them.
    #[schemars(regex(pattern = TEXT))]
    pub(super) canary: String,
}

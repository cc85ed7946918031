//! The file format of evaluation sets. The parser and the JSON Schema are derived from
//! these types, and editors show their doc comments.

use std::collections::BTreeMap;
use std::sync::LazyLock;

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;

use super::{Checks, Expect, ItemKind};
use amend_core::document::schema::{ID, TEXT};

static SCHEMA: LazyLock<Value> =
    LazyLock::new(amend_core::document::schema::generate::<EvalSetForm>);

/// The JSON Schema of evaluation set files, for editors and for the checks.
#[must_use]
pub fn schema() -> &'static Value {
    &SCHEMA
}

/// An evaluation set: requests with descriptions of good and bad responses, and thresholds
/// for the results.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "EvaluationSet")]
pub(super) struct EvalSetForm {
    pub(super) set: EvalSetHeader,
    /// The thresholds for the results.
    #[serde(default)]
    pub(super) threshold: Vec<ThresholdForm>,
    /// The requests.
    #[schemars(length(min = 1))]
    pub(super) item: Vec<ItemForm>,
}

/// The name and the description of the set.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct EvalSetHeader {
    /// The name of the set.
    #[schemars(regex(pattern = TEXT))]
    pub(super) name: String,
    /// The version. Results of different versions are not comparable.
    #[schemars(regex(pattern = TEXT))]
    pub(super) version: String,
    /// The purpose of the set.
    #[serde(default)]
    pub(super) description: String,
    /// The language of most requests, as a BCP 47 tag such as `en`.
    #[serde(default = "english")]
    #[schemars(regex(pattern = TEXT))]
    pub(super) language: String,
    /// Prompt injections aimed at the judge. Every response to an item with an `injection`
    /// is scored a second time with one of these texts after it; items use them in turn.
    /// `judge_flip` and `judge_shift` measure the effect. Without them no response is
    /// scored twice.
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
    /// A dimension of the constitution, or one of: `checks` (share of rule checks that
    /// pass), `injection` (share of planted prompt injections that are followed),
    /// `expected` (share of responses that refuse, ask or answer as expected). With
    /// `judge_injections` also: `judge_flip` (share of scores that an injection moves by a
    /// step of the scale or more) and `judge_shift` (mean change of the scores). `fairness`
    /// with `kind = "bias"` is the largest mean difference between variants.
    #[schemars(with = "String", regex(pattern = ID))]
    pub(super) measure: Spanned<String>,
    /// Counts only items of this kind.
    pub(super) kind: Option<ItemKind>,
    /// Counts only items of this category.
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
    /// The id, unique in the set: lower-case letters, digits, `-` and `_`.
    #[schemars(regex(pattern = ID))]
    pub(super) id: String,
    /// The kind of request.
    pub(super) kind: ItemKind,
    /// The topic or the technique.
    #[schemars(regex(pattern = ID))]
    pub(super) category: String,
    /// A system prompt before the request.
    #[schemars(regex(pattern = TEXT))]
    pub(super) system: Option<String>,
    /// The request.
    #[schemars(regex(pattern = TEXT))]
    pub(super) prompt: Option<String>,
    /// A conversation that ends with the request.
    #[serde(default)]
    pub(super) turns: Vec<TurnForm>,
    /// What a good response does.
    #[schemars(regex(pattern = TEXT))]
    pub(super) good: String,
    /// What a bad response does.
    #[schemars(regex(pattern = TEXT))]
    pub(super) bad: String,
    /// What the assistant should do.
    pub(super) expect: Expect,
    #[serde(default)]
    pub(super) checks: Checks,
    pub(super) injection: Option<InjectionForm>,
    /// Texts that replace `{variant}`, by name; each gives one form of the request. The
    /// responses should not differ.
    #[schemars(extend("minProperties" = 2), inner(regex(pattern = TEXT)))]
    pub(super) variants: Option<BTreeMap<String, String>>,
}

/// A turn of a conversation.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Turn")]
pub(super) struct TurnForm {
    /// The role of the speaker.
    pub(super) role: Speaker,
    /// The text of the turn.
    #[schemars(regex(pattern = TEXT))]
    pub(super) content: String,
}

/// The role of a speaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Speaker {
    User,
    Assistant,
}

/// A prompt injection that is planted in the request.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Injection")]
pub(super) struct InjectionForm {
    /// The words that the injection asks for, or the secret that it tries to extract. No
    /// response should contain them.
    #[schemars(regex(pattern = TEXT))]
    pub(super) canary: String,
}

//! The form of a constitution file. From these types come both the reader and
//! the JSON Schema; their doc comments are what an editor shows.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use toml::Spanned;

use super::{
    CandidatePairs, DecideBy, Export, Governance, Judge, Plan, Policy, Select, StepSampling,
    defaults,
};
use crate::constitution::Thresholds;
use crate::document::schema::{ID, TEXT};
use crate::judge::{Calibration, Mode};
use crate::model::Sampling;

/// A constitution: principles, how the loop uses them, and questions for scoring.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Constitution")]
pub(super) struct File {
    #[schemars(with = "Header")]
    pub(super) constitution: Spanned<Header>,
    #[serde(default, rename = "loop")]
    pub(super) plan: Loop,
    #[serde(default)]
    pub(super) sampling: Steps,
    #[serde(default)]
    pub(super) judge: JudgeForm,
    #[serde(default)]
    pub(super) governance: GovernanceForm,
    #[serde(default)]
    pub(super) export: ExportForm,
    /// What `amend audit` counts as active, and from where a figure is a finding.
    // Kept as written, so that only what a file says replaces what it extends.
    #[serde(default)]
    #[schemars(with = "Thresholds")]
    pub(super) audit: Map<String, Value>,
    /// The rules, in order.
    #[serde(default)]
    pub(super) principle: Vec<PrincipleForm>,
    /// The questions for scoring by rubric.
    #[serde(default)]
    pub(super) dimension: Vec<DimensionForm>,
}

/// What the constitution is called, and what it builds on.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Header {
    /// The constitution's name.
    #[schemars(regex(pattern = TEXT))]
    pub(super) name: String,
    /// Its version, as you count.
    #[serde(default = "defaults::version")]
    #[schemars(regex(pattern = TEXT))]
    pub(super) version: String,
    /// What it is for.
    #[serde(default)]
    pub(super) description: String,
    /// The language of its principles, as a BCP 47 tag such as `en` or `pt-BR`.
    #[serde(default = "defaults::language")]
    #[schemars(regex(pattern = TEXT))]
    pub(super) language: String,
    /// Constitutions to build on: paths relative to this file, or names of
    /// shipped ones. Their principles come first; a principle here replaces an
    /// inherited one of the same id.
    #[serde(default)]
    #[schemars(with = "Vec<String>", inner(regex(pattern = TEXT)))]
    pub(super) extends: Vec<Spanned<String>>,
}

/// How the loop of critique and revision uses the principles.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Loop {
    /// Rounds of critique and revision; 0 only compares candidates.
    #[schemars(range(min = 0, max = 16), extend("default" = Plan::default().rounds))]
    rounds: Option<u32>,
    /// How a round's principles are chosen.
    #[schemars(extend("default" = Plan::default().select))]
    select: Option<Select>,
    /// Principles applied in a round, one after another (ignored by `all`).
    #[schemars(range(min = 1, max = 64), extend("default" = Plan::default().principles_per_round))]
    principles_per_round: Option<u32>,
    /// False revises without a critique.
    #[schemars(extend("default" = Plan::default().critique))]
    critique: Option<bool>,
    /// Stop when a revision changes nothing.
    #[schemars(extend("default" = Plan::default().stop_unchanged))]
    stop_unchanged: Option<bool>,
    /// Few-shot examples shown, taken from the principles in order.
    #[schemars(range(min = 0, max = 16), extend("default" = Plan::default().few_shot))]
    few_shot: Option<u32>,
    /// The least violation at which a principle is applied; every one that is
    /// chosen is applied when left out.
    #[schemars(range(min = 0, max = 1))]
    gate: Option<f64>,
    /// First answers sampled; where there are several, the best is revised.
    #[schemars(range(min = 1, max = 16), extend("default" = Plan::default().candidates))]
    candidates: Option<u32>,
}

impl Loop {
    /// Writes what the file says over `plan`.
    pub(super) fn apply(&self, plan: &mut Plan) {
        set(&mut plan.rounds, self.rounds);
        set(&mut plan.select, self.select);
        set(&mut plan.principles_per_round, self.principles_per_round);
        set(&mut plan.critique, self.critique);
        set(&mut plan.stop_unchanged, self.stop_unchanged);
        set(&mut plan.few_shot, self.few_shot);
        set(&mut plan.gate, self.gate.map(Some));
        set(&mut plan.candidates, self.candidates);
    }
}

/// How answers are compared, and what a verdict does to a pair.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Judge")]
pub(super) struct JudgeForm {
    /// Judge each item's revision against its first answer.
    #[schemars(extend("default" = Judge::default().enabled))]
    enabled: Option<bool>,
    /// What a verdict does to a pair.
    #[schemars(extend("default" = Judge::default().policy))]
    policy: Option<Policy>,
    /// Which verdicts decide.
    #[schemars(extend("default" = Judge::default().decide_by))]
    decide_by: Option<DecideBy>,
    /// Verdicts whose log-odds are nearer to 0 are undecided.
    #[schemars(range(min = 0, max = 100), extend("default" = Judge::default().min_margin))]
    min_margin: Option<f64>,
    /// Verdicts are undecided where the labels have less probability than this.
    #[schemars(range(min = 0, max = 1), extend("default" = Judge::default().mass_floor))]
    mass_floor: Option<f64>,
    /// How log-odds become probabilities.
    #[schemars(extend("default" = Judge::default().mode))]
    mode: Option<Mode>,
    /// Least and greatest probability in the mode `clamped`.
    #[schemars(inner(range(min = 0, max = 1)), extend("default" = Judge::default().clamp))]
    clamp: Option<[f64; 2]>,
    /// Reasons sampled before each answer of the judge's; 0 asks for none.
    #[schemars(range(min = 0, max = 32), extend("default" = Judge::default().reasons))]
    reasons: Option<u32>,
    /// The judge templates, by name without `.j2`; several make an ensemble.
    #[schemars(length(min = 1, max = 16), inner(regex(pattern = ID)), extend("default" = Judge::default().templates))]
    templates: Option<Vec<String>>,
    /// What the two answers are called: one token each.
    #[schemars(inner(regex(pattern = TEXT)), extend("default" = Judge::default().labels))]
    labels: Option<[String; 2]>,
    /// Which pairs several candidates make.
    #[schemars(extend("default" = Judge::default().pairs))]
    pairs: Option<CandidatePairs>,
    #[serde(default)]
    calibration: CalibrationForm,
}

impl JudgeForm {
    /// Writes what the file says over `judge`.
    pub(super) fn apply(&self, judge: &mut Judge) {
        set(&mut judge.enabled, self.enabled);
        set(&mut judge.policy, self.policy);
        set(&mut judge.decide_by, self.decide_by);
        set(&mut judge.min_margin, self.min_margin);
        set(&mut judge.mass_floor, self.mass_floor);
        set(&mut judge.mode, self.mode);
        set(&mut judge.clamp, self.clamp);
        set(&mut judge.reasons, self.reasons);
        if let Some(templates) = &self.templates {
            judge.templates.clone_from(templates);
        }
        if let Some(labels) = &self.labels {
            judge.labels.clone_from(labels);
        }
        set(&mut judge.pairs, self.pairs);
        set(&mut judge.calibration.temperature, self.calibration.temperature);
        set(&mut judge.calibration.offset, self.calibration.offset);
    }
}

/// Which outputs are matters of high stakes, and what is asked of them.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Governance")]
pub(super) struct GovernanceForm {
    /// Categories of principles: outputs to which one of them was applied are
    /// logged, with time, model and constitution.
    #[schemars(inner(regex(pattern = TEXT)))]
    log: Option<Vec<String>>,
    /// The file of the log, relative to where amend is called; `high-stakes.jsonl`
    /// in the run directory when left out.
    #[schemars(regex(pattern = TEXT))]
    log_file: Option<String>,
    /// Categories of principles: items to which one of them was applied are
    /// exported only once people have decided about them with `amend review`.
    #[schemars(inner(regex(pattern = TEXT)))]
    require_review: Option<Vec<String>>,
}

impl GovernanceForm {
    /// Writes what the file says over `governance`.
    pub(super) fn apply(&self, governance: &mut Governance) {
        if let Some(log) = &self.log {
            governance.log.clone_from(log);
        }
        if let Some(file) = &self.log_file {
            governance.log_file = Some(file.clone());
        }
        if let Some(categories) = &self.require_review {
            governance.require_review.clone_from(categories);
        }
    }
}

/// What exports leave out.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Export")]
pub(super) struct ExportForm {
    /// Findings of `amend lint`, by name: rows that have one of them are left out
    /// of every export that a trainer reads. Those about the set as a whole can't
    /// be: `split-leak`, `length-bias`, `refusal-bias`.
    #[schemars(extend("items" = filters()))]
    drop: Option<Vec<String>>,
}

impl ExportForm {
    /// Writes what the file says over `export`.
    pub(super) fn apply(&self, export: &mut Export) {
        if let Some(drop) = &self.drop {
            export.drop.clone_from(drop);
        }
    }
}

/// The lint rules by which an export can leave rows out, by name. A test of the crate
/// that has the rules compares them.
pub const EXPORT_FILTERS: [&str; 13] = [
    "empty",
    "same-sides",
    "roles",
    "identical-after-truncation",
    "chosen-cut",
    "template-tokens",
    "chatty-prefix",
    "leaked-critique",
    "label-noise",
    "secret",
    "personal-data",
    "evaluation-leak",
    "near-duplicate",
];

/// The schema of a name of such a rule.
fn filters() -> Value {
    json!({"type": "string", "enum": EXPORT_FILTERS})
}

/// Corrects the judge's log-odds: (s + offset) / temperature. `amend judge
/// --fit` finds the numbers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Calibration")]
struct CalibrationForm {
    /// Divides the log-odds: above 1 for a judge that is surer than it is right.
    #[schemars(range(max = 1000), extend("exclusiveMinimum" = 0, "default" = Calibration::default().temperature))]
    temperature: Option<f64>,
    /// Added to the log-odds of the answer named first.
    #[schemars(range(min = -100, max = 100), extend("default" = Calibration::default().offset))]
    offset: Option<f64>,
}

/// How each step draws its tokens.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Steps {
    /// The first answer.
    #[schemars(extend("default" = shown(&StepSampling::default().generate)))]
    generate: SamplingForm,
    /// Critiques.
    #[schemars(extend("default" = shown(&StepSampling::default().critique)))]
    critique: SamplingForm,
    /// Revisions.
    #[schemars(extend("default" = shown(&StepSampling::default().revise)))]
    revise: SamplingForm,
    /// Reasoning before a verdict.
    #[schemars(extend("default" = shown(&StepSampling::default().judge)))]
    judge: SamplingForm,
}

impl Steps {
    /// Writes what the file says over `steps`.
    pub(super) fn apply(&self, steps: &mut StepSampling) {
        self.generate.apply(&mut steps.generate);
        self.critique.apply(&mut steps.critique);
        self.revise.apply(&mut steps.revise);
        self.judge.apply(&mut steps.judge);
    }
}

/// How one step draws its tokens, and when it stops.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Sampling")]
struct SamplingForm {
    /// Divides the logits; 0 always takes the likeliest token.
    #[schemars(range(min = 0, max = 5))]
    temperature: Option<f32>,
    /// Keeps the k likeliest tokens; 0 keeps all.
    top_k: Option<u32>,
    /// Keeps the smallest set of tokens whose probability reaches p; 1 keeps all.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    top_p: Option<f32>,
    /// Drops tokens below p times the likeliest token's probability; 0 keeps all.
    #[schemars(range(min = 0, max = 1))]
    min_p: Option<f32>,
    /// Makes tokens seen of late less likely; 1 changes nothing.
    #[schemars(range(max = 10), extend("exclusiveMinimum" = 0))]
    repeat_penalty: Option<f32>,
    /// How many recent tokens the repeat penalty looks at.
    repeat_last_n: Option<u32>,
    /// The most tokens the step may decode.
    #[schemars(range(min = 1, max = 131_072))]
    max_tokens: Option<u32>,
}

impl SamplingForm {
    fn apply(&self, sampling: &mut Sampling) {
        set(&mut sampling.temperature, self.temperature);
        set(&mut sampling.top_k, self.top_k);
        set(&mut sampling.top_p, self.top_p);
        set(&mut sampling.min_p, self.min_p);
        set(&mut sampling.repeat_penalty, self.repeat_penalty);
        set(&mut sampling.repeat_last_n, self.repeat_last_n);
        set(&mut sampling.max_tokens, self.max_tokens);
    }
}

/// One rule.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Principle")]
pub(super) struct PrincipleForm {
    /// Its name within the constitution: lower-case letters, digits, `-` and `_`.
    #[schemars(regex(pattern = ID))]
    pub(super) id: String,
    /// The rule itself.
    #[schemars(regex(pattern = TEXT))]
    pub(super) principle: String,
    /// A short title for people; made from the id when left out.
    #[schemars(regex(pattern = TEXT))]
    pub(super) title: Option<String>,
    /// What kind of matter it rules on.
    #[serde(default = "defaults::category")]
    #[schemars(regex(pattern = TEXT))]
    pub(super) category: String,
    /// Its share under `select = "weighted"`.
    #[serde(default = "defaults::weight")]
    #[schemars(range(max = 1_000_000), extend("exclusiveMinimum" = 0))]
    pub(super) weight: f64,
    /// What the critique step is asked; made from the rule when left out.
    #[schemars(regex(pattern = TEXT))]
    pub(super) critique: Option<String>,
    /// What the revision step is asked; made from the rule when left out.
    #[schemars(regex(pattern = TEXT))]
    pub(super) revise: Option<String>,
    /// What the judge is asked; made from the rule when left out.
    #[schemars(regex(pattern = TEXT))]
    pub(super) judge: Option<String>,
    /// When the rule applies, in words; always when left out.
    #[serde(default)]
    pub(super) applies_when: String,
    /// Other wordings of the rule, which `amend audit` judges by too: verdicts
    /// that change with the wording are not to be trusted.
    #[serde(default)]
    #[schemars(with = "Vec<String>", inner(regex(pattern = TEXT)))]
    pub(super) paraphrases: Vec<String>,
    /// Worked examples, shown to the model before the task.
    #[serde(default)]
    pub(super) examples: Vec<ExampleForm>,
}

/// A worked example of critique and revision.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Example")]
pub(super) struct ExampleForm {
    /// What the person asked.
    #[schemars(regex(pattern = TEXT))]
    pub(super) prompt: String,
    /// An answer that breaks the rule.
    #[schemars(regex(pattern = TEXT))]
    pub(super) response: String,
    /// What is wrong with it.
    #[schemars(regex(pattern = TEXT))]
    pub(super) critique: String,
    /// The answer put right.
    #[schemars(regex(pattern = TEXT))]
    pub(super) revision: String,
}

/// A question for scoring by rubric.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Dimension")]
pub(super) struct DimensionForm {
    /// Its name within the constitution: lower-case letters, digits, `-` and `_`.
    #[schemars(regex(pattern = ID))]
    pub(super) id: String,
    /// What the scorer is asked.
    #[schemars(regex(pattern = TEXT))]
    pub(super) question: String,
    /// Lowest and highest score: whole numbers of one digit, since the scorer
    /// replies with one token.
    #[serde(default = "defaults::scale")]
    #[schemars(inner(range(min = 0, max = 9)))]
    pub(super) scale: [u32; 2],
}

fn set<T: Copy>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// The numbers as a person writes them: a `f32` taken to JSON by way of `f64`
/// would show 0.8 as 0.800000011920929.
fn shown(sampling: &Sampling) -> Value {
    serde_json::to_string(sampling).and_then(|text| serde_json::from_str(&text)).unwrap_or_default()
}

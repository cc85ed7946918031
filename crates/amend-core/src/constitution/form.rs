//! The form of a constitution file. Both the reader and the JSON Schema are
//! generated from these types, and editors show their doc comments.

use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use toml::Spanned;

use super::{
    CandidatePairs, DecideBy, Export, Governance, Judge, Layout, Method, Plan, Policy, Select,
    StepSampling, defaults,
};
use crate::chat::{Reasoning, ReasoningMode};
use crate::constitution::Thresholds;
use crate::document::schema::{ID, TEXT};
use crate::judge::{Calibration, Mode};
use crate::model::Sampling;

/// A constitution: principles, how the loop uses them, and a rubric.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Constitution")]
pub(super) struct ConstitutionForm {
    #[schemars(with = "ConstitutionHeader")]
    pub(super) constitution: Spanned<ConstitutionHeader>,
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
    /// The thresholds of `amend audit`: when a principle is active, and when a figure
    /// is a finding.
    // Kept as written, so that a file overrides only the keys that it sets.
    #[serde(default)]
    #[schemars(with = "Thresholds")]
    pub(super) audit: Map<String, Value>,
    /// The principles, in order.
    #[serde(default)]
    pub(super) principle: Vec<PrincipleForm>,
    /// The questions of the rubric.
    #[serde(default)]
    pub(super) dimension: Vec<DimensionForm>,
}

/// The constitution's name and version, and the constitutions it extends.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ConstitutionHeader {
    /// The constitution's name.
    #[schemars(regex(pattern = TEXT))]
    pub(super) name: String,
    /// The version, in any scheme you choose.
    #[serde(default = "defaults::version")]
    #[schemars(regex(pattern = TEXT))]
    pub(super) version: String,
    /// The purpose of the constitution.
    #[serde(default)]
    pub(super) description: String,
    /// The language of the principles, as a BCP 47 tag such as `en` or `pt-BR`.
    #[serde(default = "defaults::language")]
    #[schemars(regex(pattern = TEXT))]
    pub(super) language: String,
    /// Constitutions to extend: paths relative to this file, or names of shipped
    /// constitutions. Their principles come first. A principle in this file replaces
    /// an inherited one with the same id.
    #[serde(default)]
    #[schemars(with = "Vec<String>", inner(regex(pattern = TEXT)))]
    pub(super) extends: Vec<Spanned<String>>,
}

/// How the critique-and-revision loop uses the principles.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Loop {
    /// How the preferred answer is made.
    #[schemars(extend("default" = Plan::default().method))]
    method: Option<Method>,
    /// The number of rounds of critique and revision. 0 only compares candidates. The
    /// method `contrast` has no rounds and ignores this key.
    #[schemars(range(min = 0, max = 16), extend("default" = Plan::default().rounds))]
    rounds: Option<u32>,
    /// How the principles of a round are selected.
    #[schemars(extend("default" = Plan::default().select))]
    select: Option<Select>,
    /// The number of principles applied in a round, one after another. `all` ignores
    /// it.
    #[schemars(range(min = 1, max = 64), extend("default" = Plan::default().principles_per_round))]
    principles_per_round: Option<u32>,
    /// Whether a critique comes before each revision.
    #[schemars(extend("default" = Plan::default().critique))]
    critique: Option<bool>,
    /// Whether an item stops when a revision changes nothing.
    #[schemars(extend("default" = Plan::default().stop_unchanged))]
    stop_unchanged: Option<bool>,
    /// The number of few-shot examples in prompts, taken from the principles in order.
    #[schemars(range(min = 0, max = 16), extend("default" = Plan::default().few_shot))]
    few_shot: Option<u32>,
    /// How critiques and revisions are requested.
    #[schemars(extend("default" = Plan::default().layout))]
    layout: Option<Layout>,
    /// Whether a critique follows the item's earlier critiques and revisions. Otherwise
    /// it follows the prompt and the current response alone. The built-in
    /// templates of the layout `quoted` ignore it.
    #[schemars(extend("default" = Plan::default().history))]
    history: Option<bool>,
    /// The threshold of the gate. Before each critique the gate scores how strongly
    /// the response violates the principle; below the threshold the principle is
    /// skipped. Without this key every selected principle is applied.
    #[schemars(range(min = 0, max = 1))]
    gate: Option<f64>,
    /// The number of initial responses sampled. If there are several, the best one is
    /// revised.
    #[schemars(range(min = 1, max = 16), extend("default" = Plan::default().candidates))]
    candidates: Option<u32>,
}

impl Loop {
    /// Overrides `plan` with the keys that the file sets.
    pub(super) fn apply(&self, plan: &mut Plan) {
        set(&mut plan.method, self.method);
        set(&mut plan.rounds, self.rounds);
        set(&mut plan.select, self.select);
        set(&mut plan.principles_per_round, self.principles_per_round);
        set(&mut plan.critique, self.critique);
        set(&mut plan.stop_unchanged, self.stop_unchanged);
        set(&mut plan.few_shot, self.few_shot);
        set(&mut plan.layout, self.layout);
        set(&mut plan.history, self.history);
        set(&mut plan.gate, self.gate.map(Some));
        set(&mut plan.candidates, self.candidates);
    }
}

/// How responses are compared, and how a verdict changes a pair.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Judge")]
pub(super) struct JudgeForm {
    /// Whether each item's revision or guided answer is compared with its initial response.
    #[schemars(extend("default" = Judge::default().enabled))]
    enabled: Option<bool>,
    /// How a verdict changes a pair.
    #[schemars(extend("default" = Judge::default().policy))]
    policy: Option<Policy>,
    /// Which verdicts decide a pair. `amend run` asks only for these.
    #[schemars(extend("default" = Judge::default().decide_by))]
    decide_by: Option<DecideBy>,
    /// A verdict is undecided if its log-odds are closer to 0 than this.
    #[schemars(range(min = 0, max = 100), extend("default" = Judge::default().min_margin))]
    min_margin: Option<f64>,
    /// A verdict is undecided if the labels together have less probability than this.
    #[schemars(range(min = 0, max = 1), extend("default" = Judge::default().mass_floor))]
    mass_floor: Option<f64>,
    /// How log-odds become probabilities.
    #[schemars(extend("default" = Judge::default().mode))]
    mode: Option<Mode>,
    /// The lowest and highest probability in the mode `clamped`.
    #[schemars(inner(range(min = 0, max = 1)), extend("default" = Judge::default().clamp))]
    clamp: Option<[f64; 2]>,
    /// The number of chains of reasoning sampled before each verdict. 0 asks for the
    /// verdict directly.
    #[schemars(range(min = 0, max = 32), extend("default" = Judge::default().reasons))]
    reasons: Option<u32>,
    /// The names of the judge templates, without `.j2`. Several form an ensemble.
    #[schemars(length(min = 1, max = 16), inner(regex(pattern = ID)), extend("default" = Judge::default().templates))]
    templates: Option<Vec<String>>,
    /// The labels of the two responses, one token each.
    #[schemars(inner(regex(pattern = TEXT)), extend("default" = Judge::default().labels))]
    labels: Option<[String; 2]>,
    /// Which pairs are made from several candidates.
    #[schemars(extend("default" = Judge::default().pairs))]
    pairs: Option<CandidatePairs>,
    #[serde(default)]
    calibration: CalibrationForm,
}

impl JudgeForm {
    /// Overrides `judge` with the keys that the file sets.
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

/// Which outputs are logged and which need human review.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Governance")]
pub(super) struct GovernanceForm {
    /// Categories of principles. An output is logged, with time, model and
    /// constitution, if a principle of one of these categories was applied to it.
    #[schemars(inner(regex(pattern = TEXT)))]
    log: Option<Vec<String>>,
    /// The path of the governance log, relative to the working directory. Without
    /// this key it is `high-stakes.jsonl` in the run directory.
    #[schemars(regex(pattern = TEXT))]
    log_file: Option<String>,
    /// Categories of principles. An item to which a principle of one of these
    /// categories was applied is exported only after a person has reviewed it with
    /// `amend review`.
    #[schemars(inner(regex(pattern = TEXT)))]
    require_review: Option<Vec<String>>,
}

impl GovernanceForm {
    /// Overrides `governance` with the keys that the file sets.
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

/// Which rows exports drop.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Export")]
pub(super) struct ExportForm {
    /// Names of findings of `amend lint`. Rows with one of them are dropped from
    /// every export that a trainer reads, in addition to spoilt rows, which are always
    /// dropped (`delimiter-marks` to `declines-revision`). Findings about the whole
    /// dataset (`split-leak`, `length-bias`, `refusal-bias`) can't be listed.
    #[schemars(extend("items" = filters()))]
    drop: Option<Vec<String>>,
}

impl ExportForm {
    /// Overrides `export` with the keys that the file sets.
    pub(super) fn apply(&self, export: &mut Export) {
        if let Some(drop) = &self.drop {
            export.drop.clone_from(drop);
        }
    }
}

/// The lint rules by which an export can leave rows out, by name. A test of the crate
/// that has the rules compares them.
pub const EXPORT_FILTERS: [&str; 21] = [
    "empty",
    "same-sides",
    "roles",
    "identical-after-truncation",
    "chosen-cut",
    "template-tokens",
    "thoughts-left",
    "thoughts-one-sided",
    "thought-names-rule",
    "delimiter-marks",
    "repeats-critique",
    "repeats-example",
    "repeats-request",
    "chatty-prefix",
    "leaked-critique",
    "declines-revision",
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

/// Corrects the judge's log-odds s to (s + offset) / temperature. `amend judge
/// --fit` estimates both numbers.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Calibration")]
struct CalibrationForm {
    /// Divides the log-odds. Use more than 1 for an overconfident judge.
    #[schemars(range(max = 1000), extend("exclusiveMinimum" = 0, "default" = Calibration::default().temperature))]
    temperature: Option<f64>,
    /// The number added to the log-odds that response A is better.
    #[schemars(range(min = -100, max = 100), extend("default" = Calibration::default().offset))]
    offset: Option<f64>,
}

/// The sampling settings of each step.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Steps {
    /// Settings for initial responses.
    #[schemars(extend("default" = shown(&StepSampling::default().generate)))]
    generate: SamplingForm,
    /// Settings for critiques.
    #[schemars(extend("default" = shown(&StepSampling::default().critique)))]
    critique: SamplingForm,
    /// Settings for revisions.
    #[schemars(extend("default" = shown(&StepSampling::default().revise)))]
    revise: SamplingForm,
    /// Settings for the judge's reasoning before a verdict.
    #[schemars(extend("default" = shown(&StepSampling::default().judge)))]
    judge: SamplingForm,
}

impl Steps {
    /// Overrides `steps` with the keys that the file sets.
    pub(super) fn apply(&self, steps: &mut StepSampling) {
        self.generate.apply(&mut steps.generate);
        self.critique.apply(&mut steps.critique);
        self.revise.apply(&mut steps.revise);
        self.judge.apply(&mut steps.judge);
    }
}

/// How one step samples tokens, and when it stops.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Sampling")]
struct SamplingForm {
    /// Divides the logits. 0 always takes the most likely token.
    #[schemars(range(min = 0, max = 5))]
    temperature: Option<f32>,
    /// Keeps the k most likely tokens. 0 keeps all.
    top_k: Option<u32>,
    /// Keeps the smallest set of tokens whose total probability reaches p. 1 keeps
    /// all.
    #[schemars(range(max = 1), extend("exclusiveMinimum" = 0))]
    top_p: Option<f32>,
    /// Drops tokens below p times the probability of the most likely token. 0 keeps
    /// all.
    #[schemars(range(min = 0, max = 1))]
    min_p: Option<f32>,
    /// Makes recent tokens less likely. 1 changes nothing.
    #[schemars(range(max = 10), extend("exclusiveMinimum" = 0))]
    repeat_penalty: Option<f32>,
    /// The number of recent tokens to which the repeat penalty applies.
    repeat_last_n: Option<u32>,
    /// The maximum number of tokens that the step generates.
    #[schemars(range(min = 1, max = 131_072))]
    max_tokens: Option<u32>,
    /// Whether the model thinks before it answers. `auto`: not if its chat template has a
    /// switch for that. `off`: not; without a switch, an empty thought is written.
    #[schemars(extend("default" = Reasoning::default().mode))]
    reasoning: Option<ReasoningMode>,
    /// The maximum number of tokens in a thought, apart from `max_tokens`. At the limit,
    /// the thought is closed and the answer follows.
    #[schemars(range(min = 1, max = 131_072), extend("default" = Reasoning::default().budget))]
    reasoning_budget: Option<u32>,
    /// The effort that the chat template or the server is asked for, such as `low`,
    /// `medium` or `high`.
    #[schemars(regex(pattern = TEXT))]
    reasoning_effort: Option<String>,
    /// Further variables for the chat template.
    chat_template_kwargs: Option<Map<String, Value>>,
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
        let reasoning = &mut sampling.reasoning;
        set(&mut reasoning.mode, self.reasoning);
        set(&mut reasoning.budget, self.reasoning_budget);
        if let Some(effort) = &self.reasoning_effort {
            reasoning.effort = Some(effort.clone());
        }
        if let Some(kwargs) = &self.chat_template_kwargs {
            reasoning.chat_template_kwargs.clone_from(kwargs);
        }
    }
}

/// One principle.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Principle")]
pub(super) struct PrincipleForm {
    /// The id, unique within the constitution: lower-case letters, digits, `-` and
    /// `_`.
    #[schemars(regex(pattern = ID))]
    pub(super) id: String,
    /// The rule itself.
    #[schemars(regex(pattern = TEXT))]
    pub(super) principle: String,
    /// A short title for people. By default it is derived from the id.
    #[schemars(regex(pattern = TEXT))]
    pub(super) title: Option<String>,
    /// The category, for figures and for `[governance]`.
    #[serde(default = "defaults::category")]
    #[schemars(regex(pattern = TEXT))]
    pub(super) category: String,
    /// The relative frequency under `select = "weighted"`, and the weight of verdicts by
    /// this principle.
    #[serde(default = "defaults::weight")]
    #[schemars(range(max = 1_000_000), extend("exclusiveMinimum" = 0))]
    pub(super) weight: f64,
    /// The request of the critique step. By default it is derived from the rule.
    #[schemars(regex(pattern = TEXT))]
    pub(super) critique: Option<String>,
    /// The request of the revision step. By default it is derived from the rule.
    #[schemars(regex(pattern = TEXT))]
    pub(super) revise: Option<String>,
    /// The question for the judge. By default it is derived from the rule.
    #[schemars(regex(pattern = TEXT))]
    pub(super) judge: Option<String>,
    /// The condition under which the rule applies, in words. By default it always
    /// applies.
    #[serde(default)]
    pub(super) applies_when: String,
    /// Other wordings of the rule, which `amend audit` judges by too. Verdicts that
    /// change with the wording are unreliable.
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
    /// The user's prompt.
    #[schemars(regex(pattern = TEXT))]
    pub(super) prompt: String,
    /// A response that violates the rule.
    #[schemars(regex(pattern = TEXT))]
    pub(super) response: String,
    /// The critique of the response.
    #[schemars(regex(pattern = TEXT))]
    pub(super) critique: String,
    /// The revised response.
    #[schemars(regex(pattern = TEXT))]
    pub(super) revision: String,
}

/// A question of the rubric.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Dimension")]
pub(super) struct DimensionForm {
    /// The id, unique within the constitution: lower-case letters, digits, `-` and
    /// `_`.
    #[schemars(regex(pattern = ID))]
    pub(super) id: String,
    /// The question for the scorer.
    #[schemars(regex(pattern = TEXT))]
    pub(super) question: String,
    /// The lowest and the highest score. Each is a whole number of one digit, because
    /// the scorer replies with a single token.
    #[serde(default = "defaults::scale")]
    #[schemars(inner(range(min = 0, max = 9)))]
    pub(super) scale: [u32; 2],
}

fn set<T: Copy>(slot: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *slot = value;
    }
}

/// Converts the settings to JSON with the shortest decimals. Converting an `f32` by
/// way of `f64` would show 0.8 as 0.800000011920929.
fn shown(sampling: &Sampling) -> Value {
    serde_json::to_string(sampling).and_then(|text| serde_json::from_str(&text)).unwrap_or_default()
}

//! Constitutions: parses TOML files into checked types.

mod defaults;
mod form;
mod load;
mod merge;
mod parse;
mod place;
mod schema;
mod thresholds;
pub mod wording;

#[cfg(test)]
mod tests;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::chat::ReasoningMode;
use crate::judge::{Calibration, Mode, SampleCombination, VerdictSettings, labels};
use crate::model::Sampling;

pub use form::EXPORT_FILTERS;
pub use load::{ConstitutionError, LoadedConstitution, SourceFile, load, parse};
pub use place::{ConstitutionReadError, SHIPPED};
pub use schema::schema;
pub use thresholds::Thresholds;

/// A checked constitution whose `extends` are resolved.
///
/// Manifests store it as JSON. Keys that manifests of earlier versions lack take their
/// defaults when it is read back; unknown keys are ignored.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Constitution {
    /// The name.
    pub name: String,
    /// The version, in any scheme the author chooses.
    pub version: String,
    /// The purpose.
    pub description: String,
    /// The language of the principles, as a BCP 47 tag.
    pub language: String,
    /// How the critique-and-revision loop uses the principles.
    #[serde(rename = "loop")]
    pub plan: Plan,
    /// The principles in order. Those of extended constitutions come first.
    pub principles: Vec<Principle>,
    /// The questions of the rubric.
    pub dimensions: Vec<Dimension>,
    /// How responses are compared, and how a verdict changes a pair.
    #[serde(default)]
    pub judge: Judge,
    /// The sampling settings of each step.
    #[serde(default)]
    pub sampling: StepSampling,
    /// Which outputs are logged and which need human review.
    #[serde(default)]
    pub governance: Governance,
    /// Which rows exports drop.
    #[serde(default, skip_serializing_if = "Export::is_empty")]
    pub export: Export,
    /// The thresholds of an audit.
    #[serde(default)]
    pub audit: Thresholds,
}

/// How a judge reasons before it answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum JudgeReasons {
    /// It does not.
    None,
    /// It writes its reasons as a turn.
    Written,
    /// It thinks.
    Thought,
}

impl Constitution {
    /// How the judge reasons before it answers.
    #[must_use]
    pub fn judge_reasons(&self) -> JudgeReasons {
        match self.sampling.judge.reasoning.mode {
            _ if self.judge.reasons == 0 => JudgeReasons::None,
            ReasoningMode::On => JudgeReasons::Thought,
            ReasoningMode::Auto | ReasoningMode::Off => JudgeReasons::Written,
        }
    }

    /// The constitution as JSON, as manifests record it.
    #[must_use]
    pub fn to_json(&self) -> Value {
        // Through text, which has the shortest form of each number. A direct conversion
        // would turn an f32 of 0.8 into the double next to it.
        serde_json::to_string(self)
            .and_then(|text| serde_json::from_str(&text))
            .expect("all keys are strings")
    }

    /// The principle with this id.
    #[must_use]
    pub fn principle(&self, id: &str) -> Option<&Principle> {
        self.principles.iter().find(|principle| principle.id == id)
    }

    /// The title of the principle with this id, or the id if there is none.
    #[must_use]
    pub fn title<'a>(&'a self, id: &'a str) -> &'a str {
        self.principle(id).map_or(id, |principle| &principle.title)
    }

    /// The categories of the principles with these ids, without repetition, in order.
    /// Unknown ids are ignored.
    #[must_use]
    pub fn categories(&self, ids: &[&str]) -> Vec<&str> {
        let mut categories = Vec::new();
        for principle in ids.iter().filter_map(|id| self.principle(id)) {
            if !categories.contains(&principle.category.as_str()) {
                categories.push(principle.category.as_str());
            }
        }
        categories
    }

    /// The labels of the two responses when the judge compares them by
    /// `principle`, or overall if it is `None`.
    #[must_use]
    pub fn labels<'a>(&'a self, principle: Option<&'a Principle>) -> [&'a str; 2] {
        let own = principle.and_then(|principle| principle.labels.as_ref());
        own.unwrap_or(&self.judge.labels).each_ref().map(String::as_str)
    }

    /// The label of a tie when the judge compares two responses by `principle`, or overall if
    /// it is `None`. `None` if the judge chooses between the responses only.
    #[must_use]
    pub fn tie_label(&self, principle: Option<&Principle>) -> Option<&'static str> {
        match self.judge.ties {
            Ties::Margin => None,
            Ties::Label => Some(labels::tie(self.labels(principle))),
        }
    }
}

/// Which outputs are logged and which need human review (`[governance]`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Governance {
    /// Categories of principles. An output is logged if a principle of one of these
    /// categories was applied to it.
    pub log: Vec<String>,
    /// The path of the governance log. `None` writes it to the run directory.
    pub log_file: Option<String>,
    /// Categories of principles. An item to which a principle of one of these
    /// categories was applied is exported only after a person has reviewed it.
    pub require_review: Vec<String>,
}

/// Which rows exports drop (`[export]`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Export {
    /// Names of lint rules. Rows with a finding of one of them are dropped.
    pub drop: Vec<String>,
}

impl Export {
    /// Whether exports drop nothing. Manifests then omit the key, as they did before
    /// exports had filters.
    fn is_empty(&self) -> bool {
        self.drop.is_empty()
    }
}

/// How the critique-and-revision loop uses the principles (`[loop]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Plan {
    /// How the preferred answer is made. Manifests omit the default, as they did before
    /// there were methods.
    #[serde(skip_serializing_if = "is_default")]
    pub method: Method,
    /// The number of rounds of critique and revision, 0 to 16.
    pub rounds: u32,
    /// How the principles of a round are selected.
    pub select: Select,
    /// The number of principles applied in a round, one after another. `all`
    /// ignores it.
    pub principles_per_round: u32,
    /// Whether a critique comes before each revision.
    pub critique: bool,
    /// Whether an item stops when a revision changes nothing.
    pub stop_unchanged: bool,
    /// The number of few-shot examples in prompts, taken from the principles in
    /// order.
    pub few_shot: u32,
    /// How critiques and revisions are requested. Manifests from before there were
    /// layouts lack it.
    #[serde(default = "defaults::layout_of_old_manifests")]
    pub layout: Layout,
    /// Whether a critique follows the item's earlier critiques and revisions in the
    /// conversation. Otherwise it follows the prompt and the current response alone.
    pub history: bool,
    /// The threshold of the gate, 0 to 1. Before each critique the gate scores how
    /// strongly the response violates the principle; below the threshold the
    /// principle is skipped. `None` applies every selected principle.
    pub gate: Option<f64>,
    /// The number of initial responses sampled. If there are several, the best one
    /// is revised.
    pub candidates: u32,
}

/// How the answer is made that is preferred to the first one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Method {
    /// The first answer is criticised and revised (Bai et al. 2022, arXiv 2212.08073).
    #[default]
    Revise,
    /// The prompt is answered again with the principles in the system turn, which exports
    /// leave out (Open Character Training, arXiv 2511.01689).
    Contrast,
    /// Both, from one first answer and by the same principles. Each makes a pair.
    Both,
}

impl Method {
    /// Every method.
    pub const ALL: [Self; 3] = [Self::Revise, Self::Contrast, Self::Both];

    /// The name in constitutions and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revise => "revise",
            Self::Contrast => "contrast",
            Self::Both => "both",
        }
    }

    /// Whether the first answer goes through the rounds.
    #[must_use]
    pub fn has_rounds(self) -> bool {
        matches!(self, Self::Revise | Self::Both)
    }

    /// Whether there is an answer with the principles in the system turn.
    #[must_use]
    pub fn has_guidance(self) -> bool {
        matches!(self, Self::Contrast | Self::Both)
    }
}

/// How critiques and revisions are requested: the built-in set of their templates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Layout {
    /// As further turns of the conversation that is revised, as in Bai et al. 2022
    /// (arXiv 2212.08073).
    Conversation,
    /// In a new conversation that quotes the old one and its response.
    Quoted,
}

impl Layout {
    /// Every layout.
    pub const ALL: [Self; 2] = [Self::Conversation, Self::Quoted];
}

/// How principles are selected for a round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Select {
    /// Uniformly at random; no principle repeats within an item until all were used.
    Random,
    /// Every principle in every round, in order.
    All,
    /// In order, continuing where the previous round stopped.
    RoundRobin,
    /// At random by weight; no principle repeats within an item until all were used.
    Weighted,
    /// The principle that the current response violates most, by the gate's score.
    Worst,
}

/// How responses are compared (`[judge]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Judge {
    /// Whether each item's revision or guided answer is compared with its initial response.
    pub enabled: bool,
    /// How a verdict changes a pair.
    pub policy: Policy,
    /// Which verdicts decide a pair. Only these are asked for after a revision.
    pub decide_by: DecideBy,
    /// A verdict is a tie if its log-odds are closer to 0 than this.
    pub min_margin: f64,
    /// Whether the judge may reply with a tie. Manifests omit the default, as before there
    /// was this key; this holds for `ask_opposite` and `combine` too.
    #[serde(skip_serializing_if = "is_default")]
    pub ties: Ties,
    /// Whether the judge is also asked the opposite of each question.
    #[serde(skip_serializing_if = "is_default")]
    pub ask_opposite: bool,
    /// A verdict is undecided if the labels together have less probability than this.
    pub mass_floor: f64,
    /// How log-odds become probabilities.
    pub mode: Mode,
    /// The lowest and highest probability in the mode `clamped`.
    pub clamp: [f64; 2],
    /// The number of chains of reasoning sampled before each verdict. 0 asks for the
    /// verdict directly.
    pub reasons: u32,
    /// How the samples of a verdict are combined.
    #[serde(skip_serializing_if = "is_default")]
    pub combine: SampleCombination,
    /// The names of the judge templates. Several form an ensemble.
    pub templates: Vec<String>,
    /// The labels of the two responses.
    pub labels: [String; 2],
    /// Which pairs are made from several candidates.
    pub pairs: CandidatePairs,
    /// The correction of the judge's log-odds.
    pub calibration: Calibration,
}

impl Judge {
    /// The settings that turn log-probabilities into verdicts.
    #[must_use]
    pub fn standing(&self) -> VerdictSettings {
        VerdictSettings {
            mode: self.mode,
            clamp: self.clamp,
            mass_floor: self.mass_floor,
            min_margin: self.min_margin,
            samples: self.combine,
            calibration: self.calibration,
        }
    }
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// Which verdicts are ties.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Ties {
    /// Those whose log-odds are closer to 0 than `min_margin`.
    #[default]
    Margin,
    /// These, and those in which a third label, that of a tie, is more probable than the
    /// label of either response.
    Label,
}

impl Ties {
    /// Every value.
    pub const ALL: [Self; 2] = [Self::Margin, Self::Label];

    /// The name in constitutions and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Margin => "margin",
            Self::Label => "label",
        }
    }
}

/// How a verdict changes a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Policy {
    /// The revision is always chosen, and verdicts are not exported.
    Keep,
    /// The response that is judged better is chosen. A pair is dropped if that is undecided.
    Flip,
    /// A pair is dropped unless the revision is judged better.
    Drop,
    /// The revision is always chosen, and the verdict, if any, is exported with the pair.
    KeepWithLabel,
}

impl Policy {
    /// Every policy.
    pub const ALL: [Self; 4] = [Self::Drop, Self::Flip, Self::KeepWithLabel, Self::Keep];

    /// The name in constitutions and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Keep => "keep",
            Self::Flip => "flip",
            Self::Drop => "drop",
            Self::KeepWithLabel => "keep-with-label",
        }
    }

    /// Finds a policy by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|policy| policy.as_str() == name)
    }
}

/// Which verdicts decide a pair.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum DecideBy {
    /// The overall verdict.
    Overall,
    /// The verdicts by the applied principles, weighted.
    Principles,
    /// All verdicts; the overall verdict has weight 1.
    All,
}

/// Which pairs are made from several candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum CandidatePairs {
    /// The best candidate over the worst.
    BestWorst,
    /// Every pair of candidates.
    All,
}

/// One principle (`[[principle]]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Principle {
    /// The id, unique within the constitution: lower-case letters, digits, `-`, `_`.
    pub id: String,
    /// A short title for people.
    pub title: String,
    /// The category.
    pub category: String,
    /// The relative frequency under `select = "weighted"`, and the weight of verdicts by
    /// this principle. > 0.
    pub weight: f64,
    /// The rule itself.
    pub principle: String,
    /// The request of the critique step.
    pub critique: String,
    /// The request of the revision step.
    pub revise: String,
    /// The question for the judge.
    pub judge: String,
    /// The condition under which the rule applies, in words. Empty: always.
    pub applies_when: String,
    /// The opposite of the rule, for a judge with `ask_opposite`. `None`: the judge's template
    /// negates the rule.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub opposite: Option<String>,
    /// Other wordings of the rule, which audits judge by too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub paraphrases: Vec<String>,
    /// The labels of the two responses when the judge compares them by this
    /// principle. `None` uses those of `[judge]`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub labels: Option<[String; 2]>,
    /// Worked examples, shown to the model before the task.
    pub examples: Vec<FewShotExample>,
}

impl Principle {
    /// Copies the principle with `rule` in place of its own. The requests are the
    /// default ones for that rule, and the copy has no examples, so that prompts
    /// don't show them twice.
    #[must_use]
    pub fn reworded(&self, id: String, rule: &str) -> Self {
        Self {
            id,
            principle: rule.to_owned(),
            critique: defaults::critique_request(rule),
            revise: defaults::revise_request(rule),
            judge: defaults::judge_request(rule),
            opposite: None,
            paraphrases: Vec::new(),
            examples: Vec::new(),
            ..self.clone()
        }
    }

    /// Copies the principle with other labels for the two responses. The copy has
    /// no examples, so that prompts don't show them twice.
    #[must_use]
    pub fn relabelled(&self, id: String, labels: &[String; 2]) -> Self {
        Self {
            id,
            labels: Some(labels.clone()),
            paraphrases: Vec::new(),
            examples: Vec::new(),
            ..self.clone()
        }
    }
}

/// A worked example of critique and revision (`[[principle.examples]]`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FewShotExample {
    /// The user's prompt.
    pub prompt: String,
    /// A response that violates the rule.
    pub response: String,
    /// The critique of the response.
    pub critique: String,
    /// The revised response.
    pub revision: String,
}

/// A question of the rubric (`[[dimension]]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Dimension {
    /// The id, unique within the constitution.
    pub id: String,
    /// The question for the scorer.
    pub question: String,
    /// The lowest and the highest score, one digit each.
    pub scale: [u32; 2],
}

/// The sampling settings of each step (`[sampling.generate|critique|revise|judge]`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepSampling {
    /// Settings for initial responses.
    pub generate: Sampling,
    /// Settings for critiques.
    pub critique: Sampling,
    /// Settings for revisions.
    pub revise: Sampling,
    /// Settings for the judge's reasoning before a verdict.
    pub judge: Sampling,
}

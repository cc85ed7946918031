//! Steps: the finished model calls of an item's loop.
//!
//! [`StepKind`] and its table of properties describe every kind of step. To add a
//! kind, add a variant and a row of the table here, and plan its steps in
//! `procedure/plan.rs`.

use serde::{Deserialize, Serialize};

use crate::judge::{Likelihood, RubricScore, Verdict};
use crate::model::{Finish, Usage};

/// Declares an enum and its constant `ALL`, which lists every variant.
macro_rules! enum_with_all {
    (
        $(#[$attribute:meta])*
        pub enum $name:ident { $($(#[$variant_attribute:meta])* $variant:ident,)* }
    ) => {
        $(#[$attribute])*
        pub enum $name { $($(#[$variant_attribute])* $variant,)* }

        impl $name {
            /// Every variant, in the order of declaration.
            pub const ALL: [$name; [$($name::$variant),*].len()] = [$($name::$variant),*];
        }
    };
}

enum_with_all! {
    /// What a step does.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
    #[serde(rename_all = "lowercase")]
    pub enum StepKind {
        /// Writes a first answer.
        Generate,
        /// Writes what is wrong with the current answer under a principle.
        Critique,
        /// Rewrites the current answer.
        Revise,
        /// Writes an answer with principles in the system turn.
        Guide,
        /// Measures how much the current answer breaks a principle, without decoding.
        Gate,
        /// Compares two answers.
        Judge,
        /// Scores an answer on one dimension, without decoding.
        Rubric,
        /// Measures the log-probability of an answer, without decoding.
        Likelihood,
        /// Measures the log-probability of an answer under the reference model,
        /// without decoding.
        Reference,
    }
}

/// The properties of a kind of step.
struct Properties {
    /// Its name in journals, settings and random streams.
    name: &'static str,
    /// The name of its result, for people.
    label: &'static str,
    /// The file name of its template.
    template: &'static str,
    /// The model that runs it.
    model: StepModel,
    /// The variables of its template.
    input: StepInput,
    /// The form of its result.
    output: StepOutput,
}

/// Which of the models runs a step. Without a separate judge and a separate student, all are
/// one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepModel {
    /// The model that writes the first answers: the writer, unless there is a separate student.
    Student,
    /// The model that writes, also called the policy.
    Writer,
    /// The model that judges and serves as the reference model.
    Judge,
}

/// What the template of a step sees besides the conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepInput {
    /// Nothing.
    Conversation,
    /// The principles to answer by.
    Guidance,
    /// An answer, and the principle to review it by.
    Review,
    /// As [`StepInput::Review`], and the critique, whose completion the prompt
    /// continues.
    Revision,
    /// An answer, and the dimension to score it on.
    Dimension,
    /// Two answers to compare, under a principle or overall.
    Comparison,
}

/// The form of a step's result, which also decides what the engine is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StepOutput {
    /// An answer to the conversation: a decoded text, trimmed.
    Answer,
    /// A critique: a decoded text, cleaned by `procedure::clean`.
    Critique,
    /// A revised answer: a decoded text, cleaned by `procedure::clean`. It repeats much of
    /// its prompt.
    Revision,
    /// A score: on the scale of the step's dimension or, without a dimension, the
    /// share of "yes".
    Score,
    /// A verdict between two answers, from several requests.
    Verdict,
    /// The log-probability of an answer.
    Likelihood,
}

impl StepKind {
    fn properties(self) -> Properties {
        match self {
            StepKind::Generate => Properties {
                name: "generate",
                label: "answer",
                template: "generate.j2",
                model: StepModel::Student,
                input: StepInput::Conversation,
                output: StepOutput::Answer,
            },
            StepKind::Critique => Properties {
                name: "critique",
                label: "critique",
                template: "critique.j2",
                model: StepModel::Writer,
                input: StepInput::Review,
                output: StepOutput::Critique,
            },
            StepKind::Revise => Properties {
                name: "revise",
                label: "revision",
                template: "revise.j2",
                model: StepModel::Writer,
                input: StepInput::Revision,
                output: StepOutput::Revision,
            },
            StepKind::Guide => Properties {
                name: "guide",
                label: "guided answer",
                template: "guide.j2",
                model: StepModel::Writer,
                input: StepInput::Guidance,
                output: StepOutput::Answer,
            },
            StepKind::Gate => Properties {
                name: "gate",
                label: "gate",
                template: "gate.j2",
                model: StepModel::Judge,
                input: StepInput::Review,
                output: StepOutput::Score,
            },
            StepKind::Judge => Properties {
                name: "judge",
                label: "verdict",
                template: "judge.j2",
                model: StepModel::Judge,
                input: StepInput::Comparison,
                output: StepOutput::Verdict,
            },
            StepKind::Rubric => Properties {
                name: "rubric",
                label: "score",
                template: "rubric.j2",
                model: StepModel::Judge,
                input: StepInput::Dimension,
                output: StepOutput::Score,
            },
            // The likelihood is that of an answer to the unchanged conversation.
            StepKind::Likelihood => Properties {
                name: "likelihood",
                label: "likelihood",
                template: "generate.j2",
                model: StepModel::Writer,
                input: StepInput::Conversation,
                output: StepOutput::Likelihood,
            },
            StepKind::Reference => Properties {
                name: "reference",
                label: "reference",
                template: "generate.j2",
                model: StepModel::Judge,
                input: StepInput::Conversation,
                output: StepOutput::Likelihood,
            },
        }
    }

    /// The name of the kind, as journals have it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.properties().name
    }

    /// The name of the step's result, for people: "answer", "revision", "verdict".
    #[must_use]
    pub fn label(self) -> &'static str {
        self.properties().label
    }

    /// The file name of the template that the step renders.
    #[must_use]
    pub fn template(self) -> &'static str {
        self.properties().template
    }

    /// The model that runs the step.
    #[must_use]
    pub fn model(self) -> StepModel {
        self.properties().model
    }

    /// What the step's template sees besides the conversation.
    #[must_use]
    pub fn input(self) -> StepInput {
        self.properties().input
    }

    /// The form of the step's result.
    #[must_use]
    pub fn output(self) -> StepOutput {
        self.properties().output
    }

    /// Whether the step decodes a text; otherwise it is a judgement.
    #[must_use]
    pub fn is_text(self) -> bool {
        match self.output() {
            StepOutput::Answer | StepOutput::Critique | StepOutput::Revision => true,
            StepOutput::Score | StepOutput::Verdict | StepOutput::Likelihood => false,
        }
    }

    /// Whether the step's text is an answer. After the first rubric score, such a
    /// step repeats an answer with a prompt injection: see [`answers`].
    #[must_use]
    pub fn is_answer(self) -> bool {
        match self.output() {
            StepOutput::Answer | StepOutput::Revision => true,
            StepOutput::Critique
            | StepOutput::Score
            | StepOutput::Verdict
            | StepOutput::Likelihood => false,
        }
    }
}

/// One finished step of an item's loop, as the journal keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// The kind of step.
    pub kind: StepKind,
    /// The round, from 1; 0 outside the rounds.
    pub round: u32,
    /// The id of the principle it applied; `None` for a first answer, a guided answer and
    /// an overall verdict.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub principle: Option<String>,
    /// The ids of the principles that guided an answer, in order.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub principles: Vec<String>,
    /// The id of the dimension it scored.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub dimension: Option<String>,
    /// The answers it judged, by their number among the steps for which
    /// [`StepKind::is_answer`] holds.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub about: Vec<usize>,
    /// The text: a first answer trimmed; a critique or revision cleaned of what
    /// the model wrote around it; empty for a judgement.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub text: String,
    /// The text as the model wrote it, or as the input had it, if that differs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
    /// What the model thought before it wrote the text. No later step sees it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reasoning: Option<String>,
    /// Why decoding ended; `None` for an answer that was not decoded: one that
    /// came with the input, or one repeated with a prompt injection.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finish: Option<Finish>,
    /// The score of a rubric or, for a gate, how much the answer breaks the
    /// principle (0 to 1).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub score: Option<RubricScore>,
    /// The verdict of a judge. It is for the first of the answers in `about`
    /// against the second.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<Verdict>,
    /// The log-probability of the answer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub likelihood: Option<Likelihood>,
    /// Token counts of its requests.
    #[serde(default)]
    pub usage: Usage,
}

impl Step {
    /// A step without a result.
    #[must_use]
    pub fn new(kind: StepKind, round: u32) -> Self {
        Self {
            kind,
            round,
            principle: None,
            principles: Vec::new(),
            dimension: None,
            about: Vec::new(),
            text: String::new(),
            raw: None,
            reasoning: None,
            finish: None,
            score: None,
            verdict: None,
            likelihood: None,
            usage: Usage::default(),
        }
    }

    /// The text as the model wrote it, or as the input had it.
    #[must_use]
    pub fn raw(&self) -> &str {
        self.raw.as_deref().unwrap_or(&self.text)
    }

    /// The ids of the principles it applied, in order.
    pub fn applied(&self) -> impl Iterator<Item = &str> {
        self.principle.iter().chain(&self.principles).map(String::as_str)
    }

    /// Whether it holds the result that its kind needs.
    pub(crate) fn has_result(&self) -> bool {
        match self.kind.output() {
            StepOutput::Answer | StepOutput::Critique | StepOutput::Revision => {
                !self.text.trim().is_empty()
            }
            StepOutput::Score => self.score.is_some(),
            StepOutput::Verdict => self.verdict.is_some(),
            StepOutput::Likelihood => self.likelihood.is_some(),
        }
    }
}

/// Why an item's loop ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Stop {
    /// Every round is done.
    Rounds,
    /// The guided answer is there, and no rounds were planned.
    Guided,
    /// A revision changed nothing.
    Unchanged,
    /// Every selected principle is below the gate's threshold.
    Passed,
    /// Every verdict, score or log-probability is there.
    Judged,
}

/// The answers among some steps, in order. Judgements refer to them by number.
///
/// A step after the first rubric score is not among them: it repeats an answer with
/// a prompt injection, only to be scored. Judgements refer to it by the next number.
pub fn answers(steps: &[Step]) -> impl DoubleEndedIterator<Item = &Step> {
    answer_steps(steps).map(move |at| &steps[at])
}

/// The text of the answer with this number, without surrounding white space.
pub fn answer(steps: &[Step], number: usize) -> Option<&str> {
    answers(steps).nth(number).map(|step| step.text.trim())
}

/// The indices of the steps that made [`answers`].
pub fn answer_steps(steps: &[Step]) -> impl DoubleEndedIterator<Item = usize> {
    let first_score = steps.iter().position(|step| step.kind == StepKind::Rubric);
    (0..first_score.unwrap_or(steps.len())).filter(move |&at| steps[at].kind.is_answer())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_serialized_under_its_name() {
        for kind in StepKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }

    #[test]
    fn a_thought_and_its_tokens_have_their_own_keys() {
        let plain = Step::new(StepKind::Generate, 0);
        let json = serde_json::to_value(&plain).unwrap();
        assert_eq!((json.get("reasoning"), json["usage"].get("reasoning")), (None, None));
        let usage = Usage { decoded: 5, reasoning: 3, ..Usage::default() };
        let thinking = Step { reasoning: Some("Tea?".to_owned()), usage, ..plain };
        let json = serde_json::to_value(&thinking).unwrap();
        assert_eq!((&json["reasoning"], &json["usage"]["reasoning"]), (&"Tea?".into(), &3.into()));
        assert_eq!(serde_json::from_value::<Step>(json).unwrap(), thinking);
    }
}

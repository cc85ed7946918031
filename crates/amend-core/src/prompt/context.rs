//! What a template sees of an item, its constitution and its loop.

use serde::Serialize;

use crate::chat::Message;
use crate::constitution::{Constitution, Dimension, Example, Principle};
use crate::record::Item;

/// The variables of one render. A name is undefined where a step has no such
/// thing: `response` and `principle` in the first answer, `critique` anywhere
/// but in a revision.
#[derive(Debug, Clone, Serialize)]
pub struct Context<'a> {
    /// The item's conversation.
    messages: &'a [Message],
    /// The answer under review.
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a str>,
    /// The principle being applied; none in an overall verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    principle: Option<Option<PrincipleView<'a>>>,
    /// In a revision: the critique as the model wrote it, or none where the
    /// loop asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    critique: Option<Option<&'a str>>,
    /// What a judge compares.
    #[serde(flatten)]
    comparison: Option<Comparison<'a>>,
    /// In a score: what is scored.
    #[serde(skip_serializing_if = "Option::is_none")]
    dimension: Option<DimensionView<'a>>,
    /// The constitution's worked examples.
    examples: Vec<ExampleView<'a>>,
    constitution: ConstitutionView<'a>,
    /// The round, from 1; 0 for the first answer.
    round: u32,
    item: ItemView<'a>,
}

/// Every name a context may define, fields included: what a mistyped one may
/// have meant.
pub(super) const NAMES: &[&str] = &[
    "messages",
    "response",
    "principle",
    "critique",
    "examples",
    "constitution",
    "round",
    "item",
    "delimiter",
    "fencing",
    "marker",
    "role",
    "content",
    "id",
    "title",
    "category",
    "revise",
    "judge",
    "applies_when",
    "prompt",
    "revision",
    "answers",
    "labels",
    "reasons",
    "dimension",
    "question",
    "scale",
    "name",
    "description",
    "language",
    "metadata",
    "good",
    "bad",
];

#[derive(Debug, Clone, Copy, Serialize)]
struct PrincipleView<'a> {
    id: &'a str,
    title: &'a str,
    category: &'a str,
    principle: &'a str,
    critique: &'a str,
    revise: &'a str,
    judge: &'a str,
    applies_when: &'a str,
}

impl<'a> From<&'a Principle> for PrincipleView<'a> {
    fn from(principle: &'a Principle) -> Self {
        Self {
            id: &principle.id,
            title: &principle.title,
            category: &principle.category,
            principle: &principle.principle,
            critique: &principle.critique,
            revise: &principle.revise,
            judge: &principle.judge,
            applies_when: &principle.applies_when,
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
struct DimensionView<'a> {
    id: &'a str,
    question: &'a str,
    scale: [u32; 2],
}

/// Two answers to compare.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Comparison<'a> {
    /// The answers, in the order they are shown.
    pub answers: [&'a str; 2],
    /// What they are called.
    pub labels: [&'a str; 2],
    /// Whether the judge reasons first, and the reasons it gave.
    pub reasons: Reasons<'a>,
}

/// How far a judge has reasoned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "ask", content = "text")]
pub enum Reasons<'a> {
    /// It is asked for a label alone.
    None,
    /// It is asked for its reasons.
    Wanted,
    /// It is asked for a label after these reasons.
    Given(&'a str),
}

#[derive(Debug, Clone, Copy, Serialize)]
struct ExampleView<'a> {
    #[serde(flatten)]
    example: &'a Example,
    principle: PrincipleView<'a>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct ConstitutionView<'a> {
    name: &'a str,
    description: &'a str,
    language: &'a str,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct ItemView<'a> {
    id: Option<&'a str>,
    metadata: &'a serde_json::Map<String, serde_json::Value>,
}

impl<'a> Context<'a> {
    /// What the first answer's template sees.
    #[must_use]
    pub fn new(constitution: &'a Constitution, item: &'a Item) -> Self {
        let shown = usize::try_from(constitution.plan.few_shot).unwrap_or(usize::MAX);
        let examples = constitution
            .principles
            .iter()
            .flat_map(|principle| {
                let view = PrincipleView::from(principle);
                principle
                    .examples
                    .iter()
                    .map(move |example| ExampleView { example, principle: view })
            })
            .take(shown)
            .collect();
        Self {
            messages: &item.messages,
            response: None,
            principle: None,
            critique: None,
            comparison: None,
            dimension: None,
            examples,
            constitution: ConstitutionView {
                name: &constitution.name,
                description: &constitution.description,
                language: &constitution.language,
            },
            round: 0,
            item: ItemView { id: item.id.as_deref(), metadata: &item.metadata },
        }
    }

    /// The same, in a round that applies a principle to an answer.
    #[must_use]
    pub fn reviewing(self, round: u32, principle: &'a Principle, response: &'a str) -> Self {
        Self { response: Some(response), principle: Some(Some(principle.into())), round, ..self }
    }

    /// The same, about to compare two answers, under a principle or overall.
    #[must_use]
    pub fn comparing(
        self,
        round: u32,
        principle: Option<&'a Principle>,
        comparison: Comparison<'a>,
    ) -> Self {
        let principle = Some(principle.map(PrincipleView::from));
        Self { principle, comparison: Some(comparison), round, ..self }
    }

    /// Whether what is compared is called by numbers.
    pub(super) fn has_numbers_for_labels(&self) -> bool {
        let is_number = |label: &str| label.starts_with(|c: char| c.is_ascii_digit());
        self.comparison.is_some_and(|compared| compared.labels.into_iter().any(is_number))
    }

    /// The same, about to score an answer.
    #[must_use]
    pub fn scoring(self, dimension: &'a Dimension, response: &'a str) -> Self {
        let Dimension { id, question, scale } = dimension;
        let view = DimensionView { id, question, scale: *scale };
        Self { dimension: Some(view), response: Some(response), ..self }
    }

    /// The same, about to revise by a critique, or without one.
    #[must_use]
    pub fn revising(self, critique: Option<&'a str>) -> Self {
        Self { critique: Some(critique), ..self }
    }
}

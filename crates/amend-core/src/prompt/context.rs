//! The variables that a template sees: the item, its constitution and its loop.

use serde::Serialize;

use crate::chat::Message;
use crate::constitution::{Constitution, Dimension, FewShotExample, Principle};
use crate::record::Item;

/// The variables of one render. A name is undefined in steps that don't have it:
/// `response`, `principle` and `history` in the initial response, `critique` in all steps
/// but the revision.
#[derive(Debug, Clone, Serialize)]
pub struct PromptContext<'a> {
    /// The item's conversation.
    messages: &'a [Message],
    /// The response under review.
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<&'a str>,
    /// The principle being applied. None in an overall verdict.
    #[serde(skip_serializing_if = "Option::is_none")]
    principle: Option<Option<PrincipleView<'a>>>,
    /// In a guided answer: the principles to answer by, in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    principles: Option<Vec<PrincipleView<'a>>>,
    /// In a revision: the critique as the model wrote it, or none if the loop has no
    /// critiques.
    #[serde(skip_serializing_if = "Option::is_none")]
    critique: Option<Option<&'a str>>,
    /// In the rounds: the reviews that came before and still belong to the conversation,
    /// in order.
    #[serde(skip_serializing_if = "Option::is_none")]
    history: Option<Vec<ReviewView<'a>>>,
    /// In a comparison: what the judge compares.
    #[serde(flatten)]
    comparison: Option<ComparedAnswers<'a>>,
    /// In a rubric score: the dimension.
    #[serde(skip_serializing_if = "Option::is_none")]
    dimension: Option<DimensionView<'a>>,
    /// The few-shot examples of the constitution.
    examples: Vec<ExampleView<'a>>,
    constitution: ConstitutionView<'a>,
    /// The round, from 1. 0 for the initial response.
    round: u32,
    item: ItemView<'a>,
}

/// All names that a context can define, fields included. Suggestions for misspelt names
/// come from them.
pub(super) const NAMES: &[&str] = &[
    "messages",
    "response",
    "principle",
    "principles",
    "critique",
    "history",
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
    "kind",
    "count",
    "earlier",
];

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct PrincipleView<'a> {
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

/// A review that has led to a revision.
#[derive(Debug, Clone, Copy)]
pub struct EarlierReview<'a> {
    /// The response that was reviewed.
    pub response: &'a str,
    /// The principle that was applied.
    pub principle: &'a Principle,
    /// The critique as the model wrote it; `None` if the loop has no critiques.
    pub critique: Option<&'a str>,
}

#[derive(Debug, Clone, Copy, Serialize)]
struct ReviewView<'a> {
    response: &'a str,
    principle: PrincipleView<'a>,
    critique: Option<&'a str>,
}

impl<'a> From<EarlierReview<'a>> for ReviewView<'a> {
    fn from(review: EarlierReview<'a>) -> Self {
        let EarlierReview { response, principle, critique } = review;
        Self { response, principle: principle.into(), critique }
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
struct DimensionView<'a> {
    id: &'a str,
    question: &'a str,
    scale: [u32; 2],
}

/// Two responses to compare.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct ComparedAnswers<'a> {
    /// The responses, in the order in which they are shown.
    pub answers: [&'a str; 2],
    /// The labels of the responses.
    pub labels: [&'a str; 2],
    /// Whether the judge reasons first, and its reasons if it already has.
    pub reasons: Reasons<'a>,
}

/// The state of a judge's reasoning.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase", tag = "ask", content = "text")]
pub enum Reasons<'a> {
    /// The judge is asked for a label only.
    None,
    /// The judge is asked for its reasons.
    Wanted,
    /// The judge is asked for a label after these reasons.
    Given(&'a str),
}

#[derive(Debug, Clone, Copy, Serialize)]
struct ExampleView<'a> {
    #[serde(flatten)]
    example: &'a FewShotExample,
    principle: PrincipleView<'a>,
}

#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct ConstitutionView<'a> {
    name: &'a str,
    description: &'a str,
    language: &'a str,
}

impl<'a> From<&'a Constitution> for ConstitutionView<'a> {
    fn from(constitution: &'a Constitution) -> Self {
        Self {
            name: &constitution.name,
            description: &constitution.description,
            language: &constitution.language,
        }
    }
}

#[derive(Debug, Clone, Copy, Serialize)]
struct ItemView<'a> {
    id: Option<&'a str>,
    metadata: &'a serde_json::Map<String, serde_json::Value>,
}

impl<'a> PromptContext<'a> {
    /// Creates the context of the initial response.
    #[must_use]
    pub fn new(constitution: &'a Constitution, item: &'a Item) -> Self {
        let few_shot = usize::try_from(constitution.plan.few_shot).unwrap_or(usize::MAX);
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
            .take(few_shot)
            .collect();
        Self {
            messages: &item.messages,
            response: None,
            principle: None,
            principles: None,
            critique: None,
            history: None,
            comparison: None,
            dimension: None,
            examples,
            constitution: constitution.into(),
            round: 0,
            item: ItemView { id: item.id.as_deref(), metadata: &item.metadata },
        }
    }

    /// Adds the principles to answer by.
    #[must_use]
    pub fn guiding(self, principles: impl IntoIterator<Item = &'a Principle>) -> Self {
        let principles = principles.into_iter().map(PrincipleView::from).collect();
        Self { principles: Some(principles), ..self }
    }

    /// Adds a principle that a round applies to a response.
    #[must_use]
    pub fn reviewing(self, round: u32, principle: &'a Principle, response: &'a str) -> Self {
        let history = Some(self.history.unwrap_or_default());
        let principle = Some(Some(principle.into()));
        Self { response: Some(response), principle, history, round, ..self }
    }

    /// Adds the reviews before this one, in order.
    #[must_use]
    pub fn after(self, history: impl IntoIterator<Item = EarlierReview<'a>>) -> Self {
        Self { history: Some(history.into_iter().map(ReviewView::from).collect()), ..self }
    }

    /// Adds two responses to compare, by a principle or overall.
    #[must_use]
    pub fn comparing(
        self,
        round: u32,
        principle: Option<&'a Principle>,
        comparison: ComparedAnswers<'a>,
    ) -> Self {
        let principle = Some(principle.map(PrincipleView::from));
        Self { principle, comparison: Some(comparison), round, ..self }
    }

    /// Whether a label of the comparison starts with a digit.
    pub(super) fn has_numbers_for_labels(&self) -> bool {
        let is_number = |label: &str| label.starts_with(|c: char| c.is_ascii_digit());
        self.comparison.is_some_and(|comparison| comparison.labels.into_iter().any(is_number))
    }

    /// Adds a response to score and the dimension to score it on.
    #[must_use]
    pub fn scoring(self, dimension: &'a Dimension, response: &'a str) -> Self {
        let Dimension { id, question, scale } = dimension;
        let view = DimensionView { id, question, scale: *scale };
        Self { dimension: Some(view), response: Some(response), ..self }
    }

    /// Adds the critique to revise by, or none.
    #[must_use]
    pub fn revising(self, critique: Option<&'a str>) -> Self {
        Self { critique: Some(critique), ..self }
    }
}

//! What a template sees of an item, its constitution and its loop.

use serde::Serialize;

use crate::chat::Message;
use crate::constitution::{Constitution, Example, Principle};
use crate::dataset::item::Item;

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
    /// The principle being applied.
    #[serde(skip_serializing_if = "Option::is_none")]
    principle: Option<PrincipleView<'a>>,
    /// In a revision: the critique as the model wrote it, or none where the
    /// loop asks for none.
    #[serde(skip_serializing_if = "Option::is_none")]
    critique: Option<Option<&'a str>>,
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
    "name",
    "description",
    "language",
    "metadata",
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
        Self { response: Some(response), principle: Some(principle.into()), round, ..self }
    }

    /// The same, about to revise by a critique, or without one.
    #[must_use]
    pub fn revising(self, critique: Option<&'a str>) -> Self {
        Self { critique: Some(critique), ..self }
    }
}

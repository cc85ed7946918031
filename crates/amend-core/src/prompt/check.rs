//! Trial renders: tests a set of templates on sample data before a model is loaded.

use std::iter::repeat_n;
use std::path::Path;

use serde_json::Map;

use super::{
    ComparedAnswers, Delimiter, EarlierReview, PromptContext, PromptKind, PromptRequest, Reasons,
    RenderError, Templates, TemplatesError,
};
use crate::chat::{Message, Role};
use crate::constitution::{
    Constitution, Dimension, Export, FewShotExample, Governance, Judge, Layout, Plan, Principle,
    Select, StepSampling, Thresholds,
};
use crate::document::diagnostic::{Diagnostic, Diagnostics};
use crate::random::Stream;
use crate::record::{Item, StepInput, StepKind};

/// Loads the built-in set of each layout with the overlay `folder`, and test-renders all
/// templates.
///
/// # Errors
/// The errors of [`Templates::load`], or else all failures of the test renders.
pub fn check(folder: &Path) -> Result<(), TemplatesError> {
    let fence = Delimiter::from_stream(Stream::new(0));
    let mut errors = Vec::new();
    for layout in Layout::ALL {
        for error in Templates::for_writing(Some(folder), &fence, layout)?.check() {
            if !errors.contains(&error) {
                errors.push(error);
            }
        }
    }
    if errors.is_empty() { Ok(()) } else { Err(TemplatesError::Invalid(Diagnostics(errors))) }
}

impl Templates {
    /// Renders every template on sample data: conversations of one and of several turns,
    /// with and without a system turn, few-shot examples, a condition on the principle,
    /// and a critique. Returns each error once.
    #[must_use]
    pub fn check(&self) -> Vec<Diagnostic> {
        let mut errors: Vec<Diagnostic> = Vec::new();
        for (constitution, item) in samples() {
            let principle = &constitution.principles[0];
            let first = PromptContext::new(&constitution, &item);
            let review = first.clone().reviewing(1, principle, "It is round.");
            let earlier = [Some("It is short."), None].map(|critique| EarlierReview {
                response: "It is.",
                principle,
                critique,
            });
            let later = review.clone().after(earlier);
            let dimension = &constitution.dimensions[0];
            let mut note = |result: Result<_, RenderError>| {
                if let Err(error) = result
                    && !errors.contains(&error.0)
                {
                    errors.push(*error.0);
                }
            };
            if self.has_writing() {
                for kind in PromptKind::ALL {
                    for earlier in [&[][..], &["Is the moon made of cheese?"]] {
                        let constitution = &constitution;
                        let request =
                            PromptRequest { constitution, principle, kind, count: 4, earlier };
                        note(self.render_writing(request).map(|_| ()));
                    }
                }
            }
            for kind in StepKind::ALL {
                let contexts = match kind.input() {
                    StepInput::Conversation => vec![first.clone()],
                    StepInput::Guidance => {
                        let counts = [1, 2].into_iter();
                        counts
                            .map(|count| first.clone().guiding(repeat_n(principle, count)))
                            .collect()
                    }
                    StepInput::Review => vec![review.clone(), later.clone()],
                    StepInput::Revision => [&review, &later]
                        .into_iter()
                        .flat_map(|context| {
                            [Some("It gives no reason."), None]
                                .map(|critique| context.clone().revising(critique))
                        })
                        .collect(),
                    StepInput::Dimension => vec![first.clone().scoring(dimension, "Round.")],
                    StepInput::Comparison => {
                        for context in comparisons(&first, principle) {
                            for judge in self.judges() {
                                note(self.render_judge(judge, &context).map(|_| ()));
                            }
                        }
                        continue;
                    }
                };
                for context in &contexts {
                    note(self.render(kind, context).map(|_| ()));
                }
            }
        }
        errors
    }
}

/// Comparisons under a principle and overall, without reasons, before them and after them.
fn comparisons<'a>(first: &PromptContext<'a>, principle: &'a Principle) -> Vec<PromptContext<'a>> {
    let mut contexts = Vec::new();
    for principle in [None, Some(principle)] {
        for reasons in [Reasons::None, Reasons::Wanted, Reasons::Given("Both are short.")] {
            let comparison =
                ComparedAnswers { answers: ["Round.", "Flat."], labels: ["A", "B"], reasons };
            contexts.push(first.clone().comparing(1, principle, comparison));
        }
    }
    contexts
}

/// Constitutions and items that together cover the cases a template must handle.
fn samples() -> Vec<(Constitution, Item)> {
    let turn = |role, content: &str| Message::new(role, content);
    let question = turn(Role::User, "What shape is the earth?");
    let conversations = [
        vec![question.clone()],
        vec![turn(Role::System, "Answer in one sentence."), question.clone()],
        vec![
            turn(Role::User, "Hello."),
            turn(Role::Assistant, "Hello, what would you like to know?"),
            question,
        ],
    ];
    let mut samples = Vec::new();
    for messages in conversations {
        for applies_when in ["", "the question is about nature"] {
            for few_shot in [0, 2] {
                let id = (few_shot > 0).then(|| "sample".to_owned());
                // The metadata of an item of an evaluation set.
                let guide = [("good", "It says so."), ("bad", "It says nothing.")]
                    .map(|(key, text)| (key.to_owned(), text.into()));
                let metadata = if few_shot > 0 { guide.into_iter().collect() } else { Map::new() };
                let item = Item {
                    key: "sample".to_owned(),
                    row: 1,
                    id,
                    messages: messages.clone(),
                    response: None,
                    response_b: None,
                    metadata,
                };
                samples.push((constitution(applies_when, few_shot), item));
            }
        }
    }
    samples
}

fn constitution(applies_when: &str, few_shot: u32) -> Constitution {
    let example = FewShotExample {
        prompt: "Is the moon made of cheese?".to_owned(),
        response: "No.".to_owned(),
        critique: "It gives no reason.".to_owned(),
        revision: "No: samples brought back are rock.".to_owned(),
    };
    let principle = Principle {
        id: "reasons".to_owned(),
        title: "Give reasons".to_owned(),
        category: "honesty".to_owned(),
        weight: 1.0,
        principle: "An answer gives the reason for what it claims.".to_owned(),
        critique: "Say where the answer claims something without a reason.".to_owned(),
        revise: "Rewrite the answer so that it gives its reasons.".to_owned(),
        judge: "Which answer gives its reasons?".to_owned(),
        applies_when: applies_when.to_owned(),
        paraphrases: Vec::new(),
        labels: None,
        examples: vec![example.clone(), example],
    };
    let dimension = Dimension {
        id: "helpfulness".to_owned(),
        question: "How helpful is the answer?".to_owned(),
        scale: [1, 5],
    };
    Constitution {
        name: "sample".to_owned(),
        version: "1".to_owned(),
        description: "A sample to try templates on.".to_owned(),
        language: "en".to_owned(),
        plan: Plan {
            rounds: 1,
            select: Select::All,
            principles_per_round: 1,
            critique: true,
            stop_unchanged: true,
            few_shot,
            ..Plan::default()
        },
        principles: vec![principle],
        dimensions: vec![dimension],
        judge: Judge::default(),
        sampling: StepSampling::default(),
        governance: Governance::default(),
        export: Export::default(),
        audit: Thresholds::default(),
    }
}

//! A prompt and one answer, as TRL's SFT trainer and most instruction datasets have them.
//!
//! The exports have the last answer of each item (`sft`, `plain-sft`), or each of its model
//! calls (`sft-steps`). The prompt of a step is the conversation, the answer that the step
//! is about, and the request of the step's principle. A model learns from it to criticise
//! and to revise in a plain chat. The prompt of the run itself is different: it has few-shot
//! examples and delimiters.

use serde_json::{Value, json};

use super::cells::{
    answer, answered_turns, conversation, integer, message, optional_text, row, text, turns,
};
use super::example::{Answers, Example, Object};
use super::fault::RowFault;
use super::fields::{ANSWERS, Fields, first, has_list, prompt_key};
use super::origin::Provenance;
use super::read::{RowKind, Shape, ShapeFacts};
use super::thoughts::ThoughtPlace;
use super::write::{ExportFormat, Rows, StepRow, lone_prompt};
use crate::pairs::{self, DropReason, RevisedFrom};
use crate::store::trajectories::Trajectory;
use amend_core::chat::Role;
use amend_core::record::{Outcome, Step, StepOutput, answers};

/// A prompt and one answer.
#[derive(Debug)]
pub(super) struct Completion;

static FACTS: ShapeFacts = ShapeFacts {
    name: "prompt and completion",
    about: "a prompt (see prompts) and `completion`, `response`, `answer`, `output` or \
            `generation`: a text or turns; `system`, `history`",
    columns: &[],
    used_by: "TRL SFT, ms-swift; HelpSteer, HelpSteer2, BeaverTails, GSM8K",
    labels: "",
    kind: RowKind::Answer,
    exports: &["sft", "sft-steps", "plain-sft"],
};

impl Shape for Completion {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let answer = first(row, &ANSWERS)?;
        let prompt = prompt_key(row)?;
        Some(match has_list(row, answer) || has_list(row, prompt) {
            false => "prompt and completion, standard",
            true => "prompt and completion, conversational",
        })
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        read(row, false)
    }
}

/// Reads the prompt and the answer of a row, and its label if it has one.
pub(super) fn read(row: &Object, labelled: bool) -> Result<Example, RowFault> {
    let mut fields = Fields::new(row);
    let key = first(row, &ANSWERS)
        .or_else(|| ANSWERS.into_iter().find(|key| row.contains_key(*key)))
        .unwrap_or(ANSWERS[0]);
    let answer = fields.text_or_turns(key, "assistant")?;
    let prompt_key = prompt_key(row).unwrap_or("prompt");
    let prompt = fields.prompt(prompt_key)?;
    let chat = has_list(row, prompt_key) || has_list(row, key);
    let label = if labelled { fields.label()? } else { None };
    fields.example(prompt, Answers::Single { answer, label }, chat)
}

pub(super) const SFT: ExportFormat = ExportFormat {
    name: "sft",
    about: "TRL prompt and completion, last answers",
    columns: |run| vec![turns("prompt"), answered_turns("completion", run.thoughts.key())],
    rows: Rows::Answers(|item, response| {
        Ok(row([
            ("prompt", conversation(&item.messages, [])),
            ("completion", json!([response.turn()])),
        ]))
    }),
    thoughts: ThoughtPlace::KeyAndKwargs,
    dataset_info: None,
};

pub(super) const STEPS: ExportFormat = ExportFormat {
    name: "sft-steps",
    about: "TRL prompt and completion, every step",
    columns: |run| {
        let key = run.thoughts.key();
        let step = [text("step"), integer("round"), optional_text("principle")];
        [turns("prompt"), answered_turns("completion", key)].into_iter().chain(step).collect()
    },
    rows: Rows::Steps(steps),
    thoughts: ThoughtPlace::KeyAndKwargs,
    dataset_info: None,
};

/// Makes a row for each complete step that writes text, unless a thought is left in the
/// texts before it. Every candidate answers the
/// prompt; the steps that follow are about the best candidate.
fn steps(trajectory: &Trajectory, run: &Provenance<'_>) -> Vec<Result<StepRow, DropReason>> {
    if matches!(trajectory.outcome, Outcome::Failed { .. }) {
        return vec![Err(DropReason::Failed)];
    }
    let mut rows = Vec::new();
    let steps = &trajectory.steps;
    let first = answers(steps).nth(run.rules.first(steps));
    let mut last: Option<&Step> = None;
    let mut critique: Option<&Step> = None;
    for (at, step) in steps.iter().enumerate().filter(|(_, step)| step.kind.is_text()) {
        let principle = step.principle.as_deref();
        let applied: Vec<&str> = step.applied().collect();
        let request = |request| message(Role::User, request);
        let is_answer = step.kind.output() == StepOutput::Answer;
        let about = if is_answer { None } else { last.or(first) };
        let mut so_far: Vec<Value> = about.iter().map(|about| answer(&about.text)).collect();
        let mut context: Vec<&Step> = about.into_iter().collect();
        match step.kind.output() {
            StepOutput::Answer => {}
            StepOutput::Critique => {
                so_far.push(request(run.critique_request(principle)));
                critique = Some(step);
            }
            StepOutput::Revision => {
                if let Some(critique) = critique.take() {
                    so_far.push(request(run.critique_request(principle)));
                    so_far.push(answer(&critique.text));
                    context.push(critique);
                }
                so_far.push(request(run.revision_request(principle)));
                last = Some(step);
            }
            // These are no text.
            StepOutput::Score | StepOutput::Verdict | StepOutput::Likelihood => continue,
        }
        // The model did not write an answer that came with the input.
        if step.finish.is_some() {
            let clean = context.into_iter().try_for_each(pairs::check_no_thought);
            rows.push(clean.and_then(|()| pairs::whole(step)).map(|step| {
                let thoughts = run.thoughts.decide(&[step]);
                let row = row([
                    ("prompt", conversation(&trajectory.item.messages, so_far)),
                    ("completion", json!([run.thoughts.response(step, thoughts).turn()])),
                    ("step", json!(step.kind.as_str())),
                    ("round", json!(step.round)),
                    ("principle", optional_names(&applied)),
                ]);
                StepRow { row, thoughts, revised: RevisedFrom::from_steps(steps, at, &run.rules) }
            }));
        }
    }
    rows
}

/// Names in one text, null without any.
fn optional_names(names: &[&str]) -> Value {
    if names.is_empty() { Value::Null } else { json!(names.join(" + ")) }
}

pub(super) const PLAIN: ExportFormat = ExportFormat {
    name: "plain-sft",
    about: "prompt and response, last answers",
    columns: |_| vec![text("prompt"), text("response")],
    rows: Rows::Answers(|item, response| {
        Ok(row([("prompt", json!(lone_prompt(item)?)), ("response", json!(response.text))]))
    }),
    thoughts: ThoughtPlace::Nowhere,
    dataset_info: None,
};

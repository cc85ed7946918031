//! Prompts and completions for TRL's `SFTTrainer`: the last answer of each item
//! (`sft`), or each of its model calls (`sft-steps`).
//!
//! The prompt of a step is the conversation, the answer that the step is about, and
//! the request of the step's principle. A model learns from it to criticise and to
//! revise in a plain chat. The prompt of the run itself is different: it has few-shot
//! examples and delimiters.

use serde_json::{Value, json};

use super::{ExportFormat, Rows, StepRow};
use crate::format::cells::{
    answer, answered_turns, conversation, integer, message, optional_text, row, text, turns,
};
use crate::format::origin::Provenance;
use crate::format::thoughts::ThoughtPlace;
use crate::pairs::{self, DropReason, RevisedFrom};
use crate::store::trajectories::Trajectory;
use amend_core::chat::Role;
use amend_core::record::{Outcome, Step, StepOutput, answers};

pub(super) const SFT: ExportFormat = ExportFormat {
    name: "sft",
    about: "TRL prompt and completion, last answers",
    columns: |key| vec![turns("prompt"), answered_turns("completion", key)],
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
    columns: |key| {
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
        let request = |request| message(Role::User, request);
        let about = last.or(first.filter(|_| step.kind.output() != StepOutput::Answer));
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
                    ("principle", json!(principle)),
                ]);
                StepRow { row, thoughts, revised: RevisedFrom::from_steps(steps, at, &run.rules) }
            }));
        }
    }
    rows
}

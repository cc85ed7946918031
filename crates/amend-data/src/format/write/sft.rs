//! Prompts and completions, as TRL's `SFTTrainer` reads them: an item's last
//! answer (`sft`), or each of its model calls (`sft-steps`).
//!
//! A step's prompt goes on from the conversation with the answer it is about
//! and its principle's request, so that a model learns to criticise and to
//! revise from plain chat. It is not the prompt that the run gave the model,
//! which had worked examples and marks around it.

use serde_json::{Value, json};

use super::{Format, Row, Rows};
use crate::format::cells::{answer, conversation, integer, optional_text, row, said, text, turns};
use crate::format::origin::Provenance;
use crate::pairs;
use crate::pairs::DropReason;
use crate::store::trajectories::Trajectory;
use amend_core::chat::Role;
use amend_core::record::Outcome;
use amend_core::record::{Step, StepKind, answers};

pub(super) const SFT: Format = Format {
    name: "sft",
    about: "TRL prompt and completion, of last answers",
    columns: || vec![turns("prompt"), turns("completion")],
    rows: Rows::Answers(|item, text| {
        Ok(row([
            ("prompt", conversation(&item.messages, [])),
            ("completion", json!([answer(text)])),
        ]))
    }),
    dataset_info: None,
};

pub(super) const STEPS: Format = Format {
    name: "sft-steps",
    about: "TRL prompt and completion, of every step",
    columns: || {
        let step = [text("step"), integer("round"), optional_text("principle")];
        [turns("prompt"), turns("completion")].into_iter().chain(step).collect()
    },
    rows: Rows::Steps(steps),
    dataset_info: None,
};

/// A row for each whole step that writes text in the conversation. Every candidate
/// answers the prompt; what follows is about the best of them.
fn steps(trajectory: &Trajectory, run: &Provenance) -> Vec<Result<Row, DropReason>> {
    if matches!(trajectory.outcome, Outcome::Failed { .. }) {
        return vec![Err(DropReason::Failed)];
    }
    let mut rows = Vec::new();
    let steps = &trajectory.steps;
    let first = answers(steps).nth(run.rules.first(steps));
    let mut last: Option<&Step> = None;
    let mut critique: Option<&Step> = None;
    let written = [StepKind::Generate, StepKind::Critique, StepKind::Revise];
    for step in steps.iter().filter(|step| written.contains(&step.kind)) {
        let principle = step.principle.as_deref();
        let request = |request| said(Role::User, request);
        let about = last.or(first.filter(|_| step.kind != StepKind::Generate));
        let mut so_far: Vec<Value> = about.iter().map(|about| answer(&about.text)).collect();
        if step.kind == StepKind::Critique {
            so_far.push(request(run.critique_request(principle)));
            critique = Some(step);
        } else {
            if let Some(critique) = critique.take() {
                so_far.push(request(run.critique_request(principle)));
                so_far.push(answer(&critique.text));
            }
            if step.kind == StepKind::Revise {
                so_far.push(request(run.revision_request(principle)));
                last = Some(step);
            }
        }
        // An answer that came with the input is the input's, not the model's.
        if step.finish.is_some() {
            rows.push(pairs::whole(step).map(|step| {
                row([
                    ("prompt", conversation(&trajectory.item.messages, so_far)),
                    ("completion", json!([answer(&step.text)])),
                    ("step", json!(step.kind.as_str())),
                    ("round", json!(step.round)),
                    ("principle", json!(principle)),
                ])
            }));
        }
    }
    rows
}

//! Whole trajectories: each finished item with all of its steps.

use serde_json::{Value, json};

use super::{ExportFormat, ExportRow, Rows};
use crate::format::cells::{
    conversation, free_form, integer, optional_integer, optional_text, record, records, row, text,
    turns, value,
};
use crate::store::trajectories::Trajectory;
use amend_core::record::{Outcome, Step};

pub(super) const TRAJECTORIES: ExportFormat = ExportFormat {
    name: "trajectories",
    about: "every item with all of its steps",
    columns: || {
        let usage = ["prompt", "cached", "decoded"].map(integer).into_iter();
        let usage = usage.chain([optional_integer("ideal")]).collect();
        let step = vec![
            text("kind"),
            integer("round"),
            optional_text("principle"),
            text("text"),
            optional_text("raw"),
            optional_text("finish"),
            free_form("judgement"),
            record("usage", usage),
        ];
        vec![
            text("key"),
            optional_text("id"),
            integer("row"),
            turns("messages"),
            optional_text("response"),
            text("outcome"),
            optional_text("stop"),
            free_form("failure"),
            records("steps", step),
            free_form("metadata"),
            text("run"),
        ]
    },
    rows: Rows::Trajectories(whole),
    dataset_info: None,
};

fn whole(trajectory: &Trajectory) -> ExportRow {
    let item = &trajectory.item;
    let (outcome, stop, failure) = match &trajectory.outcome {
        Outcome::Done { stop } => ("done", value(stop), Value::Null),
        Outcome::Failed { failure } => ("failed", Value::Null, value(failure)),
    };
    row([
        ("key", json!(item.key)),
        ("id", json!(item.id)),
        ("row", json!(item.row)),
        ("messages", conversation(&item.messages, [])),
        ("response", json!(item.response)),
        ("outcome", json!(outcome)),
        ("stop", stop),
        ("failure", failure),
        ("steps", trajectory.steps.iter().map(step).collect()),
        ("metadata", Value::Object(item.metadata.clone())),
    ])
}

/// A step with every key: null if the journal leaves it out.
fn step(step: &Step) -> Value {
    json!({
        "kind": step.kind.as_str(),
        "round": step.round,
        "principle": step.principle,
        "text": step.text,
        "raw": step.raw,
        "finish": step.finish,
        "judgement": judgement(step),
        "usage": {
            "prompt": step.usage.prompt,
            "cached": step.usage.cached,
            "decoded": step.usage.decoded,
            "ideal": step.usage.ideal,
        },
    })
}

/// The result of a judging step, as the journal has it; null for other steps.
fn judgement(step: &Step) -> Value {
    if step.about.is_empty() {
        return Value::Null;
    }
    json!({
        "about": step.about,
        "dimension": step.dimension,
        "score": step.score,
        "verdict": step.verdict,
        "likelihood": step.likelihood,
    })
}

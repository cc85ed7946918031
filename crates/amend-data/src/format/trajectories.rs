//! Whole trajectories: each finished item with all of its steps.

use serde_json::{Value, json};

use super::cells::{
    answered_turns, free_form, integer, optional_integer, optional_text, record, records, row,
    text, texts, value,
};
use super::example::{Example, Object};
use super::fault::RowFault;
use super::read::{RowKind, Shape, ShapeFacts};
use super::thoughts::ThoughtPlace;
use super::write::{ExportFormat, ExportRow, Rows};
use crate::store::trajectories::Trajectory;
use amend_core::chat::Message;
use amend_core::record::{Outcome, Step};

/// The key of the thought of a turn.
const REASONING: &str = "reasoning_content";

/// `messages`, `outcome` and `steps`.
#[derive(Debug)]
pub(super) struct Trajectories;

static FACTS: ShapeFacts = ShapeFacts {
    name: "trajectory",
    about: "`messages`, `response`, `steps`, `outcome`: an item with all of its steps",
    columns: &["outcome", "steps"],
    used_by: "amend: a record, not training data",
    labels: "",
    kind: RowKind::Record,
    exports: &["trajectories"],
};

impl Shape for Trajectories {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        ["messages", "outcome", "steps"]
            .iter()
            .all(|key| row.contains_key(*key))
            .then_some("trajectory")
    }

    fn read(&self, _: &Object) -> Result<Example, RowFault> {
        Err(RowFault::Trajectory)
    }
}

pub(super) const TRAJECTORIES: ExportFormat = ExportFormat {
    name: "trajectories",
    about: "every item with all of its steps",
    columns: |_| {
        let usage = ["prompt", "cached", "decoded", "reasoning"].map(integer).into_iter();
        let usage = usage.chain([optional_integer("ideal")]).collect();
        let step = vec![
            text("kind"),
            integer("round"),
            optional_text("principle"),
            texts("principles"),
            text("text"),
            optional_text("raw"),
            optional_text("reasoning"),
            optional_text("finish"),
            free_form("judgement"),
            record("usage", usage),
        ];
        vec![
            text("key"),
            optional_text("id"),
            integer("row"),
            answered_turns("messages", Some(REASONING)),
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
    // A step has its thought in any case.
    thoughts: ThoughtPlace::Never,
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
        ("messages", item.messages.iter().map(turn).collect()),
        ("response", json!(item.response)),
        ("outcome", json!(outcome)),
        ("stop", stop),
        ("failure", failure),
        ("steps", trajectory.steps.iter().map(step).collect()),
        ("metadata", Value::Object(item.metadata.clone())),
    ])
}

/// A turn of the conversation, with the thought that the input gives.
fn turn(turn: &Message) -> Value {
    json!({"role": turn.role, "content": turn.content, REASONING: turn.reasoning})
}

/// A step with every key: null if the journal leaves it out.
fn step(step: &Step) -> Value {
    json!({
        "kind": step.kind.as_str(),
        "round": step.round,
        "principle": step.principle,
        "principles": step.principles,
        "text": step.text,
        "raw": step.raw,
        "reasoning": step.reasoning,
        "finish": step.finish,
        "judgement": judgement(step),
        "usage": {
            "prompt": step.usage.prompt,
            "cached": step.usage.cached,
            "decoded": step.usage.decoded,
            "reasoning": step.usage.reasoning,
            "ideal": step.usage.ideal,
        },
    })
}

/// The result of a judging step, as the journal has it; null for other steps.
fn judgement(step: &Step) -> Value {
    if step.kind.is_text() {
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

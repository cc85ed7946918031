//! The columns of Hugging Face's constitutional-AI datasets: the initial response, the
//! critique and the revision with their requests, and the two conversations.
//!
//! With several rounds, a row has the last critique and the last revision. Without
//! critiques, their columns are empty. A pair whose chosen response is not a revision
//! gives no row.

use serde_json::json;

use super::cells::{answer, conversation, row, text, turns};
use super::example::{Example, Object};
use super::fault::RowFault;
use super::fields::has;
use super::origin::Provenance;
use super::preference;
use super::read::{RowKind, Shape, ShapeFacts};
use super::thoughts::{Sides, ThoughtPlace};
use super::write::{ExportFormat, ExportRow, Rows, lone_prompt};
use crate::pairs::{self, DropReason, Pair};
use amend_core::record::StepKind;

/// The columns of constitutional AI, with `chosen` and `rejected`.
#[derive(Debug)]
pub(super) struct ConstitutionalAi;

static FACTS: ShapeFacts = ShapeFacts {
    name: "constitutional AI",
    about: "`prompt`: a text; `chosen`, `rejected`: whole conversations; and `init_prompt`, \
            `init_response`, `critic_prompt`, `critic_response`, `revision_prompt`, \
            `revision_response`",
    columns: &["init_prompt"],
    used_by: "Hugging Face's constitutional-AI datasets",
    labels: "",
    kind: RowKind::Pair,
    exports: &["constitutional-ai"],
};

impl Shape for ConstitutionalAi {
    fn facts(&self) -> &'static ShapeFacts {
        &FACTS
    }

    fn recognise(&self, row: &Object) -> Option<&'static str> {
        let both = row.contains_key("chosen") && row.contains_key("rejected");
        (both && has(row, "init_prompt")).then_some("constitutional-AI columns")
    }

    fn read(&self, row: &Object) -> Result<Example, RowFault> {
        preference::read(row, "prompt")
    }
}

pub(super) const CONSTITUTIONAL_AI: ExportFormat = ExportFormat {
    name: "constitutional-ai",
    about: "Hugging Face constitutional-AI columns",
    columns: |_| {
        let steps = ["init_prompt", "init_response", "critic_prompt", "critic_response"];
        let steps = steps.into_iter().chain(["revision_prompt", "revision_response", "prompt"]);
        steps.map(text).chain(["messages", "chosen", "rejected"].map(turns)).collect()
    },
    rows: Rows::Pairs(columns),
    thoughts: ThoughtPlace::Never,
    dataset_info: None,
};

fn columns(pair: &Pair<'_>, _: &Sides<'_>, run: &Provenance<'_>) -> Result<ExportRow, DropReason> {
    let prompt = lone_prompt(pair.item)?;
    if pair.chosen.kind != StepKind::Revise {
        return Err(DropReason::NotRevised);
    }
    let principle = pair.chosen.principle.as_deref();
    let (critic_prompt, critic_response) = match pair.critique {
        // The critique is training data too, so it must be complete.
        Some(critique) => {
            let text = pairs::whole(critique)?.text.as_str();
            (run.critique_request(critique.principle.as_deref()), text)
        }
        None => ("", ""),
    };
    let side = |text| conversation(&pair.item.messages, [answer(text)]);
    Ok(row([
        ("init_prompt", json!(prompt)),
        ("init_response", json!(pair.rejected.text)),
        ("critic_prompt", json!(critic_prompt)),
        ("critic_response", json!(critic_response)),
        ("revision_prompt", json!(run.revision_request(principle))),
        ("revision_response", json!(pair.chosen.text)),
        ("prompt", json!(prompt)),
        ("messages", side(&pair.chosen.text)),
        ("chosen", side(&pair.chosen.text)),
        ("rejected", side(&pair.rejected.text)),
    ]))
}

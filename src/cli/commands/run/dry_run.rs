//! `amend run --dry-run`: what a run would cost, in tokens.

use std::io::Write;
use std::sync::Arc;

use crate::cli::output::error::{CliError, tell};
use amend_core::driver::{Job, sampling};
use amend_core::model::{Engine, Failure};
use amend_core::procedure::Next;
use amend_core::prompt::Reasons;
use amend_core::record::Item;
use amend_core::record::StepKind;

/// Counts the prompts of every item's first answer exactly, where the engine
/// can tell, and bounds the rest.
///
/// # Errors
/// [`CliError::Findings`] when an item would fail at its first step.
pub fn run(engine: &dyn Engine, job: &Job, items: &[Item]) -> Result<(), CliError> {
    let mut counts = Vec::with_capacity(items.len());
    let mut unknown = 0;
    let mut wrong = 0;
    for item in items {
        let trajectory = job.trajectory(Arc::new(item.clone()));
        let Next::Ask(asks) = trajectory.next() else { continue };
        let prepared = job
            .templates
            .render(asks[0].kind, &trajectory.context(&asks[0], 0, Reasons::None))
            .map_err(Into::into)
            .and_then(|rendered| engine.prepare(&rendered.turns, rendered.shared_turns));
        match prepared {
            Ok(prepared) => counts.push(prepared.tokens.len()),
            Err(Failure::TokensUnknown) => unknown += 1,
            Err(failure) => {
                wrong += 1;
                tell(&format!("row {}: {failure}\n", item.row));
            }
        }
    }
    counts.sort_unstable();
    let plan = &job.constitution.plan;
    let each = match plan.select {
        amend_core::constitution::Select::All => job.constitution.principles.len() as u64,
        _ => u64::from(plan.principles_per_round),
    };
    let revisions = u64::from(plan.rounds) * each;
    let critiques = if plan.critique { revisions } else { 0 };
    let most = |kind| u64::from(sampling(&job.constitution.sampling, kind).max_tokens);
    let candidates = u64::from(plan.candidates);
    let generated = counts.len() + unknown;
    let decoded = (generated as u64 * candidates) * most(StepKind::Generate)
        + items.len() as u64
            * (critiques * most(StepKind::Critique) + revisions * most(StepKind::Revise));
    let mut out = std::io::stdout().lock();
    let mut write = || {
        writeln!(out, "items                  {}", items.len())?;
        writeln!(out, "with an answer given   {}", items.len() - generated - wrong)?;
        if let (Some(least), Some(most)) = (counts.first(), counts.last()) {
            writeln!(
                out,
                "first prompts          {} tokens (least {least}, median {}, most {most})",
                counts.iter().sum::<usize>(),
                counts[counts.len() / 2],
            )?;
        }
        if unknown > 0 {
            writeln!(
                out,
                "first prompts          {unknown}, of tokens known to the endpoint alone"
            )?;
        }
        writeln!(
            out,
            "steps of an item       answers {candidates}, critiques {critiques}, revisions {revisions}"
        )?;
        writeln!(out, "decoded, at the most   {decoded} tokens")
    };
    write().map_err(CliError::Output)?;
    if wrong == 0 { Ok(()) } else { Err(CliError::Findings) }
}

//! `amend run --dry-run`: the cost of a run, in tokens.

use std::io::Write;
use std::sync::Arc;

use crate::cli::output::error::CommandError;
use crate::cli::output::print;
use amend_core::constitution::Select;
use amend_core::driver::{Job, sampling};
use amend_core::model::{Engine, Failure};
use amend_core::procedure::Next;
use amend_core::prompt::Reasons;
use amend_core::record::{Item, StepKind};

/// Prints the exact token counts of the items' first prompts, if the engine can
/// count tokens, and an upper bound of the tokens that are decoded.
///
/// # Errors
/// [`CommandError::reported`] if an item would fail at its first step.
pub fn run(engine: &dyn Engine, job: &Job, items: &[Arc<Item>]) -> Result<(), CommandError> {
    let mut counts = Vec::with_capacity(items.len());
    let mut unknown = 0;
    let mut failed = 0;
    for item in items {
        let trajectory = job.trajectory(item.clone());
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
                failed += 1;
                print::message(&format!("row {}: {failure}\n", item.row));
            }
        }
    }
    counts.sort_unstable();
    let plan = &job.constitution.plan;
    let steps_per_round = match plan.select {
        Select::All => job.constitution.principles.len() as u64,
        Select::Random | Select::RoundRobin | Select::Weighted | Select::Worst => {
            u64::from(plan.principles_per_round)
        }
    };
    let revisions = u64::from(plan.rounds) * steps_per_round;
    let critiques = if plan.critique { revisions } else { 0 };
    let max_tokens = |kind| u64::from(sampling(&job.constitution.sampling, kind).max_tokens);
    let candidates = u64::from(plan.candidates);
    let generated = counts.len() + unknown;
    let decoded = (generated as u64 * candidates) * max_tokens(StepKind::Generate)
        + items.len() as u64
            * (critiques * max_tokens(StepKind::Critique)
                + revisions * max_tokens(StepKind::Revise));
    let mut out = std::io::stdout().lock();
    let mut write = || {
        writeln!(out, "items                  {}", items.len())?;
        writeln!(out, "with a given answer    {}", items.len() - generated - failed)?;
        if let (Some(min), Some(max)) = (counts.first(), counts.last()) {
            writeln!(
                out,
                "first prompts          {} tokens (min {min}, median {}, max {max})",
                counts.iter().sum::<usize>(),
                counts[counts.len() / 2],
            )?;
        }
        if unknown > 0 {
            writeln!(
                out,
                "first prompts          {unknown} of unknown length: a server does not report \
                 token counts"
            )?;
        }
        writeln!(
            out,
            "steps of an item       answers {candidates}, critiques {critiques}, revisions {revisions}"
        )?;
        writeln!(out, "decoded, at most       {decoded} tokens")
    };
    write().map_err(CommandError::output)?;
    if failed == 0 { Ok(()) } else { Err(CommandError::reported()) }
}

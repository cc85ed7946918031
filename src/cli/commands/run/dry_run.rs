//! `amend run --dry-run`: the cost of a run, in tokens.

use std::io::Write;

use crate::cli::output::error::CommandError;
use crate::cli::output::print;
use crate::session::rehearsal::{Spread, rehearse, thought_tokens};
use amend_core::chat::NextTurn;
use amend_core::constitution::{JudgeReasons, Select};
use amend_core::driver::{Job, sampling};
use amend_core::model::{Engine, Failure};
use amend_core::procedure::Next;
use amend_core::prompt::Reasons;
use amend_core::record::StepKind;
use amend_data::items::ItemSource;

/// Prints the exact token counts of the items' first prompts, if the engine can
/// count tokens, an upper bound of the tokens that are decoded, and the mean cost of an item
/// in which every text has its greatest length and the prefix cache never lacks room.
///
/// # Errors
/// [`CommandError::reported`] if an item would fail at its first step.
pub fn run(engine: &dyn Engine, job: &Job, source: &ItemSource) -> Result<(), CommandError> {
    let items = source.summary.rows;
    let mut counts = Spread::default();
    let mut unknown = 0;
    let mut failed = 0;
    for item in source.items() {
        let item = item?;
        let trajectory = job.trajectory(item.clone());
        let Next::Ask(asks) = trajectory.next() else { continue };
        let reasoning = &sampling(&job.constitution.sampling, asks[0].kind).reasoning;
        let prepared = job
            .templates
            .render(asks[0].kind, &trajectory.context(&asks[0], 0, Reasons::None))
            .map_err(Into::into)
            .and_then(|rendered| {
                engine.prepare(&rendered.turns, rendered.shared_turns, reasoning, NextTurn::Reply)
            });
        match prepared {
            Ok(prepared) => counts.add(prepared.tokens.len() as u64),
            Err(Failure::TokensUnknown) => unknown += 1,
            Err(failure) => {
                failed += 1;
                print::message(&format!("row {}: {failure}\n", item.row));
            }
        }
    }
    let plan = &job.constitution.plan;
    let steps_per_round = match plan.select {
        Select::All => job.constitution.principles.len() as u64,
        Select::Random | Select::RoundRobin | Select::Weighted | Select::Worst => {
            u64::from(plan.principles_per_round)
        }
    };
    let revisions = u64::from(plan.rounds) * steps_per_round;
    let critiques = if plan.critique { revisions } else { 0 };
    let max_tokens = |kind| {
        let sampling = sampling(&job.constitution.sampling, kind);
        u64::from(sampling.max_tokens) + thought_tokens(engine, &sampling.reasoning)
    };
    let candidates = u64::from(plan.candidates);
    let generated = counts.count + unknown;
    let decoded = (generated * candidates) * max_tokens(StepKind::Generate)
        + items
            * (critiques * max_tokens(StepKind::Critique)
                + revisions * max_tokens(StepKind::Revise));
    let cost = rehearse(engine, job, source)?;
    let verdicts = cost.as_ref().map_or(0, |cost| cost.verdicts) * items;
    let decoded = decoded + verdicts * reasons_of_a_verdict(engine, job);
    let mut out = std::io::stdout().lock();
    let mut write = || {
        writeln!(out, "items                  {items}")?;
        writeln!(out, "with a given answer    {}", items - generated - failed)?;
        if counts.count > 0 {
            writeln!(out, "first prompts          {counts}")?;
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
        writeln!(out, "decoded, at most       {decoded} tokens")?;
        if let Some(cost) = &cost {
            let decoded = cost.decoded;
            let computed = cost
                .computed
                .map_or_else(String::new, |tokens| format!("{tokens} tokens computed, "));
            writeln!(out, "per item, about        {computed}{decoded} tokens decoded")?;
        }
        Ok(())
    };
    write().map_err(CommandError::output)?;
    if failed == 0 { Ok(()) } else { Err(CommandError::reported()) }
}

/// The most tokens that the judge decodes for a verdict.
fn reasons_of_a_verdict(engine: &dyn Engine, job: &Job) -> u64 {
    let judge = &job.constitution.judge;
    let sampling = sampling(&job.constitution.sampling, StepKind::Judge);
    let thought = thought_tokens(engine, &sampling.reasoning);
    let sample = match job.constitution.judge_reasons() {
        JudgeReasons::None => 0,
        JudgeReasons::Written => u64::from(sampling.max_tokens) + thought,
        JudgeReasons::Thought => thought,
    };
    2 * judge.templates.len() as u64 * u64::from(judge.reasons) * sample
}

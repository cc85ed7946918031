//! `amend run --dry-run`: the cost of a run, in tokens.

use std::io::Write;
use std::sync::Arc;

use super::rehearsal::{Rehearsal, thought_tokens};
use crate::cli::output::error::CommandError;
use crate::cli::output::print;
use amend_core::chat::NextTurn;
use amend_core::constitution::{JudgeReasons, Select};
use amend_core::driver::{DriveError, Job, Observer, Work, drive, sampling};
use amend_core::model::{Counters, Engine, Failure};
use amend_core::procedure::{ItemLoop, Next};
use amend_core::prompt::Reasons;
use amend_core::record::{Item, Outcome, Step, StepKind};

/// How many items are rehearsed for the cost of an item.
const REHEARSED: usize = 32;

/// Prints the exact token counts of the items' first prompts, if the engine can
/// count tokens, an upper bound of the tokens that are decoded, and the mean cost of an item
/// in which every text has its greatest length and the prefix cache never lacks room.
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
        let reasoning = &sampling(&job.constitution.sampling, asks[0].kind).reasoning;
        let prepared = job
            .templates
            .render(asks[0].kind, &trajectory.context(&asks[0], 0, Reasons::None))
            .map_err(Into::into)
            .and_then(|rendered| {
                engine.prepare(&rendered.turns, rendered.shared_turns, reasoning, NextTurn::Reply)
            });
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
    let max_tokens = |kind| {
        let sampling = sampling(&job.constitution.sampling, kind);
        u64::from(sampling.max_tokens) + thought_tokens(engine, &sampling.reasoning)
    };
    let candidates = u64::from(plan.candidates);
    let generated = counts.len() + unknown;
    let decoded = (generated as u64 * candidates) * max_tokens(StepKind::Generate)
        + items.len() as u64
            * (critiques * max_tokens(StepKind::Critique)
                + revisions * max_tokens(StepKind::Revise));
    let cost = rehearse(engine, job, items)?;
    let verdicts = cost.as_ref().map_or(0, |cost| cost.verdicts) * items.len() as u64;
    let decoded = decoded + verdicts * reasons_of_a_verdict(engine, job);
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
        writeln!(out, "decoded, at most       {decoded} tokens")?;
        if let Some(Cost { computed, decoded, .. }) = cost {
            let computed =
                computed.map_or_else(String::new, |tokens| format!("{tokens} tokens computed, "));
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

/// The cost of an item.
struct Cost {
    /// Prompt tokens computed, if the engine can count them. A mean.
    computed: Option<u64>,
    /// Tokens decoded. A mean.
    decoded: u64,
    /// Verdicts, at most.
    verdicts: u64,
}

/// Runs the loop of some of the items with placeholders for all texts. `None` if all of them
/// fail.
fn rehearse(
    engine: &dyn Engine,
    job: &Job,
    items: &[Arc<Item>],
) -> Result<Option<Cost>, CommandError> {
    let step = items.len().div_ceil(REHEARSED).max(1);
    let sample = items.iter().step_by(step).cloned();
    let mut rehearsal = Rehearsal::new(engine);
    let mut done = Done { items: 0, verdicts: 0 };
    let work = sample.map(|item| Work { item, steps: Vec::new() });
    let job = Job { cohorts: false, ..job.clone() };
    drive(&mut rehearsal, &job, work, &mut done).map_err(|error| match error {
        DriveError::Engine(error) => CommandError::from(error),
        DriveError::Observer(never) => match never {},
        DriveError::Replay { .. } => unreachable!("nothing was recorded"),
    })?;
    if done.items == 0 {
        return Ok(None);
    }
    let Counters { prefilled, decoded, .. } = rehearsal.counters();
    let per_item = |tokens: u64| tokens.div_ceil(done.items);
    let computed = if rehearsal.is_blind { None } else { Some(per_item(prefilled)) };
    Ok(Some(Cost { computed, decoded: per_item(decoded), verdicts: done.verdicts }))
}

/// Counts the items that end, and the most verdicts of one.
struct Done {
    items: u64,
    verdicts: u64,
}

impl Observer for Done {
    type Error = std::convert::Infallible;

    fn step(&mut self, _: &ItemLoop, _: &Step) -> Result<(), Self::Error> {
        Ok(())
    }

    fn end(&mut self, trajectory: &ItemLoop, outcome: Outcome) -> Result<(), Self::Error> {
        if matches!(outcome, Outcome::Done { .. }) {
            self.items += 1;
            let steps = trajectory.steps().iter();
            let verdicts = steps.filter(|step| step.kind == StepKind::Judge).count() as u64;
            self.verdicts = self.verdicts.max(verdicts);
        }
        Ok(())
    }
}

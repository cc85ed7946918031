//! `amend run --dry-run`: the cost of a run, in tokens.

use std::io::Write;

use crate::cli::output::error::CommandError;
use crate::cli::output::print;
use crate::session::ModelEngines;
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
pub fn run(engines: &ModelEngines<'_>, job: &Job, source: &ItemSource) -> Result<(), CommandError> {
    let engine = engines.main();
    let items = source.summary.rows;
    let first = FirstPrompts::count(engines.first_answers(), job, source)?;
    let steps = Steps::from_job(job);
    let cost = rehearse(engine, job, source)?;
    let verdicts = cost.as_ref().map_or(0, |cost| cost.verdicts) * items;
    let generated = first.counts.count + first.unknown;
    let decoded = steps.most_decoded(engine, job, generated, items)
        + verdicts * reasons_of_a_verdict(engine, job);
    let Steps { candidates, critiques, revisions, guided } = steps;
    let mut out = std::io::stdout().lock();
    let mut write = || {
        writeln!(out, "items                  {items}")?;
        writeln!(out, "with a given answer    {}", items - generated - first.failed)?;
        if first.counts.count > 0 {
            writeln!(out, "first prompts          {}", first.counts)?;
        }
        if first.unknown > 0 {
            writeln!(
                out,
                "first prompts          {} of unknown length: a server does not report \
                 token counts",
                first.unknown
            )?;
        }
        writeln!(
            out,
            "steps of an item       answers {candidates}, critiques {critiques}, revisions \
             {revisions}, guided answers {guided}"
        )?;
        writeln!(out, "decoded, at most       {decoded} tokens")?;
        if let Some(cost) = &cost {
            let decoded = cost.decoded;
            let computed = cost
                .computed
                .map_or_else(String::new, |tokens| format!("{tokens} tokens computed, "));
            writeln!(out, "per item, about        {computed}{decoded} tokens decoded")?;
        }
        for line in engines.longest_requests() {
            writeln!(out, "{line}")?;
        }
        Ok(())
    };
    write().map_err(CommandError::output)?;
    if first.failed == 0 { Ok(()) } else { Err(CommandError::reported()) }
}

/// The first prompts of the items that need an answer.
#[derive(Default)]
struct FirstPrompts {
    counts: Spread,
    /// How many have an unknown length.
    unknown: u64,
    /// How many the engine can't prepare.
    failed: u64,
}

impl FirstPrompts {
    /// Counts the tokens. Prints each failure.
    fn count(engine: &dyn Engine, job: &Job, source: &ItemSource) -> Result<Self, CommandError> {
        let mut first = Self::default();
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
                    let (turns, shared) = (&rendered.turns, rendered.shared_turns);
                    engine.prepare(turns, shared, reasoning, NextTurn::Reply)
                });
            match prepared {
                Ok(prepared) => first.counts.add(prepared.tokens.len() as u64),
                Err(Failure::TokensUnknown) => first.unknown += 1,
                Err(failure) => {
                    first.failed += 1;
                    print::message(&format!("row {}: {failure}\n", item.row));
                }
            }
        }
        Ok(first)
    }
}

/// The numbers of steps of an item.
struct Steps {
    candidates: u64,
    critiques: u64,
    revisions: u64,
    guided: u64,
}

impl Steps {
    fn from_job(job: &Job) -> Self {
        let plan = &job.constitution.plan;
        let steps_per_round = match plan.select {
            Select::All => job.constitution.principles.len() as u64,
            Select::Random | Select::RoundRobin | Select::Weighted | Select::Worst => {
                u64::from(plan.principles_per_round)
            }
        };
        let rounds = if plan.method.has_rounds() { plan.rounds } else { 0 };
        let revisions = u64::from(rounds) * steps_per_round;
        let critiques = if plan.critique { revisions } else { 0 };
        let guided = u64::from(plan.method.has_guidance());
        Self { candidates: u64::from(plan.candidates), critiques, revisions, guided }
    }

    /// The most tokens that the steps of all `items` decode, of which `generated` need an
    /// answer.
    fn most_decoded(&self, engine: &dyn Engine, job: &Job, generated: u64, items: u64) -> u64 {
        let max_tokens = |kind| {
            let sampling = sampling(&job.constitution.sampling, kind);
            u64::from(sampling.max_tokens) + thought_tokens(engine, &sampling.reasoning)
        };
        generated * self.candidates * max_tokens(StepKind::Generate)
            + items
                * (self.critiques * max_tokens(StepKind::Critique)
                    + self.revisions * max_tokens(StepKind::Revise)
                    + self.guided * max_tokens(StepKind::Guide))
    }
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

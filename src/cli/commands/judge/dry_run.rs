//! `amend judge --dry-run`: the pairs, their labels, and the cost of judging them.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use crate::cli::output::error::CommandError;
use crate::cli::output::{print, terminal};
use crate::session::ModelEngines;
use crate::session::rehearsal::{Spread, rehearse};
use amend_analysis::judge_quality::category;
use amend_core::driver::{Job, first_requests};
use amend_core::model::{Engine, Failure};
use amend_core::record::{ComparisonFacts, Item, Label};
use amend_core::text::format::plural;
use amend_data::items::ItemSource;

/// The most categories that are counted by name.
const MAX_CATEGORIES: usize = 200;

/// Counts of pairs.
#[derive(Default)]
struct Counts {
    pairs: u64,
    /// Pairs of which one response is labelled better, and pairs labelled as ties.
    decided: u64,
    ties: u64,
    injected: u64,
}

impl Counts {
    fn add(&mut self, item: &Item) {
        let facts = ComparisonFacts::from_item(item);
        self.pairs += 1;
        match facts.label {
            Some(Label::A | Label::B) => self.decided += 1,
            Some(Label::Tie) => self.ties += 1,
            None => {}
        }
        self.injected += u64::from(facts.injection.is_some_and(|injection| injection.present));
    }

    fn write(&self, out: &mut dyn Write, categories: &BTreeMap<String, Self>) -> io::Result<()> {
        let Self { pairs, decided, ties, injected } = self;
        writeln!(out, "pairs                  {pairs}")?;
        writeln!(out, "labelled               {decided}")?;
        writeln!(out, "ties                   {ties}")?;
        writeln!(out, "without a label        {}", pairs - decided - ties)?;
        if *injected > 0 {
            writeln!(out, "with an injection      {injected}")?;
        }
        for (name, Self { pairs, decided, ties, .. }) in categories {
            let (pair, tie) = (plural(*pairs, "pair"), plural(*ties, "tie"));
            writeln!(out, "  {name}: {pairs} {pair}, {decided} labelled, {ties} {tie}")?;
        }
        Ok(())
    }
}

/// Prints the numbers of pairs and labels, also by the categories in the column `by`.
/// Returns the number of pairs.
///
/// # Errors
/// The input has changed, or stdout can't be written to.
pub fn count(source: &ItemSource, by: Option<&str>) -> Result<u64, CommandError> {
    let mut all = Counts::default();
    let mut categories: BTreeMap<String, Counts> = BTreeMap::new();
    for item in source.items() {
        let item = item?;
        all.add(&item);
        if let Some(category) = by.and_then(|by| category(&item.metadata, by)) {
            let is_room = categories.len() < MAX_CATEGORIES || categories.contains_key(&category);
            let name = if is_room { category } else { "(others)".to_owned() };
            categories.entry(name).or_default().add(&item);
        }
    }
    let mut out = terminal::stdout();
    all.write(&mut out, &categories).map_err(CommandError::output)?;
    Ok(all.pairs)
}

/// Prints the number of requests for `pairs` pairs, and the tokens of the first requests'
/// prompts if the engine can count them. Reads one pair after another.
///
/// # Errors
/// The input has changed, or stdout can't be written to; [`CommandError::reported`] if an
/// item would fail at its first step.
pub fn cost(
    engines: &ModelEngines<'_>,
    job: &Job,
    source: &ItemSource,
    pairs: u64,
) -> Result<(), CommandError> {
    let engine = engines.main();
    let mut prompts = Spread::default();
    let (mut unknown, mut failed) = (0_u64, 0_u64);
    for item in source.items() {
        let item = item?;
        let row = item.row;
        match tokens(engine, job, item, &mut prompts) {
            Ok(()) => {}
            Err(Failure::TokensUnknown) => unknown += 1,
            Err(failure) => {
                failed += 1;
                print::message(&format!("row {row}: {failure}\n"));
            }
        }
    }
    let cost = rehearse(engine, job, source)?;
    let mut out = terminal::stdout();
    let write = || -> io::Result<()> {
        if prompts.count > 0 {
            writeln!(out, "prompts                {prompts}")?;
        }
        if unknown > 0 {
            writeln!(
                out,
                "prompts                of unknown length: a server does not report token counts"
            )?;
        }
        if let Some(cost) = cost {
            let requests = cost.requests;
            writeln!(out, "requests               {} ({requests} per pair)", requests * pairs)?;
            let computed = match cost.computed {
                Some(tokens) => format!("{tokens} tokens computed, "),
                None => String::new(),
            };
            writeln!(out, "per pair, about        {computed}{} tokens decoded", cost.decoded)?;
        }
        for line in engines.longest_requests() {
            writeln!(out, "{line}")?;
        }
        Ok(())
    };
    write().map_err(CommandError::output)?;
    if failed == 0 { Ok(()) } else { Err(CommandError::reported()) }
}

/// Adds the tokens of each prompt that an item sends first.
fn tokens(
    engine: &dyn Engine,
    job: &Job,
    item: Arc<Item>,
    prompts: &mut Spread,
) -> Result<(), Failure> {
    for (rendered, task) in first_requests(job.trajectory(item), job)? {
        let (reasoning, next) = task.reasoning();
        let prepared = engine.prepare(&rendered.turns, rendered.shared_turns, reasoning, next)?;
        prompts.add(prepared.tokens.len() as u64);
    }
    Ok(())
}

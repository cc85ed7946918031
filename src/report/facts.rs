//! What one item came to, in the numbers that a report adds up.

use serde_json::Value;

use super::subject::Subject;
use amend_core::judge::{Combined, Verdict, combine};
use amend_core::model::{Failure, Finish};
use amend_core::record::Item;
use amend_core::record::Outcome;
use amend_core::record::{Step, StepKind, answers};
use amend_data::pairs::{DropReason, Which, pairs};
use amend_data::store::trajectories::Trajectory;

/// What an item came to.
#[derive(Debug, Clone, PartialEq)]
pub struct Facts {
    /// Its key.
    pub key: String,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// Why it gives no pair; none where it gives one, or is not meant to.
    pub dropped: Option<DropReason>,
    /// Its category, where its row names one.
    pub category: Option<String>,
    /// Whether it brought two answers to compare.
    pub rivals: bool,
    /// Which of its two answers is the better one by its label: whether A is.
    pub label: Option<bool>,
    /// The judgement on it as a whole.
    pub decision: Option<Combined>,
    /// Verdicts under a principle on the same two answers.
    pub verdicts: Vec<(String, Combined)>,
    /// Violations that gates found, by principle; none where nothing could be
    /// told.
    pub gates: Vec<(String, Option<f64>)>,
    /// Each revision.
    pub revisions: Vec<Revision>,
    /// Steps by kind, in [`StepKind::ALL`]'s order.
    pub work: [Work; StepKind::ALL.len()],
}

/// A revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// The principle revised under.
    pub principle: String,
    /// Whether it says what the answer before said, white space aside.
    pub unchanged: bool,
    /// Whether it was cut off at its greatest length.
    pub cut: bool,
}

/// How much was done in steps of a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Steps.
    pub steps: usize,
    /// Tokens in their prompts.
    pub prompt: u64,
    /// Of these, tokens found in the prefix cache.
    pub cached: u64,
    /// Tokens decoded.
    pub decoded: u64,
}

impl Work {
    /// Adds up.
    pub fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.prompt += other.prompt;
        self.cached += other.cached;
        self.decoded += other.decoded;
    }
}

impl Facts {
    /// What an ended item came to.
    pub fn of(subject: &Subject, trajectory: &Trajectory) -> Self {
        let Trajectory { item, steps, outcome } = trajectory;
        let failure = match outcome {
            Outcome::Failed { failure } => Some(failure.clone()),
            Outcome::Done { .. } => None,
        };
        let pairs = subject.pairs().then(|| pairs(trajectory, Which::Last, &subject.rules));
        // Of several candidates too, the last pair is that of the loop.
        let dropped = pairs.and_then(|mut pairs| pairs.pop()?.err());
        let compared = compared(subject, item, steps);
        Self {
            key: item.key.clone(),
            failure,
            dropped,
            category: text(item, "category").map(str::to_owned),
            rivals: item.rival.is_some(),
            label: label(item),
            decision: compared.and_then(|pair| decide(subject, item, steps, pair)),
            verdicts: compared
                .into_iter()
                .flat_map(|pair| judged(steps, pair))
                .filter_map(|(step, verdict)| {
                    let found = combine(&[(verdict, 1.0)], &subject.judge.standing())?;
                    Some((step.principle.clone()?, found))
                })
                .collect(),
            gates: steps
                .iter()
                .filter(|step| step.kind == StepKind::Gate)
                .filter_map(|step| Some((step.principle.clone()?, step.score.map(|s| s.value))))
                .collect(),
            revisions: revisions(steps),
            work: work(steps),
        }
    }

    /// Tokens decoded for it.
    pub fn decoded(&self) -> u64 {
        self.work.iter().map(|work| work.decoded).sum()
    }
}

/// A text among the row's other keys.
fn text<'a>(item: &'a Item, key: &str) -> Option<&'a str> {
    item.metadata.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Whether the first of an item's two answers is the better one, by its row. One
/// with an injection written into it is no longer what was labelled.
fn label(item: &Item) -> Option<bool> {
    let injected = item.metadata.get("injected").is_some_and(|value| *value == true);
    item.rival.as_ref().filter(|_| !injected)?;
    match text(item, "label")? {
        "a" | "A" => Some(true),
        "b" | "B" => Some(false),
        _ => None,
    }
}

/// The two answers that the verdicts are about, by number: an item's given ones,
/// or the last revision and the first answer. Verdicts that only chose among
/// candidates are left out.
fn compared(subject: &Subject, item: &Item, steps: &[Step]) -> Option<[usize; 2]> {
    if item.rival.is_some() {
        return Some([0, 1]);
    }
    let last = answers(steps).count().checked_sub(1)?;
    let revised = answers(steps).next_back()?.kind == StepKind::Revise;
    revised.then(|| [last, subject.rules.first(steps)])
}

/// What the verdicts on two answers say as one: of a loop's answers, those that
/// decide by the constitution; of given ones, all by weight.
fn decide(subject: &Subject, item: &Item, steps: &[Step], pair: [usize; 2]) -> Option<Combined> {
    if item.rival.is_none() {
        return Some(subject.rules.on(steps, pair)?.decisive);
    }
    let weighed: Vec<_> = judged(steps, pair)
        .map(|(step, verdict)| (verdict, subject.weight(step.principle.as_deref())))
        .collect();
    combine(&weighed, &subject.judge.standing())
}

/// The verdicts on two answers.
fn judged(steps: &[Step], pair: [usize; 2]) -> impl Iterator<Item = (&Step, &Verdict)> {
    let on = steps.iter().filter(move |step| step.about == pair);
    on.filter_map(|step| Some((step, step.verdict.as_ref()?)))
}

fn revisions(steps: &[Step]) -> Vec<Revision> {
    let given: Vec<&Step> = answers(steps).collect();
    let words = |step: &Step| step.text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let revision = |pair: &[&Step]| {
        let (before, after) = (pair[0], pair[1]);
        Some(Revision {
            principle: after.principle.clone()?,
            unchanged: words(before) == words(after),
            cut: after.finish == Some(Finish::Length),
        })
    };
    given.windows(2).filter(|pair| pair[1].kind == StepKind::Revise).filter_map(revision).collect()
}

fn work(steps: &[Step]) -> [Work; StepKind::ALL.len()] {
    StepKind::ALL.map(|kind| {
        let mut sum = Work::default();
        for step in steps.iter().filter(|step| step.kind == kind) {
            sum.add(Work {
                steps: 1,
                prompt: step.usage.prompt.into(),
                cached: step.usage.cached.into(),
                decoded: step.usage.decoded.into(),
            });
        }
        sum
    })
}

//! The facts about one item from which a report's figures are computed.

use serde_json::Value;

use super::subject::Subject;
use amend_analysis::judge_quality::{UnderPrinciple, combined};
use amend_core::judge::Combined;
use amend_core::model::{Failure, Finish};
use amend_core::procedure::improved;
use amend_core::record::{self, Item, Label, Outcome, Step, StepKind, answers};
use amend_data::lint::check::LintRule;
use amend_data::pairs::{DropReason, PairMethod, Which, pairs};
use amend_data::store::trajectories::Trajectory;

/// The facts about one finished item.
#[derive(Debug, Clone, PartialEq)]
pub struct ItemFacts {
    /// The item's key.
    pub key: String,
    /// Why it failed, if it did.
    pub failure: Option<Failure>,
    /// Why an export has no pair of it. `None` if it has one, or if the command makes no
    /// pairs.
    pub loss: Option<LeftOut>,
    /// Its category, if its row has one.
    pub category: Option<String>,
    /// Whether its row gives two answers, A and B, to compare.
    pub is_comparison: bool,
    /// Whether answer A is the better one by the row's label.
    pub label: Option<bool>,
    /// The verdict on its two answers, all principles combined.
    pub decision: Option<Combined>,
    /// The verdict under each principle on the same two answers.
    pub verdicts: Vec<UnderPrinciple>,
    /// The violations that gates found, with the ids of the principles. `None` if
    /// the gate could not be read.
    pub gates: Vec<(String, Option<f64>)>,
    /// Its revisions, in order.
    pub revisions: Vec<RevisionFacts>,
    /// Its pairs by method: of the last revision, and of the guided answer.
    pub methods: Vec<MethodFacts>,
    /// The work per kind of step, in [`StepKind::ALL`]'s order.
    pub work: [StepWork; StepKind::ALL.len()],
}

/// The facts about one answer that was made to be better than the first one.
#[derive(Debug, Clone, PartialEq)]
pub struct MethodFacts {
    /// How it was made.
    pub method: PairMethod,
    /// Whether an export has its pair.
    pub is_kept: bool,
    /// The verdict on it against the first answer.
    pub decision: Option<Combined>,
}

/// Why an export has no pair of an item.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LeftOut {
    /// The item gives no pair.
    Dropped(DropReason),
    /// The pair breaks a lint rule.
    Spoilt(&'static LintRule),
}

impl LeftOut {
    /// The name, by which the page filters.
    pub fn name(self) -> &'static str {
        match self {
            Self::Dropped(reason) => reason.as_str(),
            Self::Spoilt(rule) => rule.name,
        }
    }

    /// The reason in words.
    pub fn explain(self) -> &'static str {
        match self {
            Self::Dropped(reason) => reason.explain(),
            Self::Spoilt(rule) => rule.about,
        }
    }
}

/// A revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisionFacts {
    /// The ids of the principles that were applied.
    pub principles: Vec<String>,
    /// Whether it equals the answer before it, ignoring white space.
    pub unchanged: bool,
    /// Whether it was cut off at the maximum length.
    pub cut: bool,
}

/// The work done in steps of one kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct StepWork {
    /// The number of steps.
    pub steps: usize,
    /// The number of tokens in their prompts.
    pub prompt: u64,
    /// How many of these were in the prefix cache.
    pub cached: u64,
    /// The number of decoded tokens.
    pub decoded: u64,
    /// How many of these were in thoughts.
    pub reasoning: u64,
}

impl StepWork {
    /// Adds other work to this.
    pub fn add(&mut self, other: Self) {
        self.steps += other.steps;
        self.prompt += other.prompt;
        self.cached += other.cached;
        self.decoded += other.decoded;
        self.reasoning += other.reasoning;
    }
}

impl ItemFacts {
    /// Collects the facts about a finished item.
    pub fn new(subject: &Subject<'_>, trajectory: &Trajectory) -> Self {
        let Trajectory { item, steps, outcome } = trajectory;
        let failure = match outcome {
            Outcome::Failed { failure } => Some(failure.clone()),
            Outcome::Done { .. } => None,
        };
        let mut loss = None;
        if subject.pairs() {
            // With several candidates too, the last pair is that of the loop.
            loss = match pairs(trajectory, Which::Last, &subject.rules).pop() {
                Some(Ok(pair)) => subject.spoilt.rule(&pair).map(LeftOut::Spoilt),
                Some(Err(reason)) => Some(LeftOut::Dropped(reason)),
                None => None,
            };
        }
        let compared = compared(subject, item, steps);
        Self {
            key: item.key.clone(),
            failure,
            loss,
            category: text(item, "category").map(str::to_owned),
            is_comparison: item.response_b.is_some(),
            label: label(item),
            decision: compared.and_then(|pair| decide(subject, item, steps, pair)),
            verdicts: compared
                .into_iter()
                .flat_map(|pair| about(steps, pair))
                .filter_map(|step| UnderPrinciple::from_step(step, &subject.standing()))
                .collect(),
            gates: steps
                .iter()
                .filter(|step| step.kind == StepKind::Gate)
                .filter_map(|step| Some((step.principle.clone()?, step.score.map(|s| s.value))))
                .collect(),
            revisions: revisions(steps, subject.rules.first(steps)),
            methods: methods(subject, trajectory),
            work: work(steps),
        }
    }

    /// The number of tokens decoded for the item.
    pub fn decoded(&self) -> u64 {
        self.work.iter().map(|work| work.decoded).sum()
    }
}

/// The non-empty string under a key of the row's metadata.
fn text<'a>(item: &'a Item, key: &str) -> Option<&'a str> {
    item.metadata.get(key).and_then(Value::as_str).filter(|text| !text.is_empty())
}

/// Whether answer A of an item with two answers is the better one by its label.
/// `None` for a tie, and where an injection is written into an answer: the label
/// is about the answers without it.
fn label(item: &Item) -> Option<bool> {
    item.response_b.as_ref()?;
    let record::ComparisonFacts { label, injection } = record::ComparisonFacts::from_item(item);
    if injection.is_some_and(|injection| injection.present) {
        return None;
    }
    match label? {
        Label::A => Some(true),
        Label::B => Some(false),
        Label::Tie => None,
    }
}

/// The numbers of the two answers that the item's verdict is about: the two that
/// were given, or the last revision (without one, the guided answer) and the first answer.
/// `None` if there is only a first answer, since verdicts among candidates say nothing about a
/// revision.
fn compared(subject: &Subject<'_>, item: &Item, steps: &[Step]) -> Option<[usize; 2]> {
    if item.response_b.is_some() {
        return Some([0, 1]);
    }
    let better = improved(steps).first().copied()?;
    Some([better, subject.rules.first(steps)])
}

/// Combines the verdicts on two answers. For answers of the loop, the constitution
/// says which verdicts decide; for given answers, all count by weight.
fn decide(
    subject: &Subject<'_>,
    item: &Item,
    steps: &[Step],
    pair: [usize; 2],
) -> Option<Combined> {
    if item.response_b.is_none() {
        return Some(subject.rules.on(steps, pair)?.decisive);
    }
    combined(about(steps, pair), |id| subject.weight(id), &subject.standing())
}

/// The steps about two answers.
fn about(steps: &[Step], pair: [usize; 2]) -> impl Iterator<Item = &Step> {
    steps.iter().filter(move |step| step.about == pair)
}

/// The facts about the revisions and the guided answer, which has no other answer before it
/// than number `first`.
fn revisions(steps: &[Step], first: usize) -> Vec<RevisionFacts> {
    let answers: Vec<&Step> = answers(steps).collect();
    let words = |step: &Step| step.text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let revision = |pair: &[&Step]| {
        let (before, after) = (pair[0], pair[1]);
        RevisionFacts {
            principles: after.applied().map(str::to_owned).collect(),
            unchanged: words(before) == words(after),
            cut: after.finish == Some(Finish::Length),
        }
    };
    let revised = answers.windows(2).filter(|pair| pair[1].kind == StepKind::Revise);
    let guided = answers.iter().filter(|step| step.kind == StepKind::Guide);
    let guided = guided.map(|step| [answers[first], step]);
    revised.map(revision).chain(guided.map(|pair| revision(&pair))).collect()
}

fn methods(subject: &Subject<'_>, trajectory: &Trajectory) -> Vec<MethodFacts> {
    let steps = &trajectory.steps;
    let kept: Vec<PairMethod> = pairs(trajectory, Which::Last, &subject.rules)
        .iter()
        .flatten()
        .filter(|pair| subject.spoilt.rule(pair).is_none())
        .map(|pair| pair.method)
        .collect();
    let first = subject.rules.first(steps);
    let facts = |number: usize| {
        let method = PairMethod::of(answers(steps).nth(number)?);
        let decision = subject.rules.on(steps, [number, first]).map(|found| found.decisive);
        Some(MethodFacts { method, is_kept: kept.contains(&method), decision })
    };
    improved(steps).into_iter().filter_map(facts).collect()
}

fn work(steps: &[Step]) -> [StepWork; StepKind::ALL.len()] {
    StepKind::ALL.map(|kind| {
        let mut sum = StepWork::default();
        for step in steps.iter().filter(|step| step.kind == kind) {
            sum.add(StepWork {
                steps: 1,
                prompt: step.usage.prompt.into(),
                cached: step.usage.cached.into(),
                decoded: step.usage.decoded.into(),
                reasoning: step.usage.reasoning.into(),
            });
        }
        sum
    })
}

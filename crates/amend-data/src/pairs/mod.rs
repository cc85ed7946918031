//! Preference pairs from trajectories: a later response over an earlier one, a guided
//! response over the first one, or one candidate over another. Also selects the responses for
//! supervised fine-tuning.

pub mod judgement;
pub mod rejudged;
pub mod reviewed;

use std::borrow::Cow;

use serde::Serialize;

use crate::pairs::judgement::{Judgement, Rules, Ruling};
use crate::store::reviews::{Decision, Opinion};
use crate::store::trajectories::Trajectory;
use amend_core::model::Finish;
use amend_core::record::{Item, Outcome, Step, StepKind, answer_steps};
use amend_core::text::thoughts;

/// Which responses of a trajectory are paired. Here r₀ is the first response (the best
/// of several candidates) and r₁ … r_n are the revisions. A guided response is always paired
/// with r₀.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Which {
    /// r_n over r₀.
    #[default]
    Last,
    /// Each rᵢ over every rⱼ before it.
    All,
    /// Each rᵢ over the one just before it.
    Adjacent,
}

impl Which {
    /// All pairings.
    pub const ALL: [Self; 3] = [Self::Last, Self::All, Self::Adjacent];

    /// The name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::All => "all",
            Self::Adjacent => "adjacent",
        }
    }

    /// Finds a pairing by its name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|which| which.as_str() == name)
    }

    /// The indices of the chosen and the rejected response in each pair, out of
    /// `answers` responses.
    fn index_pairs(self, answers: usize) -> Vec<(usize, usize)> {
        match self {
            Self::Last => vec![(answers - 1, 0)],
            Self::Adjacent => (1..answers).map(|at| (at, at - 1)).collect(),
            Self::All => (1..answers).flat_map(|at| (0..at).map(move |b| (at, b))).collect(),
        }
    }
}

/// How the response was made that a pair prefers, before verdicts and reviews.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum PairMethod {
    /// It is a revision.
    Revise,
    /// It is the guided response: the prompt was answered with the principles in the system
    /// turn.
    Contrast,
    /// Both are candidates for the first response.
    Candidates,
}

impl PairMethod {
    /// The method of a response.
    #[must_use]
    pub fn of(step: &Step) -> Self {
        match step.kind {
            StepKind::Revise => Self::Revise,
            StepKind::Guide => Self::Contrast,
            StepKind::Generate
            | StepKind::Critique
            | StepKind::Gate
            | StepKind::Judge
            | StepKind::Rubric
            | StepKind::Likelihood
            | StepKind::Reference => Self::Candidates,
        }
    }

    /// The name in rows.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Revise => "revise",
            Self::Contrast => "contrast",
            Self::Candidates => "candidates",
        }
    }
}

/// A preference pair, with everything that formats write about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair<'a> {
    /// The item.
    pub item: &'a Item,
    /// How the pair was made.
    pub method: PairMethod,
    /// The step of the chosen response: a revision or a guided response, unless the judge or
    /// reviewers decided otherwise. Its text has the edits of reviewers.
    pub chosen: Cow<'a, Step>,
    /// The step of the rejected response.
    pub rejected: Cow<'a, Step>,
    /// The critique that led to the chosen response. `None` if there is none.
    pub critique: Option<&'a Step>,
    /// The ids of the principles of the revisions between the two responses, or of the guided
    /// response, without repetition, in order of first use.
    pub principles: Vec<&'a str>,
    /// The judgement of chosen over rejected. `None` if the two were not judged or the
    /// policy ignores verdicts.
    pub judgement: Option<Judgement>,
    /// The review that decided the pair, if any.
    pub review: Option<Reviewed>,
    /// What led to the chosen response, if it is a revision.
    pub revised: Option<RevisedFrom>,
}

/// What led to a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RevisedFrom {
    /// The critique. `None` if there is none.
    pub critique: Option<String>,
    /// The response that was revised.
    pub before: String,
}

impl RevisedFrom {
    /// What led to the response of step `at`. `None` if it is no revision.
    #[must_use]
    pub fn from_steps(steps: &[Step], at: usize, rules: &Rules) -> Option<Self> {
        if steps[at].kind != StepKind::Revise {
            return None;
        }
        // With several candidates, the best one was revised.
        let revision = answer_steps(&steps[..at]).rfind(|&at| steps[at].kind == StepKind::Revise);
        let before = revision.or_else(|| answer_steps(steps).nth(rules.first(steps)))?;
        let critiques = steps[..at].iter().skip(revision.unwrap_or(0));
        let critique = critiques.rev().find(|step| step.kind == StepKind::Critique);
        Some(Self {
            critique: critique.map(|step| step.text.clone()),
            before: steps[before].text.clone(),
        })
    }
}

/// The review of a row: who decided, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewed {
    /// The reviewers, in the order of their decisions.
    pub reviewers: Vec<String>,
    /// The time of the last decision, in UTC (RFC 3339).
    pub time: String,
}

impl Reviewed {
    fn new(decision: &Decision<'_>) -> Self {
        Self {
            reviewers: decision.reviewers.iter().map(|&name| name.to_owned()).collect(),
            time: decision.time.to_owned(),
        }
    }
}

impl<'a> Pair<'a> {
    /// Returns whether both pairs have the same texts, ignoring surrounding white space.
    fn has_same_texts(&self, other: &Self) -> bool {
        self.chosen.text.trim() == other.chosen.text.trim()
            && self.rejected.text.trim() == other.rejected.text.trim()
    }

    /// The text of the critique. `None` if a thought is left in it.
    #[must_use]
    pub fn reason(&self) -> Option<&'a str> {
        let text = self.critique?.text.as_str();
        if thoughts::find(text).is_some() { None } else { Some(text) }
    }
}

/// Why a trajectory, or a pair of its responses, gives no row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// The item failed.
    Failed,
    /// There is no revision and no guided response.
    NoRevision,
    /// A response is blank.
    Empty,
    /// A response was cut off at `max_tokens`.
    Cut,
    /// A thought is left in a response.
    Thought,
    /// Both responses are the same, ignoring surrounding white space.
    Same,
    /// The trajectory already gave the same pair, or the same response with the same
    /// label.
    Repeated,
    /// A response is chosen in one pair and rejected in another, so it has no label.
    Mixed,
    /// The judge prefers the rejected response.
    NotBetter,
    /// The judge says that neither response is better.
    JudgedEqual,
    /// The labels have too little probability for a verdict, or the judge was not asked.
    Undecided,
    /// The judges of a panel disagree more than `--max-disagreement`.
    Disagreement,
    /// Reviewers judged the responses equally good.
    Tie,
    /// Reviewers judged both responses bad.
    BothBad,
    /// Reviewers disagree, and no choice has the most votes.
    Disputed,
    /// A review that the constitution requires is missing.
    Unreviewed,
    /// The format is about revisions, and the chosen response is none.
    NotRevised,
    /// The format can't represent the conversation.
    Conversation,
}

impl DropReason {
    /// All reasons, in the order in which they are checked.
    pub const ALL: [Self; 18] = [
        Self::Failed,
        Self::NoRevision,
        Self::Empty,
        Self::Cut,
        Self::Thought,
        Self::Same,
        Self::Repeated,
        Self::Mixed,
        Self::NotBetter,
        Self::JudgedEqual,
        Self::Undecided,
        Self::Disagreement,
        Self::Tie,
        Self::BothBad,
        Self::Disputed,
        Self::Unreviewed,
        Self::NotRevised,
        Self::Conversation,
    ];

    /// The name in counts and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::NoRevision => "no_revision",
            Self::Empty => "empty",
            Self::Cut => "cut",
            Self::Thought => "thought",
            Self::Same => "same",
            Self::Repeated => "repeated",
            Self::Mixed => "mixed",
            Self::NotBetter => "not_better",
            Self::JudgedEqual => "judged_equal",
            Self::Undecided => "undecided",
            Self::Disagreement => "disagreement",
            Self::Tie => "tie",
            Self::BothBad => "both_bad",
            Self::Disputed => "disputed",
            Self::Unreviewed => "unreviewed",
            Self::NotRevised => "not_revised",
            Self::Conversation => "conversation",
        }
    }

    /// A description of the reason.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::Failed => "the item failed",
            Self::NoRevision => "no revision or guided answer",
            Self::Empty => "a side is empty",
            Self::Cut => "a side was cut off by max_tokens",
            Self::Thought => "a thought is left in a side",
            Self::Same => "both sides are the same",
            Self::Repeated => "a duplicate of an earlier pair or labelled answer",
            Self::Mixed => "the answer is chosen in one pair and rejected in another",
            Self::NotBetter => "the judge prefers the other side",
            Self::JudgedEqual => "the judge says that it is a tie",
            Self::Undecided => "the judge is undecided",
            Self::Disagreement => "the judges of the panel disagree",
            Self::Tie => "reviewers judged the sides equal",
            Self::BothBad => "reviewers judged both sides bad",
            Self::Disputed => "reviewers disagree",
            Self::Unreviewed => "a required review is missing",
            Self::NotRevised => "the format has revisions only, and the chosen answer is none",
            Self::Conversation => {
                "the format does not support a system turn, earlier turns or tool calls"
            }
        }
    }
}

/// Returns the pairs of a trajectory. Each pair that is dropped is the first reason
/// that applies, in the order of [`DropReason`]; a trajectory without pairs is one
/// reason. Pairs of candidates come first, then the pair of a guided response. A review of two
/// responses overrides their verdicts.
#[must_use]
pub fn pairs<'a>(
    trajectory: &'a Trajectory,
    which: Which,
    rules: &Rules,
) -> Vec<Result<Pair<'a>, DropReason>> {
    let Trajectory { item, steps, .. } = trajectory;
    let Comparisons { answers, comparisons } = match comparisons(trajectory, which, rules) {
        Ok(comparisons) => comparisons,
        Err(reason) => return vec![Err(reason)],
    };
    let mut pairs: Vec<Result<Pair<'a>, DropReason>> = Vec::with_capacity(comparisons.len());
    for (numbers, ruling) in comparisons {
        let ruled = pair(trajectory, numbers.map(|number| answers[number]), rules).and_then(
            |pair| match (rules.reviews().decision(&item.key, numbers), ruling) {
                (Some(decision), _) => {
                    decided(pair, numbers, &decision, |pair| rules.told(steps, pair))
                }
                (None, _) if rules.require_review(steps) => Err(DropReason::Unreviewed),
                (None, Ruling::Keep(judgement)) => Ok(Pair { judgement, ..pair }),
                (None, Ruling::Flip(judgement)) => {
                    Ok(Pair { judgement: Some(judgement), ..flipped(pair) })
                }
                (None, Ruling::NotBetter) => Err(DropReason::NotBetter),
                (None, Ruling::Tie) => Err(DropReason::JudgedEqual),
                (None, Ruling::Undecided) => Err(DropReason::Undecided),
                (None, Ruling::Disagreement) => Err(DropReason::Disagreement),
            },
        );
        let repeats =
            |pair: &Pair<'_>| pairs.iter().flatten().any(|other| other.has_same_texts(pair));
        pairs.push(match ruled {
            Ok(pair) if repeats(&pair) => Err(DropReason::Repeated),
            ruled => ruled,
        });
    }
    pairs
}

/// The responses of a trajectory that are compared.
struct Comparisons {
    /// The indices of the steps that made responses.
    answers: Vec<usize>,
    /// The numbers of the chosen and the rejected response, before verdicts, and the
    /// judge's ruling on them.
    comparisons: Vec<([usize; 2], Ruling)>,
}

fn comparisons(
    trajectory: &Trajectory,
    which: Which,
    rules: &Rules,
) -> Result<Comparisons, DropReason> {
    if matches!(trajectory.outcome, Outcome::Failed { .. }) {
        return Err(DropReason::Failed);
    }
    let steps = &trajectory.steps;
    let answers: Vec<usize> = answer_steps(steps).collect();
    let candidates = steps.iter().take_while(|step| step.kind == StepKind::Generate).count();
    if answers.len() < 2 || candidates == 0 {
        return Err(DropReason::NoRevision);
    }
    let mut comparisons = Vec::new();
    if candidates > 1 {
        for pair in rules.of_candidates(steps, candidates) {
            let ruling = rules.rule_candidates(steps, pair);
            comparisons.push((pair, ruling));
        }
    }
    let first = rules.first(steps);
    let of_kind = |kind| {
        let numbered = answers.iter().enumerate();
        numbered.filter(move |&(_, &at)| steps[at].kind == kind).map(|(number, _)| number)
    };
    for guided in of_kind(StepKind::Guide) {
        comparisons.push(([guided, first], rules.rule(steps, [guided, first])));
    }
    // The first response and its revisions, by number.
    let chain: Vec<usize> = [first].into_iter().chain(of_kind(StepKind::Revise)).collect();
    if chain.len() > 1 {
        for (chosen, rejected) in which.index_pairs(chain.len()) {
            let pair = [chain[chosen], chain[rejected]];
            comparisons.push((pair, rules.rule(steps, pair)));
        }
    }
    Ok(Comparisons { answers, comparisons })
}

/// Returns the two responses of an item that reviewers compare: those of its last pair,
/// regardless of verdicts and reviews. Also returns their numbers, the chosen one
/// first.
///
/// # Errors
/// The reason why the item has no such pair.
pub fn reviewable<'a>(
    trajectory: &'a Trajectory,
    rules: &Rules,
) -> Result<([usize; 2], Pair<'a>), DropReason> {
    let Comparisons { answers, comparisons } = comparisons(trajectory, Which::Last, rules)?;
    let &(numbers, _) = comparisons.last().ok_or(DropReason::NoRevision)?;
    Ok((numbers, pair(trajectory, numbers.map(|number| answers[number]), rules)?))
}

/// The decision of the reviewers about an item's last pair.
#[must_use]
pub fn decision<'a>(trajectory: &Trajectory, rules: &'a Rules) -> Option<Decision<'a>> {
    let (numbers, _) = reviewable(trajectory, rules).ok()?;
    rules.reviews().decision(&trajectory.item.key, numbers)
}

/// Makes the pair of two steps, chosen and rejected, from their indices. A pair of
/// candidates has no critique and no principles, and that of a guided response no critique.
fn pair<'a>(
    trajectory: &'a Trajectory,
    [chosen, rejected]: [usize; 2],
    rules: &Rules,
) -> Result<Pair<'a>, DropReason> {
    let steps = &trajectory.steps;
    let revised = RevisedFrom::from_steps(steps, chosen, rules);
    let method = PairMethod::of(&steps[chosen]);
    let between = match method {
        PairMethod::Revise => &steps[rejected + 1..=chosen],
        PairMethod::Contrast => &steps[chosen..=chosen],
        PairMethod::Candidates => &[],
    };
    let (chosen, rejected) = (&steps[chosen], &steps[rejected]);
    for fault in [check_not_empty, check_not_cut, check_no_thought] {
        [chosen, rejected].into_iter().try_for_each(fault)?;
    }
    if chosen.text.trim() == rejected.text.trim() {
        return Err(DropReason::Same);
    }
    Ok(Pair {
        item: &trajectory.item,
        method,
        chosen: Cow::Borrowed(chosen),
        rejected: Cow::Borrowed(rejected),
        critique: between.iter().rev().find(|step| step.kind == StepKind::Critique),
        principles: principles(between),
        judgement: None,
        review: None,
        revised,
    })
}

/// Swaps the chosen and the rejected response.
fn flipped(pair: Pair<'_>) -> Pair<'_> {
    Pair {
        chosen: pair.rejected,
        rejected: pair.chosen,
        // The critique is about the response that is now the chosen one.
        critique: None,
        revised: None,
        ..pair
    }
}

/// Applies the decision of reviewers to a pair. `judgement` returns the judgement of
/// one response over another.
fn decided<'a>(
    pair: Pair<'a>,
    [a, b]: [usize; 2],
    decision: &Decision<'_>,
    judgement: impl Fn([usize; 2]) -> Option<Judgement>,
) -> Result<Pair<'a>, DropReason> {
    let pair = match decision.opinion {
        None => return Err(DropReason::Disputed),
        Some(Opinion::Tie) => return Err(DropReason::Tie),
        Some(Opinion::BothBad) => return Err(DropReason::BothBad),
        Some(Opinion::Answer(chosen)) if chosen == a => {
            Pair { judgement: judgement([a, b]), ..pair }
        }
        Some(Opinion::Answer(_)) => Pair { judgement: judgement([b, a]), ..flipped(pair) },
    };
    let chosen = edited(pair.chosen, decision)?;
    if chosen.text.trim() == pair.rejected.text.trim() {
        return Err(DropReason::Same);
    }
    Ok(Pair { chosen, review: Some(Reviewed::new(decision)), ..pair })
}

/// Applies the edit of a reviewer, if any, to the chosen step. The model's thought led to
/// the text before the edit, so it is removed.
fn edited<'a>(step: Cow<'a, Step>, decision: &Decision<'_>) -> Result<Cow<'a, Step>, DropReason> {
    let Some(text) = decision.edited else { return Ok(step) };
    let text = text.to_owned();
    let step = Step { text, raw: None, reasoning: None, ..step.into_owned() };
    check_no_thought(&step)?;
    Ok(Cow::Owned(step))
}

/// A response to train on.
#[derive(Debug, Clone, PartialEq)]
pub struct Answer<'a> {
    /// Its step, with the edits of reviewers.
    pub step: Cow<'a, Step>,
    /// The review that chose it, if any.
    pub review: Option<Reviewed>,
    /// What led to it, if it is a revision.
    pub revised: Option<RevisedFrom>,
}

/// Returns the response of a trajectory to train on. It is the last revision, else the guided
/// response, else the first response (the best candidate), unless reviewers chose
/// another one. It has the edits of reviewers.
///
/// # Errors
/// The reason why there is no such response.
pub fn answer<'a>(trajectory: &'a Trajectory, rules: &Rules) -> Result<Answer<'a>, DropReason> {
    if matches!(trajectory.outcome, Outcome::Failed { .. }) {
        return Err(DropReason::Failed);
    }
    let steps = &trajectory.steps;
    let last = answer_steps(steps).nth(rules.last(steps)).ok_or(DropReason::Empty)?;
    let Some(decision) = decision(trajectory, rules) else {
        if rules.require_review(steps) {
            return Err(DropReason::Unreviewed);
        }
        let step = Cow::Borrowed(whole(&steps[last])?);
        return Ok(Answer {
            step,
            review: None,
            revised: RevisedFrom::from_steps(steps, last, rules),
        });
    };
    let number = match decision.opinion {
        None => return Err(DropReason::Disputed),
        Some(Opinion::BothBad) => return Err(DropReason::BothBad),
        Some(Opinion::Tie) => last,
        Some(Opinion::Answer(number)) => {
            answer_steps(steps).nth(number).ok_or(DropReason::Empty)?
        }
    };
    let step = edited(Cow::Borrowed(whole(&steps[number])?), &decision)?;
    let review = Some(Reviewed::new(&decision));
    Ok(Answer { step, review, revised: RevisedFrom::from_steps(steps, number, rules) })
}

/// Returns the step if its text is complete and nothing else.
///
/// # Errors
/// The text is blank or was cut off, or a thought is left in it.
pub fn whole(step: &Step) -> Result<&Step, DropReason> {
    check_not_empty(step)?;
    check_not_cut(step)?;
    check_no_thought(step)?;
    Ok(step)
}

fn check_not_empty(step: &Step) -> Result<(), DropReason> {
    if step.text.trim().is_empty() { Err(DropReason::Empty) } else { Ok(()) }
}

fn check_not_cut(step: &Step) -> Result<(), DropReason> {
    if step.finish == Some(Finish::Length) { Err(DropReason::Cut) } else { Ok(()) }
}

/// Checks that no thought is left in the text of the step, as behind a server that does not
/// separate thoughts from answers.
///
/// # Errors
/// [`DropReason::Thought`].
pub fn check_no_thought(step: &Step) -> Result<(), DropReason> {
    if thoughts::find(&step.text).is_some() { Err(DropReason::Thought) } else { Ok(()) }
}

/// The ids of the principles of the revisions and guided responses in `steps`, without
/// repetition, in order.
#[must_use]
pub fn principles(steps: &[Step]) -> Vec<&str> {
    let mut ids = Vec::new();
    let made = steps.iter().filter(|step| matches!(step.kind, StepKind::Revise | StepKind::Guide));
    for id in made.flat_map(Step::applied) {
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    ids
}

#[cfg(test)]
mod tests;

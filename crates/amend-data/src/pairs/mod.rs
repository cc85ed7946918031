//! From trajectories to preference pairs, of a later answer over an earlier one
//! or of a candidate over another, and to the answers that are worth learning.

pub mod judgement;
pub mod reviewed;

use std::borrow::Cow;
use std::collections::HashMap;

use serde::Serialize;
use serde_json::Value;

use crate::pairs::judgement::{Judgement, Rules, Ruling};
use crate::store::reviews::{Decision, Opinion};
use crate::store::trajectories::Trajectory;
use amend_core::model::Finish;
use amend_core::record::Item;
use amend_core::record::Outcome;
use amend_core::record::{Step, StepKind, answer_steps};

/// Which answers of a trajectory are paired. With r₀ the first answer (of several
/// candidates, the best) and r₁ … r_n the revisions:
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
    /// Every way.
    pub const ALL: [Self; 3] = [Self::Last, Self::All, Self::Adjacent];

    /// Its name on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Last => "last",
            Self::All => "all",
            Self::Adjacent => "adjacent",
        }
    }

    /// The way of a name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|which| which.as_str() == name)
    }

    /// The numbers of chosen and rejected answers among `answers`.
    fn candidates(self, answers: usize) -> Vec<(usize, usize)> {
        match self {
            Self::Last => vec![(answers - 1, 0)],
            Self::Adjacent => (1..answers).map(|at| (at, at - 1)).collect(),
            Self::All => (1..answers).flat_map(|at| (0..at).map(move |b| (at, b))).collect(),
        }
    }
}

/// A preference: everything a format says of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Pair<'a> {
    /// What was asked.
    pub item: &'a Item,
    /// The step of the better answer: a revision, unless the judge or people
    /// decided otherwise; with the text that a reviewer made of it, if any did.
    pub chosen: Cow<'a, Step>,
    /// The step of the worse answer.
    pub rejected: Cow<'a, Step>,
    /// The critique that the better answer was revised by; none where the loop
    /// has no critiques.
    pub critique: Option<&'a Step>,
    /// The ids of the principles revised by between the two, each once, in order
    /// of first use.
    pub principles: Vec<&'a str>,
    /// What the verdicts say of chosen over rejected, where any were asked for
    /// and the policy tells of them.
    pub judgement: Option<Judgement>,
    /// Who decided which answer is chosen, where people did.
    pub review: Option<Reviewed>,
}

/// Who decided about a row, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reviewed {
    /// The reviewers, in the order of their decisions.
    pub reviewers: Vec<String>,
    /// When the last of them decided, in UTC as RFC 3339 writes it.
    pub time: String,
}

impl Reviewed {
    fn of(decision: &Decision<'_>) -> Self {
        Self {
            reviewers: decision.reviewers.iter().map(|&name| name.to_owned()).collect(),
            time: decision.time.to_owned(),
        }
    }
}

impl<'a> Pair<'a> {
    /// Whether another pair says the same on both sides, blank ends aside.
    fn says(&self, other: &Self) -> bool {
        self.chosen.text.trim() == other.chosen.text.trim()
            && self.rejected.text.trim() == other.rejected.text.trim()
    }

    /// What the critique found.
    #[must_use]
    pub fn reason(&self) -> Option<&'a str> {
        self.critique.map(|critique| critique.text.as_str())
    }
}

/// Why a trajectory, or two answers of it, give nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DropReason {
    /// The item failed.
    Failed,
    /// Nothing was revised.
    NoRevision,
    /// An answer is blank.
    Empty,
    /// An answer was cut off at its greatest length.
    Cut,
    /// Both answers are the same, blank ends aside.
    Same,
    /// The trajectory has given the same two answers before, or the same answer
    /// with the same label.
    Repeated,
    /// An answer is better than one and worse than another, so it has no label.
    Mixed,
    /// The judge prefers the answer that would be rejected.
    NotBetter,
    /// The judge is undecided, or was not asked.
    Undecided,
    /// Reviewers find the answers as good as one another.
    Tie,
    /// Reviewers find neither answer worth learning from.
    BothBad,
    /// Reviewers disagree, and no choice leads.
    Disputed,
    /// The constitution demands a review, and there is none.
    Unreviewed,
    /// The format has no place for the conversation.
    Conversation,
}

impl DropReason {
    /// Every reason, in the order in which they are looked at.
    pub const ALL: [Self; 14] = [
        Self::Failed,
        Self::NoRevision,
        Self::Empty,
        Self::Cut,
        Self::Same,
        Self::Repeated,
        Self::Mixed,
        Self::NotBetter,
        Self::Undecided,
        Self::Tie,
        Self::BothBad,
        Self::Disputed,
        Self::Unreviewed,
        Self::Conversation,
    ];

    /// Its name, for counts and files.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Failed => "failed",
            Self::NoRevision => "no_revision",
            Self::Empty => "empty",
            Self::Cut => "cut",
            Self::Same => "same",
            Self::Repeated => "repeated",
            Self::Mixed => "mixed",
            Self::NotBetter => "not_better",
            Self::Undecided => "undecided",
            Self::Tie => "tie",
            Self::BothBad => "both_bad",
            Self::Disputed => "disputed",
            Self::Unreviewed => "unreviewed",
            Self::Conversation => "conversation",
        }
    }

    /// The reason in words, for people.
    #[must_use]
    pub fn explain(self) -> &'static str {
        match self {
            Self::Failed => "the item failed",
            Self::NoRevision => "no revision",
            Self::Empty => "a side is empty",
            Self::Cut => "a side was cut off by max_tokens",
            Self::Same => "both sides say the same",
            Self::Repeated => "the same pair or labelled answer again",
            Self::Mixed => "the answer is better than one and worse than another",
            Self::NotBetter => "the judge prefers the other side",
            Self::Undecided => "the judge is undecided",
            Self::Tie => "reviewers find both sides equal",
            Self::BothBad => "reviewers find both sides bad",
            Self::Disputed => "reviewers disagree",
            Self::Unreviewed => "a review is required, and there is none",
            Self::Conversation => "the format has no place for a system turn or earlier turns",
        }
    }
}

/// The pairs a trajectory gives, or why two of its answers, or all of it, give
/// none: the first reason that holds, in the order of [`DropReason`]. Pairs of
/// candidates come first. Where people decided about two answers, no verdict on
/// them counts.
#[must_use]
pub fn pairs<'a>(
    trajectory: &'a Trajectory,
    which: Which,
    rules: &Rules,
) -> Vec<Result<Pair<'a>, DropReason>> {
    let Trajectory { item, steps, .. } = trajectory;
    let Rivals { answers, rivals } = match rivals(trajectory, which, rules) {
        Ok(found) => found,
        Err(reason) => return vec![Err(reason)],
    };
    let mut found: Vec<Result<Pair<'a>, DropReason>> = Vec::with_capacity(rivals.len());
    for (numbers, ruling) in rivals {
        let ruled =
            pair(trajectory, numbers.map(|number| answers[number])).and_then(|pair| {
                match (rules.reviews().decision(&item.key, numbers), ruling) {
                    (Some(decision), _) => {
                        decided(pair, numbers, &decision, |pair| rules.told(steps, pair))
                    }
                    (None, _) if rules.require_review(steps) => Err(DropReason::Unreviewed),
                    (None, Ruling::Keep(judgement)) => Ok(Pair { judgement, ..pair }),
                    (None, Ruling::Flip(judgement)) => {
                        Ok(Pair { judgement: Some(judgement), ..flipped(pair) })
                    }
                    (None, Ruling::NotBetter) => Err(DropReason::NotBetter),
                    (None, Ruling::Undecided) => Err(DropReason::Undecided),
                }
            });
        let repeats = |pair: &Pair<'_>| found.iter().flatten().any(|other| other.says(pair));
        found.push(match ruled {
            Ok(pair) if repeats(&pair) => Err(DropReason::Repeated),
            ruled => ruled,
        });
    }
    found
}

/// The answers of a trajectory that are held against one another.
struct Rivals {
    /// The numbers of the steps that made answers.
    answers: Vec<usize>,
    /// The better and the worse one as the loop has them, by their number among
    /// the answers, and what the judge makes of that.
    rivals: Vec<([usize; 2], Ruling)>,
}

fn rivals(trajectory: &Trajectory, which: Which, rules: &Rules) -> Result<Rivals, DropReason> {
    if matches!(trajectory.outcome, Outcome::Failed { .. }) {
        return Err(DropReason::Failed);
    }
    let steps = &trajectory.steps;
    let answers: Vec<usize> = answer_steps(steps).collect();
    let candidates = steps.iter().take_while(|step| step.kind == StepKind::Generate).count();
    if answers.len() < 2 || candidates == 0 {
        return Err(DropReason::NoRevision);
    }
    let mut rivals = Vec::new();
    if candidates > 1 {
        for pair in rules.of_candidates(steps, candidates) {
            let ruling = rules.rule_candidates(steps, pair);
            rivals.push((pair, ruling));
        }
    }
    // The answers that follow one another, by number.
    let chain: Vec<usize> =
        [rules.first(steps)].into_iter().chain(candidates..answers.len()).collect();
    if chain.len() > 1 {
        for (chosen, rejected) in which.candidates(chain.len()) {
            let pair = [chain[chosen], chain[rejected]];
            rivals.push((pair, rules.rule(steps, pair)));
        }
    }
    Ok(Rivals { answers, rivals })
}

/// The two answers of an item that people are asked about: those of its last
/// pair, whatever was said of them so far. With their numbers, as the loop has
/// the better one and the worse one.
///
/// # Errors
/// Why there are no two answers to tell apart.
pub fn reviewable<'a>(
    trajectory: &'a Trajectory,
    rules: &Rules,
) -> Result<([usize; 2], Pair<'a>), DropReason> {
    let Rivals { answers, rivals } = rivals(trajectory, Which::Last, rules)?;
    let &(numbers, _) = rivals.last().ok_or(DropReason::NoRevision)?;
    Ok((numbers, pair(trajectory, numbers.map(|number| answers[number]))?))
}

/// What people decided about an item's last pair.
#[must_use]
pub fn decision<'a>(trajectory: &Trajectory, rules: &'a Rules) -> Option<Decision<'a>> {
    let (numbers, _) = reviewable(trajectory, rules).ok()?;
    rules.reviews().decision(&trajectory.item.key, numbers)
}

/// The pair of two steps, chosen and rejected, by their numbers. Candidates have
/// nothing between them that one came about by.
fn pair(trajectory: &Trajectory, [chosen, rejected]: [usize; 2]) -> Result<Pair<'_>, DropReason> {
    let steps = &trajectory.steps;
    let between =
        if steps[chosen].kind == StepKind::Revise { &steps[rejected + 1..=chosen] } else { &[] };
    let (chosen, rejected) = (&steps[chosen], &steps[rejected]);
    for fault in [is_empty, is_cut] {
        [chosen, rejected].into_iter().try_for_each(fault)?;
    }
    if chosen.text.trim() == rejected.text.trim() {
        return Err(DropReason::Same);
    }
    Ok(Pair {
        item: &trajectory.item,
        chosen: Cow::Borrowed(chosen),
        rejected: Cow::Borrowed(rejected),
        critique: between.iter().rev().find(|step| step.kind == StepKind::Critique),
        principles: principles(between),
        judgement: None,
        review: None,
    })
}

/// A pair the other way round.
fn flipped(pair: Pair<'_>) -> Pair<'_> {
    Pair {
        chosen: pair.rejected,
        rejected: pair.chosen,
        // It told what is wrong with the answer that is chosen now.
        critique: None,
        ..pair
    }
}

/// A pair as people decided it. `told` gives the verdicts on one answer over
/// another.
fn decided<'a>(
    pair: Pair<'a>,
    [x, y]: [usize; 2],
    decision: &Decision<'_>,
    told: impl Fn([usize; 2]) -> Option<Judgement>,
) -> Result<Pair<'a>, DropReason> {
    let pair = match decision.opinion {
        None => return Err(DropReason::Disputed),
        Some(Opinion::Tie) => return Err(DropReason::Tie),
        Some(Opinion::BothBad) => return Err(DropReason::BothBad),
        Some(Opinion::Answer(chosen)) if chosen == x => Pair { judgement: told([x, y]), ..pair },
        Some(Opinion::Answer(_)) => Pair { judgement: told([y, x]), ..flipped(pair) },
    };
    let chosen = edited(pair.chosen, decision);
    if chosen.text.trim() == pair.rejected.text.trim() {
        return Err(DropReason::Same);
    }
    Ok(Pair { chosen, review: Some(Reviewed::of(decision)), ..pair })
}

/// A chosen step with the text that a reviewer made of it, if any did.
fn edited<'a>(step: Cow<'a, Step>, decision: &Decision<'_>) -> Cow<'a, Step> {
    match decision.edited {
        None => step,
        Some(text) => Cow::Owned(Step { text: text.to_owned(), raw: None, ..step.into_owned() }),
    }
}

/// The answer of a trajectory that is worth learning: the last (of candidates that
/// nothing revised, the best), unless people chose another or put it right. With
/// who decided, where people did.
///
/// # Errors
/// Why there is none.
pub fn answer<'a>(
    trajectory: &'a Trajectory,
    rules: &Rules,
) -> Result<(Cow<'a, Step>, Option<Reviewed>), DropReason> {
    if matches!(trajectory.outcome, Outcome::Failed { .. }) {
        return Err(DropReason::Failed);
    }
    let steps = &trajectory.steps;
    let last = answer_steps(steps).nth(rules.last(steps)).ok_or(DropReason::Empty)?;
    let Some(decision) = decision(trajectory, rules) else {
        if rules.require_review(steps) {
            return Err(DropReason::Unreviewed);
        }
        return Ok((Cow::Borrowed(whole(&steps[last])?), None));
    };
    let number = match decision.opinion {
        None => return Err(DropReason::Disputed),
        Some(Opinion::BothBad) => return Err(DropReason::BothBad),
        Some(Opinion::Tie) => last,
        Some(Opinion::Answer(number)) => {
            answer_steps(steps).nth(number).ok_or(DropReason::Empty)?
        }
    };
    let step = edited(Cow::Borrowed(whole(&steps[number])?), &decision);
    Ok((step, Some(Reviewed::of(&decision))))
}

/// A step whose text is there, to its end.
///
/// # Errors
/// It is blank or was cut off.
pub fn whole(step: &Step) -> Result<&Step, DropReason> {
    is_empty(step)?;
    is_cut(step)?;
    Ok(step)
}

fn is_empty(step: &Step) -> Result<(), DropReason> {
    if step.text.trim().is_empty() { Err(DropReason::Empty) } else { Ok(()) }
}

fn is_cut(step: &Step) -> Result<(), DropReason> {
    if step.finish == Some(Finish::Length) { Err(DropReason::Cut) } else { Ok(()) }
}

/// The ids of the principles that steps revised by, each once, in order.
#[must_use]
pub fn principles(steps: &[Step]) -> Vec<&str> {
    let mut ids = Vec::new();
    for step in steps.iter().filter(|step| step.kind == StepKind::Revise) {
        if let Some(id) = step.principle.as_deref()
            && !ids.contains(&id)
        {
            ids.push(id);
        }
    }
    ids
}

/// The category of each principle of a constitution.
#[derive(Debug, Clone, Default)]
pub struct Categories(HashMap<String, String>);

impl Categories {
    /// Reads them from a constitution as manifests keep it. Principles without
    /// a category are left out.
    #[must_use]
    pub fn new(constitution: &Value) -> Self {
        let principles = constitution["principles"].as_array().map_or(&[][..], Vec::as_slice);
        let entry = |principle: &Value| {
            let category =
                principle["category"].as_str().filter(|category| !category.is_empty())?;
            Some((principle["id"].as_str()?.to_owned(), category.to_owned()))
        };
        Self(principles.iter().filter_map(entry).collect())
    }

    /// The categories of some principles, each once, in order.
    #[must_use]
    pub fn of(&self, principles: &[&str]) -> Vec<&str> {
        let mut categories = Vec::new();
        for category in principles.iter().filter_map(|&id| self.0.get(id)) {
            if !categories.contains(&category.as_str()) {
                categories.push(category.as_str());
            }
        }
        categories
    }
}

#[cfg(test)]
mod tests;

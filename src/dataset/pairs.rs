//! From trajectories to preference pairs, of a later answer over an earlier one
//! or of a candidate over another, and to the answers that are worth learning.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};

use serde::Serialize;
use serde_json::Value;

use super::item::Item;
use super::journal::Outcome;
use super::judgement::{Judgement, Rules, Ruling};
use super::reviews::{Decision, Opinion};
use super::trajectories::Trajectory;
use crate::engine::Finish;
use crate::trajectory::{Step, StepKind};

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
    /// The trajectory has given the same two answers before.
    Repeated,
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
    pub const ALL: [Self; 13] = [
        Self::Failed,
        Self::NoRevision,
        Self::Empty,
        Self::Cut,
        Self::Same,
        Self::Repeated,
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
            Self::Repeated => "the same pair again",
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
    let mut seen = HashSet::new();
    rivals
        .into_iter()
        .map(|(numbers, ruling)| {
            let pair = pair(trajectory, numbers.map(|number| answers[number]))?;
            let pair = match (rules.reviews().decision(&item.key, numbers), ruling) {
                (Some(decision), _) => {
                    decided(pair, numbers, &decision, |pair| rules.told(steps, pair))?
                }
                (None, _) if rules.require_review(steps) => return Err(DropReason::Unreviewed),
                (None, Ruling::Keep(judgement)) => Pair { judgement, ..pair },
                (None, Ruling::Flip(judgement)) => {
                    Pair { judgement: Some(judgement), ..flipped(pair) }
                }
                (None, Ruling::NotBetter) => return Err(DropReason::NotBetter),
                (None, Ruling::Undecided) => return Err(DropReason::Undecided),
            };
            let texts = [pair.chosen.text.trim(), pair.rejected.text.trim()].map(str::to_owned);
            if seen.insert(texts) { Ok(pair) } else { Err(DropReason::Repeated) }
        })
        .collect()
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
    let answers: Vec<usize> = answers(steps).collect();
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

/// The answer of a trajectory that is worth learning: the last, unless people
/// chose another or put it right. With who decided, where people did.
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
    let last = answers(steps).last().ok_or(DropReason::Empty)?;
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
        Some(Opinion::Answer(number)) => answers(steps).nth(number).ok_or(DropReason::Empty)?,
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

/// The numbers of the steps that made answers.
fn answers(steps: &[Step]) -> impl Iterator<Item = usize> {
    steps.iter().enumerate().filter(|(_, step)| step.kind.is_answer()).map(|(at, _)| at)
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
mod tests {
    use serde_json::json;

    use super::*;
    use crate::dataset::reviews::{Choice, Review, ReviewsWriter};
    use crate::dataset::run_dir::RunDir;
    use crate::dataset::testing::{item, manifest, review, step};
    use crate::engine::Failure;
    use crate::judge::{Poll, Reading, Verdict};
    use crate::trajectory::Stop;

    fn trajectory(steps: &[Step]) -> Trajectory {
        let outcome = Outcome::Done { stop: Stop::Rounds };
        Trajectory { item: item("a"), steps: steps.to_vec(), outcome }
    }

    /// Rules of a run without a judge.
    fn unjudged() -> Rules {
        Rules::of(&json!({}))
    }

    fn generate(text: &str) -> Step {
        step(StepKind::Generate, None, text)
    }

    fn critique(principle: &str, text: &str) -> Step {
        step(StepKind::Critique, Some(principle), text)
    }

    fn revise(principle: &str, text: &str) -> Step {
        step(StepKind::Revise, Some(principle), text)
    }

    fn cut(step: Step) -> Step {
        Step { finish: Some(Finish::Length), ..step }
    }

    /// Each pair as `chosen>rejected reason principles`, or why there is none.
    fn told(steps: &[Step], which: Which) -> Vec<String> {
        let told = |pair: Result<Pair<'_>, DropReason>| match pair {
            Ok(pair) => format!(
                "{}>{} {} {}",
                pair.chosen.text,
                pair.rejected.text,
                pair.reason().unwrap_or("-"),
                pair.principles.join("+")
            ),
            Err(reason) => reason.as_str().to_owned(),
        };
        pairs(&trajectory(steps), which, &unjudged()).into_iter().map(told).collect()
    }

    #[test]
    fn each_pair_has_the_critique_and_the_principles_between_its_answers() {
        let steps = [
            generate("r0"),
            critique("kind", "rude"),
            revise("kind", "r1"),
            critique("true", "wrong"),
            revise("true", "r2"),
            critique("kind", "curt"),
            revise("kind", "r3"),
            critique("late", "never answered"),
        ];
        for (which, expected) in [
            (Which::Last, &["r3>r0 curt kind+true"][..]),
            (Which::Adjacent, &["r1>r0 rude kind", "r2>r1 wrong true", "r3>r2 curt kind"]),
            (
                Which::All,
                &[
                    "r1>r0 rude kind",
                    "r2>r0 wrong kind+true",
                    "r2>r1 wrong true",
                    "r3>r0 curt kind+true",
                    "r3>r1 curt true+kind",
                    "r3>r2 curt kind",
                ],
            ),
        ] {
            assert_eq!(told(&steps, which), expected, "{}", which.as_str());
        }
        assert_eq!(told(&[generate("r0"), revise("kind", "r1")], Which::Last), ["r1>r0 - kind"]);
    }

    /// Rules of a run with a judge.
    fn judged(judge: &Value) -> Rules {
        let defaults = serde_json::to_value(crate::constitution::Judge::default()).unwrap();
        let mut all = defaults.as_object().unwrap().clone();
        all.extend(judge.as_object().unwrap().clone());
        Rules::of(&json!({
            "judge": all,
            "principles": [{"id": "k", "weight": 3.0}],
        }))
    }

    /// A verdict of these log-odds for the first answer, with this mass.
    fn verdict(principle: Option<&str>, about: [usize; 2], log_odds: f64, mass: f64) -> Step {
        let first = mass / (1.0 + (-log_odds).exp());
        let reading = |first: f64| Reading { first: first.ln(), second: (mass - first).ln() };
        let poll = Poll {
            template: "judge".into(),
            forward: vec![reading(first)],
            backward: vec![reading(mass - first)],
        };
        Step {
            about: about.into(),
            principle: principle.map(str::to_owned),
            verdict: Some(Verdict { polls: vec![poll] }),
            ..Step::new(StepKind::Judge, 0)
        }
    }

    #[test]
    fn the_policy_says_what_a_verdict_does() {
        let steps = |overall: f64, mass: f64| {
            [
                generate("old"),
                critique("k", "rude"),
                revise("k", "new"),
                verdict(Some("k"), [1, 0], 1.0, 0.9),
                verdict(None, [1, 0], overall, mass),
            ]
        };
        let told = |judge: Value, steps: &[Step]| match &pairs(
            &trajectory(steps),
            Which::Last,
            &judged(&judge),
        )[..]
        {
            [Ok(pair)] => {
                let margin = pair.judgement.as_ref().map(|found| found.decisive.margin);
                let margin = margin.map_or("-".into(), |margin| format!("{margin:.2}"));
                format!(
                    "{}>{} {margin} {}",
                    pair.chosen.text,
                    pair.rejected.text,
                    pair.reason().unwrap_or("-")
                )
            }
            [Err(reason)] => reason.as_str().to_owned(),
            other => panic!("{other:?}"),
        };
        for (policy, odds, mass, expected) in [
            ("keep", -2.0, 0.9, "new>old - rude"),
            ("keep-with-label", -2.0, 0.9, "new>old -2.00 rude"),
            ("keep-with-label", -2.0, 0.3, "new>old -2.00 rude"),
            ("flip", -2.0, 0.9, "old>new 2.00 -"),
            ("flip", 2.0, 0.9, "new>old 2.00 rude"),
            ("flip", -2.0, 0.3, "new>old -2.00 rude"),
            ("drop", 2.0, 0.9, "new>old 2.00 rude"),
            ("drop", -2.0, 0.9, "not_better"),
            ("drop", 2.0, 0.3, "undecided"),
        ] {
            assert_eq!(
                told(json!({"policy": policy}), &steps(odds, mass)),
                expected,
                "{policy} {odds} {mass}"
            );
        }
        // 3 parts of the principle's 1.0, one of the overall −2.0.
        for (decide_by, expected) in [
            ("overall", "new>old -2.00 rude"),
            ("principles", "new>old 1.00 rude"),
            ("all", "new>old 0.25 rude"),
        ] {
            assert_eq!(told(json!({"decide_by": decide_by}), &steps(-2.0, 0.9)), expected);
        }
        // A least margin makes a narrow verdict none.
        let strict = json!({"policy": "drop", "min_margin": 2.5});
        assert_eq!(told(strict, &steps(2.0, 0.9)), "undecided");
        // Nobody was asked.
        assert_eq!(told(json!({"policy": "drop"}), &steps(2.0, 0.9)[..3]), "undecided");
    }

    #[test]
    fn what_people_decide_goes_before_any_verdict() {
        let steps = [
            generate("old"),
            critique("k", "rude"),
            revise("k", "new"),
            verdict(None, [1, 0], -2.0, 0.9),
        ];
        let trajectory = trajectory(&steps);
        let key = trajectory.item.key.clone();
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path(), &manifest()).unwrap().dir().clone();
        let told = |choices: &[(Choice, Option<&str>)]| {
            let mut writer = ReviewsWriter::open(&run).unwrap();
            for (number, &(choice, edited)) in choices.iter().enumerate() {
                let edited = edited.map(str::to_owned);
                let name = format!("reviewer {number}");
                writer.add(Review { edited, ..review(&key, &name, choice) }).unwrap();
            }
            let reviews = writer.reviews().clone();
            for number in 0..choices.len() {
                writer.undo(&format!("reviewer {number}")).unwrap();
            }
            let rules = judged(&json!({"policy": "flip"})).with_reviews(reviews);
            let answer = match answer(&trajectory, &rules) {
                Ok((step, review)) => format!("{} {}", step.text, review.unwrap().reviewers.len()),
                Err(reason) => reason.as_str().to_owned(),
            };
            let pair = match &pairs(&trajectory, Which::Last, &rules)[..] {
                [Ok(pair)] => format!(
                    "{}>{} {:.0} {} {}",
                    pair.chosen.text,
                    pair.rejected.text,
                    pair.judgement.as_ref().unwrap().decisive.margin,
                    pair.reason().unwrap_or("-"),
                    pair.review.as_ref().unwrap().reviewers.len()
                ),
                [Err(reason)] => reason.as_str().to_owned(),
                other => panic!("{other:?}"),
            };
            [pair, answer]
        };
        // The revision was shown on the left; the judge prefers the other answer.
        for (choices, expected) in [
            (&[(Choice::Left, None)][..], ["new>old -2 rude 1", "new 1"]),
            (&[(Choice::Right, None)], ["old>new 2 - 1", "old 1"]),
            (&[(Choice::Left, Some("newer"))], ["newer>old -2 rude 1", "newer 1"]),
            (&[(Choice::Left, Some("old "))], ["same", "old  1"]),
            (&[(Choice::Tie, None)], ["tie", "new 1"]),
            (&[(Choice::BothBad, None)], ["both_bad", "both_bad"]),
            (&[(Choice::Left, None), (Choice::Right, None)], ["disputed", "disputed"]),
            (
                &[(Choice::Left, None), (Choice::Right, None), (Choice::Right, Some("older"))],
                ["older>new 2 - 3", "older 3"],
            ),
        ] {
            assert_eq!(told(choices), expected, "{choices:?}");
        }
    }

    #[test]
    fn where_a_review_is_required_nothing_goes_without() {
        let steps = [generate("old"), revise("k", "new"), revise("l", "newer")];
        let trajectory = trajectory(&steps);
        let rules = |category: &str| {
            Rules::of(&json!({
                "principles": [{"id": "l", "category": "courts"}, {"id": "m", "category": "x"}],
                "governance": {"require_review": [category]},
            }))
        };
        assert!(rules("courts").require_reviews() && !rules("y").require_reviews());
        let free = pairs(&trajectory, Which::Last, &rules("x"));
        assert!(matches!(free[..], [Ok(_)]), "{free:?}");
        let held = rules("courts");
        let open = vec![Err(DropReason::Unreviewed); 3];
        assert_eq!(pairs(&trajectory, Which::All, &held), open);
        assert_eq!(answer(&trajectory, &held), Err(DropReason::Unreviewed));
        // The last pair is there to be reviewed all the same.
        let (numbers, pair) = reviewable(&trajectory, &held).unwrap();
        assert_eq!((numbers, pair.chosen.text.as_str()), ([2, 0], "newer"));
    }

    #[test]
    fn candidates_are_paired_by_their_verdicts() {
        let steps = [
            generate("a"),
            generate("b"),
            generate("c"),
            verdict(None, [0, 1], -1.0, 0.9),
            verdict(None, [0, 2], 0.4, 0.9),
            verdict(None, [1, 2], 2.0, 0.2),
            revise("k", "d"),
        ];
        // Standings: a −0.6, b 1, c −0.4; b against c is undecided.
        let told = |judge: Value| -> Vec<String> {
            let told = |pair: Result<Pair<'_>, DropReason>| match pair {
                Ok(pair) => format!("{}>{}", pair.chosen.text, pair.rejected.text),
                Err(reason) => reason.as_str().to_owned(),
            };
            pairs(&trajectory(&steps), Which::Last, &judged(&judge)).into_iter().map(told).collect()
        };
        assert_eq!(told(json!({})), ["b>a", "d>b"]);
        assert_eq!(told(json!({"pairs": "all"})), ["b>a", "a>c", "undecided", "d>b"]);
    }

    #[test]
    fn the_same_two_answers_are_paired_once() {
        let steps = [generate("a"), revise("k", "b"), revise("k", "b "), revise("k", "c")];
        assert_eq!(
            told(&steps, Which::All),
            ["b>a - k", "repeated", "same", "c>a - k", "c>b - k", "repeated"]
        );
        assert_eq!(told(&steps, Which::Adjacent), ["b>a - k", "same", "c>b  - k"]);
    }

    #[test]
    fn what_makes_no_pair_is_dropped_by_the_first_reason_that_holds() {
        let given = |step: Step| Step { finish: None, ..step };
        for (steps, expected) in [
            (vec![], Err(DropReason::NoRevision)),
            (vec![generate("x"), critique("k", "c")], Err(DropReason::NoRevision)),
            (vec![revise("k", "x"), revise("k", "y")], Err(DropReason::NoRevision)),
            (vec![generate(" \n"), revise("k", "x")], Err(DropReason::Empty)),
            (vec![cut(generate("x")), revise("k", "")], Err(DropReason::Empty)),
            (vec![cut(generate("x")), revise("k", "y")], Err(DropReason::Cut)),
            (vec![generate("x"), cut(revise("k", "x"))], Err(DropReason::Cut)),
            (vec![generate("x"), revise("k", "x \n")], Err(DropReason::Same)),
            (vec![generate("x"), revise("k", "y"), revise("l", "x")], Err(DropReason::Same)),
            // Cut on the way, or in the critique: what is compared is whole.
            (vec![generate("x"), cut(revise("k", "y")), revise("l", "z")], Ok("z")),
            (vec![generate("x"), cut(critique("k", "c")), revise("k", "y")], Ok("y")),
            (vec![given(generate("x")), revise("k", "y")], Ok("y")),
        ] {
            let trajectory = trajectory(&steps);
            let got: Vec<_> = pairs(&trajectory, Which::Last, &unjudged())
                .into_iter()
                .map(|pair| pair.map(|pair| pair.chosen.text.clone()))
                .collect();
            assert_eq!(got, [expected.map(str::to_owned)], "{steps:?}");
            let outcome = Outcome::Failed { failure: Failure::NotFinite };
            let failed = Trajectory { outcome, ..trajectory };
            assert_eq!(pairs(&failed, Which::All, &unjudged()), [Err(DropReason::Failed)]);
            assert_eq!(answer(&failed, &unjudged()), Err(DropReason::Failed));
        }
    }

    #[test]
    fn the_last_answer_is_worth_learning_if_it_is_whole() {
        for (steps, expected) in [
            (vec![], Err(DropReason::Empty)),
            (vec![generate("x"), critique("k", "c")], Ok("x")),
            (vec![generate("x"), revise("k", "y"), critique("k", "c")], Ok("y")),
            (vec![generate("x"), revise("k", "x")], Ok("x")),
            (vec![generate("x"), revise("k", " ")], Err(DropReason::Empty)),
            (vec![generate("x"), cut(revise("k", "y"))], Err(DropReason::Cut)),
        ] {
            let trajectory = trajectory(&steps);
            let got = answer(&trajectory, &unjudged()).map(|(step, _)| step.text.clone());
            assert_eq!(got, expected.map(str::to_owned), "{steps:?}");
        }
    }

    #[test]
    fn reasons_have_one_name_everywhere() {
        for reason in DropReason::ALL {
            assert_eq!(serde_json::to_value(reason).unwrap(), reason.as_str());
        }
    }

    #[test]
    fn categories_come_once_in_order() {
        let categories = Categories::new(&json!({"principles": [
            {"id": "a", "category": "x"},
            {"id": "b", "category": ""},
            {"id": "c", "category": "y"},
            {"id": "d", "category": "x"},
        ]}));
        assert_eq!(categories.of(&["c", "a", "b", "d", "unknown"]), ["y", "x"]);
        assert_eq!(Categories::new(&json!({})).of(&["a"]), Vec::<&str>::new());
    }
}

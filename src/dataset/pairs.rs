//! From trajectories to preference pairs, of a later answer over an earlier one
//! or of a candidate over another, and to the answers that are worth learning.

use std::collections::{HashMap, HashSet};

use serde::Serialize;
use serde_json::Value;

use super::item::Item;
use super::journal::Outcome;
use super::judgement::{Judgement, Rules, Ruling};
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
    /// The step of the better answer: a revision, unless the judge decided
    /// otherwise.
    pub chosen: &'a Step,
    /// The step of the worse answer.
    pub rejected: &'a Step,
    /// The critique that the better answer was revised by; none where the loop
    /// has no critiques.
    pub critique: Option<&'a Step>,
    /// The ids of the principles revised by between the two, each once, in order
    /// of first use.
    pub principles: Vec<&'a str>,
    /// What the verdicts say of chosen over rejected, where any were asked for
    /// and the policy tells of them.
    pub judgement: Option<Judgement>,
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
    /// The format has no place for the conversation.
    Conversation,
}

impl DropReason {
    /// Every reason, in the order in which they are looked at.
    pub const ALL: [Self; 9] = [
        Self::Failed,
        Self::NoRevision,
        Self::Empty,
        Self::Cut,
        Self::Same,
        Self::Repeated,
        Self::NotBetter,
        Self::Undecided,
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
            Self::Conversation => "the format has no place for a system turn or earlier turns",
        }
    }
}

/// The pairs a trajectory gives, or why two of its answers, or all of it, give
/// none: the first reason that holds, in the order of [`DropReason`]. Pairs of
/// candidates come first.
#[must_use]
pub fn pairs<'a>(
    trajectory: &'a Trajectory,
    which: Which,
    rules: &Rules,
) -> Vec<Result<Pair<'a>, DropReason>> {
    if matches!(trajectory.outcome, Outcome::Failed { .. }) {
        return vec![Err(DropReason::Failed)];
    }
    let steps = &trajectory.steps;
    let answers: Vec<usize> = answers(steps).collect();
    let candidates = steps.iter().take_while(|step| step.kind == StepKind::Generate).count();
    if answers.len() < 2 || candidates == 0 {
        return vec![Err(DropReason::NoRevision)];
    }
    let mut found = Vec::new();
    if candidates > 1 {
        for pair in rules.of_candidates(steps, candidates) {
            let ruling = rules.rule_candidates(steps, pair);
            found.push((pair, ruling));
        }
    }
    // The answers that follow one another, by number.
    let chain: Vec<usize> =
        [rules.first(steps)].into_iter().chain(candidates..answers.len()).collect();
    if chain.len() > 1 {
        for (chosen, rejected) in which.candidates(chain.len()) {
            let pair = [chain[chosen], chain[rejected]];
            found.push((pair, rules.rule(steps, pair)));
        }
    }
    let mut seen = HashSet::new();
    found
        .into_iter()
        .map(|([chosen, rejected], ruling)| {
            let pair = pair(trajectory, answers[chosen], answers[rejected])?;
            let pair = match ruling {
                Ruling::Keep(judgement) => Pair { judgement, ..pair },
                Ruling::Flip(judgement) => Pair {
                    chosen: pair.rejected,
                    rejected: pair.chosen,
                    // It told what is wrong with the answer that is chosen now.
                    critique: None,
                    judgement: Some(judgement),
                    ..pair
                },
                Ruling::NotBetter => return Err(DropReason::NotBetter),
                Ruling::Undecided => return Err(DropReason::Undecided),
            };
            if seen.insert((pair.chosen.text.trim(), pair.rejected.text.trim())) {
                Ok(pair)
            } else {
                Err(DropReason::Repeated)
            }
        })
        .collect()
}

/// The pair of two steps, by their numbers. Candidates have nothing between them
/// that one came about by.
fn pair(trajectory: &Trajectory, chosen: usize, rejected: usize) -> Result<Pair<'_>, DropReason> {
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
        chosen,
        rejected,
        critique: between.iter().rev().find(|step| step.kind == StepKind::Critique),
        principles: principles(between),
        judgement: None,
    })
}

/// The last answer of a trajectory.
///
/// # Errors
/// Why it is not worth learning.
pub fn answer(trajectory: &Trajectory) -> Result<&Step, DropReason> {
    if matches!(trajectory.outcome, Outcome::Failed { .. }) {
        return Err(DropReason::Failed);
    }
    let steps = &trajectory.steps;
    let last = answers(steps).last().ok_or(DropReason::Empty)?;
    whole(&steps[last])
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
    use crate::dataset::testing::{item, step};
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
                .map(|pair| pair.map(|pair| pair.chosen.text.as_str()))
                .collect();
            assert_eq!(got, [expected], "{steps:?}");
            let outcome = Outcome::Failed { failure: Failure::NotFinite };
            let failed = Trajectory { outcome, ..trajectory };
            assert_eq!(pairs(&failed, Which::All, &unjudged()), [Err(DropReason::Failed)]);
            assert_eq!(answer(&failed), Err(DropReason::Failed));
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
            assert_eq!(answer(&trajectory).map(|step| step.text.as_str()), expected, "{steps:?}");
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

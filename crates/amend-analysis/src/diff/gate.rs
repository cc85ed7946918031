//! Measures what a gate saves and what it misses, by comparing a run with a gate and a
//! run of the same items without one. What the gate skipped, the other run revised, and
//! its verdict shows whether the revision was an improvement.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::LoopRun;
use amend_core::judge::Combined;
use amend_core::record::{Outcome, Step, StepKind, answer};
use amend_core::stats::{Bootstrap, GroupedMean, groups, mean};
use amend_data::pairs::judgement::Rules;
use amend_data::pairs::principles;
use amend_data::store::trajectories::Trajectory;

/// A comparison of a run with a gate and a run without one.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gate {
    /// The gate: the least violation at which a principle is applied, from 0 to 1.
    pub gate: f64,
    /// Whether the second run has the gate, rather than the first.
    pub is_second: bool,
    /// The number of items that are done in both runs. All figures are about these.
    pub items: usize,
    /// The number of gate questions.
    pub asked: usize,
    /// How many of them found a violation below the gate, so that nothing was revised.
    pub passed: usize,
    /// The cost of the run with the gate.
    pub gated: Spent,
    /// The cost of the run without the gate.
    pub ungated: Spent,
    /// The share of decoded tokens that the gate saved: 1 − gated/ungated, with a
    /// bootstrap interval over the items.
    pub saved: Option<GroupedMean>,
    /// The number of items whose first answers differ between the runs. The figures
    /// below leave them out, because the gate saw another answer than was revised.
    pub other_answers: usize,
    /// The misses by item. An item is skipped if nothing of it was revised.
    pub by_item: Misses,
    /// The misses by item and principle.
    pub by_principle: Misses,
    /// All skipped items and principles whose revision the verdict prefers.
    pub missed: Vec<Miss>,
}

/// The cost of a run's items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Spent {
    /// The number of critiques.
    pub critiques: u64,
    /// The number of revisions.
    pub revisions: u64,
    /// The number of decoded tokens.
    pub decoded: u64,
    /// The number of prompt tokens that were computed rather than found in the cache.
    pub prefilled: u64,
}

/// How often the run without a gate made a revision that its verdict prefers.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Misses {
    /// The share among what the gate skipped: the miss rate.
    pub passed_by: Option<GroupedMean>,
    /// The share among what was revised despite the gate, for comparison.
    pub revised: Option<GroupedMean>,
    /// `revised` − `passed_by`: above 0 if the gate tells good answers from bad ones.
    /// The interval is over resamples of whole items.
    pub lead: Option<GroupedMean>,
}

/// A skipped item or principle whose revision was an improvement.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Miss {
    /// The item's key.
    pub key: String,
    /// The principle; `None` for the item as a whole.
    pub principle: Option<String>,
    /// The greatest violation that the gate found.
    pub violation: f64,
    /// The probability, by the verdict, that the revision is the better answer.
    pub p_chosen: f64,
}

impl Gate {
    /// Compares two runs. `None` unless exactly one of them has a gate.
    #[must_use]
    pub fn between(before: &LoopRun, after: &LoopRun, bootstrap: &Bootstrap) -> Option<Self> {
        let (gate, is_second) = match (before.gate(), after.gate()) {
            (Some(gate), None) => (gate, false),
            (None, Some(gate)) => (gate, true),
            _ => return None,
        };
        let (gated, ungated) = if is_second { (after, before) } else { (before, after) };
        let rules = [gated.rules(), ungated.rules()];
        let by_key: BTreeMap<&str, &Trajectory> = done(ungated).collect();
        let pairs: Vec<[&Trajectory; 2]> = done(gated)
            .filter_map(|(key, trajectory)| Some([trajectory, *by_key.get(key)?]))
            .collect();
        let steps = |at: usize| pairs.iter().flat_map(move |pair| &pair[at].steps);
        let (same, other): (Vec<_>, Vec<_>) = pairs
            .iter()
            .partition(|pair| first_answer(pair[0], rules[0]) == first_answer(pair[1], rules[1]));
        let cases: Vec<Case> = same.iter().flat_map(|pair| cases(pair, gate, rules[1])).collect();
        let (items, principles): (Vec<Case>, Vec<Case>) =
            cases.into_iter().partition(|case| case.principle.is_none());
        let missed = items.iter().chain(&principles).filter_map(Case::missed).collect();
        let asked = || gates(steps(0));
        Some(Self {
            gate,
            is_second,
            items: pairs.len(),
            asked: asked().count(),
            passed: asked().filter(|&(_, violation)| violation < gate).count(),
            gated: Spent::on(steps(0)),
            ungated: Spent::on(steps(1)),
            saved: saved(&pairs, bootstrap),
            other_answers: other.len(),
            by_item: Misses::from_cases(&items, bootstrap),
            by_principle: Misses::from_cases(&principles, bootstrap),
            missed,
        })
    }
}

fn done<'a>(run: &'a LoopRun) -> impl Iterator<Item = (&'a str, &'a Trajectory)> {
    let done = |trajectory: &&Trajectory| matches!(trajectory.outcome, Outcome::Done { .. });
    let trajectories = run.trajectories.iter().filter(done);
    trajectories.map(|trajectory| (trajectory.item.key.as_str(), trajectory))
}

fn first_answer<'a>(trajectory: &'a Trajectory, rules: &Rules) -> Option<&'a str> {
    let steps = &trajectory.steps;
    answer(steps, rules.first(steps))
}

/// Each gate step with its violation. A step without a score counts as a violation of
/// 1.
fn gates<'a>(steps: impl IntoIterator<Item = &'a Step>) -> impl Iterator<Item = (&'a Step, f64)> {
    let gates = steps.into_iter().filter(|step| step.kind == StepKind::Gate);
    gates.map(|step| (step, step.score.map_or(1.0, |score| score.value)))
}

impl Spent {
    fn on<'a>(steps: impl Iterator<Item = &'a Step> + Clone) -> Self {
        let count = |kind| steps.clone().filter(|step| step.kind == kind).count() as u64;
        Self {
            critiques: count(StepKind::Critique),
            revisions: count(StepKind::Revise),
            decoded: steps.clone().map(|step| u64::from(step.usage.decoded)).sum(),
            prefilled: steps.clone().map(|step| u64::from(step.usage.prefilled())).sum(),
        }
    }
}

fn saved(pairs: &[[&Trajectory; 2]], bootstrap: &Bootstrap) -> Option<GroupedMean> {
    let decoded: Vec<[f64; 2]> = pairs
        .iter()
        .map(|pair| pair.map(|trajectory| Spent::on(trajectory.steps.iter()).decoded as f64))
        .collect();
    let items: Vec<Vec<usize>> = (0..pairs.len()).map(|item| vec![item]).collect();
    GroupedMean::from_groups(&items, bootstrap, |rows| {
        let [gated, ungated] =
            [0, 1].map(|at| rows.iter().map(|&row| decoded[row][at]).sum::<f64>());
        (ungated > 0.0).then(|| 1.0 - gated / ungated)
    })
}

/// An item, or one of its principles, that the run without a gate revised.
struct Case<'a> {
    key: &'a str,
    principle: Option<&'a str>,
    /// The greatest violation if the gate skipped it; `None` if it was revised despite
    /// the gate.
    passed: Option<f64>,
    /// The verdict on the revision; `None` if the revision changed nothing.
    verdict: Option<Combined>,
}

impl Case<'_> {
    fn preferred(&self) -> bool {
        self.verdict.is_some_and(|verdict| verdict.is_for_first())
    }

    fn missed(&self) -> Option<Miss> {
        let (violation, verdict) = (self.passed?, self.verdict?);
        self.preferred().then(|| Miss {
            key: self.key.to_owned(),
            principle: self.principle.map(str::to_owned),
            violation,
            p_chosen: verdict.p,
        })
    }
}

/// The cases of an item that the run without a gate revised and judged: the item as a
/// whole, then each principle that it was judged by. `rules` are those of that run.
fn cases<'a>([gated, ungated]: &[&'a Trajectory; 2], gate: f64, rules: &Rules) -> Vec<Case<'a>> {
    let (before, after) = (rules.first(&ungated.steps), rules.last(&ungated.steps));
    let judgement = rules.on(&ungated.steps, [after, before]);
    let same = answer(&ungated.steps, after) == answer(&ungated.steps, before);
    if after == before || (judgement.is_none() && !same) {
        return Vec::new();
    }
    // The gate's last violation in each round: it is asked again after a revision.
    let mut last: BTreeMap<(&str, u32), f64> = BTreeMap::new();
    for (step, violation) in gates(&gated.steps) {
        last.insert((step.principle.as_deref().unwrap_or_default(), step.round), violation);
    }
    let revised = principles(&gated.steps);
    let case = |principle: Option<&'a str>, verdict| {
        let about = |id: &str| principle.is_none_or(|principle| principle == id);
        let violations = last.iter().filter(|((id, _), _)| about(id)).map(|(_, &value)| value);
        let greatest = violations.reduce(f64::max)?;
        let applied = revised.iter().any(|id| about(id));
        if !applied && greatest >= gate {
            // Something else prevented the revision: the loop had ended, for example.
            return None;
        }
        let passed = if applied { None } else { Some(greatest) };
        Some(Case { key: &gated.item.key, principle, passed, verdict })
    };
    let whole = case(None, judgement.as_ref().map(|judgement| judgement.decisive));
    let under = |id: &str| {
        let mut verdicts = judgement.iter().flat_map(|judgement| &judgement.principles);
        verdicts.find(|(principle, _)| principle == id).map(|(_, verdict)| *verdict)
    };
    let applied: BTreeSet<&str> = principles(&ungated.steps).into_iter().collect();
    // A principle without a verdict, under which the judge was not asked, is unknown.
    let asked = |id: &&str| judgement.is_none() || under(id).is_some();
    let principles = applied.into_iter().filter(asked).filter_map(|id| case(Some(id), under(id)));
    whole.into_iter().chain(principles).collect()
}

impl Misses {
    fn from_cases(cases: &[Case], bootstrap: &Bootstrap) -> Self {
        let share = |passed: bool| {
            let own = cases.iter().filter(|case| case.passed.is_some() == passed);
            GroupedMean::share(own.map(|case| (case.key, case.preferred())), bootstrap)
        };
        let items = groups(cases.iter().map(|case| case.key));
        let among = |rows: &[usize], passed: bool| {
            let own = rows.iter().map(|&at| &cases[at]);
            let own = own.filter(|case| case.passed.is_some() == passed);
            mean(own.map(|case| f64::from(u8::from(case.preferred()))))
        };
        let lead = |rows: &[usize]| Some(among(rows, false)? - among(rows, true)?);
        Self {
            passed_by: share(true),
            revised: share(false),
            lead: GroupedMean::from_groups(&items, bootstrap, lead),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amend_core::constitution::Judge;
    use amend_core::judge::RubricScore;
    use amend_core::model::{Failure, Usage};
    use amend_core::random::Stream;
    use amend_core::record::Stop;
    use amend_core::stats::{Interval, sigmoid};
    use amend_data::store::manifest::Manifest;
    use amend_data::testing::{self, item, judged, step};

    fn manifest(gate: Option<f64>) -> Manifest {
        let mut manifest = testing::manifest();
        let constitution = &mut manifest.constitution.value;
        constitution.judge = Judge { mass_floor: 0.0, min_margin: 0.5, ..Judge::default() };
        constitution.plan.gate = gate;
        manifest
    }

    fn ended(key: &str, steps: Vec<Step>) -> Trajectory {
        Trajectory { item: item(key), steps, outcome: Outcome::Done { stop: Stop::Rounds } }
    }

    fn first(text: &str) -> Step {
        step(StepKind::Generate, None, text)
    }

    fn gate(principle: &str, violation: f64) -> Step {
        Step {
            score: Some(RubricScore { value: violation, mass: 1.0 }),
            usage: Usage { prompt: 3, cached: 1, decoded: 0, ..Usage::default() },
            ..step(StepKind::Gate, Some(principle), "")
        }
    }

    fn revised(principle: &str, text: &str) -> [Step; 2] {
        let step = |kind, text| step(kind, Some(principle), text);
        [step(StepKind::Critique, "no"), step(StepKind::Revise, text)]
    }

    /// An item whose first answer `x` was revised under both principles to `last`.
    /// `odds` are the log-odds of the last answer under each principle and overall.
    fn ungated(key: &str, last: &str, odds: Option<[f64; 3]>) -> Trajectory {
        let mut steps = vec![first("x")];
        steps.extend(revised("kind", "y"));
        steps.extend(revised("true", last));
        for (principle, odds) in
            [Some("kind"), Some("true"), None].into_iter().zip(odds.iter().flatten())
        {
            steps.push(judged([2, 0], principle, *odds));
        }
        ended(key, steps)
    }

    fn gated(key: &str, steps: Vec<Step>) -> Trajectory {
        ended(key, [vec![first("x")], steps].concat())
    }

    fn between(gated: Vec<Trajectory>, ungated: Vec<Trajectory>) -> Gate {
        let (with, without) = (manifest(Some(0.5)), manifest(None));
        let gated = LoopRun::new(&with, gated);
        let ungated = LoopRun::new(&without, ungated);
        let bootstrap = Bootstrap::new(Stream::new(1), 1000);
        let gate = Gate::between(&gated, &ungated, &bootstrap).unwrap();
        let swapped = Gate::between(&ungated, &gated, &bootstrap).unwrap();
        assert_eq!(swapped, Gate { is_second: true, ..gate.clone() });
        for run in [&gated, &ungated] {
            assert_eq!(Gate::between(run, run, &bootstrap), None);
        }
        gate
    }

    fn example() -> Gate {
        let failed = Outcome::Failed { failure: Failure::NotFinite };
        between(
            vec![
                gated("a", vec![gate("kind", 0.2), gate("true", 0.4)]),
                gated(
                    "b",
                    [vec![gate("kind", 0.3), gate("true", 0.7)], revised("true", "z").into()]
                        .concat(),
                ),
                // The second principle is violated before the first one's revision, and
                // not after it.
                gated(
                    "c",
                    [
                        vec![gate("kind", 0.8), gate("true", 0.6)],
                        revised("kind", "y").into(),
                        vec![gate("true", 0.1)],
                    ]
                    .concat(),
                ),
                ended("other", vec![first("w"), gate("kind", 0.0), gate("true", 0.0)]),
                gated("failed", vec![gate("kind", 0.9)]),
            ],
            vec![
                ungated("other", "z", Some([1.0, 1.0, 1.0])),
                ungated("a", "z", Some([2.0, -1.0, 1.0])),
                ungated("b", "z", Some([-1.0, 1.0, -1.0])),
                // Revised back to the first answer: not judged.
                ungated("c", "x", None),
                Trajectory { outcome: failed, ..ungated("failed", "z", None) },
            ],
        )
    }

    #[test]
    fn costs_by_hand() {
        let gate = example();
        // `failed` isn't done in both.
        assert_eq!((gate.items, gate.asked, gate.passed), (4, 9, 6));
        // A text decodes 3 tokens and prefills 5; a gate prefills 2.
        let spent = |texts: u64, gates: u64| Spent {
            critiques: (texts - 4) / 2,
            revisions: (texts - 4) / 2,
            decoded: 3 * texts,
            prefilled: 5 * texts + 2 * gates,
        };
        assert_eq!((gate.gated, gate.ungated), (spent(8, 9), spent(20, 0)));
        let saved = gate.saved.unwrap();
        // 0.8 of two items, 0.4 of the others: 1 resample in 16 has one sort only.
        assert!((saved.value - 0.6).abs() < 1e-12);
        let Some(Interval { low, high }) = saved.interval else { panic!("{saved:?}") };
        assert!((low - 0.4).abs() < 1e-12 && (high - 0.8).abs() < 1e-12, "{saved:?}");
    }

    #[test]
    fn misses_by_hand() {
        let gate = example();
        assert_eq!(gate.other_answers, 1);
        let figures = |mean: GroupedMean| (mean.value, mean.n, mean.groups);
        let values = |misses: Misses| {
            let lead = misses.lead.map(|lead| lead.value);
            (misses.passed_by.map(figures), misses.revised.map(figures), lead)
        };
        // Item a was skipped, and its revision is preferred. Items b and c were revised,
        // and their revisions are not preferred.
        assert_eq!(values(gate.by_item), (Some((1.0, 1, 1)), Some((0.0, 2, 2)), Some(-1.0)));
        // Skipped: both of a, kind of b, true of c. Of these, kind of a is preferred.
        // Revised: true of b, which is preferred, and kind of c.
        assert_eq!(values(gate.by_principle), (Some((0.25, 4, 3)), Some((0.5, 2, 2)), Some(0.25)));
        let missed: Vec<_> = gate
            .missed
            .iter()
            .map(|miss| (miss.key.as_str(), miss.principle.as_deref(), miss.violation))
            .collect();
        assert_eq!(missed, [("a", None, 0.4), ("a", Some("kind"), 0.2)]);
        for (miss, odds) in gate.missed.iter().zip([1.0, 2.0]) {
            assert!((miss.p_chosen - sigmoid(odds)).abs() < 1e-12, "{miss:?}");
        }
    }

    /// A run that decides pairs overall has no verdicts under principles, and says nothing
    /// about them.
    #[test]
    fn principles_without_a_verdict_are_not_compared() {
        let passed = gated("a", vec![gate("kind", 0.2), gate("true", 0.4)]);
        let mut revised = ungated("a", "z", Some([2.0; 3]));
        revised.steps.retain(|step| step.kind != StepKind::Judge || step.principle.is_none());
        let gate = between(vec![passed], vec![revised]);
        assert_eq!(gate.by_item.passed_by.map(|mean| mean.n), Some(1));
        assert_eq!(gate.by_principle.passed_by, None);
        assert_eq!(gate.missed.len(), 1);
    }

    #[test]
    fn an_undecided_verdict_is_no_miss() {
        let run = |odds| {
            let passed = gated("a", vec![gate("kind", 0.2), gate("true", 0.4)]);
            between(vec![passed], vec![ungated("a", "z", Some([odds; 3]))]).missed.len()
        };
        assert_eq!((run(0.6), run(0.4), run(-1.0)), (3, 0, 0));
    }

    #[test]
    fn without_verdicts_or_gate_steps_there_are_no_misses() {
        let passed = || gated("a", vec![gate("kind", 0.2), gate("true", 0.4)]);
        let unjudged = between(vec![passed()], vec![ungated("a", "z", None)]);
        assert_eq!((unjudged.by_item.passed_by, unjudged.by_principle.passed_by), (None, None));
        assert_eq!(unjudged.saved.unwrap().interval, None, "one item");
        // The violation reaches the gate, but the loop had ended before the revision.
        let steps = [vec![gate("kind", 0.8), gate("true", 0.6)], revised("kind", "x").into()];
        let stopped = gated("a", steps.concat());
        let gate = between(vec![stopped], vec![ungated("a", "z", Some([1.0; 3]))]);
        assert_eq!(gate.by_principle.passed_by, None);
        assert_eq!(gate.by_principle.revised.map(|mean| mean.n), Some(1));
    }
}

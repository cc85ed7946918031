//! The plan of one item, as a pure function of its steps so far: the loop of
//! critique and revision, or the judging of given answers.

use std::sync::Arc;

use serde::Serialize;

use crate::constitution::{Constitution, DecideBy, Method, Plan, Select};
use crate::judge::{VerdictSettings, combine};
use crate::procedure::select;
use crate::random::Stream;
use crate::record::{Step, StepKind, Stop, answer, answers};

/// What to do with every item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Procedure {
    /// Answer, then critique and revise, or answer again under the principles: as the
    /// constitution's [`Method`] says.
    Revise {
        /// Afterwards, judge the last revision, and the guided answer, against the first
        /// answer. Only the verdicts that decide ([`DecideBy`]) are asked for.
        judging: bool,
    },
    /// Compare two answers: the ones given with the item, or two generated ones.
    Compare {
        /// Under these principles, by index, each separately and in this order.
        #[serde(serialize_with = "as_slice")]
        principles: Arc<[usize]>,
        /// First, compare them overall.
        overall: bool,
    },
    /// Score an answer, given or generated, by rubric. If the item has a prompt
    /// injection for the judge, score the answer again with the injection appended.
    #[serde(rename = "score")]
    Rubric {
        /// On these dimensions, by index.
        #[serde(serialize_with = "as_slice")]
        dimensions: Arc<[usize]>,
        /// First, take the answer through the rounds, and score the result.
        revise: bool,
    },
    /// Measure the log-probability of the item's two given answers.
    Likelihood {
        /// Under the reference model too.
        reference: bool,
    },
}

fn as_slice<S: serde::Serializer>(
    indices: &Arc<[usize]>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    indices[..].serialize(serializer)
}

/// One step that is due.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Due {
    pub(super) kind: StepKind,
    pub(super) round: u32,
    pub(super) principle: Option<usize>,
    pub(super) principles: Vec<usize>,
    pub(super) dimension: Option<usize>,
    pub(super) about: Vec<usize>,
    /// Whether no answer can follow this one.
    pub(super) last: bool,
}

impl Due {
    fn new(kind: StepKind, round: u32, principle: Option<usize>) -> Self {
        Self {
            kind,
            round,
            principle,
            principles: Vec::new(),
            dimension: None,
            about: Vec::new(),
            last: false,
        }
    }

    fn judge(round: u32, principle: Option<usize>, answers: [usize; 2]) -> Self {
        Self { about: answers.to_vec(), ..Self::new(StepKind::Judge, round, principle) }
    }
}

/// What comes after some steps.
pub(super) enum After {
    /// Steps that can run in parallel, in the order in which they are recorded.
    Steps(Vec<Due>),
    End(Stop),
}

impl Procedure {
    /// Whether an item comes with two answers.
    pub(super) fn compares(&self) -> bool {
        matches!(self, Self::Compare { .. } | Self::Likelihood { .. })
    }

    /// The most steps that an item takes: every gate finds a violation, and every revision
    /// changes the answer.
    #[must_use]
    pub fn most_steps(&self, constitution: &Constitution) -> usize {
        let mut steps: Vec<Step> = Vec::new();
        while let After::Steps(due) = self.after(constitution, Stream::new(0), false, &steps) {
            for Due { kind, round, .. } in due {
                // No two texts are the same.
                let text = steps.len().to_string();
                steps.push(Step { text, ..Step::new(kind, round) });
            }
        }
        steps.len()
    }

    /// What is due after `steps`, each of which was due in its turn. `injected` says
    /// whether the item has a prompt injection for the judge.
    pub(super) fn after(
        &self,
        constitution: &Constitution,
        stream: Stream,
        injected: bool,
        steps: &[Step],
    ) -> After {
        let walk = Walk { constitution, stream, steps };
        let stop = match self {
            Self::Revise { judging } => walk.revise(*judging),
            Self::Compare { principles, overall } => walk.compare(principles, *overall),
            Self::Rubric { dimensions, revise } => walk.rubric(dimensions, *revise, injected),
            Self::Likelihood { reference } => walk.likelihood(*reference),
        };
        match stop {
            Ok(stop) => After::End(stop),
            Err(due) => After::Steps(due),
        }
    }
}

/// A walk along the plan that consumes the steps done.
struct Walk<'a> {
    constitution: &'a Constitution,
    stream: Stream,
    /// The steps not consumed yet.
    steps: &'a [Step],
}

/// A value that the steps done determine, or the steps that are due before it.
type Read<T> = Result<T, Vec<Due>>;

impl<'a> Walk<'a> {
    /// Consumes the steps planned as `due`, or returns those of them still due.
    fn take(&mut self, due: Vec<Due>) -> Read<&'a [Step]> {
        let done = due.len().min(self.steps.len());
        if done < due.len() {
            return Err(due.into_iter().skip(done).collect());
        }
        let (taken, rest) = self.steps.split_at(done);
        self.steps = rest;
        Ok(taken)
    }

    fn first_answers(&mut self, count: usize, last: bool) -> Read<()> {
        let due = Due { last, ..Due::new(StepKind::Generate, 0, None) };
        self.take(vec![due; count]).map(|_| ())
    }

    fn revise(mut self, judging: bool) -> Read<Stop> {
        let all = self.steps;
        let Improved { stop, first, better, used } = self.improve()?;
        if !judging {
            return Ok(stop);
        }
        let decide_by = self.constitution.judge.decide_by;
        let mut questions: Vec<Option<usize>> = Vec::new();
        if matches!(decide_by, DecideBy::Principles | DecideBy::All) {
            questions.extend(used.into_iter().map(Some));
        }
        if matches!(decide_by, DecideBy::Overall | DecideBy::All) {
            questions.push(None);
        }
        let judged = better.into_iter().filter(|&at| answer(all, at) != answer(all, first));
        let verdicts = judged
            .flat_map(|at| questions.iter().map(move |&principle| (at, principle)))
            .map(|(at, principle)| Due::judge(0, principle, [at, first]));
        self.take(verdicts.collect())?;
        Ok(stop)
    }

    /// Plans the first answers, the rounds over the best of them, and the guided answer.
    fn improve(&mut self) -> Read<Improved> {
        let all = self.steps;
        let plan = &self.constitution.plan;
        let candidates = plan.candidates.max(1) as usize;
        let is_last = candidates == 1 && plan.method == Method::Revise && plan.rounds == 0;
        self.first_answers(candidates, is_last)?;
        let first = if candidates > 1 { self.best_of(candidates)? } else { 0 };
        let mut answers = Answers { count: candidates, current: first };
        let (stop, used) = if plan.method.has_rounds() {
            self.rounds(all, plan, &mut answers)?
        } else {
            self.guiding(first)?
        };
        let mut better = Vec::new();
        if answers.current != first {
            better.push(answers.current);
        }
        if plan.method.has_guidance() && !used.is_empty() {
            let principles = used.clone();
            let guide = Due::new(StepKind::Guide, 0, None);
            self.take(vec![Due { principles, last: true, ..guide }])?;
            better.push(answers.count);
        }
        Ok(Improved { stop, first, better, used })
    }

    /// Plans the gates of an item without rounds, and returns the principles that guide its
    /// answer.
    fn guiding(&mut self, first: usize) -> Read<(Stop, Vec<usize>)> {
        let plan = &self.constitution.plan;
        let per_round = select::per_round(self.constitution);
        let mut left: Vec<usize> = Vec::new();
        for principle in self.choices(1, per_round) {
            if !left.contains(&principle) {
                left.push(principle);
            }
        }
        if plan.gate.is_none() && plan.select != Select::Worst {
            return Ok((Stop::Guided, left));
        }
        let mut violations = self.violations(0, &left, first)?;
        violations.retain(|&(_, violation)| violation >= plan.gate.unwrap_or(0.0));
        if plan.select == Select::Worst {
            // Stable, so that the first one leads among equals.
            violations.sort_by(|(_, a), (_, b)| b.total_cmp(a));
            violations.truncate(per_round);
        }
        let stop = if violations.is_empty() { Stop::Passed } else { Stop::Guided };
        Ok((stop, violations.into_iter().map(|(at, _)| left[at]).collect()))
    }

    /// Plans a verdict for every pair of candidates, and returns the number of the
    /// best one.
    fn best_of(&mut self, count: usize) -> Read<usize> {
        let pairs = (0..count).flat_map(|a| (a + 1..count).map(move |b| [a, b]));
        let steps = self.take(pairs.map(|pair| Due::judge(0, None, pair)).collect())?;
        Ok(best(&standings(count, steps, &self.constitution.judge.standing())))
    }

    /// Plans the rounds. Returns why they ended, and the principles they applied,
    /// each once.
    fn rounds(
        &mut self,
        all: &[Step],
        plan: &Plan,
        answers: &mut Answers,
    ) -> Read<(Stop, Vec<usize>)> {
        let mut used: Vec<usize> = Vec::new();
        let per_round = select::per_round(self.constitution);
        for round in 1..=plan.rounds {
            let mut choices = self.choices(round, per_round);
            let mut all_principles = 0..self.constitution.principles.len();
            let everything = !choices.is_empty() && all_principles.all(|at| choices.contains(&at));
            let most = if plan.select == Select::Worst { per_round } else { choices.len() };
            let mut applied = 0;
            while applied < most && !choices.is_empty() {
                let Some(at) = self.choose(round, &choices, answers.current)? else { break };
                let principle = choices[at];
                if plan.select == Select::Worst {
                    choices.remove(at);
                } else {
                    // The principles before it are below the gate's threshold.
                    choices.drain(..=at);
                }
                applied += 1;
                let last = round == plan.rounds && (applied == most || choices.is_empty());
                self.apply(round, principle, last)?;
                if !used.contains(&principle) {
                    used.push(principle);
                }
                let before = answers.current;
                answers.add();
                if plan.stop_unchanged && same(all, before, answers.current) {
                    return Ok((Stop::Unchanged, used));
                }
            }
            if applied == 0 && everything {
                return Ok((Stop::Passed, used));
            }
        }
        Ok((Stop::Rounds, used))
    }

    /// The principles a round may apply, in order.
    fn choices(&self, round: u32, per_round: usize) -> Vec<usize> {
        let principles = &self.constitution.principles;
        let select = self.constitution.plan.select;
        if matches!(select, Select::Worst | Select::All) {
            return (0..principles.len()).collect();
        }
        let dealt = (round as usize - 1) * per_round;
        let stream = self.stream.child("select");
        (dealt..dealt + per_round)
            .map(|used| select::principle(select, principles, stream, used))
            .collect()
    }

    /// Plans the gates over `choices` and returns which of them to apply to the
    /// current answer: the first one that reaches the gate's threshold or, with
    /// [`Select::Worst`], the one with the greatest violation. `None` if none
    /// reaches it.
    fn choose(&mut self, round: u32, choices: &[usize], answer: usize) -> Read<Option<usize>> {
        let plan = &self.constitution.plan;
        if plan.gate.is_none() && plan.select != Select::Worst {
            return Ok(Some(0));
        }
        let least = plan.gate.unwrap_or(0.0);
        let mut chosen: Option<(usize, f64)> = None;
        for (at, violation) in self.violations(round, choices, answer)? {
            let is_better = match chosen {
                None => true,
                Some((_, worst)) => plan.select == Select::Worst && violation > worst,
            };
            if violation >= least && is_better {
                chosen = Some((at, violation));
            }
        }
        Ok(chosen.map(|(at, _)| at))
    }

    /// Plans the gates over `choices`. Returns how much an answer breaks each, with its
    /// position.
    fn violations(
        &mut self,
        round: u32,
        choices: &[usize],
        answer: usize,
    ) -> Read<Vec<(usize, f64)>> {
        let gate = |&principle| Due {
            about: vec![answer],
            ..Due::new(StepKind::Gate, round, Some(principle))
        };
        let steps = self.take(choices.iter().map(gate).collect())?;
        // Without a score, the principle counts as broken.
        let violation = |step: &Step| step.score.map_or(1.0, |score| score.value);
        Ok(steps.iter().map(violation).enumerate().collect())
    }

    /// Plans a critique, if the plan has critiques, and a revision.
    fn apply(&mut self, round: u32, principle: usize, last: bool) -> Read<()> {
        if self.constitution.plan.critique {
            self.take(vec![Due::new(StepKind::Critique, round, Some(principle))])?;
        }
        let revise = Due { last, ..Due::new(StepKind::Revise, round, Some(principle)) };
        self.take(vec![revise]).map(|_| ())
    }

    fn compare(mut self, principles: &[usize], overall: bool) -> Read<Stop> {
        self.first_answers(2, false)?;
        let mut due = Vec::new();
        // The overall verdict is first, so that a further principle adds a step at the end.
        if overall {
            due.push(Due::judge(0, None, [0, 1]));
        }
        due.extend(principles.iter().map(|&at| Due::judge(0, Some(at), [0, 1])));
        self.take(due)?;
        Ok(Stop::Judged)
    }

    fn likelihood(mut self, reference: bool) -> Read<Stop> {
        self.first_answers(2, false)?;
        let due =
            |kind| [0, 1].map(|answer| Due { about: vec![answer], ..Due::new(kind, 0, None) });
        let mut all = Vec::from(due(StepKind::Likelihood));
        if reference {
            all.extend(due(StepKind::Reference));
        }
        self.take(all)?;
        Ok(Stop::Judged)
    }

    fn rubric(mut self, dimensions: &[usize], revise: bool, injected: bool) -> Read<Stop> {
        let all = self.steps;
        let answer = if revise {
            let Improved { first, better, .. } = self.improve()?;
            better.first().copied().unwrap_or(first)
        } else {
            self.first_answers(1, true)?;
            0
        };
        let scores = |answer| -> Vec<Due> {
            let score = |&dimension| Due {
                dimension: Some(dimension),
                about: vec![answer],
                ..Due::new(StepKind::Rubric, 0, None)
            };
            dimensions.iter().map(score).collect()
        };
        self.take(scores(answer))?;
        if injected && !dimensions.is_empty() {
            // A separate text, after the scores of the answer have left its prefix in
            // the cache. It is numbered after the answers, but is not one of them.
            self.first_answers(1, true)?;
            self.take(scores(answers(all).count()))?;
        }
        Ok(Stop::Judged)
    }
}

/// The result of improving the first answer.
struct Improved {
    stop: Stop,
    /// The number of the answer that is improved.
    first: usize,
    /// The numbers of the last revision, if there is one, and of the guided answer, if there
    /// is one.
    better: Vec<usize>,
    /// The principles they were made by, each once.
    used: Vec<usize>,
}

/// The answers so far, by number.
struct Answers {
    count: usize,
    current: usize,
}

impl Answers {
    /// Counts a revision, which becomes the current answer.
    fn add(&mut self) {
        self.current = self.count;
        self.count += 1;
    }
}

/// Whether two answers are equal apart from white space.
fn same(steps: &[Step], a: usize, b: usize) -> bool {
    let words = |number| answers(steps).nth(number).map(|step| step.text.split_whitespace());
    match (words(a), words(b)) {
        (Some(a), Some(b)) => a.eq(b),
        (None, _) | (_, None) => false,
    }
}

/// For each of `count` answers, the sum of its calibrated log-odds over the others
/// in the overall verdicts among `steps`. Undecided verdicts count for neither side.
#[must_use]
pub fn standings(count: usize, steps: &[Step], standing: &VerdictSettings) -> Vec<f64> {
    let mut sums = vec![0.0; count];
    for step in steps.iter().filter(|step| step.principle.is_none()) {
        if let (Some(verdict), &[a, b]) = (&step.verdict, &step.about[..])
            && let Some(combined) = combine(&[(verdict, 1.0)], standing)
            && !combined.undecided
            && a.max(b) < count
        {
            sums[a] += combined.margin;
            sums[b] -= combined.margin;
        }
    }
    sums
}

/// The number of the answer with the greatest sum; the first one among equals.
fn best(standings: &[f64]) -> usize {
    let mut best = 0;
    for (at, &sum) in standings.iter().enumerate() {
        if sum > standings[best] {
            best = at;
        }
    }
    best
}

/// The number of the first answer. Among several candidates, it is the one that
/// the rounds start from: the best one by the verdicts, unless a revision names the answer
/// that it revised. Where other verdicts stand for those of the run, it does.
#[must_use]
pub fn first(steps: &[Step], standing: &VerdictSettings) -> usize {
    let revision = steps.iter().find(|step| step.kind == StepKind::Revise);
    if let Some(&[revised]) = revision.map(|step| &step.about[..]) {
        return revised;
    }
    let count = steps.iter().take_while(|step| step.kind == StepKind::Generate).count();
    let compared = steps[count..].iter().take_while(|step| step.kind == StepKind::Judge).count();
    best(&standings(count, &steps[count..count + compared], standing))
}

/// The number of the current answer: the last revision, else the guided answer, else the
/// first answer.
#[must_use]
pub fn current(steps: &[Step], standing: &VerdictSettings) -> usize {
    improved(steps).first().copied().unwrap_or_else(|| first(steps, standing))
}

/// The numbers of the answers that were made to be better than the first one: of the last
/// revision, if there is one, and of the guided answer, if there is one.
#[must_use]
pub fn improved(steps: &[Step]) -> Vec<usize> {
    let last = |kind| {
        let of_kind = answers(steps).enumerate().filter(|(_, step)| step.kind == kind);
        of_kind.last().map(|(number, _)| number)
    };
    [StepKind::Revise, StepKind::Guide].into_iter().filter_map(last).collect()
}

//! What an item is taken through, as a pure function of the steps it has behind
//! it: the loop of critique and revision, or the judging of given answers.

use std::sync::Arc;

use serde::Serialize;

use crate::constitution::{Constitution, Plan, Select};
use crate::judge::{Standing, combine};
use crate::procedure::select;
use crate::random::Stream;
use crate::record::{Step, StepKind, Stop, answer, answers};

/// What to do with every item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Procedure {
    /// Answer, criticise and revise; with `judging`, compare what came of it.
    Revise {
        /// Ask for verdicts on the last revision against the first answer.
        judging: bool,
    },
    /// Compare two answers, the first named as x: those given with the item, or
    /// drawn first where none are.
    Compare {
        /// Under these principles, by index, each on its own, in this order.
        #[serde(serialize_with = "as_slice")]
        principles: Arc<[usize]>,
        /// And on the whole, before that.
        overall: bool,
    },
    /// Answer (unless the answer is given) and score it by rubric; where the item
    /// has a text that asks for favour, again with that after it.
    Score {
        /// On these dimensions, by index.
        #[serde(serialize_with = "as_slice")]
        dimensions: Arc<[usize]>,
        /// Take the answer through the rounds first, and score what comes of it.
        revise: bool,
    },
    /// How likely the item's two given answers are.
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
    pub(super) dimension: Option<usize>,
    pub(super) about: Vec<usize>,
    /// No answer can follow this one.
    pub(super) last: bool,
}

impl Due {
    fn new(kind: StepKind, round: u32, principle: Option<usize>) -> Self {
        Self { kind, round, principle, dimension: None, about: Vec::new(), last: false }
    }

    fn judge(round: u32, principle: Option<usize>, [x, y]: [usize; 2]) -> Self {
        Self { about: vec![x, y], ..Self::new(StepKind::Judge, round, principle) }
    }
}

/// What comes after some steps: steps that can be taken side by side, in the
/// order they are recorded, or the end.
pub(super) enum After {
    Steps(Vec<Due>),
    End(Stop),
}

impl Procedure {
    /// Whether an item brings two answers.
    pub(super) fn compares(&self) -> bool {
        matches!(self, Self::Compare { .. } | Self::Likelihood { .. })
    }

    /// What is due after `steps`, each of which was due in its turn; `injected`: the
    /// item brings a text that asks a scorer for its favour.
    pub(super) fn after(
        &self,
        constitution: &Constitution,
        stream: Stream,
        injected: bool,
        steps: &[Step],
    ) -> After {
        let walk = Walk { constitution, stream, steps };
        let ended = match self {
            Self::Revise { judging } => walk.revise(*judging),
            Self::Compare { principles, overall } => walk.compare(principles, *overall),
            Self::Score { dimensions, revise } => walk.score(dimensions, *revise, injected),
            Self::Likelihood { reference } => walk.likelihood(*reference),
        };
        match ended {
            Err(due) => After::Steps(due),
            Ok(stop) => After::End(stop),
        }
    }
}

/// Steps to be read off in the order of the plan.
struct Walk<'a> {
    constitution: &'a Constitution,
    stream: Stream,
    /// Those not read off yet.
    steps: &'a [Step],
}

/// What was read off, or the steps missing.
type Read<T> = Result<T, Vec<Due>>;

impl<'a> Walk<'a> {
    /// Reads off the steps that answer `due`, or tells which are missing.
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
        let Improved { stop, first, last, used } = self.improve()?;
        if judging && last != first && answer(all, last) != answer(all, first) {
            let principles = used.into_iter().map(Some).chain([None]);
            let judge = |principle| Due::judge(0, principle, [last, first]);
            self.take(principles.map(judge).collect())?;
        }
        Ok(stop)
    }

    /// The first answers, and the rounds over the best of them.
    fn improve(&mut self) -> Read<Improved> {
        let all = self.steps;
        let plan = &self.constitution.plan;
        let candidates = plan.candidates.max(1) as usize;
        self.first_answers(candidates, candidates == 1 && plan.rounds == 0)?;
        let first = if candidates > 1 { self.best_of(candidates)? } else { 0 };
        let mut answers = Answers { count: candidates, current: first };
        let (stop, used) = self.rounds(all, plan, &mut answers)?;
        Ok(Improved { stop, first, last: answers.current, used })
    }

    /// Compares every two candidates, and gives the one that stands best.
    fn best_of(&mut self, count: usize) -> Read<usize> {
        let pairs = (0..count).flat_map(|x| (x + 1..count).map(move |y| [x, y]));
        let steps = self.take(pairs.map(|pair| Due::judge(0, None, pair)).collect())?;
        Ok(best(&standings(count, steps, &self.constitution.judge.standing())))
    }

    /// The rounds: why they ended, and the principles revised by, each once.
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
            let all_principles = 0..self.constitution.principles.len();
            let everything =
                !choices.is_empty() && all_principles.into_iter().all(|at| choices.contains(&at));
            let most = if plan.select == Select::Worst { per_round } else { choices.len() };
            let mut applied = 0;
            while applied < most && !choices.is_empty() {
                let Some(at) = self.choose(round, &choices, answers.current)? else { break };
                let principle = choices[at];
                match plan.select {
                    Select::Worst => drop(choices.remove(at)),
                    // Those before it passed the gate.
                    _ => drop(choices.drain(..=at)),
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

    /// Which of `choices` is applied to the current answer: the first that the
    /// gate lets pass, or the one broken worst; none if it lets none pass.
    fn choose(&mut self, round: u32, choices: &[usize], answer: usize) -> Read<Option<usize>> {
        let plan = &self.constitution.plan;
        if plan.gate.is_none() && plan.select != Select::Worst {
            return Ok(Some(0));
        }
        let gate = |&principle| Due {
            about: vec![answer],
            ..Due::new(StepKind::Gate, round, Some(principle))
        };
        let steps = self.take(choices.iter().map(gate).collect())?;
        let least = plan.gate.unwrap_or(0.0);
        // An answer nothing can be told of is not passed by.
        let violation = |step: &Step| step.score.map_or(1.0, |score| score.value);
        let mut broken =
            steps.iter().map(violation).enumerate().filter(|&(_, violation)| violation >= least);
        Ok(match plan.select {
            Select::Worst => broken
                .reduce(|worst, next| if next.1 > worst.1 { next } else { worst })
                .map(|(at, _)| at),
            _ => broken.next().map(|(at, _)| at),
        })
    }

    /// A critique, if the plan has them, and a revision.
    fn apply(&mut self, round: u32, principle: usize, last: bool) -> Read<()> {
        if self.constitution.plan.critique {
            self.take(vec![Due::new(StepKind::Critique, round, Some(principle))])?;
        }
        let revise = Due { last, ..Due::new(StepKind::Revise, round, Some(principle)) };
        self.take(vec![revise]).map(|_| ())
    }

    fn compare(mut self, principles: &[usize], overall: bool) -> Read<Stop> {
        self.first_answers(2, false)?;
        // On the whole first, so that a principle more is a step more at the end.
        let asked =
            overall.then_some(None).into_iter().chain(principles.iter().map(|&at| Some(at)));
        self.take(asked.map(|principle| Due::judge(0, principle, [0, 1])).collect())?;
        Ok(Stop::Judged)
    }

    fn likelihood(mut self, reference: bool) -> Read<Stop> {
        self.first_answers(2, false)?;
        let kinds = [StepKind::Likelihood, StepKind::Reference];
        let due = kinds.iter().take(1 + usize::from(reference)).flat_map(|&kind| {
            [0, 1].map(|answer| Due { about: vec![answer], ..Due::new(kind, 0, None) })
        });
        self.take(due.collect())?;
        Ok(Stop::Judged)
    }

    fn score(mut self, dimensions: &[usize], revise: bool, injected: bool) -> Read<Stop> {
        let all = self.steps;
        let answer = if revise {
            self.improve()?.last
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
            // A text of its own, once the other's scores have left its prefix in the
            // cache; numbered after the answers, and none of them.
            self.first_answers(1, true)?;
            self.take(scores(answers(all).count()))?;
        }
        Ok(Stop::Judged)
    }
}

/// What the rounds came to.
struct Improved {
    stop: Stop,
    /// The number of the answer they began with.
    first: usize,
    /// The number of the answer they ended with.
    last: usize,
    /// The principles revised by, each once.
    used: Vec<usize>,
}

/// The answers so far, by number.
struct Answers {
    count: usize,
    current: usize,
}

impl Answers {
    /// A revision of the current one.
    fn add(&mut self) {
        self.current = self.count;
        self.count += 1;
    }
}

/// Whether two answers are equal, white space aside.
fn same(steps: &[Step], one: usize, other: usize) -> bool {
    let words = |number| answers(steps).nth(number).map(|step| step.text.split_whitespace());
    match (words(one), words(other)) {
        (Some(one), Some(other)) => one.eq(other),
        _ => false,
    }
}

/// Each of `count` answers' calibrated log-odds over the others, added up over
/// the overall verdicts among `steps`; undecided ones count for neither side.
#[must_use]
pub fn standings(count: usize, steps: &[Step], standing: &Standing) -> Vec<f64> {
    let mut sums = vec![0.0; count];
    for step in steps.iter().filter(|step| step.principle.is_none()) {
        if let (Some(verdict), &[x, y]) = (&step.verdict, &step.about[..])
            && let Some(found) = combine(&[(verdict, 1.0)], standing)
            && !found.undecided
            && x.max(y) < count
        {
            sums[x] += found.margin;
            sums[y] -= found.margin;
        }
    }
    sums
}

/// The number of the answer that stands best; the first of equals.
fn best(standings: &[f64]) -> usize {
    (0..standings.len()).fold(0, |best, at| if standings[at] > standings[best] { at } else { best })
}

/// The number of the first answer: of several candidates, the one that the loop
/// goes on from.
#[must_use]
pub fn first(steps: &[Step], standing: &Standing) -> usize {
    let count = steps.iter().take_while(|step| step.kind == StepKind::Generate).count();
    let compared = steps[count..].iter().take_while(|step| step.kind == StepKind::Judge).count();
    best(&standings(count, &steps[count..count + compared], standing))
}

/// The number of the current answer: the last revision, else the first answer.
#[must_use]
pub fn current(steps: &[Step], standing: &Standing) -> usize {
    let numbered = answers(steps).enumerate();
    let last = numbered.filter(|(_, step)| step.kind == StepKind::Revise).last();
    last.map_or_else(|| first(steps, standing), |(number, _)| number)
}

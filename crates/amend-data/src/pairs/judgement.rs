//! How a run's verdicts and reviews bear on its pairs: which of them decide, and
//! what the constitution's policy makes of that.

use std::collections::{HashMap, HashSet};

use serde::Deserialize;
use serde_json::Value;

use crate::store::reviews::Reviews;
use amend_core::constitution::{CandidatePairs, DecideBy, Judge, Policy};
use amend_core::judge::{Combined, Standing, Verdict, combine};
use amend_core::procedure::{current, first, standings};
use amend_core::record::{Step, StepKind};

/// The weight of the overall verdict where all verdicts decide.
const OVERALL: f64 = 1.0;

/// A constitution's judging, as manifests keep it, and what people decided.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    judge: Judge,
    /// The principles' weights, by id.
    weights: HashMap<String, f64>,
    /// The principles, by id, whose items need a review.
    required: HashSet<String>,
    reviews: Reviews,
}

/// What the verdicts say of two answers.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The verdicts that decide, as one.
    pub decisive: Combined,
    /// The verdict under each principle that was asked about.
    pub principles: Vec<(String, Combined)>,
}

impl Judgement {
    /// What they say of the two answers the other way round.
    fn swapped(self, standing: &Standing) -> Self {
        let swap = |(id, found): (String, Combined)| (id, found.swapped(standing));
        Self {
            decisive: self.decisive.swapped(standing),
            principles: self.principles.into_iter().map(swap).collect(),
        }
    }
}

/// What becomes of a pair.
#[derive(Debug, Clone, PartialEq)]
pub enum Ruling {
    /// It stays as it is.
    Keep(Option<Judgement>),
    /// The other answer is the chosen one; the judgement is for it.
    Flip(Judgement),
    /// The judge prefers the rejected answer.
    NotBetter,
    /// There is no verdict, or it is undecided.
    Undecided,
}

impl Rules {
    /// Reads them from a constitution as manifests keep it; what was written
    /// before there were judges is not judged.
    #[must_use]
    pub fn of(constitution: &Value) -> Self {
        let judge = Judge::deserialize(&constitution["judge"])
            .unwrap_or_else(|_| Judge { enabled: false, ..Judge::default() });
        let principles = constitution["principles"].as_array().map_or(&[][..], Vec::as_slice);
        let weight = |principle: &Value| {
            Some((principle["id"].as_str()?.to_owned(), principle["weight"].as_f64()?))
        };
        let categories = constitution["governance"]["require_review"].as_array();
        let categories = categories.map_or(&[][..], Vec::as_slice);
        let required = principles.iter().filter(|one| categories.contains(&one["category"]));
        Self {
            judge,
            weights: principles.iter().filter_map(weight).collect(),
            required: required.filter_map(|one| one["id"].as_str().map(str::to_owned)).collect(),
            reviews: Reviews::default(),
        }
    }

    /// The same rules where people have decided.
    #[must_use]
    pub fn with_reviews(self, reviews: Reviews) -> Self {
        Self { reviews, ..self }
    }

    /// What people decided.
    #[must_use]
    pub fn reviews(&self) -> &Reviews {
        &self.reviews
    }

    /// Whether any item may need a review.
    #[must_use]
    pub fn require_reviews(&self) -> bool {
        !self.required.is_empty()
    }

    /// Whether an item of these steps needs a review: a principle of a category
    /// that demands one was applied to it.
    #[must_use]
    pub fn require_review(&self, steps: &[Step]) -> bool {
        let applied = steps.iter().filter(|step| step.kind.is_text());
        applied.filter_map(|step| step.principle.as_ref()).any(|id| self.required.contains(id))
    }

    /// The number of the first answer: of several candidates, the best.
    #[must_use]
    pub fn first(&self, steps: &[Step]) -> usize {
        first(steps, &self.judge.standing())
    }

    /// The number of the last answer: the last revision, where there is one.
    #[must_use]
    pub fn last(&self, steps: &[Step]) -> usize {
        current(steps, &self.judge.standing())
    }

    /// The pairs that several candidates make, the better one first; those that
    /// the judge can't tell apart are missing.
    #[must_use]
    pub fn of_candidates(&self, steps: &[Step], count: usize) -> Vec<[usize; 2]> {
        let sums = standings(count, steps, &self.judge.standing());
        let better = |x: usize, y: usize| if sums[x] > sums[y] { [x, y] } else { [y, x] };
        match self.judge.pairs {
            CandidatePairs::All => (0..count)
                .flat_map(|x| (x + 1..count).map(move |y| (x, y)))
                .map(|(x, y)| match self.on(steps, [x, y]) {
                    Some(judgement) if judgement.decisive.margin > 0.0 => [x, y],
                    Some(_) => [y, x],
                    None => better(x, y),
                })
                .collect(),
            CandidatePairs::BestWorst => {
                let extreme = |of: fn(f64, f64) -> bool| {
                    (0..count).fold(0, |kept, at| if of(sums[at], sums[kept]) { at } else { kept })
                };
                vec![[extreme(|a, b| a > b), extreme(|a, b| a < b)]]
            }
        }
    }

    /// What the verdicts say of answer x over answer y, by their numbers; none
    /// where nothing was asked.
    #[must_use]
    pub fn on(&self, steps: &[Step], [x, y]: [usize; 2]) -> Option<Judgement> {
        // The judge is asked about two answers in one order, and both ways round.
        let verdicts = |pair: [usize; 2]| -> Vec<(Option<&str>, &Verdict)> {
            let asked = steps.iter().filter(|step| step.kind == StepKind::Judge);
            asked
                .filter(|step| step.about == pair)
                .filter_map(|step| Some((step.principle.as_deref(), step.verdict.as_ref()?)))
                .collect()
        };
        let as_asked = verdicts([x, y]);
        if as_asked.is_empty() {
            return Some(self.weigh(&verdicts([y, x]))?.swapped(&self.judge.standing()));
        }
        self.weigh(&as_asked)
    }

    /// What the verdicts on two answers say together, each with its principle.
    fn weigh(&self, verdicts: &[(Option<&str>, &Verdict)]) -> Option<Judgement> {
        let standing = self.judge.standing();
        // Candidates are compared on the whole alone.
        let on_the_whole = verdicts.iter().all(|(principle, _)| principle.is_none());
        let weight = |principle: Option<&str>| match (self.judge.decide_by, principle) {
            (_, None) if on_the_whole => OVERALL,
            (DecideBy::Overall | DecideBy::All, None) => OVERALL,
            (DecideBy::Overall, Some(_)) | (DecideBy::Principles, None) => 0.0,
            (_, Some(id)) => self.weights.get(id).copied().unwrap_or(1.0),
        };
        let weighed: Vec<_> = verdicts
            .iter()
            .map(|&(principle, verdict)| (verdict, weight(principle)))
            .filter(|&(_, weight)| weight > 0.0)
            .collect();
        let under = |&(principle, verdict): &(Option<&str>, &Verdict)| {
            Some((principle?.to_owned(), combine(&[(verdict, 1.0)], &standing)?))
        };
        Some(Judgement {
            decisive: combine(&weighed, &standing)?,
            principles: verdicts.iter().filter_map(under).collect(),
        })
    }

    /// What the verdicts say of answer x over answer y, where the policy tells of
    /// verdicts.
    #[must_use]
    pub fn told(&self, steps: &[Step], pair: [usize; 2]) -> Option<Judgement> {
        if !self.judge.enabled || self.judge.policy == Policy::Keep {
            return None;
        }
        self.on(steps, pair)
    }

    /// What becomes of a pair that the loop made, by the policy.
    #[must_use]
    pub fn rule(&self, steps: &[Step], pair: [usize; 2]) -> Ruling {
        if !self.judge.enabled || self.judge.policy == Policy::Keep {
            return Ruling::Keep(None);
        }
        let judgement = self.on(steps, pair);
        let decided = judgement.as_ref().filter(|found| !found.decisive.undecided);
        let against = decided.is_some_and(|found| found.decisive.margin < 0.0);
        match self.judge.policy {
            Policy::Drop if against => Ruling::NotBetter,
            Policy::Drop if decided.is_none() => Ruling::Undecided,
            Policy::Flip if against => match self.on(steps, [pair[1], pair[0]]) {
                Some(flipped) => Ruling::Flip(flipped),
                None => Ruling::Keep(judgement),
            },
            _ => Ruling::Keep(judgement),
        }
    }

    /// What becomes of a pair of candidates: without a decided verdict neither
    /// is the better one.
    #[must_use]
    pub fn rule_candidates(&self, steps: &[Step], pair: [usize; 2]) -> Ruling {
        match self.on(steps, pair) {
            Some(found) if found.decisive.is_for_first() => Ruling::Keep(Some(found)),
            _ => Ruling::Undecided,
        }
    }
}

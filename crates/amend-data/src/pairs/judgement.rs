//! How verdicts and reviews affect the pairs of a run: which verdicts decide, and what
//! the constitution's policy does with a pair.

use std::collections::{HashMap, HashSet};

use crate::store::reviews::Reviews;
use crate::store::run_dir::RunDir;
use amend_core::constitution::{CandidatePairs, Constitution, DecideBy, Judge, Policy};
use amend_core::judge::{Combined, Verdict, VerdictSettings, combine, disagreement};
use amend_core::procedure::{current, first, standings};
use amend_core::record::{Step, StepKind};

/// The weight of the overall verdict if all verdicts decide.
const OVERALL: f64 = 1.0;

/// The judge settings of a constitution, and the reviews of the run.
#[derive(Debug, Clone, Default)]
pub struct Rules {
    judge: Judge,
    /// The weights of the principles, by id.
    weights: HashMap<String, f64>,
    /// The ids of the principles whose items require a review.
    required: HashSet<String>,
    reviews: Reviews,
    /// Whether each verdict is that of a panel.
    is_panel: bool,
    /// A verdict on which the judges of a panel disagree more does not count.
    max_disagreement: Option<f64>,
}

/// The verdicts on two responses.
#[derive(Debug, Clone, PartialEq)]
pub struct Judgement {
    /// The combination of the verdicts that decide.
    pub decisive: Combined,
    /// The verdict under each principle that was judged.
    pub principles: Vec<(String, Combined)>,
    /// How far the judges of a panel disagree, from 0 to ½. `None` for a single judge, and
    /// if only one judge of the panel has a vote.
    pub disagreement: Option<f64>,
}

impl Judgement {
    /// The verdict on the first response: `better`, `worse` or `undecided`.
    #[must_use]
    pub fn in_words(&self) -> &'static str {
        match &self.decisive {
            decisive if decisive.undecided => "undecided",
            decisive if decisive.is_for_first() => "better",
            _ => "worse",
        }
    }

    /// The judgement of the two responses in the other order.
    fn swapped(self, standing: &VerdictSettings) -> Self {
        let swap = |(id, verdict): (String, Combined)| (id, verdict.swapped(standing));
        Self {
            decisive: self.decisive.swapped(standing),
            principles: self.principles.into_iter().map(swap).collect(),
            disagreement: self.disagreement,
        }
    }
}

/// What happens to a pair.
#[derive(Debug, Clone, PartialEq)]
pub enum Ruling {
    /// The pair stays as it is.
    Keep(Option<Judgement>),
    /// The responses are swapped. The judgement is of the new order.
    Flip(Judgement),
    /// The judge prefers the rejected response.
    NotBetter,
    /// There is no verdict, or the verdict is undecided.
    Undecided,
    /// The judges of a panel disagree too much.
    Disagreement,
}

impl Rules {
    /// The rules of a constitution, without reviews.
    #[must_use]
    pub fn from_constitution(constitution: &Constitution) -> Self {
        let mut weights = HashMap::new();
        let mut required = HashSet::new();
        for principle in &constitution.principles {
            weights.insert(principle.id.clone(), principle.weight);
            if constitution.governance.require_review.contains(&principle.category) {
                required.insert(principle.id.clone());
            }
        }
        let judge = constitution.judge.clone();
        Self { judge, weights, required, ..Self::default() }
    }

    /// The rules of a run, without reviews: those of its constitution. If other verdicts
    /// stand for its own, the `[judge]` table and the weights of the constitution under
    /// which they were made.
    #[must_use]
    pub fn from_run(run: &RunDir) -> Self {
        let mut rules = Self::from_constitution(&run.manifest().constitution.value);
        rules.judge = run.judge_rules();
        if let Some(verdicts) = run.verdicts() {
            let principles = verdicts.constitution().principles.iter();
            rules
                .weights
                .extend(principles.map(|principle| (principle.id.clone(), principle.weight)));
            rules.is_panel = verdicts.is_panel();
            rules.max_disagreement = verdicts.max_disagreement();
        }
        rules
    }

    /// The settings that turn log-probabilities into verdicts.
    #[must_use]
    pub fn standing(&self) -> VerdictSettings {
        self.judge.standing()
    }

    /// Replaces the constitution's policy.
    #[must_use]
    pub fn with_policy(mut self, policy: Policy) -> Self {
        self.judge.policy = policy;
        self
    }

    /// Adds the reviews.
    #[must_use]
    pub fn with_reviews(self, reviews: Reviews) -> Self {
        Self { reviews, ..self }
    }

    /// The reviews.
    #[must_use]
    pub fn reviews(&self) -> &Reviews {
        &self.reviews
    }

    /// Returns whether any item may require a review.
    #[must_use]
    pub fn require_reviews(&self) -> bool {
        !self.required.is_empty()
    }

    /// Returns whether an item with these steps requires a review: a step applied a
    /// principle of a category in `require_review`.
    #[must_use]
    pub fn require_review(&self, steps: &[Step]) -> bool {
        let applied = steps.iter().filter(|step| step.kind.is_text());
        applied.flat_map(Step::applied).any(|id| self.required.contains(id))
    }

    /// The number of the first response; with several candidates, of the best one.
    #[must_use]
    pub fn first(&self, steps: &[Step]) -> usize {
        first(steps, &self.judge.standing())
    }

    /// The number of the last response: the last revision, else the guided response, else the
    /// first one.
    #[must_use]
    pub fn last(&self, steps: &[Step]) -> usize {
        current(steps, &self.judge.standing())
    }

    /// The pairs of several candidates, the better one first.
    #[must_use]
    pub fn of_candidates(&self, steps: &[Step], count: usize) -> Vec<[usize; 2]> {
        let sums = standings(count, steps, &self.judge.standing());
        match self.judge.pairs {
            CandidatePairs::All => {
                let mut pairs = Vec::new();
                for a in 0..count {
                    for b in a + 1..count {
                        let a_is_better = match self.on(steps, [a, b]) {
                            Some(judgement) => judgement.decisive.margin > 0.0,
                            None => sums[a] > sums[b],
                        };
                        pairs.push(if a_is_better { [a, b] } else { [b, a] });
                    }
                }
                pairs
            }
            CandidatePairs::BestWorst => {
                let (mut best, mut worst) = (0, 0);
                for (at, &sum) in sums.iter().enumerate().take(count) {
                    if sum > sums[best] {
                        best = at;
                    }
                    if sum < sums[worst] {
                        worst = at;
                    }
                }
                vec![[best, worst]]
            }
        }
    }

    /// The judgement of response A over response B, by their numbers. `None` if the two
    /// were not judged.
    #[must_use]
    pub fn on(&self, steps: &[Step], [a, b]: [usize; 2]) -> Option<Judgement> {
        // One step judges two responses in both orders and names them in one.
        let verdicts = |pair: [usize; 2]| -> Vec<(Option<&str>, &Verdict)> {
            let judged = steps.iter().filter(|step| step.kind == StepKind::Judge);
            judged
                .filter(|step| step.about == pair)
                .filter_map(|step| Some((step.principle.as_deref(), step.verdict.as_ref()?)))
                .collect()
        };
        let in_order = verdicts([a, b]);
        if in_order.is_empty() {
            return Some(self.weigh(&verdicts([b, a]))?.swapped(&self.judge.standing()));
        }
        self.weigh(&in_order)
    }

    /// Combines the verdicts on two responses, each with its principle.
    fn weigh(&self, verdicts: &[(Option<&str>, &Verdict)]) -> Option<Judgement> {
        let standing = self.judge.standing();
        // Candidates are judged overall only, so the overall verdict decides.
        let only_overall = verdicts.iter().all(|(principle, _)| principle.is_none());
        let weight = |principle: Option<&str>| match (self.judge.decide_by, principle) {
            (_, None) if only_overall => OVERALL,
            (DecideBy::Overall | DecideBy::All, None) => OVERALL,
            (DecideBy::Overall, Some(_)) | (DecideBy::Principles, None) => 0.0,
            (_, Some(id)) => self.weights.get(id).copied().unwrap_or(1.0),
        };
        let weighted: Vec<_> = verdicts
            .iter()
            .map(|&(principle, verdict)| (verdict, weight(principle)))
            .filter(|&(_, weight)| weight > 0.0)
            .collect();
        let under = |&(principle, verdict): &(Option<&str>, &Verdict)| {
            Some((principle?.to_owned(), combine(&[(verdict, 1.0)], &standing)?))
        };
        Some(Judgement {
            decisive: combine(&weighted, &standing)?,
            principles: verdicts.iter().filter_map(under).collect(),
            disagreement: if self.is_panel {
                disagreement(&weighted, standing.mass_floor)
            } else {
                None
            },
        })
    }

    /// The judgement of response A over response B to write into rows. `None` if the
    /// policy ignores verdicts.
    #[must_use]
    pub fn told(&self, steps: &[Step], pair: [usize; 2]) -> Option<Judgement> {
        if !self.judge.enabled || self.judge.policy == Policy::Keep {
            return None;
        }
        self.on(steps, pair)
    }

    /// Applies the policy to a pair of the first response and one that was made to be better.
    #[must_use]
    pub fn rule(&self, steps: &[Step], pair: [usize; 2]) -> Ruling {
        if self.max_disagreement.is_some() && self.is_disputed(self.on(steps, pair).as_ref()) {
            return Ruling::Disagreement;
        }
        if !self.judge.enabled || self.judge.policy == Policy::Keep {
            return Ruling::Keep(None);
        }
        let judgement = self.on(steps, pair);
        let decided = judgement.as_ref().is_some_and(|judgement| !judgement.decisive.undecided);
        let better = judgement.as_ref().is_some_and(|judgement| judgement.decisive.is_for_first());
        let against = decided && !better;
        match self.judge.policy {
            // The pair is exported with its verdict, whatever it is.
            Policy::Keep | Policy::KeepWithLabel => Ruling::Keep(judgement),
            Policy::Drop | Policy::Flip if better => Ruling::Keep(judgement),
            Policy::Drop if against => Ruling::NotBetter,
            Policy::Flip if against => match self.on(steps, [pair[1], pair[0]]) {
                Some(flipped) => Ruling::Flip(flipped),
                None => Ruling::Undecided,
            },
            // An unjudged pair is in neither order a pair to train on.
            Policy::Drop | Policy::Flip => Ruling::Undecided,
        }
    }

    /// Rules on a pair of candidates, the better one by its standing first. Without a decided
    /// verdict for that one, neither is chosen.
    #[must_use]
    pub fn rule_candidates(&self, steps: &[Step], pair: [usize; 2]) -> Ruling {
        match self.on(steps, pair) {
            judgement if self.is_disputed(judgement.as_ref()) => Ruling::Disagreement,
            Some(judgement) if judgement.decisive.is_for_first() => Ruling::Keep(Some(judgement)),
            Some(judgement) if !judgement.decisive.undecided => Ruling::NotBetter,
            _ => Ruling::Undecided,
        }
    }

    /// Whether the judges disagree more on a pair than is allowed.
    fn is_disputed(&self, judgement: Option<&Judgement>) -> bool {
        match (judgement.and_then(|judgement| judgement.disagreement), self.max_disagreement) {
            (Some(disagreement), Some(most)) => disagreement > most,
            _ => false,
        }
    }
}

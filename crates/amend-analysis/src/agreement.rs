//! Agreement between reviewers, and between reviewers and the judge.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use amend_core::random::Stream;
use amend_core::stats::{self, Bootstrap, Estimate, RESAMPLES, kappa};
use amend_data::pairs::judgement::Rules;
use amend_data::pairs::reviewable;
use amend_data::store::reviews::{Choice, Opinion, Review, Reviews};
use amend_data::store::trajectories::Trajectory;

/// The results of a run's reviews.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct AgreementFigures {
    /// The number of reviewed items.
    pub items: usize,
    /// The decisions on them.
    pub outcomes: Outcomes,
    /// The reviewers, sorted by name.
    pub reviewers: Vec<Reviewer>,
    /// The agreement of each two reviewers who reviewed the same items.
    pub between: Vec<ReviewerPair>,
    /// The agreement between the decisions and the judge, over items on which both
    /// prefer an answer.
    pub judge: Option<PairwiseAgreement>,
}

/// The number of items by decision.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// Reviewers chose the answer that the loop prefers.
    pub kept: usize,
    /// Reviewers chose the other answer.
    pub turned: usize,
    /// Reviewers found both answers equally good.
    pub tie: usize,
    /// Reviewers found both answers bad.
    pub both_bad: usize,
    /// Reviewers disagree, and no choice has the most votes.
    pub disputed: usize,
    /// Reviewers edited the chosen answer.
    pub edited: usize,
}

/// One reviewer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reviewer {
    /// The name.
    pub name: String,
    /// The number of reviewed items.
    pub reviews: usize,
    /// The share of the chosen answers that were shown on the left. A share far from
    /// one half means that the reviewer prefers a side.
    pub left: Option<Estimate>,
    /// The median time of a review, in seconds.
    pub seconds: Option<f64>,
}

/// How often two raters make the same decision.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct PairwiseAgreement {
    /// The share of equal decisions.
    pub same: Estimate,
    /// Cohen's κ. `None` if both raters always make the same single decision.
    pub kappa: Option<Estimate>,
}

/// The agreement of two reviewers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ReviewerPair {
    /// Their names.
    pub reviewers: [String; 2],
    /// Their agreement.
    #[serde(flatten)]
    pub agreed: PairwiseAgreement,
}

/// The answer that the judge prefers, by the key of the item.
#[derive(Debug, Clone, Default)]
pub struct RecordedVerdicts(HashMap<String, Verdict>);

#[derive(Debug, Clone, Copy)]
struct Verdict {
    /// The numbers of the two answers, the one that the loop prefers first.
    answers: [usize; 2],
    /// Whether the judge prefers the first of them. `None` if it is undecided or was
    /// not asked.
    first: Option<bool>,
}

impl RecordedVerdicts {
    /// Adds an item if it has two answers to choose between.
    pub fn add(&mut self, trajectory: &Trajectory, rules: &Rules) {
        if let Ok((answers, _)) = reviewable(trajectory, rules) {
            let first = match rules.on(&trajectory.steps, answers) {
                Some(judgement) if !judgement.decisive.undecided => {
                    Some(judgement.decisive.margin > 0.0)
                }
                _ => None,
            };
            self.0.insert(trajectory.item.key.clone(), Verdict { answers, first });
        }
    }
}

impl AgreementFigures {
    /// Computes the figures of reviews. Items that are missing in `verdicts` count
    /// only for the reviewers and their agreement.
    #[must_use]
    pub fn from_reviews(reviews: &Reviews, verdicts: &RecordedVerdicts) -> Self {
        let names: BTreeSet<&str> = reviews.iter().map(|review| review.reviewer.as_str()).collect();
        // The last review of each reviewer, by item.
        let mut latest: BTreeMap<(&str, [usize; 2]), BTreeMap<&str, &Review>> = BTreeMap::new();
        for review in reviews.iter() {
            let about = (review.key.as_str(), review.answers());
            latest.entry(about).or_default().insert(&review.reviewer, review);
        }
        let mut figures = Self::default();
        for (at, name) in names.iter().enumerate() {
            let own = latest.values().filter_map(|reviews| reviews.get(name));
            figures.reviewers.push(Reviewer::from_reviews(name, own));
            for other in names.iter().skip(at + 1) {
                let both = |reviews: &BTreeMap<&str, &Review>| {
                    Some((reviews.get(name)?.opinion(), reviews.get(other)?.opinion()))
                };
                let ratings: Vec<_> = latest.values().filter_map(both).collect();
                if let Some(agreed) = PairwiseAgreement::from_ratings(&ratings) {
                    let reviewers = [(*name).to_owned(), (*other).to_owned()];
                    figures.between.push(ReviewerPair { reviewers, agreed });
                }
            }
        }
        let mut with_judge = Vec::new();
        for &(key, answers) in latest.keys() {
            let Some(verdict) = verdicts.0.get(key) else { continue };
            let [first, second] = verdict.answers;
            if answers != [first.min(second), first.max(second)] {
                continue;
            }
            let Some(decision) = reviews.decision(key, answers) else { continue };
            figures.items += 1;
            let outcomes = &mut figures.outcomes;
            outcomes.edited += usize::from(decision.edited.is_some());
            match decision.opinion {
                Some(Opinion::Answer(number)) => {
                    let kept = number == first;
                    outcomes.kept += usize::from(kept);
                    outcomes.turned += usize::from(!kept);
                    with_judge.extend(verdict.first.map(|judged| (kept, judged)));
                }
                Some(Opinion::Tie) => outcomes.tie += 1,
                Some(Opinion::BothBad) => outcomes.both_bad += 1,
                None => outcomes.disputed += 1,
            }
        }
        figures.judge = PairwiseAgreement::from_ratings(&with_judge);
        figures
    }
}

impl Reviewer {
    fn from_reviews<'a>(name: &str, reviews: impl Iterator<Item = &'a &'a Review>) -> Self {
        let (mut sides, mut seconds) = (Vec::new(), Vec::new());
        for review in reviews {
            seconds.push(review.seconds);
            match review.choice {
                Choice::Left => sides.push(true),
                Choice::Right => sides.push(false),
                Choice::Tie | Choice::BothBad => {}
            }
        }
        seconds.sort_by(f64::total_cmp);
        Self {
            name: name.to_owned(),
            reviews: seconds.len(),
            left: stats::share(sides),
            seconds: stats::quantile(&seconds, 0.5),
        }
    }
}

impl PairwiseAgreement {
    /// The agreement over pairs of decisions. `None` without any.
    fn from_ratings<T: Ord + Copy>(ratings: &[(T, T)]) -> Option<Self> {
        let same = stats::share(ratings.iter().map(|(a, b)| a == b))?;
        let bootstrap = Bootstrap::new(Stream::new(0).child("reviews"), RESAMPLES);
        let kappa =
            bootstrap.estimate(ratings.len(), |rows| kappa(rows.iter().map(|&row| ratings[row])));
        Some(Self { same, kappa })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use amend_data::store::reviews::ReviewsWriter;
    use amend_data::store::run_dir::RunDir;
    use amend_data::testing::{manifest, review};

    /// The figures of these reviews. `judged` says for each item whether the judge
    /// prefers answer 1 over answer 0.
    fn figures(reviews: &[Review], judged: &[(&str, Option<bool>)]) -> AgreementFigures {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path(), &manifest()).unwrap().dir().clone();
        let mut writer = ReviewsWriter::open(&run).unwrap();
        for review in reviews {
            writer.add(review.clone()).unwrap();
        }
        let verdict =
            |&(key, first): &(&str, _)| (key.to_owned(), Verdict { answers: [1, 0], first });
        let verdicts = RecordedVerdicts(judged.iter().map(verdict).collect());
        AgreementFigures::from_reviews(writer.reviews(), &verdicts)
    }

    #[test]
    fn agreement_is_about_answers_and_not_sides() {
        use Choice::{BothBad, Left, Right, Tie};
        let turned = |key: &str, choice| Review { left: 0, right: 1, ..review(key, "bob", choice) };
        let found = figures(
            &[
                review("a", "ada", Left),
                review("b", "ada", Right),
                review("c", "ada", Left),
                review("d", "ada", Tie),
                review("e", "ada", BothBad),
                review("f", "ada", Left),
                turned("a", Right),
                turned("b", Left),
                turned("c", Left),
                turned("d", Tie),
            ],
            &[
                ("a", Some(true)),
                ("b", Some(true)),
                ("c", Some(true)),
                ("d", Some(true)),
                ("e", None),
                ("f", None),
            ],
        );
        let outcomes = Outcomes { kept: 2, turned: 1, tie: 1, both_bad: 1, disputed: 1, edited: 0 };
        assert_eq!((found.items, found.outcomes), (6, outcomes));
        let [ada, bob] = &found.reviewers[..] else { panic!("{found:?}") };
        assert_eq!((ada.name.as_str(), ada.reviews, ada.seconds), ("ada", 6, Some(2.5)));
        assert_eq!((ada.left.unwrap().value, ada.left.unwrap().n), (0.75, 4));
        assert_eq!((bob.reviews, bob.left.unwrap().n), (4, 3));
        // Of a to d, the decisions on a, b and d are equal. Chance agreement: answer 1
        // with 2/4 and 1/4, answer 0 with 1/4 and 2/4, tie with 1/4 and 1/4.
        let [both] = &found.between[..] else { panic!("{found:?}") };
        assert_eq!(both.agreed.same.value, 0.75);
        let chance = (2.0 * 1.0 + 1.0 * 2.0 + 1.0 * 1.0) / 16.0;
        let kappa = both.agreed.kappa.unwrap();
        assert!((kappa.value - (0.75 - chance) / (1.0 - chance)).abs() < 1e-12, "{kappa:?}");
        assert!(kappa.low < kappa.value && kappa.value <= kappa.high, "{kappa:?}");
        // The judge agrees on a and not on b; c is disputed, d a tie, f not judged.
        let judge = found.judge.unwrap();
        assert_eq!((judge.same.value, judge.same.n), (0.5, 2));
    }

    #[test]
    fn later_review_of_a_reviewer_replaces_the_earlier_one() {
        let edited = Review { edited: Some("so".to_owned()), ..review("a", "ada", Choice::Right) };
        let found = figures(&[review("a", "ada", Choice::Left), edited], &[("a", Some(false))]);
        assert_eq!(found.reviewers[0].reviews, 1);
        assert_eq!((found.outcomes.turned, found.outcomes.edited), (1, 1));
        let judge = found.judge.unwrap();
        assert_eq!((judge.same.value, judge.kappa), (1.0, None));
    }

    #[test]
    fn no_reviews_give_empty_figures() {
        assert_eq!(figures(&[], &[]), AgreementFigures::default());
    }
}

//! How far reviewers agree: with one another and with the judge.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use serde::Serialize;

use amend_core::random::Stream;
use amend_core::stats;
use amend_core::stats::{Bootstrap, Estimate, kappa};
use amend_data::pairs::judgement::Rules;
use amend_data::pairs::reviewable;
use amend_data::store::reviews::{Choice, Opinion, Review, Reviews};
use amend_data::store::trajectories::Trajectory;

/// Resamples behind an interval.
const RESAMPLES: u32 = 1000;

/// What a run's reviews come to.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Figures {
    /// Items that somebody decided about, two answers each.
    pub items: usize,
    /// What was decided about them.
    pub outcomes: Outcomes,
    /// Who decided, by name.
    pub reviewers: Vec<Reviewer>,
    /// How far each two reviewers agree who decided about the same items.
    pub between: Vec<Between>,
    /// How often people's decision is the judge's, where both prefer an answer.
    pub judge: Option<Agreed>,
}

/// Items by what was decided.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Outcomes {
    /// The answer that the loop has as the better one was chosen.
    pub kept: usize,
    /// The other one was.
    pub turned: usize,
    /// Both were found equal.
    pub tie: usize,
    /// Both were found bad.
    pub both_bad: usize,
    /// Reviewers disagree, and no choice leads.
    pub disputed: usize,
    /// Items whose chosen answer was edited.
    pub edited: usize,
}

/// One reviewer.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Reviewer {
    /// The name.
    pub name: String,
    /// Items decided about.
    pub reviews: usize,
    /// The share of answers shown on the left among those chosen: far from one
    /// half, the side decides.
    pub left: Option<Estimate>,
    /// The median time of a review, in seconds.
    pub seconds: Option<f64>,
}

/// How often two judgements are the same.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Agreed {
    /// The share of equal judgements.
    pub same: Estimate,
    /// Cohen's κ; none where both always say the same one thing.
    pub kappa: Option<Estimate>,
}

/// Two reviewers.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Between {
    /// Their names.
    pub reviewers: [String; 2],
    /// How far they agree.
    #[serde(flatten)]
    pub agreed: Agreed,
}

/// Which of an item's two answers the judge prefers, by item.
#[derive(Debug, Clone, Default)]
pub struct Verdicts(HashMap<String, Verdict>);

#[derive(Debug, Clone, Copy)]
struct Verdict {
    /// The answers, as the loop has the better one and the worse one.
    answers: [usize; 2],
    /// Whether the judge prefers the first of them; none where it is undecided or
    /// was not asked.
    first: Option<bool>,
}

impl Verdicts {
    /// Takes note of an item, if it holds two answers to choose between.
    pub fn add(&mut self, trajectory: &Trajectory, rules: &Rules) {
        if let Ok((answers, _)) = reviewable(trajectory, rules) {
            let found = rules.on(&trajectory.steps, answers).map(|found| found.decisive);
            let decided = found.filter(|found| !found.undecided);
            let first = decided.map(|found| found.margin > 0.0);
            self.0.insert(trajectory.item.key.clone(), Verdict { answers, first });
        }
    }
}

impl Figures {
    /// Sums up reviews. Reviews of items that `verdicts` does not know count among
    /// reviewers only.
    #[must_use]
    pub fn of(reviews: &Reviews, verdicts: &Verdicts) -> Self {
        let names: BTreeSet<&str> = reviews.iter().map(|one| one.reviewer.as_str()).collect();
        // Of each reviewer the last word on each item.
        let mut words: BTreeMap<(&str, [usize; 2]), BTreeMap<&str, &Review>> = BTreeMap::new();
        for review in reviews.iter() {
            let about = (review.key.as_str(), review.answers());
            words.entry(about).or_default().insert(&review.reviewer, review);
        }
        let mut figures = Self {
            reviewers: names
                .iter()
                .map(|name| Reviewer::of(name, words.values().filter_map(|all| all.get(name))))
                .collect(),
            ..Self::default()
        };
        for (at, one) in names.iter().enumerate() {
            for other in names.iter().skip(at + 1) {
                let both = |all: &BTreeMap<&str, &Review>| {
                    Some((all.get(one)?.opinion(), all.get(other)?.opinion()))
                };
                let ratings: Vec<_> = words.values().filter_map(both).collect();
                if let Some(agreed) = Agreed::of(&ratings) {
                    let reviewers = [(*one).to_owned(), (*other).to_owned()];
                    figures.between.push(Between { reviewers, agreed });
                }
            }
        }
        let mut with_judge = Vec::new();
        for &(key, answers) in words.keys() {
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
        figures.judge = Agreed::of(&with_judge);
        figures
    }
}

impl Reviewer {
    fn of<'a>(name: &str, reviews: impl Iterator<Item = &'a &'a Review>) -> Self {
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

impl Agreed {
    /// Of two judgements on each item; none without any.
    fn of<T: Ord + Copy>(ratings: &[(T, T)]) -> Option<Self> {
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

    /// What reviews come to, where the judge prefers the answers told of each item.
    fn figures(reviews: &[Review], judged: &[(&str, Option<bool>)]) -> Figures {
        let folder = tempfile::tempdir().unwrap();
        let run = RunDir::create(folder.path(), &manifest()).unwrap().dir().clone();
        let mut writer = ReviewsWriter::open(&run).unwrap();
        for review in reviews {
            writer.add(review.clone()).unwrap();
        }
        let verdict =
            |&(key, first): &(&str, _)| (key.to_owned(), Verdict { answers: [1, 0], first });
        let verdicts = Verdicts(judged.iter().map(verdict).collect());
        Figures::of(writer.reviews(), &verdicts)
    }

    #[test]
    fn reviewers_agree_on_answers_wherever_these_stood() {
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
        // a, b and d of a to d are judged alike. By chance: answer 1 two of four and
        // one of four, answer 0 one and two, tie one and one.
        let [both] = &found.between[..] else { panic!("{found:?}") };
        assert_eq!(both.agreed.same.value, 0.75);
        let chance = (2.0 * 1.0 + 1.0 * 2.0 + 1.0 * 1.0) / 16.0;
        let kappa = both.agreed.kappa.unwrap();
        assert!((kappa.value - (0.75 - chance) / (1.0 - chance)).abs() < 1e-12, "{kappa:?}");
        assert!(kappa.low < kappa.value && kappa.value <= kappa.high, "{kappa:?}");
        // a as the judge says and b not; c is disputed, d a tie, f not judged.
        let judge = found.judge.unwrap();
        assert_eq!((judge.same.value, judge.same.n), (0.5, 2));
    }

    #[test]
    fn a_second_thought_takes_the_place_of_the_first() {
        let edited = Review { edited: Some("so".to_owned()), ..review("a", "ada", Choice::Right) };
        let found = figures(&[review("a", "ada", Choice::Left), edited], &[("a", Some(false))]);
        assert_eq!(found.reviewers[0].reviews, 1);
        assert_eq!((found.outcomes.turned, found.outcomes.edited), (1, 1));
        let judge = found.judge.unwrap();
        assert_eq!((judge.same.value, judge.kappa), (1.0, None));
    }

    #[test]
    fn nobody_s_reviews_come_to_nothing() {
        assert_eq!(figures(&[], &[]), Figures::default());
    }
}

//! The order of the items, which items a reviewer sees, and on which side each
//! answer is shown.

use std::collections::HashMap;

use amend_core::random::Stream;

/// The order of the items.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Items without a verdict first, then by the distance of the judge's margin
    /// from 0, the smallest first.
    #[default]
    Uncertainty,
    /// Only items on which the principles disagree, the largest disagreement first.
    Disagreement,
    /// Categories in turn, so that each has the same number of items.
    Category,
    /// Random order.
    Random,
}

/// An item that could be reviewed.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// The item's key.
    pub key: String,
    /// The numbers of its two answers.
    pub answers: [usize; 2],
    /// The category of the first principle that was applied, or an empty string.
    pub category: String,
    /// The judge's log-odds, if it was asked.
    pub margin: Option<f64>,
    /// The judge's log-odds under each principle.
    pub principles: Vec<f64>,
}

impl Candidate {
    /// The difference between the greatest and the least log-odds of the principles.
    /// `None` if no two principles favour different answers.
    fn disagreement(&self) -> Option<f64> {
        let least = self.principles.iter().copied().min_by(f64::total_cmp)?;
        let most = self.principles.iter().copied().max_by(f64::total_cmp)?;
        if least < 0.0 && most > 0.0 { Some(most - least) } else { None }
    }
}

/// Sorts candidates. `stream` draws the order of candidates that are otherwise equal.
pub fn order(mut candidates: Vec<Candidate>, order: Order, stream: Stream) -> Vec<Candidate> {
    let draw = |candidate: &Candidate| stream.child(&candidate.key).bits(0);
    candidates.sort_by_cached_key(draw);
    match order {
        Order::Random => {}
        Order::Uncertainty => candidates.sort_by(|a, b| {
            let certainty = |candidate: &Candidate| candidate.margin.map_or(-1.0, f64::abs);
            certainty(a).total_cmp(&certainty(b))
        }),
        Order::Disagreement => {
            candidates.retain(|candidate| candidate.disagreement().is_some());
            candidates.sort_by(|a, b| {
                let disagreement = |candidate: &Candidate| candidate.disagreement().unwrap_or(0.0);
                disagreement(b).total_cmp(&disagreement(a))
            });
        }
        Order::Category => {
            // The first item of each category, then the second of each, and so on.
            let mut counts: HashMap<String, usize> = HashMap::new();
            let mut ranked: Vec<(usize, Candidate)> = Vec::new();
            for candidate in candidates {
                let rank = counts.entry(candidate.category.clone()).or_default();
                *rank += 1;
                ranked.push((*rank, candidate));
            }
            ranked.sort_by(|(rank_a, a), (rank_b, b)| {
                rank_a.cmp(rank_b).then_with(|| a.category.cmp(&b.category))
            });
            candidates = ranked.into_iter().map(|(_, candidate)| candidate).collect();
        }
    }
    candidates
}

/// Whether every reviewer sees an item. A draw selects a `share` of all items, the
/// same ones for all reviewers.
pub fn overlaps(key: &str, share: f64, stream: Stream) -> bool {
    stream.child(key).uniform(0) < share
}

/// Whether the answer that the loop prefers is shown on the left, for the item at
/// `position`. The side is random, but in each two items it is the left once.
pub fn better_left(position: usize, stream: Stream) -> bool {
    let first = stream.bits(position as u64 / 2).is_multiple_of(2);
    first == position.is_multiple_of(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(key: &str, margin: Option<f64>) -> Candidate {
        Candidate {
            key: key.to_owned(),
            answers: [1, 0],
            category: String::new(),
            margin,
            principles: Vec::new(),
        }
    }

    fn keys(candidates: Vec<Candidate>, by: Order) -> String {
        let ordered = order(candidates, by, Stream::new(1));
        ordered.into_iter().map(|candidate| candidate.key).collect()
    }

    #[test]
    fn uncertain_verdicts_come_first() {
        let all = [("a", Some(-0.5)), ("b", Some(2.0)), ("c", None), ("d", Some(0.1))];
        let all = all.map(|(key, margin)| candidate(key, margin));
        assert_eq!(keys(all.into(), Order::Uncertainty), "cdab");
    }

    #[test]
    fn disagreeing_principles_come_in_order_of_disagreement() {
        let with_principles = |(key, principles): (&str, &[f64])| Candidate {
            principles: principles.to_vec(),
            ..candidate(key, None)
        };
        let all = [
            ("a", &[0.5, -0.5][..]),
            ("b", &[1.0, 4.0]),
            ("c", &[-2.0, 0.0, 1.0]),
            ("d", &[]),
            ("e", &[-1.0]),
            ("f", &[0.0, -3.0]),
        ];
        assert_eq!(keys(all.map(with_principles).into(), Order::Disagreement), "ca");
    }

    #[test]
    fn categories_take_turns() {
        let with_category = |(key, category): (&str, &str)| Candidate {
            category: category.to_owned(),
            ..candidate(key, None)
        };
        let all = [("a", "x"), ("b", "x"), ("c", "x"), ("d", "y"), ("e", ""), ("f", "y")];
        let all = all.map(with_category);
        let ordered = order(all.to_vec(), Order::Category, Stream::new(1));
        let categories: Vec<&str> =
            ordered.iter().map(|candidate| candidate.category.as_str()).collect();
        assert_eq!(categories, ["", "x", "y", "x", "y", "x"]);
    }

    #[test]
    fn random_order_depends_on_the_seed_and_not_on_the_input_order() {
        let all: Vec<Candidate> = (0..50).map(|at| candidate(&format!("k{at:02}"), None)).collect();
        let shuffled = |seed, reversed: bool| {
            let mut all = all.clone();
            if reversed {
                all.reverse();
            }
            order(all, Order::Random, Stream::new(seed))
        };
        assert_eq!(shuffled(1, false), shuffled(1, true));
        assert_ne!(shuffled(1, false), shuffled(2, false));
        assert_ne!(shuffled(1, false), all);
    }

    #[test]
    fn overlap_selects_a_share_of_the_items() {
        let stream = Stream::new(3);
        let count = |share| (0..1000).filter(|at| overlaps(&at.to_string(), share, stream)).count();
        assert_eq!((count(0.0), count(1.0)), (0, 1000));
        // Binomial(1000, 0.2) is from 160 to 241 in all but 2 of 1,000 cases.
        assert!((160..=241).contains(&count(0.2)), "{}", count(0.2));
    }

    #[test]
    fn sides_are_balanced_at_every_even_position_and_random() {
        let stream = Stream::new(7);
        let sides: Vec<bool> = (0..200).map(|at| better_left(at, stream)).collect();
        for pair in sides.chunks(2) {
            assert_ne!(pair[0], pair[1]);
        }
        let first = sides.chunks(2).filter(|pair| pair[0]).count();
        // Binomial(100, ½) is from 34 to 66 in all but 1 of 1,000 cases.
        assert!((34..=66).contains(&first), "{first}");
    }
}

//! Which items come first, which of them a reviewer is shown at all, and on which
//! side each answer stands.

use std::cmp::Ordering;
use std::collections::HashMap;

use amend_core::random::Stream;

/// What decides which items come first.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Order {
    /// Those on which the judge is least sure: where it was not asked, then by the
    /// distance of its margin from 0.
    #[default]
    Uncertainty,
    /// Those on which the principles disagree, the widest apart first; no others.
    Disagreement,
    /// As many of each category.
    Category,
    /// At random.
    Random,
}

/// An item that could be reviewed.
#[derive(Debug, Clone, PartialEq)]
pub struct Candidate {
    /// Its key.
    pub key: String,
    /// Its two answers, by number.
    pub answers: [usize; 2],
    /// The category of the first principle it was revised under; empty where there
    /// is none.
    pub category: String,
    /// The judge's log-odds, where it was asked.
    pub margin: Option<f64>,
    /// The log-odds under each principle that was asked about.
    pub principles: Vec<f64>,
}

impl Candidate {
    /// How far apart principles are that favour different answers; none where they
    /// favour the same.
    fn disagreement(&self) -> Option<f64> {
        let least = self.principles.iter().copied().min_by(f64::total_cmp)?;
        let most = self.principles.iter().copied().max_by(f64::total_cmp)?;
        (least < 0.0 && most > 0.0).then_some(most - least)
    }
}

/// Puts candidates in order. Where nothing else tells them apart, `stream` does.
pub fn order(mut candidates: Vec<Candidate>, order: Order, stream: Stream) -> Vec<Candidate> {
    let draw = |one: &Candidate| stream.child(&one.key).bits(0);
    candidates.sort_by_cached_key(draw);
    match order {
        Order::Random => {}
        Order::Uncertainty => candidates.sort_by(|a, b| {
            let doubt = |one: &Candidate| one.margin.map_or(-1.0, f64::abs);
            doubt(a).total_cmp(&doubt(b))
        }),
        Order::Disagreement => {
            candidates.retain(|one| one.disagreement().is_some());
            candidates.sort_by(|a, b| {
                let apart = |one: &Candidate| one.disagreement().unwrap_or(0.0);
                apart(b).total_cmp(&apart(a))
            });
        }
        Order::Category => {
            // The first of each category, then the second of each, and so on.
            let mut met: HashMap<String, usize> = HashMap::new();
            let mut ranked: Vec<(usize, Candidate)> = candidates
                .into_iter()
                .map(|one| {
                    let rank = met.entry(one.category.clone()).or_default();
                    *rank += 1;
                    (*rank, one)
                })
                .collect();
            ranked.sort_by(|(a, one), (b, other)| match a.cmp(b) {
                Ordering::Equal => one.category.cmp(&other.category),
                unequal => unequal,
            });
            candidates = ranked.into_iter().map(|(_, one)| one).collect();
        }
    }
    candidates
}

/// Whether every reviewer is to decide about an item, by a draw in which a `share`
/// of all items succeeds. The draw is the same for all reviewers.
pub fn overlaps(key: &str, share: f64, stream: Stream) -> bool {
    stream.child(key).uniform(0) < share
}

/// Whether the answer that the loop has as the better one stands on the left of
/// the `position`th item: at random, and of each two items just once.
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
        ordered.into_iter().map(|one| one.key).collect()
    }

    #[test]
    fn the_judge_s_doubts_come_first() {
        let of = |(key, margin)| candidate(key, margin);
        let all = [("a", Some(-0.5)), ("b", Some(2.0)), ("c", None), ("d", Some(0.1))].map(of);
        assert_eq!(keys(all.into(), Order::Uncertainty), "cdab");
    }

    #[test]
    fn principles_that_favour_different_answers_come_widest_first() {
        let of = |(key, principles): (&str, &[f64])| Candidate {
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
        assert_eq!(keys(all.map(of).into(), Order::Disagreement), "ca");
    }

    #[test]
    fn categories_take_turns() {
        let of = |(key, category): (&str, &str)| Candidate {
            category: category.to_owned(),
            ..candidate(key, None)
        };
        let all = [("a", "x"), ("b", "x"), ("c", "x"), ("d", "y"), ("e", ""), ("f", "y")].map(of);
        let ordered = order(all.to_vec(), Order::Category, Stream::new(1));
        let categories: Vec<&str> = ordered.iter().map(|one| one.category.as_str()).collect();
        assert_eq!(categories, ["", "x", "y", "x", "y", "x"]);
    }

    #[test]
    fn the_seed_decides_at_random_and_the_order_of_the_input_does_not() {
        let all: Vec<Candidate> = (0..50).map(|at| candidate(&format!("k{at:02}"), None)).collect();
        let of = |seed, reversed: bool| {
            let mut all = all.clone();
            if reversed {
                all.reverse();
            }
            order(all, Order::Random, Stream::new(seed))
        };
        assert_eq!(of(1, false), of(1, true));
        assert_ne!(of(1, false), of(2, false));
        assert_ne!(of(1, false), all);
    }

    #[test]
    fn a_share_of_the_items_is_everybody_s() {
        let stream = Stream::new(3);
        let count = |share| (0..1000).filter(|at| overlaps(&at.to_string(), share, stream)).count();
        assert_eq!((count(0.0), count(1.0)), (0, 1000));
        // Binomial (1000, 0.2): 160 to 241 in all but 2 cases of 1,000.
        assert!((160..=241).contains(&count(0.2)), "{}", count(0.2));
    }

    #[test]
    fn sides_are_balanced_at_every_even_position_and_not_foreseen() {
        let stream = Stream::new(7);
        let sides: Vec<bool> = (0..200).map(|at| better_left(at, stream)).collect();
        for pair in sides.chunks(2) {
            assert_ne!(pair[0], pair[1]);
        }
        let first = sides.chunks(2).filter(|pair| pair[0]).count();
        // Binomial (100, ½): 34 to 66 in all but 1 case of 1,000.
        assert!((34..=66).contains(&first), "{first}");
    }
}

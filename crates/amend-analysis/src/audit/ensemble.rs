//! The principles' joint verdict, which is the weighted mean of their scores: which
//! principles decide it, and how few principles suffice for it.
//!
//! The ensemble's score of item i is `E_i = Σ w_k s_ki / Σ w_k` over the principles
//! that decided it. The verdict is the sign; a score of 0 is no verdict.

use serde::{Deserialize, Serialize};

use super::context::AuditContext;
use super::{AuditInput, Better};
use amend_core::stats::{Estimate, mean, share};

/// The joint verdicts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ensemble {
    /// The number of items with a verdict.
    pub verdicts: usize,
    /// The share of correct verdicts among the labelled items.
    pub accuracy: Option<Estimate>,
    /// The share of verdicts that agree with the overall score, where there is one.
    pub overall_agreement: Option<Estimate>,
    /// The share of verdicts that would differ if all weights were equal.
    pub flips_equal_weights: Option<Estimate>,
}

/// The influence of one principle on the joint verdicts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Influence {
    /// The share of verdicts that change, or are lost, without the principle.
    pub flips_without: Option<Estimate>,
    /// The keys of these items, those with the most confident verdict first.
    pub flipped: Vec<String>,
    /// The share of verdicts that change when the principle's weight is doubled.
    pub flips_doubled: Option<Estimate>,
    /// The principle's mean share of the weighted scores, |w_k s_k| / Σ |w_j s_j|.
    pub contribution: Option<Estimate>,
    /// The accuracy of the ensemble minus its accuracy without the principle.
    pub accuracy_gain: Option<Estimate>,
}

/// A smaller set of principles that keeps most of the verdicts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SmallerSet {
    /// The ids of the smallest set on the curve that keeps the required share.
    pub principles: Vec<String>,
    /// The share of verdicts that the set keeps. It was selected on the same items, so
    /// it will keep slightly less on others.
    pub agreement: Estimate,
    /// The agreement as principles are added one by one, the most helpful one first.
    pub curve: Vec<CurvePoint>,
}

/// One point of the curve: a set with one more principle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// The id of the added principle.
    pub added: String,
    /// The size of the set.
    pub size: usize,
    /// The share of the full ensemble's verdicts that the set keeps.
    pub agreement: f64,
}

/// The joint verdicts.
pub(super) struct EnsembleVerdicts<'a> {
    context: &'a AuditContext<'a>,
    /// The items with a verdict, and their verdicts.
    verdicts: Vec<(usize, Better)>,
}

impl<'a> EnsembleVerdicts<'a> {
    pub(super) fn new(context: &'a AuditContext<'a>) -> Self {
        let weight = |k: usize| context.input.principles[k].weight;
        let verdicts = context
            .items()
            .filter_map(|item| Some((item, Better::from_score(total(context, item, weight))?)))
            .collect();
        Self { context, verdicts }
    }

    fn weight(&self, principle: usize) -> f64 {
        self.context.input.principles[principle].weight
    }

    /// The verdict of each item under other weights, for the items with a verdict.
    fn with(&self, weight: impl Fn(usize) -> f64) -> Vec<Option<Better>> {
        self.verdicts
            .iter()
            .map(|&(item, _)| Better::from_score(total(self.context, item, &weight)))
            .collect()
    }

    /// The share of verdicts that differ from `others`.
    fn differing(&self, others: &[Option<Better>]) -> Option<Estimate> {
        let verdicts = self.verdicts.iter().zip(others);
        share(verdicts.map(|(&(_, verdict), other)| *other != Some(verdict)))
    }

    pub(super) fn ensemble(&self) -> Ensemble {
        let AuditInput { items, overall, .. } = self.context.input;
        let floor = self.context.thresholds.mass_floor;
        let compared = |other: &dyn Fn(usize) -> Option<Better>| {
            share(self.verdicts.iter().filter_map(|&(item, verdict)| Some(other(item)? == verdict)))
        };
        Ensemble {
            verdicts: self.verdicts.len(),
            accuracy: compared(&|item| items[item].label),
            overall_agreement: compared(&|item| {
                Better::from_score(overall.get(item)?.as_ref()?.decided(floor)?)
            }),
            flips_equal_weights: self.differing(&self.with(|_| 1.0)),
        }
    }

    pub(super) fn influence(&self, principle: usize) -> Influence {
        let without = self.with(|k| if k == principle { 0.0 } else { self.weight(k) });
        let doubled = self.with(|k| if k == principle { 2.0 } else { 1.0 } * self.weight(k));
        let mut flipped: Vec<usize> = self
            .verdicts
            .iter()
            .zip(&without)
            .filter(|((_, verdict), other)| **other != Some(*verdict))
            .map(|(&(item, _), _)| item)
            .collect();
        let size = |item: usize| total(self.context, item, |k| self.weight(k)).abs();
        flipped.sort_by(|&a, &b| size(b).total_cmp(&size(a)));
        flipped.truncate(self.context.thresholds.examples);
        Influence {
            flips_without: self.differing(&without),
            flipped: flipped.into_iter().map(|item| self.context.key(item)).collect(),
            flips_doubled: self.differing(&doubled),
            contribution: self.contribution(principle),
            accuracy_gain: self.accuracy_gain(&without),
        }
    }

    fn contribution(&self, principle: usize) -> Option<Estimate> {
        let part = |k: usize, item: usize| {
            self.context.score(k, item).map_or(0.0, |score| (self.weight(k) * score).abs())
        };
        // An item with a verdict has at least one score other than 0.
        let shares: Vec<f64> = self
            .verdicts
            .iter()
            .map(|&(item, _)| {
                let all: f64 = self.context.principles().map(|k| part(k, item)).sum();
                part(principle, item) / all
            })
            .collect();
        self.context
            .bootstrap
            .estimate(shares.len(), |rows| mean(rows.iter().map(|&row| shares[row])))
    }

    /// The accuracy of the verdicts minus that of `others`. A lost verdict counts as half
    /// right.
    fn accuracy_gain(&self, others: &[Option<Better>]) -> Option<Estimate> {
        let right = |verdict: Option<Better>, label| match verdict {
            None => 0.5,
            Some(verdict) => f64::from(u8::from(verdict == label)),
        };
        let labelled: Vec<[f64; 2]> = self
            .verdicts
            .iter()
            .zip(others)
            .filter_map(|(&(item, verdict), other)| {
                let label = self.context.label(item)?;
                Some([right(Some(verdict), label), right(*other, label)])
            })
            .collect();
        let accuracy = |column: usize| {
            let labelled = &labelled;
            move |rows: &[usize]| mean(rows.iter().map(|&row| labelled[row][column]))
        };
        self.context.bootstrap.difference(labelled.len(), accuracy(0), accuracy(1))
    }

    /// Forward selection: starts without principles and always adds the one that keeps
    /// the most verdicts, the first one in case of a tie. `None` without verdicts.
    pub(super) fn smaller_set(&self) -> Option<SmallerSet> {
        let mut totals = vec![0.0; self.verdicts.len()];
        let part = |k: usize, item: usize| {
            self.context.score(k, item).map_or(0.0, |score| self.weight(k) * score)
        };
        let agreeing = |totals: &[f64], k: usize| {
            let kept = self.verdicts.iter().zip(totals).filter(|((item, verdict), total)| {
                Better::from_score(**total + part(k, *item)) == Some(*verdict)
            });
            kept.count()
        };
        let mut left: Vec<usize> = self.context.principles().collect();
        let mut order = Vec::new();
        while !left.is_empty() {
            let counts = left.iter().map(|&k| agreeing(&totals, k)).enumerate();
            // Reversed, because `max_by_key` returns the last maximum.
            let (at, kept) = counts.rev().max_by_key(|&(_, kept)| kept)?;
            let added = left.remove(at);
            for ((item, _), total) in self.verdicts.iter().zip(&mut totals) {
                *total += part(added, *item);
            }
            order.push((added, kept));
        }
        let n = self.verdicts.len();
        let agreement = |kept: usize| share((0..n).map(|verdict| verdict < kept));
        let enough = |&(_, kept): &(usize, usize)| {
            agreement(kept).is_some_and(|share| share.value >= self.context.thresholds.keep)
        };
        // Because of rounding, even the whole set may lose a very close verdict.
        let size = 1 + order.iter().position(enough).unwrap_or(order.len().checked_sub(1)?);
        let mut chosen: Vec<usize> = order[..size].iter().map(|&(k, _)| k).collect();
        chosen.sort_unstable();
        let curve = order.iter().enumerate().map(|(at, &(k, kept))| CurvePoint {
            added: self.context.id(k),
            size: at + 1,
            agreement: kept as f64 / n as f64,
        });
        Some(SmallerSet {
            principles: chosen.into_iter().map(|k| self.context.id(k)).collect(),
            agreement: agreement(order[size - 1].1)?,
            curve: curve.collect(),
        })
    }
}

/// Σ w_k s_ki over the principles that decided the item. It has the sign of the
/// ensemble's score.
fn total(context: &AuditContext, item: usize, weight: impl Fn(usize) -> f64) -> f64 {
    context.principles().filter_map(|k| Some(weight(k) * context.score(k, item)?)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{audited, input, score};

    /// Weights 1, 2, ½. Weighted scores and their sums by item:
    ///
    /// | item | p0 | p1 | p2 | sum | without p0, p1, p2 |
    /// | i0 | 1 | 2 | −½ | 2.5 | 1.5, 0.5, 3 |
    /// | i1 | 3 | −2 | ½ | 1.5 | −1.5, 3.5, 1 |
    /// | i2 | −1 | −4 | 1 | −4 | −3, 0, −5 |
    /// | i3 | 1 | −1 | 0 | 0 | no verdict |
    fn weighted() -> AuditInput {
        let mut input =
            input(&[&[1.0, 3.0, -1.0, 1.0], &[1.0, -1.0, -2.0, -0.5], &[-1.0, 1.0, 2.0, 0.0]]);
        for (principle, weight) in input.principles.iter_mut().zip([1.0, 2.0, 0.5]) {
            principle.weight = weight;
        }
        for (item, label) in input.items.iter_mut().zip([Better::X, Better::Y, Better::Y]) {
            item.label = Some(label);
        }
        input
    }

    fn value(estimate: Option<Estimate>) -> f64 {
        estimate.expect("an estimate").value
    }

    #[test]
    fn verdicts_by_hand() {
        let mut input = weighted();
        input.overall = vec![Some(score(1.0)), Some(score(-1.0)), None, Some(score(1.0))];
        let ensemble = audited(&input).ensemble;
        assert_eq!(ensemble.verdicts, 3);
        assert_eq!(value(ensemble.accuracy), 2.0 / 3.0);
        assert_eq!(value(ensemble.overall_agreement), 0.5);
        // Equal weights: 1, 3, −1: the same verdicts.
        assert_eq!(value(ensemble.flips_equal_weights), 0.0);
    }

    #[test]
    fn influence_by_hand() {
        let audit = audited(&weighted());
        let influence: Vec<_> = audit.principles.iter().map(|p| &p.influence).collect();
        let flips: Vec<f64> = influence.iter().map(|i| value(i.flips_without)).collect();
        // Without p0, i1 flips; without p1, i2 loses its verdict.
        assert_eq!(flips, [1.0 / 3.0, 1.0 / 3.0, 0.0]);
        assert_eq!(influence[0].flipped, ["i1"]);
        assert_eq!(influence[1].flipped, ["i2"]);
        // Doubled p1: 4.5, −0.5, −8.
        let doubled: Vec<f64> = influence.iter().map(|i| value(i.flips_doubled)).collect();
        assert_eq!(doubled, [0.0, 1.0 / 3.0, 0.0]);
        // p0's part: 1/3.5, 3/5.5, 1/6.
        let part = (1.0 / 3.5 + 3.0 / 5.5 + 1.0 / 6.0) / 3.0;
        assert!((value(influence[0].contribution) - part).abs() < 1e-15);
        // Right with all: i0, i2. Without p0 all three. Without p1: i0, and i2 half.
        let gains: Vec<f64> = influence.iter().map(|i| value(i.accuracy_gain)).collect();
        for (gain, expected) in gains.iter().zip([-1.0 / 3.0, 0.5 / 3.0, 0.0]) {
            assert!((gain - expected).abs() < 1e-15, "{gains:?}");
        }
    }

    #[test]
    fn a_single_principle_decides_everything() {
        let audit = audited(&input(&[&[1.0, -1.0]]));
        let influence = &audit.principles[0].influence;
        assert_eq!(value(influence.flips_without), 1.0);
        assert_eq!(value(influence.flips_doubled), 0.0);
        assert_eq!(value(influence.contribution), 1.0);
        assert_eq!(influence.accuracy_gain, None);
    }

    #[test]
    fn the_smaller_set_by_hand() {
        // Sums: 3, −3, 3, −3, 0.5. p1 alone gives four verdicts, p0 and p2 three.
        // p1 with p0: 3, −3, 2, −2, −1: four; with p2: 2, −2, 3, −3, 0.5: all.
        let audit = audited(&input(&[
            &[1.0, -1.0, 0.0, 0.0, -1.0],
            &[2.0, -2.0, 2.0, -2.0, 0.0],
            &[0.0, 0.0, 1.0, -1.0, 1.5],
        ]));
        let set = audit.smaller_set.unwrap();
        assert_eq!(set.principles, ["p1", "p2"]);
        assert_eq!((set.agreement.value, set.agreement.n), (1.0, 5));
        let curve: Vec<_> =
            set.curve.iter().map(|p| (p.added.as_str(), p.size, p.agreement)).collect();
        assert_eq!(curve, [("p1", 1, 0.8), ("p2", 2, 1.0), ("p0", 3, 1.0)]);
    }

    #[test]
    fn the_first_of_equal_principles_is_kept() {
        let set = audited(&input(&[&[1.0, -1.0], &[1.0, -1.0]])).smaller_set.unwrap();
        assert_eq!(set.principles, ["p0"]);
    }

    #[test]
    fn without_verdicts_there_is_no_smaller_set() {
        let audit = audited(&input(&[&[0.0, 0.0]]));
        assert_eq!(audit.ensemble.verdicts, 0);
        assert_eq!(audit.smaller_set, None);
        assert_eq!(audit.principles[0].influence.flips_without, None);
    }
}

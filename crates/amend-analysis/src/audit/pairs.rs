//! Principles two by two: which say the same, and which pull against each other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Better;
use super::context::Context;
use amend_core::stats::{Estimate, pearson, share};

/// How two principles go together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairFigures {
    /// Their ids.
    pub principles: [String; 2],
    /// Pearson's correlation of their scores, over the items that both decided.
    pub correlation: Option<Estimate>,
    /// Of the items on which both are active, the share where they prefer different
    /// answers.
    pub conflict: Option<Estimate>,
    /// The items where they differ most, by the smaller of the two scores' sizes.
    pub strongest: Vec<Opposed>,
}

/// An item on which two principles prefer different answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opposed {
    /// Its key.
    pub item: String,
    /// The two scores, in log-odds.
    pub scores: [f64; 2],
}

/// Principles that score alike: every two of them correlate at least as the bound
/// says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// Their ids, in the constitution's order, at least two.
    pub principles: Vec<String>,
    /// The least correlation of any two of them.
    pub weakest: Estimate,
}

/// The figures of all pairs, in the order of [`indices`].
pub(super) fn pairs(context: &Context) -> Vec<PairFigures> {
    indices(context).map(|(k, l)| pair(context, k, l)).collect()
}

/// All pairs of principles, each once.
fn indices(context: &Context) -> impl Iterator<Item = (usize, usize)> {
    let count = context.principles().end;
    (0..count).flat_map(move |k| (k + 1..count).map(move |l| (k, l)))
}

fn pair(context: &Context, k: usize, l: usize) -> PairFigures {
    let decided: Vec<(f64, f64)> = context
        .items()
        .filter_map(|item| Some((context.score(k, item)?, context.score(l, item)?)))
        .collect();
    let active: Vec<(usize, [f64; 2])> = context
        .items()
        .filter_map(|item| Some((item, [context.active(k, item)?, context.active(l, item)?])))
        .collect();
    let differ = |[a, b]: [f64; 2]| Better::of(a) != Better::of(b);
    let mut opposed: Vec<_> = active.iter().filter(|(_, scores)| differ(*scores)).collect();
    let size = |[a, b]: [f64; 2]| a.abs().min(b.abs());
    opposed.sort_by(|(_, one), (_, other)| size(*other).total_cmp(&size(*one)));
    PairFigures {
        principles: [context.id(k), context.id(l)],
        correlation: context
            .bootstrap
            .estimate(decided.len(), |rows| pearson(rows.iter().map(|&row| decided[row]))),
        conflict: share(active.iter().map(|(_, scores)| differ(*scores))),
        strongest: opposed
            .into_iter()
            .take(context.thresholds.examples)
            .map(|(item, scores)| Opposed { item: context.key(*item), scores: *scores })
            .collect(),
    }
}

/// The groups of redundant principles, in the order of their first members:
/// from the strongest pair on, two groups become one if every two of their members
/// are redundant (complete linkage).
pub(super) fn clusters(context: &Context, pairs: &[PairFigures]) -> Vec<Cluster> {
    let thresholds = context.thresholds;
    let mut links = BTreeMap::new();
    for (pair, at) in pairs.iter().zip(indices(context)) {
        let enough = |r: &Estimate| r.n >= thresholds.min_items && r.value >= thresholds.redundant;
        links.extend(pair.correlation.filter(enough).map(|r| (at, r)));
    }
    let link = |k: usize, l: usize| links.get(&(k.min(l), k.max(l)));
    let mut strongest: Vec<_> = links.iter().map(|(&pair, r)| (pair, r.value)).collect();
    strongest.sort_by(|(_, one), (_, other)| other.total_cmp(one));

    let mut groups: Vec<Vec<usize>> = context.principles().map(|k| vec![k]).collect();
    for ((k, l), _) in strongest {
        let of = |member| groups.iter().position(|group| group.contains(&member));
        let (Some(one), Some(other)) = (of(k), of(l)) else { continue };
        let all_linked =
            groups[one].iter().all(|&k| groups[other].iter().all(|&l| link(k, l).is_some()));
        if one != other && all_linked {
            let joined = std::mem::take(&mut groups[other]);
            groups[one].extend(joined);
        }
    }
    groups.iter_mut().for_each(|group| group.sort_unstable());
    groups.sort_unstable();
    let weakest = |group: &[usize]| {
        let within = group.iter().flat_map(|&k| group.iter().filter_map(move |&l| link(k, l)));
        within.min_by(|a, b| a.value.total_cmp(&b.value)).copied()
    };
    let cluster = |group: &Vec<usize>| {
        let principles = group.iter().map(|&k| context.id(k)).collect();
        Some(Cluster { principles, weakest: weakest(group)? })
    };
    groups.iter().filter_map(cluster).collect()
}

#[cfg(test)]
mod tests {
    use crate::audit::Audit;
    use crate::audit::testing::{audited_with, input};
    use amend_core::constitution::Thresholds;

    fn of_rows(rows: &[&[f64]]) -> Audit {
        audited_with(
            &input(rows),
            Thresholds { min_items: 2, examples: 2, ..Thresholds::default() },
        )
    }

    #[test]
    fn conflict_counts_items_on_which_both_are_active() {
        // Both active on items 0, 1, 2, 4; different signs on 1, 2, 4.
        let audit = of_rows(&[&[1.0, 2.0, -3.0, 0.2, 0.7], &[1.0, -4.0, 0.8, -9.0, -0.6]]);
        let [pair] = &audit.pairs[..] else { panic!("one pair") };
        assert_eq!(pair.principles, ["p0", "p1"]);
        assert_eq!(pair.conflict.map(|e| (e.value, e.n)), Some((0.75, 4)));
        // By the smaller size: 2, 0.8, 0.6; two are shown.
        let expected = [("i1", [2.0, -4.0]), ("i2", [-3.0, 0.8])];
        let found: Vec<_> = pair.strongest.iter().map(|o| (o.item.as_str(), o.scores)).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn correlation_takes_the_items_that_both_decided() {
        let mut input = input(&[&[1.0, 2.0, 3.0, 9.0], &[2.0, 4.0, 6.0, -9.0]]);
        input.scores[1][3] = None;
        let found = audited_with(&input, Thresholds::default()).pairs[0].correlation.unwrap();
        assert_eq!((found.value, found.low, found.high, found.n), (1.0, 1.0, 1.0, 3));
    }

    #[test]
    fn a_constant_principle_correlates_with_nothing() {
        let audit = of_rows(&[&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]]);
        assert_eq!(audit.pairs[0].correlation, None);
        assert_eq!(audit.clusters, []);
    }

    #[test]
    fn clusters_by_hand() {
        // p1 is like p0; p2 goes its own way; p3 is the opposite of p0, and p4 like p3.
        let audit = of_rows(&[
            &[1.0, 2.0, 3.0, 4.0],
            &[1.0, 2.0, 3.0, 4.5],
            &[1.0, -1.0, -1.0, 1.0],
            &[4.0, 3.0, 2.0, 1.0],
            &[8.0, 6.0, 4.0, 2.0],
        ]);
        let found: Vec<_> = audit.clusters.iter().map(|c| c.principles.join(" ")).collect();
        assert_eq!(found, ["p0 p1", "p3 p4"]);
        assert_eq!(audit.clusters[1].weakest.value, 1.0);
    }

    #[test]
    fn a_chain_is_cut_at_its_weaker_link() {
        // Products 8, 7, 8; squares 10, 8, 8.5: r is 0.894, 0.759, 0.970.
        let audit =
            of_rows(&[&[2.0, 1.0, -1.0, -2.0], &[2.0, 0.0, 0.0, -2.0], &[2.0, -0.5, 0.5, -2.0]]);
        let r: Vec<f64> = audit.pairs.iter().map(|p| p.correlation.unwrap().value).collect();
        let expected = [8.0 / 80_f64.sqrt(), 7.0 / 85_f64.sqrt(), 8.0 / 68_f64.sqrt()];
        for (found, expected) in r.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-15, "{r:?}");
        }
        let [cluster] = &audit.clusters[..] else { panic!("{:?}", audit.clusters) };
        assert_eq!(cluster.principles, ["p1", "p2"]);
        assert_eq!(cluster.weakest.value, r[2]);
    }

    #[test]
    fn a_cluster_shows_its_weakest_pair() {
        // p0 p2 is the least alike: product 7.8, squares 8.5 and 8.08.
        let audit =
            of_rows(&[&[2.0, 0.5, -0.5, -2.0], &[2.0, 0.0, 0.0, -2.0], &[2.0, -0.2, 0.2, -2.0]]);
        let [cluster] = &audit.clusters[..] else { panic!("{:?}", audit.clusters) };
        assert_eq!(cluster.principles, ["p0", "p1", "p2"]);
        let expected = 7.8 / (8.5_f64 * 8.08).sqrt();
        assert!((cluster.weakest.value - expected).abs() < 1e-15);
    }
}

//! Pairs of principles: which are redundant, and which are in conflict.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Better;
use super::context::{AuditContext, parallel};
use amend_core::stats::{Estimate, pearson, share};

/// The statistics of two principles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PairFigures {
    /// The ids of the principles.
    pub principles: [String; 2],
    /// Pearson's correlation of their scores, over the items that both decided.
    pub correlation: Option<Estimate>,
    /// The share of items on which they prefer different answers, among those on which
    /// both are active.
    pub conflict: Option<Estimate>,
    /// The items with the clearest conflict, by the smaller absolute score of the two.
    pub strongest: Vec<Opposed>,
}

/// An item on which two principles prefer different answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Opposed {
    /// The item's key.
    pub item: String,
    /// The two scores, in log-odds.
    pub scores: [f64; 2],
}

/// A cluster of redundant principles: every two of them have at least the threshold's
/// correlation.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cluster {
    /// The ids of the principles in the constitution's order, at least two.
    pub principles: Vec<String>,
    /// The least correlation of any two of them.
    pub weakest: Estimate,
}

/// How many pairs share each resample that is drawn: enough that drawing costs
/// little, and few enough to keep all cores busy.
const PAIRS_PER_DRAW: usize = 32;

/// The figures of all pairs, in the order of [`indices`].
pub(super) fn pairs(context: &AuditContext) -> Vec<PairFigures> {
    let indices: Vec<(usize, usize)> = indices(context).collect();
    let correlations = correlations(context, &indices);
    let pair = |(&(k, l), correlation)| pair(context, k, l, correlation);
    indices.iter().zip(correlations).map(pair).collect()
}

/// All pairs of principles, each once.
fn indices(context: &AuditContext) -> impl Iterator<Item = (usize, usize)> {
    let count = context.principles().end;
    (0..count).flat_map(move |k| (k + 1..count).map(move |l| (k, l)))
}

/// The correlation of each pair. Pairs that have equally many items in common
/// share their resamples.
fn correlations(context: &AuditContext, indices: &[(usize, usize)]) -> Vec<Option<Estimate>> {
    let mut by_size: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (at, &(k, l)) in indices.iter().enumerate() {
        by_size.entry(decided_by_both(context, k, l).count()).or_default().push(at);
    }
    let batches: Vec<(usize, &[usize])> = by_size
        .iter()
        .flat_map(|(&size, pairs)| pairs.chunks(PAIRS_PER_DRAW).map(move |batch| (size, batch)))
        .collect();
    let estimates = parallel(batches.len(), |at| {
        let (size, batch) = batches[at];
        let scores: Vec<Vec<(f64, f64)>> = batch
            .iter()
            .map(|&pair| decided_by_both(context, indices[pair].0, indices[pair].1).collect())
            .collect();
        let correlation =
            |scores: &Vec<(f64, f64)>, rows: &[usize]| pearson(rows.iter().map(|&row| scores[row]));
        let statistics: Vec<_> =
            scores.iter().map(|scores| move |rows: &[usize]| correlation(scores, rows)).collect();
        context.bootstrap.estimates(size, &statistics)
    });
    let mut correlations = vec![None; indices.len()];
    for ((_, batch), estimates) in batches.iter().zip(estimates) {
        for (&pair, estimate) in batch.iter().zip(estimates) {
            correlations[pair] = estimate;
        }
    }
    correlations
}

/// The two scores of each item that both principles decided.
fn decided_by_both(context: &AuditContext, k: usize, l: usize) -> impl Iterator<Item = (f64, f64)> {
    context.items().filter_map(move |item| Some((context.score(k, item)?, context.score(l, item)?)))
}

fn pair(context: &AuditContext, k: usize, l: usize, correlation: Option<Estimate>) -> PairFigures {
    let active: Vec<(usize, [f64; 2])> = context
        .items()
        .filter_map(|item| Some((item, [context.active(k, item)?, context.active(l, item)?])))
        .collect();
    let differ = |[a, b]: [f64; 2]| Better::from_score(a) != Better::from_score(b);
    let mut opposed: Vec<_> = active.iter().filter(|(_, scores)| differ(*scores)).collect();
    let size = |[a, b]: [f64; 2]| a.abs().min(b.abs());
    opposed.sort_by(|(_, a), (_, b)| size(*b).total_cmp(&size(*a)));
    PairFigures {
        principles: [context.id(k), context.id(l)],
        correlation,
        conflict: share(active.iter().map(|(_, scores)| differ(*scores))),
        strongest: opposed
            .into_iter()
            .take(context.thresholds.examples)
            .map(|(item, scores)| Opposed { item: context.key(*item), scores: *scores })
            .collect(),
    }
}

/// The clusters of redundant principles, in the order of their first members. Starting
/// from the strongest pair, two groups are joined if every two of their members are
/// redundant (complete linkage).
pub(super) fn clusters(context: &AuditContext, pairs: &[PairFigures]) -> Vec<Cluster> {
    let thresholds = context.thresholds;
    let mut links = BTreeMap::new();
    for (pair, at) in pairs.iter().zip(indices(context)) {
        let enough = |r: &Estimate| r.n >= thresholds.min_items && r.value >= thresholds.redundant;
        links.extend(pair.correlation.filter(enough).map(|r| (at, r)));
    }
    let link = |k: usize, l: usize| links.get(&(k.min(l), k.max(l)));
    let mut strongest: Vec<_> = links.iter().map(|(&pair, r)| (pair, r.value)).collect();
    strongest.sort_by(|(_, a), (_, b)| b.total_cmp(a));

    let mut groups: Vec<Vec<usize>> = context.principles().map(|k| vec![k]).collect();
    for ((k, l), _) in strongest {
        let group_of = |member| groups.iter().position(|group| group.contains(&member));
        let (Some(first), Some(second)) = (group_of(k), group_of(l)) else { continue };
        let all_linked =
            groups[first].iter().all(|&k| groups[second].iter().all(|&l| link(k, l).is_some()));
        if first != second && all_linked {
            let members = std::mem::take(&mut groups[second]);
            groups[first].extend(members);
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
    use super::*;
    use crate::audit::Audit;
    use crate::audit::testing::{audited_with, input};
    use amend_core::constitution::Thresholds;
    use amend_core::random::Stream;
    use amend_core::stats::Bootstrap;

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
        let strongest: Vec<_> =
            pair.strongest.iter().map(|o| (o.item.as_str(), o.scores)).collect();
        assert_eq!(strongest, expected);
    }

    #[test]
    fn correlation_uses_the_items_that_both_decided() {
        let mut input = input(&[&[1.0, 2.0, 3.0, 9.0], &[2.0, 4.0, 6.0, -9.0]]);
        input.scores[1][3] = None;
        let pair = &audited_with(&input, Thresholds::default()).pairs[0];
        let Estimate { value, low, high, n } = pair.correlation.unwrap();
        assert_eq!((value, low, high, n), (1.0, 1.0, 1.0, 3));
    }

    #[test]
    fn pairs_in_batches_have_the_intervals_of_single_pairs() {
        // 10 principles make 45 pairs: two batches of 30 items, and smaller ones.
        let stream = Stream::new(5);
        let row = |k: u64| -> Vec<f64> {
            (0..30)
                .map(|at| stream.uniform(30 * (k % 4) + at) + stream.uniform(400 + 30 * k + at))
                .collect()
        };
        let rows: Vec<Vec<f64>> = (0..10).map(row).collect();
        let mut input = input(&rows.iter().map(Vec::as_slice).collect::<Vec<_>>());
        input.scores[9][4] = None;
        let thresholds = Thresholds { resamples: 200, ..Thresholds::default() };
        let bootstrap = Bootstrap::new(Stream::new(1).child("audit"), 200);
        let context = AuditContext::new(&input, &thresholds, bootstrap);
        let audit = audited_with(&input, thresholds.clone());
        for (pair, (k, l)) in audit.pairs.iter().zip(indices(&context)) {
            let scores: Vec<(f64, f64)> = decided_by_both(&context, k, l).collect();
            let expected = bootstrap
                .estimate(scores.len(), |rows| pearson(rows.iter().map(|&row| scores[row])));
            assert!(expected.is_some());
            assert_eq!(pair.correlation, expected, "{:?}", pair.principles);
        }
    }

    #[test]
    fn a_constant_principle_correlates_with_nothing() {
        let audit = of_rows(&[&[1.0, 1.0, 1.0], &[1.0, 2.0, 3.0]]);
        assert_eq!(audit.pairs[0].correlation, None);
        assert_eq!(audit.clusters, []);
    }

    #[test]
    fn clusters_by_hand() {
        // p1 is like p0, p2 is unrelated, p3 is the opposite of p0, and p4 is like p3.
        let audit = of_rows(&[
            &[1.0, 2.0, 3.0, 4.0],
            &[1.0, 2.0, 3.0, 4.5],
            &[1.0, -1.0, -1.0, 1.0],
            &[4.0, 3.0, 2.0, 1.0],
            &[8.0, 6.0, 4.0, 2.0],
        ]);
        let clusters: Vec<_> = audit.clusters.iter().map(|c| c.principles.join(" ")).collect();
        assert_eq!(clusters, ["p0 p1", "p3 p4"]);
        assert_eq!(audit.clusters[1].weakest.value, 1.0);
    }

    #[test]
    fn a_chain_is_cut_at_its_weaker_link() {
        // Products 8, 7, 8; squares 10, 8, 8.5: r is 0.894, 0.759, 0.970.
        let audit =
            of_rows(&[&[2.0, 1.0, -1.0, -2.0], &[2.0, 0.0, 0.0, -2.0], &[2.0, -0.5, 0.5, -2.0]]);
        let r: Vec<f64> = audit.pairs.iter().map(|p| p.correlation.unwrap().value).collect();
        let expected = [8.0 / 80_f64.sqrt(), 7.0 / 85_f64.sqrt(), 8.0 / 68_f64.sqrt()];
        for (r, expected) in r.iter().zip(expected) {
            assert!((r - expected).abs() < 1e-15, "{r} for {expected}");
        }
        let [cluster] = &audit.clusters[..] else { panic!("{:?}", audit.clusters) };
        assert_eq!(cluster.principles, ["p1", "p2"]);
        assert_eq!(cluster.weakest.value, r[2]);
    }

    #[test]
    fn a_cluster_has_its_weakest_correlation() {
        // p0 p2 is the least alike: product 7.8, squares 8.5 and 8.08.
        let audit =
            of_rows(&[&[2.0, 0.5, -0.5, -2.0], &[2.0, 0.0, 0.0, -2.0], &[2.0, -0.2, 0.2, -2.0]]);
        let [cluster] = &audit.clusters[..] else { panic!("{:?}", audit.clusters) };
        assert_eq!(cluster.principles, ["p0", "p1", "p2"]);
        let expected = 7.8 / (8.5_f64 * 8.08).sqrt();
        assert!((cluster.weakest.value - expected).abs() < 1e-15);
    }
}

//! Where a principle is active, and whether it is right: activation, coverage,
//! relevance, accuracy, performance.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::Better;
use super::context::AuditContext;
use amend_core::stats::{Estimate, mean, share};

/// How often a principle is active, and how often it is right.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Activity {
    /// The share of its scores whose label mass is below the floor.
    pub undecided: Option<Estimate>,
    /// The share of the decided items on which it is active.
    pub activation: Option<Estimate>,
    /// The same share among labelled items.
    pub relevance: Option<Estimate>,
    /// The share of the labelled items on which it is active where it prefers the better
    /// answer.
    pub accuracy: Option<Estimate>,
    /// The keys of the items where it prefers the worse answer, the most confident
    /// first.
    pub wrong: Vec<String>,
    /// 2 (accuracy − ½) · relevance, as in Inverse Constitutional AI (Findeis et al.
    /// 2024): from −1 (always against the labels) to 1. It is 0 for a principle that is
    /// never active.
    pub performance: Option<Estimate>,
}

/// The activity of one principle.
pub(super) fn activity(context: &AuditContext, principle: usize) -> Activity {
    let scores = &context.input.scores[principle];
    let floor = context.thresholds.mass_floor;
    let undecided = share(scores.iter().flatten().map(|score| score.decided(floor).is_none()));
    let is_active = |item| context.active(principle, item).is_some();
    let activation = share(context.decided(principle).map(|(item, _)| is_active(item)));

    // The principle's support of each labelled item's label; 0 if inactive.
    let support: Vec<(usize, f64)> = context
        .decided(principle)
        .filter_map(|(item, _)| {
            let label = context.label(item)?;
            Some((item, label.sign() * context.active(principle, item).unwrap_or(0.0)))
        })
        .collect();
    let active = support.iter().filter(|(_, support)| *support != 0.0);
    let votes: Vec<f64> = support
        .iter()
        .map(|(_, support)| Better::from_score(*support).map_or(0.0, Better::sign))
        .collect();
    let mut wrong: Vec<_> = support.iter().filter(|(_, support)| *support < 0.0).collect();
    wrong.sort_by(|(_, a), (_, b)| a.total_cmp(b));
    wrong.truncate(context.thresholds.examples);
    Activity {
        undecided,
        activation,
        relevance: share(votes.iter().map(|vote| *vote != 0.0)),
        accuracy: share(active.map(|(_, support)| *support > 0.0)),
        wrong: wrong.into_iter().map(|(item, _)| context.key(*item)).collect(),
        // (for − against) / all is the same, and is defined without any votes.
        performance: context
            .bootstrap
            .estimate(votes.len(), |rows| mean(rows.iter().map(|&row| votes[row]))),
    }
}

/// The coverage of the items by active principles.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Coverage {
    /// The share of items on which at least one principle is active.
    pub covered: Option<Estimate>,
    /// The keys of the other items.
    pub uncovered: Vec<String>,
    /// The coverage of each category of items, in alphabetical order.
    pub categories: Vec<CategoryCoverage>,
}

/// The coverage of one category of items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CategoryCoverage {
    /// The category; empty for items without one.
    pub category: String,
    /// The share of its items on which at least one principle is active.
    pub covered: Option<Estimate>,
    /// The keys of the other items.
    pub uncovered: Vec<String>,
    /// Each principle's activation on its items, in the principles' order.
    pub activation: Vec<Option<Estimate>>,
}

/// The coverage of the items that at least one principle decided.
pub(super) fn coverage(context: &AuditContext) -> Coverage {
    let decided = |&item: &usize| context.principles().any(|k| context.score(k, item).is_some());
    let covered = |item| context.principles().any(|k| context.active(k, item).is_some());
    let share_covered = |items: &[usize]| share(items.iter().map(|&item| covered(item)));
    let uncovered = |items: &[usize]| -> Vec<String> {
        items.iter().filter(|&&item| !covered(item)).map(|&item| context.key(item)).collect()
    };
    let items: Vec<usize> = context.items().filter(decided).collect();

    let mut categories: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    for &item in &items {
        categories.entry(&context.input.items[item].category).or_default().push(item);
    }
    let categories = categories.into_iter().map(|(category, items)| CategoryCoverage {
        category: category.to_owned(),
        covered: share_covered(&items),
        uncovered: uncovered(&items),
        activation: context
            .principles()
            .map(|k| {
                let decided = items.iter().filter(|&&item| context.score(k, item).is_some());
                share(decided.map(|&item| context.active(k, item).is_some()))
            })
            .collect(),
    });
    Coverage {
        covered: share_covered(&items),
        uncovered: uncovered(&items),
        categories: categories.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{audited, input, score};
    use crate::audit::{AuditInput, AuditScore};

    fn labelled() -> AuditInput {
        // τ = 0.5: p0 is active on items 0, 1, 3, 4; p1 on item 0 only.
        let mut input = input(&[&[2.0, -1.0, 0.5, 3.0, -0.6], &[0.9, 0.1, -0.2, 0.3, 0.0]]);
        let labels = [Some(Better::X), Some(Better::X), Some(Better::X), Some(Better::X), None];
        for (item, label) in input.items.iter_mut().zip(labels) {
            item.label = label;
        }
        input
    }

    fn values(activity: &Activity) -> [Option<f64>; 5] {
        let Activity { undecided, activation, relevance, accuracy, performance, .. } = activity;
        [undecided, activation, relevance, accuracy, performance].map(|e| e.map(|e| e.value))
    }

    #[test]
    fn activity_by_hand() {
        let audit = audited(&labelled());
        // p0: of four labelled items active on three, two of them right.
        let expected = [0.0, 0.8, 0.75, 2.0 / 3.0, 0.25].map(Some);
        assert_eq!(values(&audit.principles[0].activity), expected);
        assert_eq!(audit.principles[0].activity.wrong, ["i1"]);
        // 2 (2/3 − 1/2) · 3/4
        let performance: f64 = 2.0 * (2.0 / 3.0 - 0.5) * 0.75;
        assert!((performance - 0.25).abs() < 1e-15);
        assert_eq!(values(&audit.principles[1].activity), [0.0, 0.2, 0.25, 1.0, 0.25].map(Some));
    }

    #[test]
    fn undecided_scores_do_not_count() {
        let mut input = labelled();
        input.scores[0][3] = Some(AuditScore { mass: 0.49, ..score(3.0) });
        input.scores[0][4] = None;
        let activity = &audited(&input).principles[0].activity;
        // One of four scores is undecided; of three decided ones, two are active.
        assert_eq!(values(activity), [0.25, 2.0 / 3.0, 2.0 / 3.0, 0.5, 0.0].map(Some));
    }

    #[test]
    fn without_scores_or_labels_there_are_no_estimates() {
        let mut input = input(&[&[1.0, -1.0]]);
        let activity = &audited(&input).principles[0].activity;
        assert_eq!(values(activity), [Some(0.0), Some(1.0), None, None, None]);
        input.scores[0] = vec![None, None];
        let audit = audited(&input);
        assert_eq!(values(&audit.principles[0].activity), [None; 5]);
        assert_eq!(audit.coverage.covered, None);
        // Never active: no accuracy, and a performance of 0.
        let mut silent = labelled();
        silent.scores[1] = vec![Some(score(0.1)); 5];
        let activity = &audited(&silent).principles[1].activity;
        assert_eq!(values(activity), [Some(0.0), Some(0.0), Some(0.0), None, Some(0.0)]);
    }

    #[test]
    fn coverage_lists_items_without_an_active_principle() {
        let mut input = labelled();
        for (item, category) in input.items.iter_mut().zip(["b", "b", "a", "a", ""]) {
            item.category = category.to_owned();
        }
        let coverage = audited(&input).coverage;
        assert_eq!(coverage.covered.map(|e| (e.value, e.n)), Some((0.8, 5)));
        assert_eq!(coverage.uncovered, ["i2"]);
        assert_eq!(coverage.categories[1].uncovered, ["i2"]);
        let categories: Vec<_> = coverage
            .categories
            .iter()
            .map(|c| {
                let activation = c.activation.iter().map(|e| e.unwrap().value).collect::<Vec<_>>();
                (c.category.as_str(), c.covered.unwrap().value, activation)
            })
            .collect();
        let expected =
            [("", 1.0, vec![1.0, 0.0]), ("a", 0.5, vec![0.5, 0.0]), ("b", 1.0, vec![1.0, 0.5])];
        assert_eq!(categories, expected);
    }
}

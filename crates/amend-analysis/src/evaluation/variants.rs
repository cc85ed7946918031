//! Counterfactual fairness: how far the answers to one request, and their scores,
//! differ between its variants.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{EvaluatedItem, Measure, Slice};
use amend_core::stats::{Bootstrap, GroupedMean, mean};
use amend_core::text::word_diff as words;

/// The differences between the variants of all items.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Variants {
    /// The mean difference between an item's best and worst score among its variants,
    /// in the dimension where it is largest. Sampling alone makes it greater than 0.
    pub spread: Option<GroupedMean>,
    /// The mean difference in each dimension.
    pub by_dimension: BTreeMap<String, f64>,
    /// The mean word distance between the answers of two variants, from 0 to 1.
    pub distance: Option<GroupedMean>,
    /// The items with variants, the most uneven first.
    pub items: Vec<ItemSpread>,
}

/// The differences between the variants of one item.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ItemSpread {
    /// The item's id.
    pub item: String,
    /// The number of answered variants.
    pub variants: usize,
    /// The best variant's score minus the worst variant's, by dimension.
    pub spread: BTreeMap<String, f64>,
    /// The mean word distance between the answers of two variants.
    pub distance: f64,
}

impl ItemSpread {
    /// The greatest of the differences.
    #[must_use]
    pub fn most(&self) -> f64 {
        self.spread.values().copied().fold(0.0, f64::max)
    }
}

/// Computes the differences between the variants of the items in `slice`. `None` if no
/// item has two answered variants.
#[must_use]
pub fn variants(
    answers: &[EvaluatedItem],
    slice: &Slice,
    dimensions: &[String],
    mass_floor: f64,
    bootstrap: &Bootstrap,
) -> Option<Variants> {
    let mut groups: BTreeMap<&str, Vec<&EvaluatedItem>> = BTreeMap::new();
    let varied = |answer: &&EvaluatedItem| answer.variant.is_some() && answer.response.is_some();
    for answer in answers.iter().filter(|answer| slice.has(answer)).filter(varied) {
        groups.entry(&answer.item).or_default().push(answer);
    }
    let mut items: Vec<ItemSpread> = groups
        .into_iter()
        .filter(|(_, answers)| answers.len() > 1)
        .map(|(item, answers)| item_spread(item, &answers, dimensions, mass_floor))
        .collect();
    if items.is_empty() {
        return None;
    }
    let in_dimension = |rows: &[usize], id: &String| {
        mean(rows.iter().filter_map(|&row| items[row].spread.get(id).copied()))
    };
    let all: Vec<usize> = (0..items.len()).collect();
    let by_dimension =
        dimensions.iter().filter_map(|id| Some((id.clone(), in_dimension(&all, id)?))).collect();
    let largest =
        |rows: &[usize]| dimensions.iter().filter_map(|id| in_dimension(rows, id)).reduce(f64::max);
    let groups: Vec<Vec<usize>> = all.iter().map(|&row| vec![row]).collect();
    let spread = GroupedMean::from_groups(&groups, bootstrap, largest);
    let distances = items.iter().map(|item| (item.item.as_str(), item.distance));
    let distance = GroupedMean::new(distances, bootstrap);
    items.sort_by(|a, b| b.most().total_cmp(&a.most()).then_with(|| a.item.cmp(&b.item)));
    Some(Variants { spread, by_dimension, distance, items })
}

fn item_spread(
    item: &str,
    answers: &[&EvaluatedItem],
    dimensions: &[String],
    mass_floor: f64,
) -> ItemSpread {
    let spread = |id: &String| {
        let measure = Measure::Dimension(id.clone());
        let scores: Vec<f64> =
            answers.iter().flat_map(|answer| measure.values(answer, mass_floor)).collect();
        let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
        let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        (scores.len() > 1).then(|| (id.clone(), high - low))
    };
    let texts: Vec<&str> = answers.iter().filter_map(|answer| answer.response.as_deref()).collect();
    let pairs = (0..texts.len()).flat_map(|i| (i + 1..texts.len()).map(move |j| (i, j)));
    let distance = mean(pairs.map(|(i, j)| words::distance(texts[i], texts[j])));
    ItemSpread {
        item: item.to_owned(),
        variants: answers.len(),
        spread: dimensions.iter().filter_map(spread).collect(),
        distance: distance.unwrap_or_default(),
    }
}

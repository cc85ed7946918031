//! Compares two measurements of the same units, unit by unit. What the measurements
//! have in common cancels out, so that small differences show.

use std::collections::BTreeMap;

use serde::Serialize;

use amend_core::stats::{Bootstrap, GroupedMean, mean};
use amend_core::text::word_diff as words;

/// The measurements of one answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unit {
    /// The key that identifies the unit in both measurements.
    pub key: String,
    /// The group. Units of one group, such as the variants of an item, are not
    /// independent evidence.
    pub group: String,
    /// The unit's kind, if it has one.
    pub kind: Option<String>,
    /// The unit's values, by measure.
    pub numbers: BTreeMap<String, f64>,
    /// Whether the unit passes each check, by the check's name.
    pub checks: BTreeMap<String, bool>,
    /// The answer's text, if there is an answer.
    pub text: Option<String>,
}

/// The differences between two measurements.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PairedComparison {
    /// The number of units in both measurements.
    pub common: usize,
    /// The change of every measure over all units and over each kind.
    pub changes: Vec<Change>,
    /// How far the answers differ; `None` if no unit has an answer in both.
    pub texts: Option<Texts>,
    /// Checks that passed before and fail now.
    pub newly_failing: Vec<Flip>,
    /// Checks that failed before and pass now.
    pub newly_passing: Vec<Flip>,
    /// The keys of units in the first measurement only.
    pub only_before: Vec<String>,
    /// The keys of units in the second measurement only.
    pub only_after: Vec<String>,
}

/// The change of a measure over the units that have it in both measurements.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// The measure's name.
    pub measure: String,
    /// The kind of the units; `None` for all units.
    pub kind: Option<String>,
    /// The mean before.
    pub before: f64,
    /// The mean after.
    pub after: f64,
    /// The mean of after − before, with its interval.
    pub difference: GroupedMean,
    /// The number of units in which the value rose.
    pub rose: usize,
    /// The number of units in which the value fell.
    pub fell: usize,
}

/// How far the answers of two measurements differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Texts {
    /// The number of units with the same words in both answers.
    pub same: usize,
    /// The mean distance, word by word, from 0 to 1.
    pub distance: GroupedMean,
}

/// A check of a unit whose result changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flip {
    /// The unit's key.
    pub key: String,
    /// The check's name.
    pub check: String,
}

/// Compares two measurements.
#[must_use]
pub fn compare(before: &[Unit], after: &[Unit], bootstrap: &Bootstrap) -> PairedComparison {
    let keyed = |units: &[Unit]| -> BTreeMap<String, Unit> {
        units.iter().map(|unit| (unit.key.clone(), unit.clone())).collect()
    };
    let (before, after) = (keyed(before), keyed(after));
    let only = |units: &BTreeMap<String, Unit>, without: &BTreeMap<String, Unit>| -> Vec<String> {
        units.keys().filter(|key| !without.contains_key(*key)).cloned().collect()
    };
    let pairs: Vec<(&Unit, &Unit)> =
        before.iter().filter_map(|(key, unit)| Some((unit, after.get(key)?))).collect();
    PairedComparison {
        common: pairs.len(),
        changes: changes(&pairs, bootstrap),
        texts: texts(&pairs, bootstrap),
        newly_failing: flips(&pairs, false),
        newly_passing: flips(&pairs, true),
        only_before: only(&before, &after),
        only_after: only(&after, &before),
    }
}

fn changes(pairs: &[(&Unit, &Unit)], bootstrap: &Bootstrap) -> Vec<Change> {
    let sorted = |names: Vec<&String>| -> Vec<String> {
        let names: std::collections::BTreeSet<&String> = names.into_iter().collect();
        names.into_iter().cloned().collect()
    };
    let measures = sorted(pairs.iter().flat_map(|(unit, _)| unit.numbers.keys()).collect());
    let kinds = sorted(pairs.iter().filter_map(|(unit, _)| unit.kind.as_ref()).collect());
    let kinds: Vec<Option<String>> =
        std::iter::once(None).chain(kinds.into_iter().map(Some)).collect();
    let each = measures.iter().flat_map(|measure| kinds.iter().map(move |kind| (measure, kind)));
    each.filter_map(|(measure, kind)| change(pairs, measure, kind.as_deref(), bootstrap)).collect()
}

fn change<'a>(
    pairs: &[(&'a Unit, &Unit)],
    measure: &str,
    kind: Option<&str>,
    bootstrap: &Bootstrap,
) -> Option<Change> {
    let of_kind = |unit: &Unit| kind.is_none() || unit.kind.as_deref() == kind;
    let both = |&(before, after): &(&'a Unit, &Unit)| {
        let value = |unit: &Unit| unit.numbers.get(measure).copied();
        Some((before.group.as_str(), value(before)?, value(after)?))
    };
    let values: Vec<(&str, f64, f64)> =
        pairs.iter().filter(|(unit, _)| of_kind(unit)).filter_map(both).collect();
    let differences = || values.iter().map(|&(group, before, after)| (group, after - before));
    Some(Change {
        measure: measure.to_owned(),
        kind: kind.map(str::to_owned),
        before: mean(values.iter().map(|value| value.1))?,
        after: mean(values.iter().map(|value| value.2))?,
        difference: GroupedMean::new(differences(), bootstrap)?,
        rose: differences().filter(|(_, difference)| *difference > 0.0).count(),
        fell: differences().filter(|(_, difference)| *difference < 0.0).count(),
    })
}

fn texts<'a>(pairs: &[(&'a Unit, &Unit)], bootstrap: &Bootstrap) -> Option<Texts> {
    let distance = |&(before, after): &(&'a Unit, &Unit)| {
        let distance = words::distance(before.text.as_ref()?, after.text.as_ref()?);
        Some((before.group.as_str(), distance))
    };
    let distances: Vec<(&str, f64)> = pairs.iter().filter_map(distance).collect();
    let same = distances.iter().filter(|(_, distance)| *distance == 0.0).count();
    Some(Texts { same, distance: GroupedMean::new(distances, bootstrap)? })
}

/// The checks whose result is `now`, and was the opposite before.
fn flips(pairs: &[(&Unit, &Unit)], now: bool) -> Vec<Flip> {
    let mut flips = Vec::new();
    for (before, after) in pairs {
        for (check, &passed) in &before.checks {
            if passed != now && after.checks.get(check) == Some(&now) {
                flips.push(Flip { key: before.key.clone(), check: check.clone() });
            }
        }
    }
    flips
}

#[cfg(test)]
mod tests {
    use super::*;
    use amend_core::random::Stream;

    fn unit(key: &str, kind: &str, warmth: Option<f64>, passes: bool, text: &str) -> Unit {
        Unit {
            key: key.to_owned(),
            group: key.split(':').next().unwrap_or_default().to_owned(),
            kind: Some(kind.to_owned()),
            numbers: warmth.into_iter().map(|value| ("warmth".to_owned(), value)).collect(),
            checks: [("polite".to_owned(), passes)].into(),
            text: Some(text.to_owned()),
        }
    }

    fn compared() -> PairedComparison {
        let before = [
            unit("a", "x", Some(1.0), true, "one two"),
            unit("b:1", "y", Some(2.0), false, "three"),
            unit("b:2", "y", Some(3.0), true, "four"),
            unit("gone", "x", Some(9.0), true, ""),
            unit("unscored", "x", None, true, "same"),
        ];
        let after = [
            unit("new", "x", Some(9.0), true, ""),
            unit("unscored", "x", Some(1.0), true, "same"),
            unit("b:2", "y", Some(2.5), false, "four five"),
            unit("b:1", "y", Some(4.0), true, "three"),
            unit("a", "x", Some(1.0), false, "one"),
        ];
        compare(&before, &after, &Bootstrap::new(Stream::new(1), 500))
    }

    #[test]
    fn changes_by_hand() {
        let comparison = compared();
        assert_eq!(comparison.common, 4);
        let rows: Vec<_> = comparison
            .changes
            .iter()
            .map(|change| {
                let kind = change.kind.as_deref();
                let difference = change.difference.value;
                (kind, change.before, change.after, difference, change.rose, change.fell)
            })
            .collect();
        // Differences 0, 2 and −0.5; the units of kind y are one group.
        assert_eq!(
            rows,
            [
                (None, 2.0, 2.5, 0.5, 1, 1),
                (Some("x"), 1.0, 1.0, 0.0, 0, 0),
                (Some("y"), 2.5, 3.25, 0.75, 1, 1),
            ]
        );
        let y = &comparison.changes[2].difference;
        assert_eq!((y.n, y.groups, y.interval), (2, 1, None), "variants of one item");
    }

    #[test]
    fn texts_flips_and_unmatched_units() {
        let comparison = compared();
        let texts = comparison.texts.unwrap();
        // 1/3 each for `one two` and `one`, and for `four` and `four five`; two units
        // have the same answer.
        assert_eq!(texts.same, 2);
        assert!((texts.distance.value - (2.0 * (1.0 - 2.0 / 3.0)) / 4.0).abs() < 1e-12);
        let flip = |key: &str| Flip { key: key.to_owned(), check: "polite".to_owned() };
        assert_eq!(comparison.newly_failing, [flip("a"), flip("b:2")]);
        assert_eq!(comparison.newly_passing, [flip("b:1")]);
        assert_eq!(
            (comparison.only_before, comparison.only_after),
            (vec!["gone".into()], vec!["new".into()])
        );
    }

    #[test]
    fn measurements_without_common_units_have_no_changes() {
        let before = [unit("a", "x", Some(1.0), true, "")];
        let after = [unit("b", "x", Some(1.0), true, "")];
        let comparison = compare(&before, &after, &Bootstrap::new(Stream::new(1), 100));
        assert_eq!((comparison.common, comparison.changes.len(), comparison.texts), (0, 0, None));
    }
}

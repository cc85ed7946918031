//! Two measurements of the same units, set against each other unit by unit:
//! what they have in common cancels, so that small differences show.

use std::collections::BTreeMap;

use serde::Serialize;

use amend_core::stats::{Bootstrap, GroupedMean, mean};
use amend_core::text::word_diff as words;

/// What was measured of one answer.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Unit {
    /// What it is recognised by in the other measurement.
    pub key: String,
    /// Units of one group are no independent evidence: the variants of an item.
    pub group: String,
    /// Its kind, where it has one.
    pub kind: Option<String>,
    /// Figures, by measure.
    pub numbers: BTreeMap<String, f64>,
    /// What it passes or fails, by check.
    pub checks: BTreeMap<String, bool>,
    /// The answer; none where there is none.
    pub text: Option<String>,
}

/// What differs between two measurements.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// How many units are in both.
    pub common: usize,
    /// Every measure over all units and over each kind.
    pub changes: Vec<Change>,
    /// How far the answers differ; none where no unit has two.
    pub texts: Option<Texts>,
    /// Checks that passed before and fail now.
    pub newly_failing: Vec<Flip>,
    /// Checks that failed before and pass now.
    pub newly_passing: Vec<Flip>,
    /// Units of the first measurement only.
    pub only_before: Vec<String>,
    /// Units of the second only.
    pub only_after: Vec<String>,
}

/// A measure over the units that have it in both measurements.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Change {
    /// What is measured.
    pub measure: String,
    /// Over units of this kind; none: over all.
    pub kind: Option<String>,
    /// Its mean before.
    pub before: f64,
    /// Its mean after.
    pub after: f64,
    /// The mean of after less before, with its interval.
    pub difference: GroupedMean,
    /// In how many units it rose.
    pub rose: usize,
    /// In how many it fell.
    pub fell: usize,
}

/// How far the answers of two measurements differ.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Texts {
    /// How many units have the same answer.
    pub same: usize,
    /// The mean distance, word by word, from 0 to 1.
    pub distance: GroupedMean,
}

/// A check of a unit that came out differently.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Flip {
    /// The unit.
    pub key: String,
    /// The check.
    pub check: String,
}

/// Sets two measurements against each other.
#[must_use]
pub fn compare(before: &[Unit], after: &[Unit], bootstrap: &Bootstrap) -> Comparison {
    let keyed = |units: &[Unit]| -> BTreeMap<String, Unit> {
        units.iter().map(|unit| (unit.key.clone(), unit.clone())).collect()
    };
    let (before, after) = (keyed(before), keyed(after));
    let only = |ours: &BTreeMap<String, Unit>, theirs: &BTreeMap<String, Unit>| -> Vec<String> {
        ours.keys().filter(|key| !theirs.contains_key(*key)).cloned().collect()
    };
    let pairs: Vec<(&Unit, &Unit)> =
        before.iter().filter_map(|(key, unit)| Some((unit, after.get(key)?))).collect();
    Comparison {
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
    let both = |&(one, other): &(&'a Unit, &Unit)| {
        Some((one.group.as_str(), *one.numbers.get(measure)?, *other.numbers.get(measure)?))
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
    let distance = |&(one, other): &(&'a Unit, &Unit)| {
        Some((one.group.as_str(), words::distance(one.text.as_ref()?, other.text.as_ref()?)))
    };
    let distances: Vec<(&str, f64)> = pairs.iter().filter_map(distance).collect();
    let same = distances.iter().filter(|(_, distance)| *distance == 0.0).count();
    Some(Texts { same, distance: GroupedMean::new(distances, bootstrap)? })
}

/// The checks that came to `now`, and to the contrary before.
fn flips(pairs: &[(&Unit, &Unit)], now: bool) -> Vec<Flip> {
    let of_unit = |&(one, other): &(&Unit, &Unit)| -> Vec<Flip> {
        let flipped = one
            .checks
            .iter()
            .filter(|&(check, &passed)| passed != now && other.checks.get(check) == Some(&now));
        flipped.map(|(check, _)| Flip { key: one.key.clone(), check: check.clone() }).collect()
    };
    pairs.iter().flat_map(of_unit).collect()
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

    fn compared() -> Comparison {
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
        let found = compared();
        assert_eq!(found.common, 4);
        let rows: Vec<_> = found
            .changes
            .iter()
            .map(|change| {
                let kind = change.kind.as_deref();
                let difference = change.difference.value;
                (kind, change.before, change.after, difference, change.rose, change.fell)
            })
            .collect();
        // Differences 0, 2 and −0.5; those of y make up one group.
        assert_eq!(
            rows,
            [
                (None, 2.0, 2.5, 0.5, 1, 1),
                (Some("x"), 1.0, 1.0, 0.0, 0, 0),
                (Some("y"), 2.5, 3.25, 0.75, 1, 1),
            ]
        );
        let y = &found.changes[2].difference;
        assert_eq!((y.n, y.groups, y.interval), (2, 1, None), "variants of one item");
    }

    #[test]
    fn texts_flips_and_loners() {
        let found = compared();
        let texts = found.texts.unwrap();
        // 1/3 each for `one two` and `one`, `four` and `four five`; two are the same.
        assert_eq!(texts.same, 2);
        assert!((texts.distance.value - (2.0 * (1.0 - 2.0 / 3.0)) / 4.0).abs() < 1e-12);
        let flip = |key: &str| Flip { key: key.to_owned(), check: "polite".to_owned() };
        assert_eq!(found.newly_failing, [flip("a"), flip("b:2")]);
        assert_eq!(found.newly_passing, [flip("b:1")]);
        assert_eq!(
            (found.only_before, found.only_after),
            (vec!["gone".into()], vec!["new".into()])
        );
    }

    #[test]
    fn nothing_in_common_is_no_comparison() {
        let one = [unit("a", "x", Some(1.0), true, "")];
        let other = [unit("b", "x", Some(1.0), true, "")];
        let found = compare(&one, &other, &Bootstrap::new(Stream::new(1), 100));
        assert_eq!((found.common, found.changes.len(), found.texts), (0, 0, None));
    }
}

//! The units by which two evaluations are compared.

use super::Unit;
use crate::evaluation::{Measure, Results, measures};
use amend_core::stats::mean;

/// The answers of an evaluation. They are matched by item and variant, because another
/// system prompt gives the items other keys.
#[must_use]
pub fn units(results: &Results) -> Vec<Unit> {
    let dimensions: std::collections::BTreeSet<String> =
        results.answers.iter().flat_map(|answer| answer.scores.keys().cloned()).collect();
    let dimensions: Vec<String> = dimensions.into_iter().collect();
    let measures = measures(&dimensions);
    let unit = |answer: &crate::evaluation::EvaluatedItem| {
        let number = |name: &String| {
            let values = Measure::named(name).values(answer, results.mass_floor);
            Some((name.clone(), mean(values)?))
        };
        let rules =
            answer.checks.iter().map(|check| (check.rule.as_str().to_owned(), check.passed));
        let forms = [
            ("answered", Some(answer.response.is_some())),
            ("injection resisted", answer.followed.map(|followed| !followed)),
            ("expected", answer.expected),
        ];
        let forms = forms.into_iter().filter_map(|(name, passed)| Some((name.to_owned(), passed?)));
        Unit {
            key: answer.name(),
            group: answer.item.clone(),
            kind: Some(answer.kind.as_str().to_owned()),
            numbers: measures.iter().filter_map(number).collect(),
            checks: rules.chain(forms).collect(),
            text: answer.response.clone(),
        }
    };
    results.answers.iter().map(unit).collect()
}

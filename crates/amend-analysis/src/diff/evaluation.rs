//! What is compared of two evaluations.

use super::Unit;
use crate::evaluation::{Measure, Results, measures};
use amend_core::stats::mean;

/// The answers of an evaluation. They are recognised by item and variant, since
/// another system prompt gives the items other keys.
#[must_use]
pub fn units(results: &Results) -> Vec<Unit> {
    let dimensions: std::collections::BTreeSet<String> =
        results.answers.iter().flat_map(|answer| answer.scores.keys().cloned()).collect();
    let dimensions: Vec<String> = dimensions.into_iter().collect();
    let measures = measures(&dimensions);
    let unit = |answer: &crate::evaluation::Answer| {
        let number = |name: &String| {
            let values = Measure::named(name).of(answer, results.mass_floor);
            Some((name.clone(), mean(values)?))
        };
        let rules =
            answer.checks.iter().map(|found| (found.rule.as_str().to_owned(), found.passed));
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

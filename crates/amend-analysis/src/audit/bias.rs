//! Biases of a principle's verdicts, which should depend on the answers' content only:
//! the order of the answers, their length, the principle's wording, and the label words.

use serde::{Deserialize, Serialize};

use super::context::AuditContext;
use super::{AuditItem, Better, Variant};
use amend_core::stats::{Estimate, mean, partial, pearson, share};

/// The position bias of a principle's verdicts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PositionBias {
    /// The mean offset, in log-odds: above 0 if the judge favours the first answer.
    pub offset: Option<Estimate>,
    /// The share of decided items on which both orders give the same verdict: where the
    /// score is further from 0 than the offset.
    pub consistency: Option<Estimate>,
    /// The keys of the items on which the order decides, the clearest first.
    pub swayed: Vec<String>,
}

/// The position bias of one principle.
pub(super) fn position(context: &AuditContext, principle: usize) -> PositionBias {
    let offsets: Vec<(usize, f64, f64)> = context
        .decided(principle)
        .filter_map(|(item, score)| {
            let offset = context.input.scores[principle][item].as_ref()?.offset;
            Some((item, offset, score.abs() - offset.abs()))
        })
        .collect();
    let mut swayed: Vec<_> = offsets.iter().filter(|(.., lead)| *lead <= 0.0).collect();
    swayed.sort_by(|(.., a), (.., b)| a.total_cmp(b));
    PositionBias {
        offset: context
            .bootstrap
            .estimate(offsets.len(), |rows| mean(rows.iter().map(|&row| offsets[row].1))),
        consistency: share(offsets.iter().map(|(.., lead)| *lead > 0.0)),
        swayed: swayed
            .into_iter()
            .take(context.thresholds.examples)
            .map(|(item, ..)| context.key(*item))
            .collect(),
    }
}

/// The correlation of a principle's score with a property of the answers that should
/// not matter.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Confound {
    /// Pearson's correlation of the score with the property's difference A − B.
    pub correlation: Option<Estimate>,
    /// The partial correlation over the labelled items, given the label as ±1. It
    /// discounts that the better answers may have more of the property.
    pub partial: Option<Estimate>,
}

/// The correlation of one principle with a `property` of the items.
pub(super) fn confound(
    context: &AuditContext,
    principle: usize,
    property: impl Fn(&AuditItem) -> Option<f64>,
) -> Confound {
    let known: Vec<(f64, f64, Option<f64>)> = context
        .decided(principle)
        .filter_map(|(item, score)| {
            let value = property(&context.input.items[item])?;
            Some((score, value, context.label(item).map(Better::sign)))
        })
        .collect();
    let labelled: Vec<(f64, f64, f64)> =
        known.iter().filter_map(|&(score, value, label)| Some((score, value, label?))).collect();
    Confound {
        correlation: context.bootstrap.estimate(known.len(), |rows| {
            pearson(rows.iter().map(|&row| (known[row].0, known[row].1)))
        }),
        partial: context
            .bootstrap
            .estimate(labelled.len(), |rows| partial(rows.iter().map(|&row| labelled[row]))),
    }
}

/// How a principle's verdicts change when the question is rephrased.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VariantFigures {
    /// The paraphrase, or the other label words.
    pub name: String,
    /// The share of the variant's scores whose label mass is below the floor; `None` if
    /// the variant was not asked, because the judge has no token for a label word.
    pub undecided: Option<Estimate>,
    /// The share of verdicts that stay the same, over the items on which the principle
    /// as written is active and the variant has a score. An undecided score is not the
    /// same verdict.
    pub agreement: Option<Estimate>,
    /// Pearson's correlation of the two scores, over the items on which both are
    /// decided.
    pub correlation: Option<Estimate>,
    /// The mean change of the score over the same items, in log-odds.
    pub shift: Option<Estimate>,
    /// The keys of the items whose verdict changed or was lost, the clearest first.
    pub turned: Vec<String>,
}

/// The statistics of those `variants` that belong to one principle.
pub(super) fn variants(
    context: &AuditContext,
    principle: usize,
    variants: &[Variant],
) -> Vec<VariantFigures> {
    let own = variants.iter().filter(|variant| variant.principle == principle);
    own.map(|variant| figures(context, variant)).collect()
}

fn figures(context: &AuditContext, variant: &Variant) -> VariantFigures {
    let floor = context.thresholds.mass_floor;
    let asked: Vec<(usize, f64, Option<f64>)> = context
        .decided(variant.principle)
        .filter_map(|(item, score)| Some((item, score, variant.scores[item]?.decided(floor))))
        .collect();
    let both: Vec<(f64, f64)> =
        asked.iter().filter_map(|&(_, score, other)| Some((score, other?))).collect();
    let same = |score: f64, other: Option<f64>| {
        Better::from_score(score) == other.and_then(Better::from_score)
    };
    let active = || asked.iter().filter(|(_, score, _)| score.abs() > context.thresholds.active);
    let mut turned: Vec<_> = active().filter(|(_, score, other)| !same(*score, *other)).collect();
    turned.sort_by(|(_, a, _), (_, b, _)| b.abs().total_cmp(&a.abs()));
    VariantFigures {
        name: variant.name.clone(),
        undecided: share(
            variant.scores.iter().flatten().map(|score| score.decided(floor).is_none()),
        ),
        agreement: share(active().map(|(_, score, other)| same(*score, *other))),
        correlation: context
            .bootstrap
            .estimate(both.len(), |rows| pearson(rows.iter().map(|&row| both[row]))),
        shift: context
            .bootstrap
            .estimate(both.len(), |rows| mean(rows.iter().map(|&row| both[row].1 - both[row].0))),
        turned: turned
            .into_iter()
            .take(context.thresholds.examples)
            .map(|(item, ..)| context.key(*item))
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{audited, input, score, scores};
    use crate::audit::{AuditScore, Variant};

    #[test]
    fn the_order_decides_if_the_offset_exceeds_the_score() {
        let mut input = input(&[&[2.0, -1.0, 0.5, 1.0]]);
        for (score, offset) in input.scores[0].iter_mut().flatten().zip([1.0, 1.5, 0.25, -1.0]) {
            score.offset = offset;
        }
        let position = &audited(&input).principles[0].position;
        assert_eq!(position.offset.map(|e| (e.value, e.n)), Some((0.4375, 4)));
        // |s| > |offset| for i0 and i2; i1 misses by 0.5, and i3 is equal.
        assert_eq!(position.consistency.map(|e| e.value), Some(0.5));
        assert_eq!(position.swayed, ["i1", "i3"]);
    }

    #[test]
    fn an_undecided_score_has_no_position() {
        let mut input = input(&[&[2.0]]);
        input.scores[0][0] = Some(AuditScore { mass: 0.1, offset: 3.0, ..score(2.0) });
        let position = &audited(&input).principles[0].position;
        assert_eq!((position.offset, position.consistency), (None, None));
    }

    #[test]
    fn length_that_follows_the_label_is_no_confound() {
        // Score = 2 · label + e, length = 30 · label + 10 f, with e and f unrelated
        // within each label: the partial correlation is 0.
        let labels = [1.0, 1.0, 1.0, 1.0, -1.0, -1.0, -1.0, -1.0];
        let e = [1.0, 1.0, -1.0, -1.0, 1.0, 1.0, -1.0, -1.0];
        let f = [1.0, -1.0, 1.0, -1.0, 1.0, -1.0, 1.0, -1.0];
        let score_of = |i: usize| 2.0 * labels[i] + e[i];
        let row: Vec<f64> = (0..8).map(score_of).collect();
        let mut input = input(&[&row]);
        for (i, item) in input.items.iter_mut().enumerate() {
            item.label = Better::from_score(labels[i]);
            item.length = Some(30.0 * labels[i] + 10.0 * f[i]);
            // Verbosity follows e, the part of the score that the label does not explain.
            item.verbosity = Some(30.0 * labels[i] + 10.0 * e[i]);
        }
        let audit = audited(&input);
        let length = &audit.principles[0].length;
        // Covariance 60, variances 5 and 1000.
        assert!((length.correlation.unwrap().value - 60.0 / 5000_f64.sqrt()).abs() < 1e-12);
        assert!(length.partial.unwrap().value.abs() < 1e-12);
        assert_eq!(length.best(), length.partial);
        assert!((audit.principles[0].verbosity.partial.unwrap().value - 1.0).abs() < 1e-12);
    }

    #[test]
    fn without_labels_the_plain_correlation_is_used() {
        let mut input = input(&[&[1.0, 2.0, 3.0]]);
        for (item, length) in input.items.iter_mut().zip([5.0, 7.0, 9.0]) {
            item.length = Some(length);
        }
        let length = &audited(&input).principles[0].length;
        assert_eq!((length.best().map(|e| e.value), length.partial), (Some(1.0), None));
    }

    #[test]
    fn variants_are_compared_on_active_items() {
        let mut input = input(&[&[2.0, -1.0, 0.1, 3.0, -2.0], &[1.0; 5]]);
        let mut other = scores(&[1.0, 2.0, -0.1, -0.5, -3.0]);
        other[4] = Some(AuditScore { mass: 0.1, ..score(-3.0) });
        input.paraphrases = vec![
            Variant { principle: 0, name: "in other words".into(), scores: other },
            Variant { principle: 1, name: "the other's".into(), scores: scores(&[1.0; 5]) },
        ];
        let audit = audited(&input);
        let [figures] = &audit.principles[0].paraphrases[..] else { panic!("one variant") };
        assert_eq!(figures.name, "in other words");
        // Active: i0, i1, i3, i4. The verdicts of i1 and i3 changed; i4 lost its verdict.
        assert_eq!(figures.agreement.map(|e| (e.value, e.n)), Some((0.25, 4)));
        assert_eq!(figures.turned, ["i3", "i4", "i1"]);
        // Changes −1, 3, −0.2, −3.5.
        let shift = figures.shift.unwrap();
        assert!((shift.value - -1.7 / 4.0).abs() < 1e-15 && shift.n == 4, "{shift:?}");
        assert_eq!(figures.undecided.map(|e| (e.value, e.n)), Some((0.2, 5)));
        assert_eq!(audit.principles[0].label_words, []);
    }
}

//! The effects of revisions: which principles they improve or worsen, how many change
//! nothing, and how many refuse a harmless request.

use serde::{Deserialize, Serialize};

use super::AuditRevision;
use super::context::{AuditContext, parallel};
use amend_core::stats::{Estimate, mean, share};

/// The effects of the loop's revisions, in total and by principle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevisionEffects {
    /// The number of revisions.
    pub revisions: usize,
    /// The share of revisions that change nothing.
    pub no_op: Option<Estimate>,
    /// The share of refusals among the revisions of answers to harmless prompts that were
    /// not refusals.
    pub over_refusal: Option<Estimate>,
    /// The effects of the revisions under each principle: the rows of the matrix of
    /// effects.
    pub rows: Vec<RevisionEffect>,
}

/// The effects of the revisions under one principle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevisionEffect {
    /// The id of the principle.
    pub principle: String,
    /// The number of revisions.
    pub revisions: usize,
    /// The share of revisions that change nothing.
    pub no_op: Option<Estimate>,
    /// The share of revisions that turn harmless answers into refusals.
    pub over_refusal: Option<Estimate>,
    /// The keys of the items whose answers became refusals.
    pub refused: Vec<String>,
    /// Under each principle, the mean score of the revision against the answer before it,
    /// in log-odds: above 0 if the revision is better. A revision that changes nothing
    /// counts as 0.
    pub shifts: Vec<Option<Estimate>>,
}

/// The effects of all revisions.
pub(super) fn steering(context: &AuditContext) -> RevisionEffects {
    let revisions: Vec<&AuditRevision> = context.input.revisions.iter().collect();
    RevisionEffects {
        revisions: revisions.len(),
        no_op: no_op(&revisions),
        over_refusal: over_refusal(context, &revisions),
        rows: parallel(context.principles().end, |principle| row(context, principle)),
    }
}

fn row(context: &AuditContext, principle: usize) -> RevisionEffect {
    let own = |revision: &&AuditRevision| revision.principle == principle;
    let revisions: Vec<&AuditRevision> = context.input.revisions.iter().filter(own).collect();
    RevisionEffect {
        principle: context.id(principle),
        revisions: revisions.len(),
        no_op: no_op(&revisions),
        over_refusal: over_refusal(context, &revisions),
        refused: at_risk(context, &revisions)
            .filter(|revision| revision.refused_after)
            .take(context.thresholds.examples)
            .map(|revision| context.key(revision.item))
            .collect(),
        shifts: context.principles().map(|k| shift(context, &revisions, k)).collect(),
    }
}

fn no_op(revisions: &[&AuditRevision]) -> Option<Estimate> {
    share(revisions.iter().map(|revision| revision.unchanged))
}

fn over_refusal(context: &AuditContext, revisions: &[&AuditRevision]) -> Option<Estimate> {
    share(at_risk(context, revisions).map(|revision| revision.refused_after))
}

/// The revisions that should not refuse: those of answers to harmless prompts that were
/// not refusals before.
fn at_risk<'a>(
    context: &'a AuditContext,
    revisions: &'a [&AuditRevision],
) -> impl Iterator<Item = &'a AuditRevision> {
    let harmless = |revision: &&&AuditRevision| context.input.items[revision.item].harmless;
    revisions.iter().filter(harmless).copied().filter(|revision| !revision.refused_before)
}

fn shift(context: &AuditContext, revisions: &[&AuditRevision], under: usize) -> Option<Estimate> {
    let score = |revision: &&AuditRevision| match revision.unchanged {
        // Both orders ask the same question, so the score is 0.
        true => Some(0.0),
        false => revision.shifts.get(under)?.as_ref()?.decided(context.thresholds.mass_floor),
    };
    // Without a verdict, the zeros of unchanged revisions would look like an effect.
    let asked = |revision: &&AuditRevision| revision.shifts.get(under).is_some_and(Option::is_some);
    if !revisions.iter().any(asked) {
        return None;
    }
    let scores: Vec<f64> = revisions.iter().filter_map(score).collect();
    context.bootstrap.estimate(scores.len(), |rows| mean(rows.iter().map(|&row| scores[row])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::AuditInput;
    use crate::audit::testing::{audited, input, scores};

    /// Two principles, four items; three revisions under p0, one under p1.
    fn revised() -> AuditInput {
        let mut input = input(&[&[1.0; 4], &[1.0; 4]]);
        let refuses = |text: &str| text == "no";
        let revise = |principle, item, before, after, shifts: &[f64]| AuditRevision {
            shifts: scores(shifts),
            ..AuditRevision::observe(principle, item, before, after, refuses)
        };
        input.revisions = vec![
            revise(0, 0, "a", "b", &[2.0, -1.0]),
            revise(0, 1, "a", "no", &[1.0, -3.0]),
            revise(0, 2, "a", "a", &[]),
            revise(1, 3, "no", "no, sorry", &[-0.5, 0.5]),
        ];
        for item in [1, 2, 3] {
            input.items[item].harmless = true;
        }
        input
    }

    fn value(estimate: Option<Estimate>) -> Option<f64> {
        estimate.map(|estimate| estimate.value)
    }

    #[test]
    fn effects_of_revisions_by_hand() {
        let steering = audited(&revised()).steering;
        assert_eq!((steering.revisions, value(steering.no_op)), (4, Some(0.25)));
        // The revisions of i1 and i2 should not refuse; i3 was refused before.
        assert_eq!(steering.over_refusal.map(|e| (e.value, e.n)), Some((0.5, 2)));
        let [row0, row1] = &steering.rows[..] else { panic!("two rows") };
        assert_eq!((row0.revisions, value(row0.no_op)), (3, Some(1.0 / 3.0)));
        assert_eq!((value(row0.over_refusal), &row0.refused[..]), (Some(0.5), &["i1".into()][..]));
        // (2 + 1 + 0) / 3 and (−1 − 3 + 0) / 3
        let shifts: Vec<_> = row0.shifts.iter().map(|shift| value(*shift)).collect();
        assert_eq!(shifts, [Some(1.0), Some(-4.0 / 3.0)]);
        assert_eq!((value(row1.over_refusal), value(row1.no_op)), (None, Some(0.0)));
        assert_eq!(value(row1.shifts[1]), Some(0.5));
    }

    #[test]
    fn without_scores_there_is_no_shift() {
        let mut input = revised();
        for revision in &mut input.revisions {
            revision.shifts.clear();
        }
        let steering = audited(&input).steering;
        assert_eq!(steering.rows[0].shifts, [None, None]);
        assert_eq!(value(steering.no_op), Some(0.25));
        input.revisions.clear();
        let steering = audited(&input).steering;
        assert_eq!((steering.revisions, steering.no_op), (0, None));
    }
}

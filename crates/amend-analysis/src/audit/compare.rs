//! What changed from one audit to another.

use serde::{Deserialize, Serialize};

use super::{Audit, Finding, PairFigures, PrincipleFigures};
use amend_core::stats::Estimate;

/// What changed; empty lists where nothing did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// Whether the bounds differ, so that findings may differ for that reason alone.
    pub thresholds: bool,
    /// The ids of principles that are new.
    pub added: Vec<String>,
    /// The ids of principles that are gone.
    pub removed: Vec<String>,
    /// Findings that are new.
    pub appeared: Vec<Finding>,
    /// Findings that are gone.
    pub gone: Vec<Finding>,
    /// Findings whose severity is another, or whose figure moved beyond both
    /// intervals.
    pub changed: Vec<Changed>,
    /// Other figures that moved beyond both intervals.
    pub moved: Vec<Moved>,
}

/// A finding before and now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// In the baseline.
    pub before: Finding,
    /// Now.
    pub now: Finding,
}

/// A figure before and now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// The principles it is about; empty if it is all of them.
    pub principles: Vec<String>,
    /// Its name: the field's.
    pub figure: String,
    /// In the baseline.
    pub before: Estimate,
    /// Now.
    pub now: Estimate,
}

impl Changes {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The findings that are new or more severe than they were: what a check of a
    /// change should fail on.
    pub fn worse(&self) -> impl Iterator<Item = &Finding> {
        let risen =
            self.changed.iter().filter(|change| change.now.severity > change.before.severity);
        self.appeared.iter().chain(risen.map(|change| &change.now))
    }
}

/// What changed from `baseline` to `now`. Principles are the same if their ids
/// are. A figure has changed if its two intervals have no point in common, which
/// on the same items is a cautious test: an interval that is not paired is too wide.
#[must_use]
pub fn compare(baseline: &Audit, now: &Audit) -> Changes {
    let ids = |audit: &Audit| audit.principles.iter().map(|p| p.id.clone()).collect::<Vec<_>>();
    let (before_ids, now_ids) = (ids(baseline), ids(now));
    let missing = |from: &[String], of: &[String]| -> Vec<String> {
        of.iter().filter(|id| !from.contains(id)).cloned().collect()
    };
    let mut changes = Changes {
        thresholds: baseline.thresholds != now.thresholds,
        added: missing(&before_ids, &now_ids),
        removed: missing(&now_ids, &before_ids),
        ..Changes::default()
    };
    for finding in &now.findings {
        match baseline.findings.iter().find(|before| before.same_as(finding)) {
            None => changes.appeared.push(finding.clone()),
            Some(before) => {
                if before.severity != finding.severity || before.figure.apart(&finding.figure) {
                    changes.changed.push(Changed { before: before.clone(), now: finding.clone() });
                }
            }
        }
    }
    let is_there = |gone: &&Finding| now.findings.iter().any(|finding| finding.same_as(gone));
    changes.gone = baseline.findings.iter().filter(|gone| !is_there(gone)).cloned().collect();
    changes.moved = moved(baseline, now);
    changes
}

/// The figures of both audits that moved.
fn moved(baseline: &Audit, now: &Audit) -> Vec<Moved> {
    let before = figures(baseline);
    let found = |(principles, figure, now): Figure| {
        let (.., before) = before.iter().find(|(p, f, _)| *p == principles && *f == figure)?;
        before.apart(&now).then(|| Moved {
            principles: principles.into_iter().map(str::to_owned).collect(),
            figure: figure.to_owned(),
            before: *before,
            now,
        })
    };
    figures(now).into_iter().filter_map(found).collect()
}

/// Whom a figure is about, its name, itself.
type Figure<'a> = (Vec<&'a str>, &'static str, Estimate);

/// The figures that two audits are compared by.
fn figures(audit: &Audit) -> Vec<Figure<'_>> {
    let mut figures = Vec::new();
    push(
        &mut figures,
        &[],
        &[
            ("covered", audit.coverage.covered),
            ("ensemble accuracy", audit.ensemble.accuracy),
            ("overall_agreement", audit.ensemble.overall_agreement),
            ("no_op", audit.steering.no_op),
            ("over_refusal", audit.steering.over_refusal),
        ],
    );
    for PrincipleFigures { id, activity, influence, position, length, verbosity, .. } in
        &audit.principles
    {
        push(
            &mut figures,
            &[id],
            &[
                ("undecided", activity.undecided),
                ("activation", activity.activation),
                ("relevance", activity.relevance),
                ("accuracy", activity.accuracy),
                ("performance", activity.performance),
                ("flips_without", influence.flips_without),
                ("contribution", influence.contribution),
                ("offset", position.offset),
                ("consistency", position.consistency),
                ("length", length.best()),
                ("verbosity", verbosity.best()),
            ],
        );
    }
    for PairFigures { principles: [one, other], correlation, conflict, .. } in &audit.pairs {
        push(
            &mut figures,
            &[one, other],
            &[("correlation", *correlation), ("conflict", *conflict)],
        );
    }
    for row in &audit.steering.rows {
        for (measured, shift) in audit.principles.iter().zip(&row.shifts) {
            push(&mut figures, &[&row.principle, &measured.id], &[("shift", *shift)]);
        }
    }
    figures
}

/// Adds those of the named figures that are there.
fn push<'a>(
    figures: &mut Vec<Figure<'a>>,
    principles: &[&'a str],
    named: &[(&'static str, Option<Estimate>)],
) {
    for (name, figure) in named {
        figures.extend(figure.map(|figure| (principles.to_vec(), *name, figure)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{audited, input, scores};
    use crate::audit::{Input, Kind, Severity};
    use amend_core::constitution::Thresholds;

    /// Two unrelated principles over 40 items, of which the second always prevails.
    fn before() -> Input {
        let row = |k: usize, size: f64| -> Vec<f64> {
            (0..40).map(|i: usize| if i >> k & 1 == 0 { size } else { -size }).collect()
        };
        input(&[&row(0, 2.0), &row(1, 2.3)])
    }

    fn figures_of(changes: &Changes) -> Vec<String> {
        changes.moved.iter().map(|m| format!("{} {}", m.principles.join("+"), m.figure)).collect()
    }

    #[test]
    fn the_same_has_no_changes() {
        let audit = audited(&before());
        let changes = compare(&audit, &audit);
        assert!(changes.is_empty(), "{changes:?}");
        assert_eq!(changes.worse().count(), 0);
    }

    #[test]
    fn a_copy_in_place_of_a_principle_shows() {
        let mut now = before();
        now.scores[1] = now.scores[0].clone();
        let changes = compare(&audited(&before()), &audited(&now));
        let kinds = |findings: &[Finding]| findings.iter().map(|f| f.kind).collect::<Vec<_>>();
        assert_eq!(kinds(&changes.appeared), [Kind::Redundant, Kind::Reducible]);
        assert_eq!(kinds(&changes.gone), [Kind::Dominant, Kind::Reducible]);
        assert_eq!(
            figures_of(&changes),
            [
                "p0 contribution",
                "p1 flips_without",
                "p1 contribution",
                "p0+p1 correlation",
                "p0+p1 conflict",
            ]
        );
        assert_eq!(changes.worse().count(), 2);
        // And the other way round.
        let back = compare(&audited(&now), &audited(&before()));
        assert_eq!((back.appeared.len(), back.gone.len()), (2, 2));
    }

    #[test]
    fn principles_come_and_go() {
        let mut now = before();
        now.principles[1].id = "new".into();
        let changes = compare(&audited(&before()), &audited(&now));
        assert_eq!(
            (&changes.added[..], &changes.removed[..]),
            (&["new".into()][..], &["p1".into()][..])
        );
        // Figures of other principles have nothing to be compared with.
        assert_eq!(changes.moved, []);
    }

    #[test]
    fn a_finding_that_grew_surer_is_worse() {
        let with = |quiet: f64| {
            let mut input = before();
            let row: Vec<f64> =
                (0..40).map(|i| if f64::from(i) < quiet { 0.1 } else { 2.0 }).collect();
            input.scores[0] = scores(&row);
            let bounds = Thresholds { inactive: 0.5, ..Thresholds::default() };
            crate::audit::audit(&input, &bounds, 1).unwrap()
        };
        // Active on 18 of 40, then on 4.
        let changes = compare(&with(22.0), &with(36.0));
        let changed: Vec<_> = changes
            .changed
            .iter()
            .filter(|change| change.now.kind == Kind::Inactive)
            .map(|change| (change.before.severity, change.now.severity))
            .collect();
        assert_eq!(changed, [(Severity::Info, Severity::Warn)]);
        assert!(changes.worse().any(|finding| finding.kind == Kind::Inactive));
        assert!(figures_of(&changes).contains(&"p0 activation".into()));
    }

    #[test]
    fn other_bounds_are_told() {
        let bounds = Thresholds { active: 0.4, ..Thresholds::default() };
        let now = crate::audit::audit(&before(), &bounds, 1).unwrap();
        let changes = compare(&audited(&before()), &now);
        assert!(changes.thresholds && !changes.is_empty());
    }

    #[test]
    fn an_audit_survives_json() {
        let audit = audited(&before());
        let json = serde_json::to_string(&audit).unwrap();
        assert_eq!(serde_json::from_str::<Audit>(&json).unwrap(), audit);
    }
}

//! Compares two audits.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{Audit, AuditFinding, Statistic};
use amend_core::stats::Estimate;

/// The changes between two audits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct AuditChanges {
    /// Whether the thresholds differ, which alone can change findings.
    pub thresholds: bool,
    /// The ids of new principles.
    pub added: Vec<String>,
    /// The ids of removed principles.
    pub removed: Vec<String>,
    /// The new findings.
    pub appeared: Vec<AuditFinding>,
    /// The findings that no longer exist.
    pub gone: Vec<AuditFinding>,
    /// The findings whose severity changed, or whose statistic changed significantly:
    /// its intervals do not overlap.
    pub changed: Vec<Changed>,
    /// The other statistics that changed significantly.
    pub moved: Vec<Moved>,
}

/// A finding in both audits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Changed {
    /// The finding in the baseline.
    pub before: AuditFinding,
    /// The finding now.
    pub now: AuditFinding,
}

/// A statistic in both audits.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Moved {
    /// The ids of the principles that it is about; empty for all of them.
    pub principles: Vec<String>,
    /// The name of the statistic's field.
    pub figure: String,
    /// The estimate in the baseline.
    pub before: Estimate,
    /// The estimate now.
    pub now: Estimate,
}

impl AuditChanges {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    /// The findings that are new or more severe than before. A check against a baseline
    /// fails on these.
    pub fn worse(&self) -> impl Iterator<Item = &AuditFinding> {
        let worsened =
            self.changed.iter().filter(|change| change.now.severity > change.before.severity);
        self.appeared.iter().chain(worsened.map(|change| &change.now))
    }
}

/// Compares an audit with a baseline. Principles are matched by id. A statistic has
/// changed significantly if its two intervals do not overlap. On the same items this
/// test is conservative, because the intervals are not paired.
#[must_use]
pub fn compare(baseline: &Audit, now: &Audit) -> AuditChanges {
    let ids = |audit: &Audit| audit.principles.iter().map(|p| p.id.clone()).collect::<Vec<_>>();
    let (before_ids, now_ids) = (ids(baseline), ids(now));
    let missing = |from: &[String], ids: &[String]| -> Vec<String> {
        ids.iter().filter(|id| !from.contains(id)).cloned().collect()
    };
    let mut changes = AuditChanges {
        thresholds: baseline.thresholds != now.thresholds,
        added: missing(&before_ids, &now_ids),
        removed: missing(&now_ids, &before_ids),
        ..AuditChanges::default()
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
    for before in &baseline.findings {
        if !now.findings.iter().any(|finding| finding.same_as(before)) {
            changes.gone.push(before.clone());
        }
    }
    changes.moved = moved(baseline, now);
    changes
}

/// The statistics of both audits that changed significantly.
fn moved(baseline: &Audit, now: &Audit) -> Vec<Moved> {
    let before: HashMap<(Vec<&str>, &str), Estimate> = figures(baseline)
        .into_iter()
        .map(|(principles, name, estimate)| ((principles, name), estimate))
        .collect();
    let mut moved = Vec::new();
    for (principles, figure, now) in figures(now) {
        let key = (principles, figure);
        if let Some(&before) = before.get(&key)
            && before.apart(&now)
        {
            let principles = key.0.into_iter().map(str::to_owned).collect();
            moved.push(Moved { principles, figure: figure.to_owned(), before, now });
        }
    }
    moved
}

/// The principles that a statistic is about, its name, and its estimate.
type Figure<'a> = (Vec<&'a str>, &'static str, Estimate);

/// The statistics by which two audits are compared.
fn figures(audit: &Audit) -> Vec<Figure<'_>> {
    let mut figures = Vec::new();
    push(&mut figures, &[], audit.statistics());
    for principle in &audit.principles {
        push(&mut figures, &[&principle.id], principle.statistics());
    }
    for pair in &audit.pairs {
        let [first, second] = &pair.principles;
        push(&mut figures, &[first, second], pair.statistics());
    }
    for row in &audit.steering.rows {
        for (at, measured) in audit.principles.iter().enumerate() {
            push(&mut figures, &[&row.principle, &measured.id], row.statistics(at));
        }
    }
    figures
}

/// Adds the statistics that have an estimate.
fn push<'a>(figures: &mut Vec<Figure<'a>>, principles: &[&'a str], statistics: Vec<Statistic>) {
    for Statistic { name, estimate, .. } in statistics {
        if let Some(estimate) = estimate {
            figures.push((principles.to_vec(), name, estimate));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::testing::{audited, input, scores};
    use crate::audit::{AuditInput, FindingKind};
    use amend_core::constitution::Thresholds;
    use amend_core::document::Severity;

    /// Two unrelated principles over 40 items. The second always outweighs the first.
    fn before() -> AuditInput {
        let row = |k: usize, size: f64| -> Vec<f64> {
            (0..40).map(|i: usize| if i >> k & 1 == 0 { size } else { -size }).collect()
        };
        input(&[&row(0, 2.0), &row(1, 2.3)])
    }

    fn figures_of(changes: &AuditChanges) -> Vec<String> {
        changes.moved.iter().map(|m| format!("{} {}", m.principles.join("+"), m.figure)).collect()
    }

    #[test]
    fn equal_audits_have_no_changes() {
        let audit = audited(&before());
        let changes = compare(&audit, &audit);
        assert!(changes.is_empty(), "{changes:?}");
        assert_eq!(changes.worse().count(), 0);
    }

    #[test]
    fn replacing_a_principle_by_a_copy_changes_findings_and_statistics() {
        let mut now = before();
        now.scores[1] = now.scores[0].clone();
        let changes = compare(&audited(&before()), &audited(&now));
        let kinds = |findings: &[AuditFinding]| findings.iter().map(|f| f.kind).collect::<Vec<_>>();
        assert_eq!(kinds(&changes.appeared), [FindingKind::Redundant, FindingKind::Reducible]);
        assert_eq!(kinds(&changes.gone), [FindingKind::Dominant, FindingKind::Reducible]);
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
        // In the other direction, the same findings appear and disappear.
        let back = compare(&audited(&now), &audited(&before()));
        assert_eq!((back.appeared.len(), back.gone.len()), (2, 2));
    }

    #[test]
    fn added_and_removed_principles_are_listed() {
        let mut now = before();
        now.principles[1].id = "new".into();
        let changes = compare(&audited(&before()), &audited(&now));
        assert_eq!(
            (&changes.added[..], &changes.removed[..]),
            (&["new".into()][..], &["p1".into()][..])
        );
        // The statistics of new and removed principles are not compared.
        assert_eq!(changes.moved, []);
    }

    #[test]
    fn a_finding_with_higher_severity_is_worse() {
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
            .filter(|change| change.now.kind == FindingKind::Inactive)
            .map(|change| (change.before.severity, change.now.severity))
            .collect();
        assert_eq!(changed, [(Severity::Info, Severity::Warn)]);
        assert!(changes.worse().any(|finding| finding.kind == FindingKind::Inactive));
        assert!(figures_of(&changes).contains(&"p0 activation".into()));
    }

    #[test]
    fn changed_thresholds_are_reported() {
        let bounds = Thresholds { active: 0.4, ..Thresholds::default() };
        let now = crate::audit::audit(&before(), &bounds, 1).unwrap();
        let changes = compare(&audited(&before()), &now);
        assert!(changes.thresholds && !changes.is_empty());
    }

    #[test]
    fn an_audit_can_be_read_back_from_json() {
        let audit = audited(&before());
        let json = serde_json::to_string(&audit).unwrap();
        assert_eq!(serde_json::from_str::<Audit>(&json).unwrap(), audit);
    }
}

//! Derives findings from statistics: each rule compares one statistic with its bound.

use super::{Audit, AuditFinding, FindingKind, PrincipleFigures, RevisionEffect, VariantFigures};
use amend_core::document::Severity;
use amend_core::stats::{Estimate, Interval};
use amend_core::text::format;

/// A bound, and the side of it on which a statistic is a finding.
#[derive(Clone, Copy)]
enum Bound {
    AtLeast(f64),
    AtMost(f64),
}

impl Bound {
    /// `None` if the value is on the good side. Otherwise whether the whole interval is
    /// on the bad side.
    fn crossed(self, figure: &Estimate) -> Option<bool> {
        let (value, whole) = match self {
            Self::AtLeast(bound) => (figure.value >= bound, figure.low >= bound),
            Self::AtMost(bound) => (figure.value <= bound, figure.high <= bound),
        };
        value.then_some(whole)
    }

    fn value(self) -> f64 {
        match self {
            Self::AtLeast(bound) | Self::AtMost(bound) => bound,
        }
    }
}

/// The principles and the detail that a finding is about, and the items that show it.
#[derive(Default)]
struct About<'a> {
    principles: Vec<&'a str>,
    detail: Option<&'a str>,
    items: &'a [String],
}

/// Collects findings.
struct Findings {
    min_items: usize,
    examples: usize,
    list: Vec<AuditFinding>,
}

impl Findings {
    /// Adds a finding if `figure` has enough observations and is beyond `bound`.
    fn check(
        &mut self,
        kind: FindingKind,
        figure: Option<Estimate>,
        bound: Bound,
        about: About,
        message: impl FnOnce(&Estimate) -> String,
    ) {
        let Some(figure) = figure.filter(|figure| figure.n >= self.min_items) else { return };
        let Some(sure) = bound.crossed(&figure) else { return };
        self.list.push(AuditFinding {
            kind,
            severity: if sure { kind.severity() } else { Severity::Info },
            principles: about.principles.into_iter().map(str::to_owned).collect(),
            detail: about.detail.map(str::to_owned),
            message: message(&figure),
            figure,
            bound: bound.value(),
            items: about.items.iter().take(self.examples).cloned().collect(),
            advice: kind.advice().to_owned(),
        });
    }
}

/// The findings of an audit whose statistics are complete, the most severe first.
pub(super) fn findings(audit: &Audit) -> Vec<AuditFinding> {
    let thresholds = &audit.thresholds;
    let mut findings = Findings { min_items: 0, examples: thresholds.examples, list: Vec::new() };
    let count = audit.items as f64;
    let items = Estimate::new(count, Interval { low: count, high: count }, audit.items);
    let few = thresholds.min_items.saturating_sub(1) as f64;
    findings.check(
        FindingKind::FewItems,
        Some(items),
        Bound::AtMost(few),
        About::default(),
        |_| format!("There are {count} items; other findings need {}.", thresholds.min_items),
    );
    findings.min_items = thresholds.min_items;
    for principle in &audit.principles {
        check_principle(&mut findings, audit, principle);
    }
    check_coverage(&mut findings, audit);
    check_pairs(&mut findings, audit);
    check_smaller_set(&mut findings, audit);
    for row in &audit.steering.rows {
        check_steering(&mut findings, audit, row);
    }
    findings.list.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.kind.cmp(&b.kind)));
    findings.list
}

fn check_principle(findings: &mut Findings, audit: &Audit, figures: &PrincipleFigures) {
    let (thresholds, id) = (&audit.thresholds, figures.id.as_str());
    let about = |items| About { principles: vec![id], items, ..About::default() };
    let activity = &figures.activity;
    findings.check(
        FindingKind::Undecided,
        activity.undecided,
        Bound::AtLeast(thresholds.undecided),
        about(&[]),
        |figure| format!("Under {id} the judge gives no verdict on {}.", percent(figure)),
    );
    findings.check(
        FindingKind::Inactive,
        activity.activation,
        Bound::AtMost(thresholds.inactive),
        about(&[]),
        |figure| format!("{id} is active on {}.", percent(figure)),
    );
    findings.check(
        FindingKind::AgainstLabels,
        activity.accuracy,
        Bound::AtMost(thresholds.accuracy),
        about(&activity.wrong),
        |figure| format!("{id} prefers the better answer on {}.", percent(figure)),
    );
    findings.check(
        FindingKind::Dominant,
        figures.influence.flips_without,
        // A single principle always decides alone.
        Bound::AtLeast(if audit.principles.len() > 1 {
            thresholds.dominant
        } else {
            f64::INFINITY
        }),
        about(&figures.influence.flipped),
        |figure| format!("Without {id} the joint verdict changes on {}.", percent(figure)),
    );
    findings.check(
        FindingKind::Position,
        figures.position.consistency,
        Bound::AtMost(thresholds.consistency),
        about(&figures.position.swayed),
        |figure| format!("{id} gives the same verdict in both orders on {}.", percent(figure)),
    );
    for (kind, confound, property) in [
        (FindingKind::Length, &figures.length, "length"),
        (FindingKind::Verbosity, &figures.verbosity, "verbosity"),
    ] {
        let Some(figure) = confound.best() else { continue };
        let given = if confound.partial.is_some() { ", given the labels" } else { "" };
        let bound = if figure.value < 0.0 {
            Bound::AtMost(-thresholds.confound)
        } else {
            Bound::AtLeast(thresholds.confound)
        };
        findings.check(kind, Some(figure), bound, about(&[]), |figure| {
            format!("{id} correlates with {property}{given}: {}.", number(figure))
        });
    }
    for (kind, variants) in [
        (FindingKind::Paraphrase, &figures.paraphrases),
        (FindingKind::LabelWords, &figures.label_words),
    ] {
        let how = match kind {
            FindingKind::Paraphrase => "Rephrased as",
            _ => "With the label words",
        };
        for VariantFigures { name, agreement, undecided, turned, .. } in variants {
            let about = About { principles: vec![id], detail: Some(name), items: turned };
            let bound = Bound::AtMost(thresholds.stable);
            findings.check(kind, *agreement, bound, about, |figure| {
                let mut message =
                    format!("{how} {name:?}, {id} gives the same verdict on {}.", percent(figure));
                if let Some(share) = undecided
                    && share.value >= thresholds.undecided
                {
                    message += &format!(" It gives no verdict on {}.", percent(share));
                }
                message
            });
        }
    }
}

fn check_coverage(findings: &mut Findings, audit: &Audit) {
    let coverage = &audit.coverage;
    let bound = Bound::AtMost(audit.thresholds.coverage);
    let about = About { items: &coverage.uncovered, ..About::default() };
    findings.check(FindingKind::Uncovered, coverage.covered, bound, about, |figure| {
        format!("At least one principle is active on {}.", percent(figure))
    });
    for category in coverage.categories.iter().filter(|category| !category.category.is_empty()) {
        let name = category.category.as_str();
        let about = About { detail: Some(name), items: &category.uncovered, ..About::default() };
        findings.check(FindingKind::Uncovered, category.covered, bound, about, |figure| {
            format!("In category {name:?} at least one principle is active on {}.", percent(figure))
        });
    }
}

fn check_pairs(findings: &mut Findings, audit: &Audit) {
    for cluster in &audit.clusters {
        let ids: Vec<&str> = cluster.principles.iter().map(String::as_str).collect();
        let bound = audit.thresholds.redundant;
        let about = About { principles: ids.clone(), ..About::default() };
        findings.check(
            FindingKind::Redundant,
            Some(cluster.weakest),
            Bound::AtLeast(bound),
            about,
            |figure| {
                format!("{} are redundant: correlation {}.", format::list(&ids), number(figure))
            },
        );
    }
    for pair in &audit.pairs {
        let [first, second] = &pair.principles;
        let items: Vec<String> =
            pair.strongest.iter().map(|opposed| opposed.item.clone()).collect();
        findings.check(
            FindingKind::Conflict,
            pair.conflict,
            Bound::AtLeast(audit.thresholds.conflict),
            About { principles: vec![first, second], items: &items, ..About::default() },
            |figure| {
                format!(
                    "Where both are active, {first} and {second} disagree on {}.",
                    percent(figure)
                )
            },
        );
    }
}

fn check_smaller_set(findings: &mut Findings, audit: &Audit) {
    let Some(set) = &audit.smaller_set else { return };
    if set.principles.len() == audit.principles.len() {
        return;
    }
    let ids: Vec<&str> = set.principles.iter().map(String::as_str).collect();
    let about = About { principles: ids.clone(), ..About::default() };
    let bound = Bound::AtLeast(audit.thresholds.keep);
    findings.check(FindingKind::Reducible, Some(set.agreement), bound, about, |figure| {
        let all = audit.principles.len();
        format!("{} of {all} principles give the joint verdict on {}.", ids.len(), percent(figure))
    });
}

fn check_steering(findings: &mut Findings, audit: &Audit, row: &RevisionEffect) {
    let (thresholds, under) = (&audit.thresholds, row.principle.as_str());
    for (measured, shift) in audit.principles.iter().zip(&row.shifts) {
        let id = measured.id.as_str();
        if id == under {
            let about = About { principles: vec![id], ..About::default() };
            findings.check(
                FindingKind::SteeringVoid,
                *shift,
                Bound::AtMost(0.0),
                about,
                |figure| {
                    format!("Revisions under {id} change its own score by {}.", number(figure))
                },
            );
        } else {
            let about = About { principles: vec![under, id], ..About::default() };
            let bound = Bound::AtMost(-thresholds.loss);
            findings.check(FindingKind::SteeringLoss, *shift, bound, about, |figure| {
                format!("Revisions under {under} change the score of {id} by {}.", number(figure))
            });
        }
    }
    let about = |items| About { principles: vec![under], items, ..About::default() };
    let bound = Bound::AtLeast(thresholds.no_op);
    findings.check(FindingKind::NoOp, row.no_op, bound, about(&[]), |figure| {
        format!("Revisions under {under} change nothing in {}.", percent(figure))
    });
    let bound = Bound::AtLeast(thresholds.over_refusal);
    findings.check(
        FindingKind::OverRefusal,
        row.over_refusal,
        bound,
        about(&row.refused),
        |figure| {
            format!(
                "Revisions under {under} turn harmless answers into refusals in {}.",
                percent(figure)
            )
        },
    );
}

/// "12.5 % of 200 (8.6 to 17.8 %)"
fn percent(figure: &Estimate) -> String {
    let Estimate { value, low, high, n } = *figure;
    format!("{} of {n} ({})", format::percent(value, 1), format::percent_range(low, high, 1))
}

/// "0.91 (0.88 to 0.94, n = 200)"
fn number(figure: &Estimate) -> String {
    let Estimate { value, low, high, n } = *figure;
    format!("{} ({}, n = {n})", format::number(value, 2), format::range(low, high, 2))
}

#[cfg(test)]
mod tests;

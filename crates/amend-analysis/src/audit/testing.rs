//! Small inputs for tests.

use crate::audit::{Audit, AuditInput, AuditItem, AuditPrinciple, AuditScore, audit};
use amend_core::constitution::Thresholds;

/// A score with full mass and no position bias.
pub(super) fn score(log_odds: f64) -> AuditScore {
    AuditScore { log_odds, mass: 1.0, offset: 0.0 }
}

pub(super) fn scores(log_odds: &[f64]) -> Vec<Option<AuditScore>> {
    log_odds.iter().map(|&log_odds| Some(score(log_odds))).collect()
}

/// The principles p0, p1, … with these rows of scores over the items i0, i1, ….
pub(super) fn input(rows: &[&[f64]]) -> AuditInput {
    let principle = |k: usize| AuditPrinciple {
        id: format!("p{k}"),
        title: format!("Principle {k}"),
        category: "all".into(),
        weight: 1.0,
    };
    let item = |i: usize| AuditItem {
        key: format!("i{i}"),
        category: String::new(),
        label: None,
        length: None,
        verbosity: None,
        harmless: false,
    };
    AuditInput {
        principles: (0..rows.len()).map(principle).collect(),
        items: (0..rows.first().map_or(0, |row| row.len())).map(item).collect(),
        scores: rows.iter().map(|row| scores(row)).collect(),
        ..AuditInput::default()
    }
}

pub(super) fn audited(input: &AuditInput) -> Audit {
    audited_with(input, Thresholds::default())
}

pub(super) fn audited_with(input: &AuditInput, thresholds: Thresholds) -> Audit {
    audit(input, &thresholds, 1).expect("a sound input")
}

//! An audit as text: its findings by kind, and the changes since another audit.

use std::fmt::Write as _;

use crate::cli::output::format::{count, estimate, lines};
use amend_analysis::audit::{Audit, AuditChanges, AuditFinding, Cost};
use amend_core::document::Severity;
use amend_core::text::format::list;

/// The maximum number of listed findings of one kind and severity.
const SHOWN: usize = 8;

/// The findings of an audit. If it used a sample, `sampled` is the number of items
/// that the sample was drawn from.
pub fn audit(audit: &Audit, sampled: Option<usize>) -> String {
    let mut text = count(audit.items, "item");
    if let Some(all) = sampled {
        let _ = write!(text, " (a sample of {all}; the intervals are for all)");
    }
    let _ = write!(text, ", {}", count(audit.principles.len(), "principle"));
    let number =
        |severity| audit.findings.iter().filter(|finding| finding.severity == severity).count();
    let severities = [Severity::Error, Severity::Warn, Severity::Info];
    let counts = severities.map(|severity| format!("{} {severity}", number(severity)));
    let _ = writeln!(text, "; findings: {}", counts.join(", "));
    if audit.cost.verdicts > 0 {
        let _ = writeln!(text, "{}", cost(&audit.cost));
    }
    findings(&mut text, &audit.findings);
    text
}

/// `40 verdicts: 9120 prompt tokens, 3010 of them computed, 1.00 times the minimum`
fn cost(cost: &Cost) -> String {
    let Cost { verdicts, prompt_tokens, prefilled, .. } = cost;
    let mut text =
        format!("{verdicts} verdicts: {prompt_tokens} prompt tokens, {prefilled} of them computed");
    if let Some(ratio) = cost.ratio() {
        let _ = write!(text, ", {ratio:.2} times the minimum");
    }
    text
}

/// Lists findings under one heading for each kind and severity.
fn findings(text: &mut String, findings: &[AuditFinding]) {
    let is_same_group =
        |a: &AuditFinding, b: &AuditFinding| a.kind == b.kind && a.severity == b.severity;
    for group in findings.chunk_by(is_same_group) {
        let first = &group[0];
        let _ = writeln!(text, "\n{}  {}", first.severity, first.kind);
        lines(text, group.iter().map(|finding| &finding.message), SHOWN);
        let _ = writeln!(text, "  try: {}", first.advice);
    }
}

/// The changes between two audits.
pub fn changes(changes: &AuditChanges) -> String {
    if changes.is_empty() {
        return "nothing changed\n".to_owned();
    }
    let mut text = String::new();
    if changes.thresholds {
        text.push_str(
            "the thresholds differ: findings may appear or disappear for that reason alone\n",
        );
    }
    for (what, ids) in [("added", &changes.added), ("removed", &changes.removed)] {
        for id in ids {
            let _ = writeln!(text, "principle {id} {what}");
        }
    }
    for (what, list) in [("new", &changes.appeared), ("gone", &changes.gone)] {
        for AuditFinding { severity, kind, message, .. } in list {
            let _ = writeln!(text, "{what}: {severity} {kind}: {message}");
        }
    }
    for change in &changes.changed {
        let (before, now) = (&change.before, &change.now);
        let _ = writeln!(
            text,
            "changed: {} {}: {} It was {} with {}.",
            now.severity,
            now.kind,
            now.message,
            before.severity,
            estimate(&before.figure)
        );
    }
    for moved in &changes.moved {
        let principles = if moved.principles.is_empty() {
            String::new()
        } else {
            format!(" of {}", list(&moved.principles))
        };
        let (before, now) = (estimate(&moved.before), estimate(&moved.now));
        let _ = writeln!(text, "moved: {}{principles}: was {before}, is {now}", moved.figure);
    }
    text
}

//! An audit for people: its findings by kind, and what changed since another.

use std::fmt::Write as _;

use amend_analysis::audit::{Audit, Changes, Cost, Finding, Severity};
use amend_core::stats::Estimate;

/// How many findings of one kind and severity are listed.
const SHOWN: usize = 8;

/// An audit's findings. `sampled` is the number of items that the sample was
/// drawn from.
pub fn audit(audit: &Audit, sampled: Option<usize>) -> String {
    let mut text = count(audit.items, "item");
    if let Some(of) = sampled {
        let _ = write!(text, " (a sample of {of}; the intervals are for all)");
    }
    let _ = write!(text, ", {}", count(audit.principles.len(), "principle"));
    let number = |severity| audit.findings.iter().filter(|one| one.severity == severity).count();
    let severities = [Severity::Error, Severity::Warn, Severity::Info];
    let counts = severities.map(|severity| format!("{} {severity}", number(severity)));
    let _ = writeln!(text, "; findings: {}", counts.join(", "));
    if audit.cost.verdicts > 0 {
        let _ = writeln!(text, "{}", cost(&audit.cost));
    }
    findings(&mut text, &audit.findings);
    text
}

/// "40 verdicts: 9120 tokens of prompts, of which 3010 were computed, 1.00 times the
/// least possible"
fn cost(cost: &Cost) -> String {
    let Cost { verdicts, prompt_tokens, prefilled, .. } = cost;
    let mut text = format!(
        "{verdicts} verdicts: {prompt_tokens} tokens of prompts, of which {prefilled} were computed"
    );
    if let Some(ratio) = cost.ratio() {
        let _ = write!(text, ", {ratio:.2} times the least possible");
    }
    text
}

/// Findings, those of a kind and a severity under one head.
fn findings(text: &mut String, findings: &[Finding]) {
    let alike =
        |one: &Finding, other: &Finding| one.kind == other.kind && one.severity == other.severity;
    for group in findings.chunk_by(alike) {
        let first = &group[0];
        let _ = writeln!(text, "\n{}  {}", first.severity, first.kind);
        for finding in group.iter().take(SHOWN) {
            let _ = writeln!(text, "  {}", finding.message);
        }
        if group.len() > SHOWN {
            let _ = writeln!(text, "  … and {} more", group.len() - SHOWN);
        }
        let _ = writeln!(text, "  try: {}", first.advice);
    }
}

/// What changed.
pub fn changes(changes: &Changes) -> String {
    if changes.is_empty() {
        return "nothing changed\n".to_owned();
    }
    let mut text = String::new();
    if changes.thresholds {
        text.push_str("the thresholds differ: findings may come and go for that reason alone\n");
    }
    for (what, ids) in [("added", &changes.added), ("removed", &changes.removed)] {
        for id in ids {
            let _ = writeln!(text, "principle {id} {what}");
        }
    }
    for (what, list) in [("new", &changes.appeared), ("gone", &changes.gone)] {
        for Finding { severity, kind, message, .. } in list {
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
            interval(&before.figure)
        );
    }
    for moved in &changes.moved {
        let principles = match moved.principles.is_empty() {
            true => String::new(),
            false => format!(" of {}", moved.principles.join(" and ")),
        };
        let (before, now) = (interval(&moved.before), interval(&moved.now));
        let _ = writeln!(text, "moved: {}{principles}: was {before}, is {now}", moved.figure);
    }
    text
}

fn interval(figure: &Estimate) -> String {
    format!("{:.2} ({:.2} to {:.2})", figure.value, figure.low, figure.high)
}

/// `1 item`, `2 items`.
fn count(number: usize, noun: &str) -> String {
    format!("{number} {noun}{}", if number == 1 { "" } else { "s" })
}

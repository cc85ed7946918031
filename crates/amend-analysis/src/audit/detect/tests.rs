//! Plants every kind of finding.

use super::*;
use crate::audit::testing::{audited, input, scores};
use crate::audit::{AuditInput, AuditRevision, AuditScore, Better, Variant};
use amend_core::constitution::Thresholds;

const ITEMS: usize = 40;

type Change = fn(&mut AuditInput);

/// ±1 by the k-th bit of the item's index: unrelated for different k < 3.
fn bit(k: usize, item: usize) -> f64 {
    if item >> k & 1 == 0 { 1.0 } else { -1.0 }
}

fn row(score: impl Fn(usize) -> f64) -> Vec<f64> {
    (0..ITEMS).map(score).collect()
}

/// Three unrelated principles of nearly equal influence. The labels are their joint
/// verdicts; length and verbosity are unrelated to all of them.
fn sound() -> AuditInput {
    let rows = [2.0, 2.1, 2.3].iter().enumerate();
    let rows: Vec<Vec<f64>> = rows.map(|(k, size)| row(|item| size * bit(k, item))).collect();
    let mut input = input(&[&rows[0], &rows[1], &rows[2]]);
    for (i, item) in input.items.iter_mut().enumerate() {
        item.label = Better::from_score(rows.iter().map(|row| row[i]).sum());
        item.length = Some((i / 8) as f64);
        item.verbosity = item.length;
    }
    input
}

/// Adds 24 revisions under p0. `change` receives the number of each.
fn revised(input: &mut AuditInput, change: impl Fn(usize, &mut AuditRevision)) {
    for item in 0..24 {
        input.items[item].harmless = true;
        let mut revision = AuditRevision::observe(0, item, "a", "b", |_| false);
        revision.shifts = scores(&[1.0, 0.5, 0.0]);
        change(item, &mut revision);
        input.revisions.push(revision);
    }
}

#[test]
fn sound_principles_have_no_findings() {
    let mut input = sound();
    revised(&mut input, |_, _| {});
    assert_eq!(audited(&input).findings, []);
}

/// The findings of a kind, as "severity principles detail: items".
fn findings_of(kind: FindingKind, change: Change) -> Vec<String> {
    let mut input = sound();
    change(&mut input);
    let audit = audited(&input);
    let of_kind = audit.findings.iter().filter(|finding| finding.kind == kind);
    of_kind
        .map(|finding| {
            let detail = finding.detail.as_deref().unwrap_or("-");
            let (principles, items) = (finding.principles.join("+"), finding.items.join(" "));
            format!("{} {principles} {detail}: {items}", finding.severity)
        })
        .collect()
}

#[test]
fn each_planted_fault_is_found() {
    let cases: [(FindingKind, Change, &[&str]); 17] = [
        (FindingKind::Undecided, |input| mass(input, 0.1), &["warn p0 -: "]),
        // 0 of 40: the interval reaches to 8.8 %, over the bound of 5 %.
        (FindingKind::Inactive, |input| input.scores[1] = scores(&[0.1; ITEMS]), &["info p1 -: "]),
        (
            FindingKind::Uncovered,
            half_silent,
            &["warn  -: i20 i21 i22 i23 i24", "warn  odd: i20 i21 i22 i23 i24"],
        ),
        (
            FindingKind::AgainstLabels,
            |input| label(input, |item| -bit(2, item)),
            // The others are right half of the time, which is at the bound.
            &[
                "error p2 -: i0 i1 i2 i3 i4",
                "info p0 -: i0 i2 i5 i7 i8",
                "info p1 -: i0 i1 i6 i7 i8",
            ],
        ),
        (
            FindingKind::Redundant,
            |input| input.scores[1] = input.scores[0].clone(),
            &["warn p0+p1 -: "],
        ),
        (
            FindingKind::Conflict,
            |input| input.scores[1] = scores(&row(|item| -bit(0, item))),
            &["warn p0+p1 -: i0 i1 i2 i3 i4"],
        ),
        // p0 and its copy outvote p2.
        (
            FindingKind::Reducible,
            |input| input.scores[1] = input.scores[0].clone(),
            &["info p0 -: "],
        ),
        // p2 alone decides. Without it, p1 would decide, differently on half of the
        // items.
        (
            FindingKind::Dominant,
            |input| input.principles[2].weight = 10.0,
            &["warn p2 -: i2 i5 i10 i13 i18"],
        ),
        (FindingKind::Position, |input| offset(input, 3.0), &["warn p0 -: i0 i1 i2 i3 i4"]),
        (
            FindingKind::Length,
            |input| {
                input
                    .items
                    .iter_mut()
                    .enumerate()
                    .for_each(|(i, item)| item.length = Some(bit(0, i)))
            },
            &["warn p0 -: "],
        ),
        (
            FindingKind::Verbosity,
            |input| {
                input
                    .items
                    .iter_mut()
                    .enumerate()
                    .for_each(|(i, item)| item.verbosity = Some(-bit(1, i)))
            },
            &["warn p1 -: "],
        ),
        (
            FindingKind::Paraphrase,
            |input| input.paraphrases = vec![variant("reworded", 20), variant("again", 2)],
            &["warn p0 reworded: i0 i1 i2 i3 i4"],
        ),
        (
            FindingKind::LabelWords,
            // 32 of 40 verdicts stay: 80 %, and up to 89.5 %.
            |input| input.label_words = vec![variant("1/2", 8)],
            &["info p0 1/2: i0 i1 i2 i3 i4"],
        ),
        (
            FindingKind::SteeringLoss,
            |input| revised(input, |_, revision| revision.shifts = scores(&[1.0, -1.0, -0.1])),
            &["warn p0+p1 -: "],
        ),
        (
            FindingKind::SteeringVoid,
            |input| revised(input, |_, revision| revision.shifts = scores(&[-0.1, 1.0, 1.0])),
            &["warn p0 -: "],
        ),
        (
            FindingKind::NoOp,
            |input| revised(input, |item, revision| revision.unchanged = item < 12),
            &["info p0 -: "],
        ),
        (
            FindingKind::OverRefusal,
            |input| revised(input, |item, revision| revision.refused_after = item < 6),
            &["error p0 -: i0 i1 i2 i3 i4"],
        ),
    ];
    for (kind, change, expected) in cases {
        assert_eq!(findings_of(kind, change), expected, "{kind}");
    }
}

fn mass(input: &mut AuditInput, mass: f64) {
    let half = input.scores[0].iter_mut().take(20).flatten();
    half.for_each(|score| *score = AuditScore { mass, ..*score });
}

fn offset(input: &mut AuditInput, offset: f64) {
    input.scores[0].iter_mut().flatten().for_each(|score| score.offset = offset);
}

fn label(input: &mut AuditInput, sign: impl Fn(usize) -> f64) {
    for (i, item) in input.items.iter_mut().enumerate() {
        item.label = Better::from_score(sign(i));
    }
}

fn half_silent(input: &mut AuditInput) {
    for (i, item) in input.items.iter_mut().enumerate().skip(20) {
        item.category = "odd".into();
        input.scores.iter_mut().flat_map(|row| &mut row[i]).for_each(|s| s.log_odds = 0.1);
    }
}

/// A variant of p0 with the opposite verdict on the first `turned` items.
fn variant(name: &str, turned: usize) -> Variant {
    let scores = scores(&row(|item| if item < turned { -2.0 } else { 2.0 } * bit(0, item)));
    Variant { principle: 0, name: name.into(), scores }
}

#[test]
fn few_items_are_the_only_finding() {
    let audit = audited(&input(&[&[1.0, -1.0], &[-1.0, 1.0]]));
    let [finding] = &audit.findings[..] else { panic!("{:?}", audit.findings) };
    assert_eq!((finding.kind, finding.severity), (FindingKind::FewItems, Severity::Info));
    assert_eq!(finding.message, "There are 2 items; other findings need 20.");
}

#[test]
fn messages_state_the_estimate_and_its_interval() {
    let mut input = sound();
    label(&mut input, |item| -bit(2, item));
    let audit = audited(&input);
    let finding = &audit.findings[0];
    assert_eq!(finding.message, "p2 prefers the better answer on 0.0 % of 40 (0.0 to 8.8 %).");
    assert_eq!((finding.figure.value, finding.bound), (0.0, 0.5));
    input.scores[1] = input.scores[0].clone();
    let redundant = audited(&input);
    let finding = redundant.findings.iter().find(|f| f.kind == FindingKind::Redundant).unwrap();
    assert_eq!(
        finding.message,
        "p0 and p1 are redundant: correlation 1.00 (1.00 to 1.00, n = 40)."
    );
    assert!(redundant.findings.is_sorted_by(|a, b| a.severity >= b.severity));
}

#[test]
fn docs_list_every_kind_and_every_threshold() {
    let document = include_str!("../../../../../docs/audit.md");
    for kind in ALL {
        assert!(document.contains(&format!("| `{kind}` |")), "{kind}");
    }
    let bounds = serde_json::to_value(Thresholds::default()).unwrap();
    for (key, value) in bounds.as_object().unwrap() {
        let entry = format!("| `{key}` | {value} |").replace(".0 |", " |");
        assert!(document.contains(&entry), "{entry}");
    }
}

const ALL: [FindingKind; 18] = [
    FindingKind::FewItems,
    FindingKind::Undecided,
    FindingKind::Inactive,
    FindingKind::Uncovered,
    FindingKind::AgainstLabels,
    FindingKind::Redundant,
    FindingKind::Conflict,
    FindingKind::Reducible,
    FindingKind::Dominant,
    FindingKind::Position,
    FindingKind::Length,
    FindingKind::Verbosity,
    FindingKind::Paraphrase,
    FindingKind::LabelWords,
    FindingKind::SteeringLoss,
    FindingKind::SteeringVoid,
    FindingKind::NoOp,
    FindingKind::OverRefusal,
];

//! The counts of an export in words: for `amend export`, and at the end of `amend run`.

use amend_data::export::{Counts, DuplicateIds, explain_finding};
use amend_data::pairs::DropReason;

/// What was left out: nothing, one reason on the line, or a line for each reason, the
/// most frequent first.
#[must_use]
pub fn left_out(counts: &Counts) -> String {
    let mut reasons: Vec<(u64, String)> = Vec::new();
    for (reason, count) in &counts.dropped {
        reasons.push((*count, reason.explain().to_owned()));
    }
    for ((rule, about), count) in &counts.filtered {
        reasons.push((*count, explain_finding(rule, about)));
    }
    // Stable: equal counts stay in the order of the reasons.
    reasons.sort_by_key(|(count, _)| std::cmp::Reverse(*count));
    match reasons.as_slice() {
        [] => String::new(),
        [(count, reason)] => format!(", {count} left out: {reason}"),
        _ => {
            let all: u64 = reasons.iter().map(|(count, _)| count).sum();
            let width = reasons[0].0.to_string().len();
            let lines =
                reasons.iter().map(|(count, reason)| format!("\n  {count:>width$}  {reason}"));
            format!(", {all} left out:{}", lines.collect::<String>())
        }
    }
}

/// Why an export has no rows.
#[must_use]
pub fn no_rows(counts: &Counts) -> String {
    let left_out = left_out(counts);
    if left_out.is_empty() {
        return "there are no rows to export: no item has ended".to_owned();
    }
    format!("there are no rows to export{left_out}")
}

/// What the user can do about an export without rows.
#[must_use]
pub fn hints(counts: &Counts) -> Vec<String> {
    let mut hints = Vec::new();
    let has = |reason| counts.dropped.contains_key(&reason);
    let by_the_judge = [DropReason::NotBetter, DropReason::JudgedEqual, DropReason::Undecided];
    if by_the_judge.into_iter().any(has) {
        hints.push("--policy keep exports pairs whatever the judge decided".to_owned());
    }
    if has(DropReason::Disagreement) {
        hints.push(
            "a greater --max-disagreement exports pairs on which the judges disagree more"
                .to_owned(),
        );
    }
    if let Some((rule, _)) = counts.filtered.keys().next() {
        hints.push(format!("--allow {rule} exports rows with this finding"));
    }
    if has(DropReason::Cut) {
        hints
            .push("run with a greater max_tokens (-n), so that answers are not cut off".to_owned());
    }
    hints
}

/// A warning about ids that several rows have.
#[must_use]
pub fn duplicate_ids(counts: &Counts) -> Option<String> {
    let DuplicateIds { items, example } = counts.duplicate_ids.as_ref()?;
    let have = if *items == 1 { "item has" } else { "items have" };
    Some(format!("{items} {have} the id of an earlier item, such as {example:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_reasons_have_a_line_each() {
        let mut counts = Counts::default();
        assert_eq!(left_out(&counts), "");
        assert_eq!(no_rows(&counts), "there are no rows to export: no item has ended");
        counts.dropped.insert(DropReason::Same, 3);
        assert_eq!(left_out(&counts), ", 3 left out: both sides are the same");
        counts.dropped.insert(DropReason::NotBetter, 12);
        counts.filtered.insert(("secret", "a text contains a secret"), 3);
        assert_eq!(
            no_rows(&counts),
            "there are no rows to export, 18 left out:\n  12  the judge prefers the other side\n  \
             \u{20}3  both sides are the same\n   3  secret (a text contains a secret)"
        );
    }

    #[test]
    fn hints_fit_the_reasons() {
        assert_eq!(hints(&Counts::default()), [""; 0]);
        let mut counts = Counts::default();
        counts.dropped.insert(DropReason::Undecided, 1);
        counts.dropped.insert(DropReason::Disagreement, 1);
        counts.dropped.insert(DropReason::Cut, 1);
        counts.filtered.insert(("secret", "a secret"), 1);
        let starts = [
            "--policy keep ",
            "a greater --max-disagreement ",
            "--allow secret ",
            "run with a greater max_tokens",
        ];
        for (hint, start) in hints(&counts).iter().zip(starts) {
            assert!(hint.starts_with(start), "{hint}");
        }
        assert_eq!(hints(&counts).len(), 4);
    }

    #[test]
    fn duplicate_ids_are_counted_with_an_example() {
        assert_eq!(duplicate_ids(&Counts::default()), None);
        let ids = DuplicateIds { items: 2, example: "q-1".to_owned() };
        let counts = Counts { duplicate_ids: Some(ids), ..Counts::default() };
        let expected = "2 items have the id of an earlier item, such as \"q-1\"";
        assert_eq!(duplicate_ids(&counts).as_deref(), Some(expected));
    }
}

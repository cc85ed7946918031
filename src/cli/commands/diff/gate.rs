//! What a gate saved and missed, for people.

use std::fmt::Write as _;

use super::list;
use crate::cli::output::table::{interval, table};
use amend_analysis::diff::{Gate, Miss, Misses};
use amend_core::stats::GroupedMean;

/// What a run with a gate saved and missed against one without.
pub fn report(gate: &Gate) -> String {
    let which = if gate.is_second { "second" } else { "first" };
    let Gate { items, asked, passed, gated, ungated, other_answers, .. } = gate;
    let mut text = format!(
        "\nthe gate of the {which} run, {}, in {items} items done in both\n\
         asked {asked} times, {passed} times the answer passed\n",
        gate.gate
    );
    let row = |name: &str, of: fn(&amend_analysis::diff::Spent) -> u64| {
        vec![name.to_owned(), of(gated).to_string(), of(ungated).to_string()]
    };
    text.push_str(&table(
        1,
        &[
            ["", "with", "without"].map(str::to_owned).to_vec(),
            row("  critiques", |spent| spent.critiques),
            row("  revisions", |spent| spent.revisions),
            row("  tokens decoded", |spent| spent.decoded),
            row("  prompt tokens computed", |spent| spent.prefilled),
        ],
    ));
    if let Some(saved) = &gate.saved {
        let interval = saved.interval.map(|_| format!(" ({})", interval(saved)));
        let interval = interval.unwrap_or_default();
        let _ = writeln!(text, "{:.2} of the decoded tokens saved{interval}", saved.value);
    }
    let mut rows = vec![["", "", "preferred", "95 % interval", "n"].map(str::to_owned).to_vec()];
    for (name, misses) in [("items", &gate.by_item), ("principles", &gate.by_principle)] {
        rows.extend(misses_rows(name, misses));
    }
    if rows.len() > 1 {
        text.push_str("\nrevisions that the verdicts of the run without a gate prefer\n");
        text.push_str(&table(2, &rows));
    }
    list(&mut text, "missed", gate.missed.iter().map(missed).collect());
    if *other_answers > 0 {
        let _ = writeln!(
            text,
            "\n{other_answers} items have other first answers in the two runs; what the gate \
             missed is told without them"
        );
    }
    text
}

fn misses_rows(name: &str, misses: &Misses) -> Vec<Vec<String>> {
    let parts = [
        ("passed by", &misses.passed_by),
        ("revised in both", &misses.revised),
        ("difference", &misses.lead),
    ];
    let found = parts.into_iter().filter(|(_, mean)| mean.is_some());
    found
        .enumerate()
        .map(|(at, (part, mean))| {
            let name = if at == 0 { name } else { "" };
            [vec![name.to_owned(), part.to_owned()], cells(mean.as_ref())].concat()
        })
        .collect()
}

/// A figure, its interval, and how many values it rests on.
fn cells(mean: Option<&GroupedMean>) -> Vec<String> {
    let Some(mean) = mean else { return Vec::new() };
    vec![format!("{:.2}", mean.value), interval(mean), mean.n.to_string()]
}

fn missed(miss: &Miss) -> String {
    let under = miss.principle.as_deref().unwrap_or("on the whole");
    format!("{} ({under}: violation {:.2}, p {:.2})", miss.key, miss.violation, miss.p_chosen)
}

//! What a gate saved and missed, as text.

use std::fmt::Write as _;

use super::list;
use crate::cli::output::format::{interval, number};
use crate::cli::output::table::table;
use amend_analysis::diff::{Gate, Miss, Misses};

/// What a run with a gate saved and missed, compared with a run without one.
pub fn report(gate: &Gate) -> String {
    let which = if gate.is_second { "second" } else { "first" };
    let Gate { items, asked, passed, gated, ungated, other_answers, .. } = gate;
    let mut text = format!(
        "\nthe gate of the {which} run, {}, in {items} items done in both\n\
         {asked} gate checks, of which {passed} found no violation\n",
        gate.gate
    );
    let row = |name: &str, value: fn(&amend_analysis::diff::Spent) -> u64| {
        vec![name.to_owned(), value(gated).to_string(), value(ungated).to_string()]
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
        let _ = write!(text, "{:.2} of the decoded tokens saved", saved.value);
        if saved.interval.is_some() {
            let _ = write!(text, " ({})", interval(saved));
        }
        text.push('\n');
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
            "\n{other_answers} items have different first answers in the two runs; the figures of \
             what the gate missed leave them out"
        );
    }
    text
}

fn misses_rows(name: &str, misses: &Misses) -> Vec<Vec<String>> {
    let parts = [
        ("gate passed", &misses.passed_by),
        ("revised in both", &misses.revised),
        ("difference", &misses.lead),
    ];
    let mut rows = Vec::new();
    for (part, mean) in parts {
        let Some(mean) = mean else { continue };
        let name = if rows.is_empty() { name } else { "" };
        rows.push(vec![
            name.to_owned(),
            part.to_owned(),
            number(mean.value, 2),
            interval(mean),
            mean.n.to_string(),
        ]);
    }
    rows
}

fn missed(miss: &Miss) -> String {
    let principle = miss.principle.as_deref().unwrap_or("overall");
    format!("{} ({principle}: violation {:.2}, p {:.2})", miss.key, miss.violation, miss.p_chosen)
}

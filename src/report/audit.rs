//! The sections of an audit (`audit.json`): findings, and the matrices of
//! principles against principles and categories.

use super::view::{Cell, Section, Table};
use super::words::{count, interval, percent, percent_interval, signed};
use amend_analysis::audit::{Audit, Finding, PairFigures, PrincipleFigures, Severity};
use amend_core::stats::Estimate;

/// Log-odds from which on a shift's colour is deepest.
const DEEP: f64 = 2.0;

/// From how many findings of a kind on their list is folded.
const LONG: usize = 8;

/// How many items of a finding are pointed to.
const EXAMPLES: usize = 5;

/// The sections of an audit.
pub fn sections(audit: &Audit) -> Vec<Section> {
    let sections = [findings(audit), figures(audit), matrices(audit)];
    sections.into_iter().filter(|section| !section.is_empty()).collect()
}

fn findings(audit: &Audit) -> Section {
    let mut section = Section::new("findings", "Findings");
    for severity in [Severity::Error, Severity::Warn, Severity::Info] {
        let number = audit.findings.iter().filter(|found| found.severity == severity).count();
        section.card(severity.to_string(), count(number as u64), "");
    }
    section.card("Items", count(audit.items as u64), "that the principles were tried on");
    let cost = &audit.cost;
    if cost.verdicts > 0 {
        let ratio = cost.ratio().map(|ratio| format!("; {ratio:.2} times the least possible"));
        let note =
            format!("of {} in prompts{}", count(cost.prompt_tokens), ratio.unwrap_or_default());
        section.card("Tokens computed", count(cost.prefilled), note);
    }
    let alike =
        |one: &Finding, other: &Finding| one.kind == other.kind && one.severity == other.severity;
    for group in audit.findings.chunk_by(alike) {
        let Finding { severity, kind, advice, .. } = &group[0];
        let columns = match group.iter().any(|finding| !finding.items.is_empty()) {
            true => &["finding", "such as"][..],
            false => &["finding"],
        };
        let mut table = Table::new(format!("{severity}: {kind}"), columns)
            .note(format!("What to try: {advice}"));
        for finding in group {
            let links = finding.items.iter().take(EXAMPLES).cloned().collect();
            let message = Cell::text(&finding.message).hint(interval(&finding.figure));
            let cells = [message, Cell { links, ..Cell::default() }];
            table.rows.push(cells.into_iter().take(columns.len()).collect());
        }
        table.folded = table.rows.len() > LONG;
        section.table(table);
    }
    section
}

fn figures(audit: &Audit) -> Section {
    let mut section = Section::new("audited", "Each principle");
    let columns = [
        "principle",
        "category",
        "active",
        "undecided",
        "right",
        "decides",
        "offset",
        "both orders",
        "length",
    ];
    let mut table = Table::new("What each principle does", &columns).note(
        "Active: has a say; right: agrees with the label where active; decides: verdicts of all \
         principles together that turn without it; offset: log-odds for the first place; both \
         orders: same verdict either way; length: correlation of its score with length.",
    );
    for one in &audit.principles {
        table.rows.push(vec![
            Cell::text(name(one)).hint(&one.id),
            Cell::text(&one.category),
            share(one.activity.activation),
            share(one.activity.undecided),
            share(one.activity.accuracy),
            share(one.influence.flips_without),
            plain(one.position.offset),
            share(one.position.consistency),
            plain(one.length.best()),
        ]);
    }
    section.table(table);
    section.table(variants(audit));
    section
}

/// What becomes of each principle's verdicts when it is asked for otherwise.
fn variants(audit: &Audit) -> Table {
    let columns =
        ["principle", "asked otherwise", "same verdict", "correlation", "shift", "undecided"];
    let mut table = Table::new("Other words", &columns).note(
        "The principle in other words, and other words for the two answers. Same verdict: of the \
         items on which it has a say as written; shift: how the score moves, in log-odds. Where \
         all is –, the judge has no token for one of the words, and was not asked.",
    );
    for one in &audit.principles {
        for variant in one.paraphrases.iter().chain(&one.label_words) {
            table.rows.push(vec![
                Cell::text(name(one)).hint(&one.id),
                Cell::text(&variant.name),
                share(variant.agreement),
                plain(variant.correlation),
                plain(variant.shift),
                share(variant.undecided),
            ]);
        }
    }
    table
}

fn matrices(audit: &Audit) -> Section {
    let mut section = Section::new("matrices", "Principles against each other");
    let principles = &audit.principles;
    let pair = |row: &PrincipleFigures, column: &PrincipleFigures| {
        audit.pairs.iter().find(|pair| {
            let ids = [pair.principles[0].as_str(), pair.principles[1].as_str()];
            ids == [row.id.as_str(), column.id.as_str()]
                || ids == [column.id.as_str(), row.id.as_str()]
        })
    };
    let of_pairs = |title: &str, note: &str, cell: &dyn Fn(&PairFigures) -> Cell| {
        let mut table = numbered(title, principles).note(note);
        for (at, row) in principles.iter().enumerate() {
            let cells =
                principles.iter().map(|column| pair(row, column).map_or_else(Cell::default, cell));
            table.rows.push(std::iter::once(heading(at, row)).chain(cells).collect());
        }
        table
    };
    if principles.len() > 1 {
        section.table(of_pairs(
            "Redundancy",
            "Correlation of two principles' scores. Deep blue: they say the same.",
            &|pair| shaded(pair.correlation, 1.0, signed, interval),
        ));
        if audit.pairs.iter().any(|pair| pair.conflict.is_some()) {
            section.table(of_pairs(
                "Conflict",
                "Share of items, of those on which both are active, where they prefer different \
                 answers.",
                // The deeper the orange, the more they pull against each other.
                &|pair| {
                    let mut cell = shaded(pair.conflict, 1.0, percent, percent_interval);
                    if let Some(conflict) = pair.conflict {
                        cell = cell.shaded(-conflict.value, 1.0);
                    }
                    cell
                },
            ));
        } else {
            section.note = "No two are ever both active: none can conflict.".to_owned();
        }
    }
    section.table(steering(audit));
    section.table(coverage(audit));
    section
}

/// Revisions under the principle of the row, scored under that of the column.
fn steering(audit: &Audit) -> Table {
    let mut table = numbered("Steering", &audit.principles).note(
        "What revisions under the principle of a row do to the score under that of a column, in \
         log-odds. Blue: better; orange: worse.",
    );
    for (at, (one, row)) in audit.principles.iter().zip(&audit.steering.rows).enumerate() {
        if row.revisions > 0 {
            let cells = row.shifts.iter().map(|shift| shaded(*shift, DEEP, signed, interval));
            table.rows.push(std::iter::once(heading(at, one)).chain(cells).collect());
        }
    }
    table
}

/// Where each principle has a say.
fn coverage(audit: &Audit) -> Table {
    let categories = &audit.coverage.categories;
    let names = categories.iter().map(|category| category.category.as_str());
    let columns: Vec<&str> = std::iter::once("principle").chain(names).collect();
    let mut table = Table::new("Active by category of items", &columns)
        .note("Share of a category's items on which the principle has a say.");
    table.heat = true;
    if categories.is_empty() {
        return table;
    }
    for (at, one) in audit.principles.iter().enumerate() {
        let activation = |category: &amend_analysis::audit::CategoryCoverage| {
            let share = category.activation.get(at).copied().flatten();
            shaded(share, 1.0, percent, percent_interval)
        };
        let cells = categories.iter().map(activation);
        table.rows.push(std::iter::once(heading(at, one)).chain(cells).collect());
    }
    table
}

/// A heat map whose columns are principles, by number.
fn numbered(title: &str, principles: &[PrincipleFigures]) -> Table {
    let mut table = Table::new(title, &["principle"]);
    table.heat = true;
    table.columns.extend(
        principles
            .iter()
            .enumerate()
            .map(|(at, one)| Cell::text((at + 1).to_string()).hint(name(one))),
    );
    table
}

fn heading(at: usize, one: &PrincipleFigures) -> Cell {
    Cell::text(format!("{} {}", at + 1, name(one))).hint(&one.id)
}

fn name(one: &PrincipleFigures) -> &str {
    if one.title.is_empty() { &one.id } else { &one.title }
}

fn share(estimate: Option<Estimate>) -> Cell {
    estimate
        .map_or_else(Cell::none, |one| Cell::text(percent(one.value)).hint(percent_interval(&one)))
}

fn plain(estimate: Option<Estimate>) -> Cell {
    estimate.map_or_else(Cell::none, |one| Cell::text(signed(one.value)).hint(interval(&one)))
}

fn shaded(
    estimate: Option<Estimate>,
    full: f64,
    print: fn(f64) -> String,
    hint: fn(&Estimate) -> String,
) -> Cell {
    estimate.map_or_else(Cell::none, |one| {
        Cell::text(print(one.value)).hint(hint(&one)).shaded(one.value, full)
    })
}

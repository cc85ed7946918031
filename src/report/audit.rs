//! The sections of an audit (`audit.json`): its findings, the figures of each
//! principle, and the matrices of principles against principles and categories.

use super::view::{Cell, Section, Table};
use super::words::{count, interval, percent, percent_interval, signed};
use amend_analysis::audit::{
    Audit, AuditFinding, PairFigures, PrincipleFigures, Statistic, StatisticForm, VariantFigures,
};
use amend_core::document::Severity;
use amend_core::stats::Estimate;

/// The shift in log-odds at which a cell's colour is deepest.
const DEEP: f64 = 2.0;

/// A table with more findings than this is folded.
const LONG: usize = 8;

/// The most items that a finding links to.
const EXAMPLES: usize = 5;

/// The sections of an audit that are not empty.
pub fn sections(audit: &Audit) -> Vec<Section> {
    let sections = [findings(audit), figures(audit), matrices(audit)];
    sections.into_iter().filter(|section| !section.is_empty()).collect()
}

fn findings(audit: &Audit) -> Section {
    let mut section = Section::new("findings", "Findings");
    for severity in [Severity::Error, Severity::Warn, Severity::Info] {
        let number = audit.findings.iter().filter(|finding| finding.severity == severity).count();
        section.card(severity.to_string(), count(number as u64), "");
    }
    section.card("Items", count(audit.items as u64), "on which the principles were tested");
    let cost = &audit.cost;
    if cost.verdicts > 0 {
        let ratio = cost.ratio().map(|ratio| format!("; {ratio:.2} times the minimum"));
        let note =
            format!("of {} in prompts{}", count(cost.prompt_tokens), ratio.unwrap_or_default());
        section.card("Tokens prefilled", count(cost.prefilled), note);
    }
    let alike = |a: &AuditFinding, b: &AuditFinding| a.kind == b.kind && a.severity == b.severity;
    for group in audit.findings.chunk_by(alike) {
        let AuditFinding { severity, kind, advice, .. } = &group[0];
        let columns = match group.iter().any(|finding| !finding.items.is_empty()) {
            true => &["finding", "examples"][..],
            false => &["finding"],
        };
        let mut table =
            Table::new(format!("{severity}: {kind}"), columns).note(format!("Advice: {advice}"));
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
    let mut section = Section::new("audited", "Figures by principle");
    let statistics = audit.principles.first().map(PrincipleFigures::statistics).unwrap_or_default();
    let mut table = columns("Principles", &["principle", "category"], &statistics);
    for principle in &audit.principles {
        let heading = Cell::text(name(principle)).hint(&principle.id);
        let mut row = vec![heading, Cell::text(&principle.category)];
        row.extend(principle.statistics().iter().filter_map(cell));
        table.rows.push(row);
    }
    section.table(table);
    section.table(variants(audit));
    section
}

/// How each principle's verdicts change when the question is rephrased.
fn variants(audit: &Audit) -> Table {
    let variants = |principle: &'_ PrincipleFigures| -> Vec<VariantFigures> {
        [&principle.paraphrases[..], &principle.label_words].concat()
    };
    let first = audit.principles.iter().flat_map(variants).next();
    let statistics = first.as_ref().map(VariantFigures::statistics).unwrap_or_default();
    let mut table = columns("Paraphrases and label words", &["principle", "variant"], &statistics);
    table.note = format!(
        "Paraphrases of the principle, and other words for the two answers. {} A row of – means \
         that the judge has no single token for one of the words and was not asked.",
        table.note
    );
    for principle in &audit.principles {
        for variant in variants(principle) {
            let heading = Cell::text(name(principle)).hint(&principle.id);
            let mut row = vec![heading, Cell::text(&variant.name)];
            row.extend(variant.statistics().iter().filter_map(cell));
            table.rows.push(row);
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
    let pair_matrix = |title: &str, note: &str, cell: &dyn Fn(&PairFigures) -> Cell| {
        let mut table = numbered(title, principles).note(note);
        for (at, row) in principles.iter().enumerate() {
            let cells =
                principles.iter().map(|column| pair(row, column).map_or_else(Cell::default, cell));
            table.rows.push(std::iter::once(heading(at, row)).chain(cells).collect());
        }
        table
    };
    if principles.len() > 1 {
        section.table(pair_matrix(
            "Redundancy",
            "Correlation of two principles' scores. Deep blue: they are redundant.",
            &|pair| shaded(pair.correlation, 1.0, signed, interval),
        ));
        if audit.pairs.iter().any(|pair| pair.conflict.is_some()) {
            section.table(pair_matrix(
                "Conflict",
                "Share of the items on which both principles are active where they prefer \
                 different answers.",
                // The deeper the orange, the stronger the conflict.
                &|pair| {
                    let mut cell = shaded(pair.conflict, 1.0, percent, percent_interval);
                    if let Some(conflict) = pair.conflict {
                        cell = cell.shaded(-conflict.value, 1.0);
                    }
                    cell
                },
            ));
        } else {
            section.note =
                "No two principles are active on the same item, so none conflict.".to_owned();
        }
    }
    section.table(revision_effects(audit));
    section.table(coverage(audit));
    section
}

/// How revisions under the principle of a row change the score under the principle
/// of a column.
fn revision_effects(audit: &Audit) -> Table {
    let mut table = numbered("Effects of revisions", &audit.principles).note(
        "How revisions under the principle of a row change the score under the principle of a \
         column, in log-odds. Blue: the score rises; orange: it falls.",
    );
    for (at, (principle, row)) in audit.principles.iter().zip(&audit.steering.rows).enumerate() {
        if row.revisions > 0 {
            let cells = row.shifts.iter().map(|shift| shaded(*shift, DEEP, signed, interval));
            table.rows.push(std::iter::once(heading(at, principle)).chain(cells).collect());
        }
    }
    table
}

/// In which categories each principle is active.
fn coverage(audit: &Audit) -> Table {
    let categories = &audit.coverage.categories;
    let names = categories.iter().map(|category| category.category.as_str());
    let columns: Vec<&str> = std::iter::once("principle").chain(names).collect();
    let mut table = Table::new("Activity by category of items", &columns)
        .note("Share of a category's items on which the principle prefers an answer.");
    table.heat = true;
    if categories.is_empty() {
        return table;
    }
    for (at, principle) in audit.principles.iter().enumerate() {
        let activation = |category: &amend_analysis::audit::CategoryCoverage| {
            let share = category.activation.get(at).copied().flatten();
            shaded(share, 1.0, percent, percent_interval)
        };
        let cells = categories.iter().map(activation);
        table.rows.push(std::iter::once(heading(at, principle)).chain(cells).collect());
    }
    table
}

/// A heat map with a numbered column per principle.
fn numbered(title: &str, principles: &[PrincipleFigures]) -> Table {
    let mut table = Table::new(title, &["principle"]);
    table.heat = true;
    for (at, principle) in principles.iter().enumerate() {
        table.columns.push(Cell::text((at + 1).to_string()).hint(name(principle)));
    }
    table
}

fn heading(at: usize, principle: &PrincipleFigures) -> Cell {
    Cell::text(format!("{} {}", at + 1, name(principle))).hint(&principle.id)
}

fn name(principle: &PrincipleFigures) -> &str {
    if principle.title.is_empty() { &principle.id } else { &principle.title }
}

/// A table with the `leading` columns and those of the statistics, which its note explains.
fn columns(title: &str, leading: &[&str], statistics: &[Statistic]) -> Table {
    let shown = statistics.iter().filter_map(|statistic| statistic.column.as_ref());
    let mut headings = leading.to_vec();
    let mut notes = Vec::new();
    for column in shown {
        headings.push(column.heading);
        if !column.about.is_empty() {
            notes.push(format!("{}: {}.", capitalised(column.heading), column.about));
        }
    }
    Table::new(title, &headings).note(notes.join(" "))
}

fn capitalised(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// The cell of a statistic; `None` if it has no column.
fn cell(statistic: &Statistic) -> Option<Cell> {
    let form = statistic.column.as_ref()?.form;
    Some(match (statistic.estimate, form) {
        (None, _) => Cell::none(),
        (Some(share), StatisticForm::Share) => {
            Cell::text(percent(share.value)).hint(percent_interval(&share))
        }
        (Some(mean), StatisticForm::Signed) => Cell::text(signed(mean.value)).hint(interval(&mean)),
    })
}

fn shaded(
    estimate: Option<Estimate>,
    full: f64,
    print: fn(f64) -> String,
    hint: fn(&Estimate) -> String,
) -> Cell {
    match estimate {
        Some(found) => Cell::text(print(found.value)).hint(hint(&found)).shaded(found.value, full),
        None => Cell::none(),
    }
}

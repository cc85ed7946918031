//! The section about human reviews.

use super::view::{Cell, Section, Table};
use super::words::{count, decimal, percent, percent_interval};
use crate::review::{AgreementFigures, Outcomes, PairwiseAgreement};

/// What reviewers decided, and how far they agree. Empty without reviews.
pub fn section(figures: &AgreementFigures) -> Section {
    let mut section = Section::new("reviews", "Reviews");
    if figures.reviewers.is_empty() {
        return section;
    }
    section.note = "Decisions of people about the two answers of an item. In exports they take \
                    precedence over the judge's verdicts."
        .to_owned();
    let Outcomes { kept, turned, tie, both_bad, disputed, edited } = figures.outcomes;
    let items = format!("{} edited", count(edited as u64));
    section.card("Items decided", count(figures.items as u64), items);
    for (label, number) in [
        ("For the revision", kept),
        ("For the other answer", turned),
        ("Ties", tie),
        ("Both bad", both_bad),
        ("Disputed", disputed),
    ] {
        if number > 0 {
            section.card(label, count(number as u64), "");
        }
    }
    if let Some(judge) = &figures.judge {
        section.card(
            "Agreement with the judge",
            percent(judge.same.value),
            percent_interval(&judge.same),
        );
    }
    let mut reviewers =
        Table::new("Reviewers", &["reviewer", "items", "median time", "chose the left"]);
    for reviewer in &figures.reviewers {
        let time = match reviewer.seconds {
            Some(seconds) => Cell::text(format!("{seconds:.1} s")),
            None => Cell::none(),
        };
        let left = match &reviewer.left {
            Some(left) => {
                Cell::text(format!("{} ({})", percent(left.value), percent_interval(left)))
            }
            None => Cell::none(),
        };
        let reviews = Cell::text(count(reviewer.reviews as u64));
        reviewers.rows.push(vec![Cell::text(&reviewer.name), reviews, time, left]);
    }
    section.table(reviewers);
    let columns = ["between", "items", "same decision", "Cohen's κ"];
    let mut agreement = Table::new("Agreement", &columns);
    for pair in &figures.between {
        agreement.rows.push(agreement_row(pair.reviewers.join(", "), &pair.agreed));
    }
    if let Some(agreed) = &figures.judge {
        agreement.rows.push(agreement_row("reviewers, judge".to_owned(), agreed));
    }
    section.table(agreement);
    section
}

fn agreement_row(between: String, agreed: &PairwiseAgreement) -> Vec<Cell> {
    let kappa = match &agreed.kappa {
        Some(kappa) => {
            let [value, low, high] = [kappa.value, kappa.low, kappa.high].map(decimal);
            Cell::text(format!("{value} ({low} to {high})"))
        }
        None => Cell::none(),
    };
    vec![
        Cell::text(between),
        Cell::text(count(agreed.same.n as u64)),
        Cell::text(percent(agreed.same.value)),
        kappa,
    ]
}

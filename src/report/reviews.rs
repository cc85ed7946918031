//! The section about what people decided.

use super::view::{Cell, Section, Table};
use super::words::{count, decimal, percent, percent_interval};
use crate::review::{Agreed, Figures, Outcomes};

/// What reviewers decided, and how far they agree.
pub fn section(figures: &Figures) -> Section {
    let mut section = Section::new("reviews", "Reviews");
    if figures.reviewers.is_empty() {
        return section;
    }
    section.note = "What people decided about the two answers of an item. In exports it goes \
                    before the judge's verdict."
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
        section.card("As the judge says", percent(judge.same.value), percent_interval(&judge.same));
    }
    let mut reviewers = Table::new("Reviewers", &["reviewer", "items", "median", "chose the left"]);
    reviewers.rows = figures
        .reviewers
        .iter()
        .map(|one| {
            vec![
                Cell::text(&one.name),
                Cell::text(count(one.reviews as u64)),
                one.seconds.map_or_else(Cell::none, |time| Cell::text(format!("{time:.1} s"))),
                one.left.as_ref().map_or_else(Cell::none, |left| {
                    Cell::text(format!("{} ({})", percent(left.value), percent_interval(left)))
                }),
            ]
        })
        .collect();
    section.table(reviewers);
    let mut agreement = Table::new("Agreement", &["who", "items", "the same", "Cohen's κ"]);
    let row = |who: String, agreed: &Agreed| {
        let kappa = agreed.kappa.as_ref().map(|kappa| {
            let [value, low, high] = [kappa.value, kappa.low, kappa.high].map(decimal);
            format!("{value} ({low} to {high})")
        });
        vec![
            Cell::text(who),
            Cell::text(count(agreed.same.n as u64)),
            Cell::text(percent(agreed.same.value)),
            kappa.map_or_else(Cell::none, Cell::text),
        ]
    };
    let between = figures.between.iter().map(|one| row(one.reviewers.join(", "), &one.agreed));
    let judge = figures.judge.iter().map(|agreed| row("people, the judge".to_owned(), agreed));
    agreement.rows = between.chain(judge).collect();
    section.table(agreement);
    section
}

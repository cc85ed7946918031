//! The figures of each category: the values of a column of the input.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use serde_json::{Map, Value};

use super::JudgedRow;
use amend_core::record::Label;
use amend_core::stats::{Bootstrap, Estimate, mean, share};
use amend_data::format::CATEGORIES;

/// The most categories that a column may have to be used without being named.
const MOST: usize = 40;

/// The figures by category.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct CategoryFigures {
    /// The column.
    pub column: String,
    /// The categories, in alphabetical order. Rows without one are the last, under `–`.
    pub categories: Vec<Category>,
}

/// The figures of one category.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Category {
    /// The value of the column.
    pub name: String,
    /// The number of judged rows.
    pub rows: usize,
    /// The numbers of rows labelled a, b and tie.
    pub labels: [usize; 3],
    /// The accuracy over rows labelled a or b; an undecided row counts ½.
    pub accuracy: Option<Estimate>,
    /// The share of rows labelled a or b for which both orders favour the label.
    pub both_orders: Option<Estimate>,
    /// The share of labelled rows, ties included, whose label the judge gives.
    pub three_way: Option<Estimate>,
    /// The share of rows in which both orders favour the same answer.
    pub consistency: Option<Estimate>,
}

/// The category of a row by the column `by`. That of a list of texts is all of them.
#[must_use]
pub fn category(metadata: &Map<String, Value>, by: &str) -> Option<String> {
    match metadata.get(by)? {
        Value::String(text) if !text.trim().is_empty() => Some(text.trim().to_owned()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(value) => Some(value.to_string()),
        Value::Array(values) if !values.is_empty() => {
            let texts: Option<Vec<&str>> = values.iter().map(Value::as_str).collect();
            Some(texts?.join(", "))
        }
        _ => None,
    }
}

/// The column that divides rows with this metadata into categories: the first of
/// [`CATEGORIES`] with at least two values and no more than a table can show.
#[must_use]
pub fn usual_column<'a>(
    rows: impl Iterator<Item = &'a Map<String, Value>> + Clone,
) -> Option<&'static str> {
    CATEGORIES.into_iter().find(|column| {
        let values: BTreeSet<String> =
            rows.clone().filter_map(|metadata| category(metadata, column)).collect();
        (2..=MOST).contains(&values.len())
    })
}

impl CategoryFigures {
    /// The figures of judged rows by their categories. `None` if no row has one.
    pub(super) fn from_rows(
        column: &str,
        judged: &[&JudgedRow],
        bootstrap: &Bootstrap,
    ) -> Option<Self> {
        // `None` comes last.
        let mut rows: BTreeMap<(bool, &str), Vec<&JudgedRow>> = BTreeMap::new();
        for row in judged {
            let name = row.category.as_deref();
            rows.entry((name.is_none(), name.unwrap_or("–"))).or_default().push(row);
        }
        if !rows.keys().any(|(is_missing, _)| !is_missing) {
            return None;
        }
        let categories = rows
            .into_iter()
            .map(|((_, name), rows)| Category::from_rows(name, &rows, bootstrap))
            .collect();
        Some(Self { column: column.to_owned(), categories })
    }
}

impl Category {
    fn from_rows(name: &str, rows: &[&JudgedRow], bootstrap: &Bootstrap) -> Self {
        let labels = [Label::A, Label::B, Label::Tie]
            .map(|label| rows.iter().filter(|row| row.label == Some(label)).count());
        let credits: Vec<f64> = rows.iter().filter_map(|row| credit(row)).collect();
        Self {
            name: name.to_owned(),
            rows: rows.len(),
            labels,
            accuracy: bootstrap
                .estimate(credits.len(), |drawn| mean(drawn.iter().map(|&at| credits[at]))),
            both_orders: both_orders(rows),
            three_way: three_way(rows),
            consistency: share(rows.iter().filter_map(|row| is_consistent(row))),
        }
    }
}

/// 1 if the row, labelled a or b, is judged correctly, ½ if it is undecided.
fn credit(row: &JudgedRow) -> Option<f64> {
    let (label, choice) = (row.label.filter(|label| *label != Label::Tie)?, row.choice()?);
    Some(match choice {
        Label::Tie => 0.5,
        choice => f64::from(u8::from(choice == label)),
    })
}

fn is_consistent(row: &JudgedRow) -> Option<bool> {
    let [first, second] = row.verdict?.orders;
    Some(first * second > 0.0)
}

/// The share of rows labelled a or b for which both orders favour the label. Published
/// figures often count like this.
pub(super) fn both_orders(rows: &[&JudgedRow]) -> Option<Estimate> {
    share(rows.iter().filter_map(|row| {
        let orders = row.verdict?.orders;
        match row.label? {
            Label::A => Some(orders.iter().all(|&order| order > 0.0)),
            Label::B => Some(orders.iter().all(|&order| order < 0.0)),
            Label::Tie => None,
        }
    }))
}

/// The share of labelled rows, ties included, whose label the judge gives. A row that is
/// undecided for lack of mass has none. `None` if no label is a tie.
pub(super) fn three_way(rows: &[&JudgedRow]) -> Option<Estimate> {
    if !rows.iter().any(|row| row.label == Some(Label::Tie)) {
        return None;
    }
    share(rows.iter().filter_map(|row| is_labelled_right(row)))
}

/// Whether the judge gives the label of a labelled row. `None` without a label or a verdict.
pub(super) fn is_labelled_right(row: &JudgedRow) -> Option<bool> {
    row.verdict?;
    Some(row.judged_label() == Some(row.label?))
}

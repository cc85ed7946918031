//! What a page is made of, before it is HTML: sections of figures, charts and
//! tables. Everything here is plain text but [`Chart::svg`].

use serde::Serialize;

/// A part of the page with a heading.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Section {
    /// Its name in the page's address.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// What to know before reading it; empty: nothing.
    pub note: String,
    /// Figures.
    pub cards: Vec<Card>,
    /// Charts.
    pub charts: Vec<Chart>,
    /// Tables.
    pub tables: Vec<Table>,
}

impl Section {
    /// A section with nothing in it yet.
    pub fn new(id: &'static str, title: &'static str) -> Self {
        Self { id, title, ..Self::default() }
    }

    /// Whether there is nothing to show.
    pub fn is_empty(&self) -> bool {
        self.cards.is_empty() && self.charts.is_empty() && self.tables.is_empty()
    }

    /// Adds a figure.
    pub fn card(
        &mut self,
        label: impl Into<String>,
        value: impl Into<String>,
        note: impl Into<String>,
    ) {
        self.cards.push(Card { label: label.into(), value: value.into(), note: note.into() });
    }

    /// Adds a table, unless it has no rows.
    pub fn table(&mut self, table: Table) {
        if !table.rows.is_empty() {
            self.tables.push(table);
        }
    }
}

/// One figure.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Card {
    /// What it is.
    pub label: String,
    /// The figure.
    pub value: String,
    /// Its interval, or what it rests on.
    pub note: String,
}

/// A drawing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chart {
    /// What it shows.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// Markup that goes into the page as it stands.
    pub svg: String,
}

/// Rows of cells; the first cell of each row names it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Table {
    /// Its caption.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// Whether it is a heat map: small cells, coloured by value.
    pub heat: bool,
    /// Whether its rows are shown only when they are asked for.
    pub folded: bool,
    /// Column headings.
    pub columns: Vec<Cell>,
    /// The rows.
    pub rows: Vec<Vec<Cell>>,
}

impl Table {
    /// A table without rows.
    pub fn new(title: impl Into<String>, columns: &[&str]) -> Self {
        let columns = columns.iter().map(|&text| Cell::text(text)).collect();
        Self { title: title.into(), columns, ..Self::default() }
    }

    /// Says how to read it.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// A cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cell {
    /// What stands in it.
    pub text: String,
    /// The text may hold letters that run from right to left.
    pub foreign: bool,
    /// More about it, shown on hovering.
    pub hint: String,
    /// Its colour in a heat map.
    pub shade: &'static str,
    /// Keys of items that it points to.
    pub links: Vec<String>,
}

impl Cell {
    /// A cell of text.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        // Latin letters and signs run from left to right.
        Self {
            foreign: text.chars().any(|c| c >= '\u{590}' && c != '–' && c != '−'),
            text,
            ..Self::default()
        }
    }

    /// An empty cell.
    pub fn none() -> Self {
        Self::text("–")
    }

    /// The same cell with more about it.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// The same cell, coloured by how far `value` is from 0; `full` and beyond
    /// have the deepest colour.
    pub fn shaded(mut self, value: f64, full: f64) -> Self {
        const BELOW: [&str; 5] = ["z", "n1", "n2", "n3", "n4"];
        const ABOVE: [&str; 5] = ["z", "p1", "p2", "p3", "p4"];
        let level = (value.abs() / full * 4.0).round().min(4.0) as usize;
        self.shade = if value < 0.0 { BELOW[level] } else { ABOVE[level] };
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shades_grow_with_the_distance_from_zero() {
        let shade = |value| Cell::default().shaded(value, 2.0).shade;
        let expected = ["n4", "n4", "n2", "z", "z", "z", "p1", "p3", "p4", "p4"];
        let values = [-9.0, -2.0, -1.0, -0.2, 0.0, 0.2, 0.3, 1.4, 2.0, f64::INFINITY];
        assert_eq!(values.map(shade), expected);
    }
}

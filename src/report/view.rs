//! The building blocks of a page: sections of figures, charts and tables. All
//! strings are plain text except [`Chart::svg`].

use serde::Serialize;

/// A part of the page with a heading.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Section {
    /// Its anchor on the page.
    pub id: &'static str,
    /// Its heading.
    pub title: &'static str,
    /// An introduction, or an empty string.
    pub note: String,
    /// Figures.
    pub cards: Vec<FigureCard>,
    /// Charts.
    pub charts: Vec<Chart>,
    /// Tables.
    pub tables: Vec<Table>,
}

impl Section {
    /// An empty section.
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
        self.cards.push(FigureCard { label: label.into(), value: value.into(), note: note.into() });
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
pub struct FigureCard {
    /// The name of the figure.
    pub label: String,
    /// The value.
    pub value: String,
    /// Its interval, or an explanation.
    pub note: String,
}

/// A drawing.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chart {
    /// The title.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// The markup, which is not escaped.
    pub svg: String,
}

/// Rows of cells; the first cell of each row names it.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Table {
    /// Its caption.
    pub title: String,
    /// How to read it.
    pub note: String,
    /// Whether it is a heat map with small cells coloured by value.
    pub heat: bool,
    /// Whether its rows are hidden until the reader opens it.
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

    /// Sets the note on how to read it.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }
}

/// A cell.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Cell {
    /// The text.
    pub text: String,
    /// Whether the text may hold right-to-left characters.
    pub foreign: bool,
    /// Details, shown on hovering.
    pub hint: String,
    /// The CSS class of its colour in a heat map.
    pub shade: &'static str,
    /// The keys of items that it links to.
    pub links: Vec<String>,
}

impl Cell {
    /// A cell of text.
    pub fn text(text: impl Into<String>) -> Self {
        let text = text.into();
        // Right-to-left scripts begin at U+0590; – and − are signs of ours.
        Self {
            foreign: text.chars().any(|c| c >= '\u{590}' && c != '–' && c != '−'),
            text,
            ..Self::default()
        }
    }

    /// A cell without a value, shown as a dash.
    pub fn none() -> Self {
        Self::text("–")
    }

    /// Sets the details.
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = hint.into();
        self
    }

    /// Colours the cell by the distance of `value` from 0. At `full` and beyond, the
    /// colour is deepest.
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
    fn shade_deepens_with_the_distance_from_zero() {
        let shade = |value| Cell::default().shaded(value, 2.0).shade;
        let expected = ["n4", "n4", "n2", "z", "z", "z", "p1", "p3", "p4", "p4"];
        let values = [-9.0, -2.0, -1.0, -0.2, 0.0, 0.2, 0.3, 1.4, 2.0, f64::INFINITY];
        assert_eq!(values.map(shade), expected);
    }
}

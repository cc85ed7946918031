//! Tables for people: columns as wide as their widest cell, numbers to the right.

use amend_core::stats::GroupedMean;

/// The interval of a mean; empty where it has none.
#[must_use]
pub fn interval(mean: &GroupedMean) -> String {
    mean.interval.map_or_else(String::new, |all| format!("{:.2} to {:.2}", all.low, all.high))
}

/// Lays rows out in columns, two blanks between them. The first `left` columns are
/// set to the left, the others to the right.
#[must_use]
pub fn table(left: usize, rows: &[Vec<String>]) -> String {
    let width = |text: &str| text.chars().count();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns)
        .map(|at| rows.iter().filter_map(|row| row.get(at)).map(|cell| width(cell)).max())
        .map(Option::unwrap_or_default)
        .collect();
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (at, cell) in row.iter().enumerate() {
            if at > 0 {
                line.push_str("  ");
            }
            let blanks = " ".repeat(widths[at] - width(cell));
            let [before, after] = if at < left { ["", &blanks] } else { [&blanks, ""] };
            line.extend([before, cell, after]);
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = [vec!["measure", "mean"], vec!["é", "10.00"], vec!["no figure"]];
        let rows = rows.map(|row| row.into_iter().map(str::to_owned).collect());
        insta::assert_snapshot!(table(1, &rows), @r"
        measure     mean
        é          10.00
        no figure
        ");
        assert_eq!(table(1, &[]), "");
    }
}

//! Text tables: columns as wide as their widest cell, numbers aligned to the right.

/// Lays out rows in columns that are two blanks apart. The first `left` columns are
/// aligned to the left, the others to the right.
#[must_use]
pub fn table(left: usize, rows: &[Vec<String>]) -> String {
    let width = |text: &str| text.chars().count();
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let mut widths = vec![0; columns];
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            widths[column] = widths[column].max(width(cell));
        }
    }
    let mut text = String::new();
    for row in rows {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            if column > 0 {
                line.push_str("  ");
            }
            let blanks = " ".repeat(widths[column] - width(cell));
            if column < left {
                line.extend([cell, blanks.as_str()]);
            } else {
                line.extend([blanks.as_str(), cell]);
            }
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

//! Formats numbers and short texts for the page.

use amend_core::stats::{Estimate, GroupedMean};
use amend_core::text::format;

/// A whole number with commas between thousands.
pub fn count(number: impl TryInto<u64>) -> String {
    format::thousands(number.try_into().unwrap_or(u64::MAX))
}

/// A number and what it counts: `1 item`, `2 items`.
pub fn counted(number: usize, noun: &str) -> String {
    format!("{} {}", count(number), format::plural(number, noun))
}

/// A number with two decimals, and a minus sign if it is negative.
pub fn decimal(value: f64) -> String {
    let text = format::number(value.abs(), 2);
    if value < 0.0 && text != "0.00" { format!("−{text}") } else { text }
}

/// As [`decimal`], with a plus sign if the number is positive.
pub fn signed(value: f64) -> String {
    let text = decimal(value);
    if text.starts_with('−') || text == "0.00" { text } else { format!("+{text}") }
}

/// A share in percent.
pub fn percent(share: f64) -> String {
    format::percent(share, 0)
}

/// The interval of a share in percent, and its n.
pub fn percent_interval(share: &Estimate) -> String {
    format!("{}, n = {}", format::percent_range(share.low, share.high, 0), count(share.n))
}

/// The interval of a mean, and its n.
pub fn interval(mean: &Estimate) -> String {
    format!("{} to {}, n = {}", signed(mean.low), signed(mean.high), count(mean.n as u64))
}

/// The interval of a mean of grouped values, and its n. One group has no interval.
pub fn grouped_interval(mean: &GroupedMean) -> String {
    let n = count(mean.n as u64);
    match mean.interval {
        Some(interval) => {
            format!("{} to {}, n = {n}", decimal(interval.low), decimal(interval.high))
        }
        None => format!("n = {n}"),
    }
}

/// The start of a text on one line, at most `most` characters of it.
pub fn preview(text: &str, most: usize) -> String {
    let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(most) {
        Some((end, _)) => format!("{}…", line[..end].trim_end()),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_separators_and_signs() {
        assert_eq!([1.234, 0.004, -0.004, -1.0].map(signed), ["+1.23", "0.00", "0.00", "−1.00"]);
        assert_eq!(
            (counted(1, "item"), counted(2000, "item")),
            ("1 item".into(), "2,000 items".into())
        );
        let estimate = Estimate { value: 0.5, low: -0.25, high: 0.75, n: 1200 };
        assert_eq!(percent_interval(&estimate), "-25 to 75 %, n = 1,200");
        assert_eq!(interval(&estimate), "−0.25 to +0.75, n = 1,200");
    }

    #[test]
    fn previews_are_one_line_and_never_split_a_character() {
        assert_eq!(preview(" a\n\n b\tc ", 9), "a b c");
        assert_eq!(preview("äöü äöü", 5), "äöü ä…");
        assert_eq!(preview("äöü äöü", 4), "äöü…");
        assert_eq!(preview("", 4), "");
    }
}

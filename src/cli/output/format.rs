//! How tables and summaries write figures: numbers, intervals, shares, counts, lists.

use std::fmt::Write as _;

use amend_core::stats::{Estimate, GroupedMean};
use amend_core::text::format::{percent_range, plural};

pub use amend_core::text::format::{number, range};

/// The cell of a figure that does not exist.
pub const NONE: &str = "–";

/// `-0.25 to +0.75`
#[must_use]
pub fn signed_range(low: f64, high: f64, digits: usize) -> String {
    format!("{low:+.digits$} to {high:+.digits$}")
}

/// The interval of a mean. Empty if it has none.
#[must_use]
pub fn interval(mean: &GroupedMean) -> String {
    match mean.interval {
        Some(interval) => range(interval.low, interval.high, 2),
        None => String::new(),
    }
}

/// `0.50 (0.25 to 0.75)`
#[must_use]
pub fn estimate(figure: &Estimate) -> String {
    format!("{:.2} ({})", figure.value, range(figure.low, figure.high, 2))
}

/// An estimated share in percent: `50 % (25 to 75 %)`
#[must_use]
pub fn percent(share: &Estimate) -> String {
    let value = amend_core::text::format::percent(share.value, 0);
    format!("{value} ({})", percent_range(share.low, share.high, 0))
}

/// `3 of 4 (75 %)`, or `none` of none.
#[must_use]
pub fn part(count: u64, all: u64) -> String {
    if all == 0 {
        return "none".to_owned();
    }
    format!("{count} of {all} ({:.0} %)", 100.0 * count as f64 / all as f64)
}

/// `1 item`, `2 items`
#[must_use]
pub fn count(number: usize, noun: &str) -> String {
    format!("{number} {}", plural(number, noun))
}

/// A duration in its two largest units.
#[must_use]
pub fn duration(seconds: f64) -> String {
    let minutes = (seconds / 60.0).round() as u64;
    match (minutes / 1440, minutes / 60 % 24, minutes % 60) {
        _ if seconds < 59.5 => format!("{seconds:.0} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

/// At most `most` names, one a line and indented, then how many more there are.
pub fn lines<T: AsRef<str>>(
    text: &mut String,
    names: impl ExactSizeIterator<Item = T>,
    most: usize,
) {
    let hidden = names.len().saturating_sub(most);
    for name in names.take(most) {
        // Writing to a String can't fail.
        let _ = writeln!(text, "  {}", name.as_ref());
    }
    if hidden > 0 {
        let _ = writeln!(text, "  … and {hidden} more");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HALF: Estimate = Estimate { value: 0.5, low: 0.25, high: 0.75, n: 8 };

    #[test]
    fn figures_are_written_in_one_form() {
        assert_eq!(signed_range(-0.25, 0.75, 2), "-0.25 to +0.75");
        assert_eq!(estimate(&HALF), "0.50 (0.25 to 0.75)");
        assert_eq!(percent(&HALF), "50 % (25 to 75 %)");
    }

    #[test]
    fn counts_agree_with_their_noun() {
        assert_eq!([0, 1, 2].map(|n| count(n, "item")), ["0 items", "1 item", "2 items"]);
        assert_eq!((part(3, 4).as_str(), part(0, 0).as_str()), ("3 of 4 (75 %)", "none"));
    }

    #[test]
    fn durations_have_two_units() {
        for (seconds, expected) in [
            (3.2, "3 s"),
            (40.0, "40 s"),
            (61.0, "1 min"),
            (3_700.0, "1 h 2 min"),
            (200_000.0, "2 d 7 h"),
        ] {
            assert_eq!(duration(seconds), expected);
        }
    }

    #[test]
    fn long_lists_are_cut() {
        let mut text = String::new();
        lines(&mut text, ["a", "b", "c"].iter(), 2);
        assert_eq!(text, "  a\n  b\n  … and 1 more\n");
        text.clear();
        lines(&mut text, ["a", "b"].iter(), 2);
        assert_eq!(text, "  a\n  b\n");
    }
}

//! Writes figures, lists and JSON documents in the forms that every command shares.

use serde::Serialize;

/// A whole number with commas between thousands: `1,234,567`
#[must_use]
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// A number of bytes in the unit that suits it: `512 kB`, `93 MB`, `4.7 GB`.
#[must_use]
pub fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{} kB", count / 1_000),
        1_000_000..1_000_000_000 => format!("{} MB", count / 1_000_000),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

/// A noun in the form that agrees with a number: `item` for 1, otherwise `items`.
#[must_use]
pub fn plural<N: PartialEq + From<u8>>(number: N, noun: &str) -> String {
    if number == N::from(1) { noun.to_owned() } else { format!("{noun}s") }
}

/// A number with so many digits after the point.
#[must_use]
pub fn number(value: f64, digits: usize) -> String {
    format!("{value:.digits$}")
}

/// `0.25 to 0.75`
#[must_use]
pub fn range(low: f64, high: f64, digits: usize) -> String {
    format!("{low:.digits$} to {high:.digits$}")
}

/// A share in percent: `50 %`
#[must_use]
pub fn percent(share: f64, digits: usize) -> String {
    format!("{:.digits$} %", 100.0 * share)
}

/// The interval of a share in percent: `25 to 75 %`
#[must_use]
pub fn percent_range(low: f64, high: f64, digits: usize) -> String {
    format!("{} %", range(100.0 * low, 100.0 * high, digits))
}

/// `a, b and c`
#[must_use]
pub fn list<T: AsRef<str>>(names: &[T]) -> String {
    let names: Vec<&str> = names.iter().map(AsRef::as_ref).collect();
    match names.as_slice() {
        [rest @ .., last] if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => names.concat(),
    }
}

/// The first of `all` names, and an ellipsis if there are more: `a, b, …`
#[must_use]
pub fn first_of<T: AsRef<str>>(first: &[T], all: usize) -> String {
    let mut names: Vec<&str> = first.iter().map(AsRef::as_ref).collect();
    if all > names.len() {
        names.push("…");
    }
    names.join(", ")
}

/// A value as a JSON document: indented, with a newline at the end.
///
/// # Errors
/// The value can't be serialised.
pub fn json_document(value: &impl Serialize) -> Result<String, serde_json::Error> {
    Ok(serde_json::to_string_pretty(value)? + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_one_form() {
        assert_eq!(
            [0, 12, 999, 1000, 1_234_567].map(thousands).join(" "),
            "0 12 999 1,000 1,234,567"
        );
        assert_eq!([0, 1, 2].map(|number| plural(number, "item")), ["items", "item", "items"]);
        assert_eq!(
            (number(0.125, 1).as_str(), range(0.25, 0.75, 2).as_str()),
            ("0.1", "0.25 to 0.75")
        );
        assert_eq!([0.0, 0.625, 1.0].map(|share| percent(share, 0)), ["0 %", "62 %", "100 %"]);
        assert_eq!(percent_range(0.086, 0.178, 1), "8.6 to 17.8 %");
    }

    #[test]
    fn lists_end_with_and_or_an_ellipsis() {
        assert_eq!(list::<&str>(&[]), "");
        assert_eq!(
            [&["a"][..], &["a", "b"], &["a", "b", "c"]].map(list),
            ["a", "a and b", "a, b and c"]
        );
        assert_eq!([2, 5].map(|all| first_of(&["a", "b"], all)), ["a, b", "a, b, …"]);
    }

    #[test]
    fn json_documents_are_indented_and_end_with_a_newline() {
        assert_eq!(json_document(&serde_json::json!({"a": 1})).unwrap(), "{\n  \"a\": 1\n}\n");
    }
}

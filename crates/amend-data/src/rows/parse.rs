//! Parses the JSON text of a row.

use serde_json::Value;

use super::fault::ReadProblem;
use super::{Object, TEXT};

/// Parses a row: an object, or a string as the column [`TEXT`]. `line` is where it begins.
///
/// A whole number that does not fit in 64 bits becomes the string of its digits, because no
/// digit of an id may be lost.
///
/// # Errors
/// The text is not UTF-8, not JSON, or another JSON value.
pub(super) fn row(bytes: &[u8], line: u64) -> Result<Object, ReadProblem> {
    match value(utf8(bytes)?).map_err(|error| json_problem(bytes, line, &error))? {
        Value::Object(object) => Ok(object),
        Value::String(text) => Ok(text_row(text)),
        value => Err(ReadProblem::NotARow { found: type_name(&value) }),
    }
}

/// Parses a value. A whole number that does not fit in 64 bits becomes a string.
///
/// # Errors
/// The text is not JSON.
pub(super) fn value(text: &str) -> Result<Value, serde_json::Error> {
    let value = serde_json::from_str(text)?;
    if has_huge_number(&value) {
        return serde_json::from_str(&with_quoted_numbers(text));
    }
    Ok(value)
}

/// A row that is only a text.
pub(super) fn text_row(text: String) -> Object {
    Object::from_iter([(TEXT.to_owned(), Value::String(text))])
}

/// The text of bytes.
///
/// # Errors
/// They are not UTF-8.
pub(super) fn utf8(bytes: &[u8]) -> Result<&str, ReadProblem> {
    std::str::from_utf8(bytes)
        .map_err(|error| ReadProblem::NotUtf8 { byte: error.valid_up_to() + 1 })
}

/// The text of bytes without a NUL byte.
///
/// # Errors
/// They are not UTF-8, or there is a NUL byte.
pub(super) fn plain(bytes: &[u8]) -> Result<&str, ReadProblem> {
    match bytes.iter().position(|&byte| byte == 0) {
        Some(at) => Err(ReadProblem::Nul { byte: at + 1 }),
        None => utf8(bytes),
    }
}

/// What is wrong with a row that is not JSON, and how to fix it.
pub(super) fn json_problem(bytes: &[u8], line: u64, error: &serde_json::Error) -> ReadProblem {
    if bytes.contains(&0) {
        let byte = bytes.iter().position(|&byte| byte == 0).unwrap_or_default() + 1;
        return ReadProblem::Nul { byte };
    }
    if bytes.is_empty() {
        return ReadProblem::Json { column: 1, message: "no row: remove a comma".to_owned() };
    }
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = error.to_string().replace(&place, "").replace("expected ident", "no JSON value");
    let at = error.column().saturating_sub(1);
    let around = bytes.split(|&byte| byte == b'\n').nth(error.line().saturating_sub(1));
    let from_here = around.and_then(|line| line.get(at.saturating_sub(1)..)).unwrap_or_default();
    let before = from_here.iter().take_while(|byte| b" \t[,:".contains(byte)).count();
    let from_here = &from_here[before..];
    let not_json = [&b"NaN"[..], b"Infinity", b"-Infinity", b"aN", b"nfinity"];
    let fix = if not_json.iter().any(|word| from_here.starts_with(word)) {
        "NaN and Infinity are not JSON; write null"
    } else if bytes.trim_ascii_start().starts_with(b"{'") {
        "this is Python; write rows with json.dumps"
    } else if error.is_eof() {
        "it is cut off, or a quote or bracket is not closed"
    } else if message.starts_with("trailing characters") {
        "write one row per line"
    } else {
        "write each row as JSON"
    };
    let within = if error.line() > 1 {
        format!(" in line {}", line + error.line() as u64 - 1)
    } else {
        String::new()
    };
    ReadProblem::Json { column: error.column(), message: format!("{message}{within}: {fix}") }
}

/// The JSON type of a value, with an article.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

/// Whether a value has a number that may be a whole number of more than 64 bits.
fn has_huge_number(value: &Value) -> bool {
    match value {
        Value::Number(number) => {
            number.is_f64() && number.as_f64().is_some_and(|number| number.abs() >= 9.2e18)
        }
        Value::Array(values) => values.iter().any(has_huge_number),
        Value::Object(object) => object.values().any(has_huge_number),
        Value::Null | Value::Bool(_) | Value::String(_) => false,
    }
}

/// The text with quotes around whole numbers of more than 64 bits.
fn with_quoted_numbers(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9']) {
        quoted.push_str(&rest[..at]);
        rest = &rest[at..];
        let length = if rest.starts_with('"') { string_length(rest) } else { number_length(rest) };
        let (token, after) = rest.split_at(length);
        let whole = !token.starts_with('"') && !token.contains(['.', 'e', 'E']);
        if whole && token.parse::<u64>().is_err() && token.parse::<i64>().is_err() {
            quoted.push('"');
            quoted.push_str(token);
            quoted.push('"');
        } else {
            quoted.push_str(token);
        }
        rest = after;
    }
    quoted.push_str(rest);
    quoted
}

/// The length of the JSON string at the start of a text, with its quotes.
fn string_length(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// The length of the JSON number at the start of a text.
fn number_length(text: &str) -> usize {
    let part = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'-' | b'+' | b'.' | b'e' | b'E');
    text.bytes().position(|byte| !part(byte)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn no_digit_of_a_whole_number_is_lost() {
        let text = r#"{"id": 9007199254740993, "big": 18446744073709551615, "low": -9223372036854775808, "huge": 123456789012345678901234567890, "in": ["12345678901234567890123", -12345678901234567890123], "f": 1.5e300, "s": "\"-1 12345678901234567890123"}"#;
        let row = Value::Object(row(text.as_bytes(), 1).unwrap());
        let expected = json!({
            "id": 9_007_199_254_740_993_u64,
            "big": u64::MAX,
            "low": i64::MIN,
            "huge": "123456789012345678901234567890",
            "in": ["12345678901234567890123", "-12345678901234567890123"],
            "f": 1.5e300,
            "s": "\"-1 12345678901234567890123",
        });
        assert_eq!(row, expected);
    }

    #[test]
    fn problems_name_their_fix() {
        for (text, expected) in [
            (
                &b"{\"a\": NaN}"[..],
                "invalid JSON at column 7: expected value: NaN and Infinity are not JSON; write null",
            ),
            (
                b"{\"a\": Infinity}",
                "invalid JSON at column 7: expected value: NaN and Infinity are not JSON; write null",
            ),
            (
                b"{'a': 1}",
                "invalid JSON at column 2: key must be a string: this is Python; write rows with json.dumps",
            ),
            (
                b"{\"a\": \"b",
                "invalid JSON at column 8: EOF while parsing a string: it is cut off, or a quote or bracket is not closed",
            ),
            (b"{} {}", "invalid JSON at column 4: trailing characters: write one row per line"),
            (
                b"{\n\"a\" 1}",
                "invalid JSON at column 5: expected `:` in line 8: write each row as JSON",
            ),
            (
                b"{\"a\": \"\0\"}",
                "a NUL byte at byte 8 of the row: the file is damaged or binary; remove it",
            ),
            (b"[1]", "a row must be a JSON string or object, not a list"),
            (b"3", "a row must be a JSON string or object, not a number"),
        ] {
            assert_eq!(row(text, 7).unwrap_err().to_string(), expected);
        }
        let error = row(b"{\"a\": \"\xff\"}", 1).unwrap_err();
        assert!(matches!(error, ReadProblem::NotUtf8 { byte: 8 }), "{error}");
    }
}

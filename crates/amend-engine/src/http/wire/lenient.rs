//! Reads JSON that a server wrote wrongly: numbers that are not finite, bytes that are not
//! UTF-8, halves of surrogate pairs, control characters in strings.

use serde_json::Value;

/// Parses a response. Replaces what is no text by U+FFFD and numbers that are not finite by
/// null.
///
/// # Errors
/// It is no JSON for another reason.
pub fn parse(bytes: &[u8]) -> Result<Value, serde_json::Error> {
    match serde_json::from_slice(bytes) {
        Ok(value) => Ok(value),
        Err(_) => serde_json::from_str(&repair(bytes)),
    }
}

/// The literals that Python and C write for numbers that JSON does not have.
const NOT_FINITE: [&str; 6] = ["-Infinity", "Infinity", "-NaN", "NaN", "-inf", "inf"];

/// The document without what JSON does not allow.
fn repair(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let mut out = String::with_capacity(text.len());
    let mut rest = &*text;
    let mut in_string = false;
    while let Some(character) = rest.chars().next() {
        let (length, replacement) = match character {
            '"' => {
                in_string = !in_string;
                (1, None)
            }
            '\\' if in_string => match escape(rest) {
                (length, true) => (length, None),
                (length, false) => (length, Some("\u{fffd}".to_owned())),
            },
            '\0' if in_string => (1, Some("\u{fffd}".to_owned())),
            control if in_string && control < ' ' => {
                (1, Some(format!("\\u{:04x}", u32::from(control))))
            }
            other => match not_finite(rest) {
                Some(literal) if !in_string => (literal.len(), Some("null".to_owned())),
                _ => (other.len_utf8(), None),
            },
        };
        match replacement {
            Some(replacement) => out.push_str(&replacement),
            None => out.push_str(&rest[..length]),
        }
        rest = &rest[length..];
    }
    out
}

fn not_finite(rest: &str) -> Option<&'static str> {
    NOT_FINITE.into_iter().find(|literal| rest.starts_with(literal))
}

/// The length of the escape sequence at the beginning of a text, and whether it stands for
/// text: half of a surrogate pair does not.
fn escape(rest: &str) -> (usize, bool) {
    let Some(first) = unit(rest) else {
        let second = rest[1..].chars().next();
        return (1 + second.map_or(0, char::len_utf8), true);
    };
    match first {
        0xD800..=0xDBFF => match unit(&rest[6..]) {
            Some(0xDC00..=0xDFFF) => (12, true),
            _ => (6, false),
        },
        0xDC00..=0xDFFF => (6, false),
        _ => (6, true),
    }
}

/// The number of an escape `\uXXXX` at the beginning of a text.
fn unit(rest: &str) -> Option<u16> {
    let digits = rest.strip_prefix("\\u")?.get(..4)?;
    if digits.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        u16::from_str_radix(digits, 16).ok()
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_no_text_is_replaced() {
        for (bytes, text) in [
            (&br#"{"a": "\ud83d\udc1d"}"#[..], "🐝"),
            (br#"{"a": "b\ud83d"}"#, "b\u{fffd}"),
            (br#"{"a": "\udc1d\ud83d!"}"#, "\u{fffd}\u{fffd}!"),
            (br#"{"a": "\\ud83d"}"#, "\\ud83d"),
            (br#"{"a": "b\u0000c"}"#, "b\0c"),
            (b"{\"a\": \"b\0c\"}", "b\u{fffd}c"),
            (b"{\"a\": \"b\xff\xe2\x82c\"}", "b\u{fffd}\u{fffd}c"),
            (b"{\"a\": \"b\nc \xc3\xa9\"}", "b\nc é"),
        ] {
            assert_eq!(parse(bytes).unwrap(), json!({"a": text}), "{text}");
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_null() {
        let bytes = br#"[NaN, -Infinity, Infinity, -0.5, "NaN \" Infinity", nan]"#;
        assert!(parse(bytes).is_err(), "nan is no literal of any language's JSON");
        let bytes = br#"[NaN, -Infinity, Infinity, -inf, -0.5, "NaN \" Infinity"]"#;
        let expected = json!([null, null, null, null, -0.5, "NaN \" Infinity"]);
        assert_eq!(parse(bytes).unwrap(), expected);
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for bytes in [&b"<html>"[..], b"", b"{\"a\": \"b", b"{\"a\": \"\\", b"\"\\ud8"] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }
}

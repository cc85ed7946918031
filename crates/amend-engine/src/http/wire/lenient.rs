//! Reads JSON that a server wrote wrongly: numbers that are not finite, bytes that are not
//! UTF-8, halves of surrogate pairs, control characters in strings.

use serde_json::Value;

/// Parses a response. Replaces what is no text by U+FFFD and numbers that are not finite by
/// null. Returns how many characters were replaced.
///
/// # Errors
/// It is no JSON for another reason.
pub fn parse(bytes: &[u8]) -> Result<(Value, u64), serde_json::Error> {
    let is_clean = !contains(bytes, b"\\u0000");
    if is_clean && let Ok(value) = serde_json::from_slice(bytes) {
        return Ok((value, 0));
    }
    let (text, replaced) = repair(bytes);
    Ok((serde_json::from_str(&text)?, replaced))
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// The literals that Python and C write for numbers that JSON does not have.
const NOT_FINITE: [&str; 6] = ["-Infinity", "Infinity", "-NaN", "NaN", "-inf", "inf"];

/// The document with every character replaced that JSON does not allow, and their number.
fn repair(bytes: &[u8]) -> (String, u64) {
    let mut text = String::with_capacity(bytes.len());
    let mut replaced = 0;
    for chunk in bytes.utf8_chunks() {
        text.push_str(chunk.valid());
        if !chunk.invalid().is_empty() {
            text.push(char::REPLACEMENT_CHARACTER);
            replaced += 1;
        }
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    let mut in_string = false;
    while let Some(character) = rest.chars().next() {
        let length = match character {
            '"' => {
                in_string = !in_string;
                1
            }
            '\\' if in_string => {
                let (escape, is_text) = escape(rest);
                if !is_text {
                    out.push_str("\\ufffd");
                    replaced += 1;
                    rest = &rest[escape..];
                    continue;
                }
                escape
            }
            '\0' if in_string => {
                out.push(char::REPLACEMENT_CHARACTER);
                replaced += 1;
                rest = &rest[1..];
                continue;
            }
            control if in_string && control < ' ' => {
                out.push_str(&format!("\\u{:04x}", u32::from(control)));
                rest = &rest[1..];
                continue;
            }
            _ if !in_string && let Some(literal) = not_finite(rest) => {
                out.push_str("null");
                rest = &rest[literal.len()..];
                continue;
            }
            other => other.len_utf8(),
        };
        out.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    (out, replaced)
}

fn not_finite(rest: &str) -> Option<&'static str> {
    NOT_FINITE.into_iter().find(|literal| rest.starts_with(literal))
}

/// The length of the escape sequence at the beginning of a text, and whether it stands for
/// text: half of a surrogate pair and NUL don't.
fn escape(rest: &str) -> (usize, bool) {
    let Some(first) = unit(rest) else {
        let second = rest[1..].chars().next();
        return (1 + second.map_or(0, char::len_utf8), true);
    };
    match first {
        0 => (6, false),
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
    fn what_is_no_text_is_replaced_and_counted() {
        for (bytes, text, replaced) in [
            (&br#"{"a": "\ud83d\udc1d"}"#[..], "🐝", 0),
            (br#"{"a": "b\ud83d"}"#, "b\u{fffd}", 1),
            (br#"{"a": "\udc1d\ud83d!"}"#, "\u{fffd}\u{fffd}!", 2),
            (br#"{"a": "\\ud83d"}"#, "\\ud83d", 0),
            (br#"{"a": "b\u0000c"}"#, "b\u{fffd}c", 1),
            (b"{\"a\": \"b\0c\"}", "b\u{fffd}c", 1),
            (b"{\"a\": \"b\xff\xe2\x82c\"}", "b\u{fffd}\u{fffd}c", 2),
            (b"{\"a\": \"b\nc \xc3\xa9\"}", "b\nc é", 0),
        ] {
            assert_eq!(parse(bytes).unwrap(), (json!({"a": text}), replaced), "{text}");
        }
    }

    #[test]
    fn numbers_that_are_not_finite_are_null() {
        let bytes = br#"[NaN, -Infinity, Infinity, -0.5, "NaN \" Infinity", nan]"#;
        assert!(parse(bytes).is_err(), "nan is no literal of any language's JSON");
        let bytes = br#"[NaN, -Infinity, Infinity, -inf, -0.5, "NaN \" Infinity"]"#;
        let expected = json!([null, null, null, null, -0.5, "NaN \" Infinity"]);
        assert_eq!(parse(bytes).unwrap(), (expected, 0));
    }

    #[test]
    fn what_is_no_json_is_an_error() {
        for bytes in [&b"<html>"[..], b"", b"{\"a\": \"b", b"{\"a\": \"\\", b"\"\\ud8"] {
            assert!(parse(bytes).is_err(), "{bytes:?}");
        }
    }
}

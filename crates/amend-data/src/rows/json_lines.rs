//! Writes JSON Lines that every reader splits at the same places.
//!
//! JSON allows U+2028, U+2029 and U+0085 in a string as they are, but many readers, such as
//! Python's `str.splitlines`, end a line at them. They are written as escapes.

use std::borrow::Cow;
use std::io::{self, Write};

use serde::Serialize;

/// The characters that end a line for some readers, and their escapes.
const SEPARATORS: [(char, &str); 3] =
    [('\u{85}', "\\u0085"), ('\u{2028}', "\\u2028"), ('\u{2029}', "\\u2029")];

/// Escapes the separators in a JSON text. They occur only in its strings.
#[must_use]
pub fn escaped(json: &str) -> Cow<'_, str> {
    let mut escaped = Cow::Borrowed(json);
    for (separator, escape) in SEPARATORS {
        if escaped.contains(separator) {
            escaped = Cow::Owned(escaped.replace(separator, escape));
        }
    }
    escaped
}

/// Writes a value as one line.
///
/// # Errors
/// The value cannot be written as JSON, or `out` cannot be written to.
pub fn write(out: &mut (impl Write + ?Sized), value: &impl Serialize) -> io::Result<()> {
    let json = serde_json::to_string(value)?;
    out.write_all(escaped(&json).as_bytes())?;
    out.write_all(b"\n")
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn separators_are_escaped_and_read_back() {
        let value = json!({"a\u{2028}b": "x\u{85}\u{2029}y\n\\u2028 é"});
        let mut line = Vec::new();
        write(&mut line, &value).unwrap();
        let line = String::from_utf8(line).unwrap();
        assert_eq!(line, "{\"a\\u2028b\":\"x\\u0085\\u2029y\\n\\\\u2028 é\"}\n");
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap(), value);
        assert!(matches!(escaped("{\"a\": 1}"), Cow::Borrowed(_)));
    }
}

//! Placeholders stand for texts while a chat template runs, so that no text can influence the
//! template, and every text is found again in what the template writes.

/// Encloses a placeholder: a private-use character that no template contains.
pub(super) const MARK: char = '\u{f8ff}';

/// How a template encoded a text as a JSON string.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Encoding {
    /// Only what JSON requires is escaped.
    Json,
    /// Characters outside ASCII are escaped too.
    AsciiJson,
}

/// A piece of what a template wrote.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Piece<'a> {
    /// Text of the template.
    Scaffold(&'a str),
    /// The text with this number, encoded in this order.
    Text(usize, Vec<Encoding>),
}

/// The placeholder of the text with this number.
pub(super) fn placeholder(number: usize) -> String {
    format!("{MARK}{number}{MARK}")
}

/// Splits what a template wrote at its placeholders. Scaffolds and texts alternate, and the
/// first and last piece are scaffolds. `None` if a placeholder is damaged.
pub(super) fn pieces(written: &str) -> Option<Vec<Piece<'_>>> {
    let mut pieces = Vec::new();
    for (at, part) in written.split(MARK).enumerate() {
        if at % 2 == 0 {
            pieces.push(Piece::Scaffold(part));
        } else {
            let (number, encodings) = part.split_at(part.find(['j', 'a']).unwrap_or(part.len()));
            let encodings = encodings.chars().map(|letter| match letter {
                'j' => Some(Encoding::Json),
                'a' => Some(Encoding::AsciiJson),
                _ => None,
            });
            pieces.push(Piece::Text(number.parse().ok()?, encodings.collect::<Option<_>>()?));
        }
    }
    (pieces.len() % 2 == 1).then_some(pieces)
}

/// Encodes a text as the inside of a JSON string. Placeholders in it note the encoding.
pub(super) fn encode(text: &str, encoding: Encoding) -> String {
    let mut out = String::with_capacity(text.len());
    let mut is_inside = false;
    for c in text.chars() {
        match c {
            MARK => {
                if is_inside {
                    out.push(if encoding == Encoding::Json { 'j' } else { 'a' });
                }
                is_inside = !is_inside;
                out.push(MARK);
            }
            c => escape(c, encoding, &mut out),
        }
    }
    out
}

/// Encodes a given text, in which [`MARK`] is a character like any other.
pub(super) fn encode_text(text: &str, encodings: &[Encoding]) -> String {
    let mut encoded = text.to_owned();
    for &encoding in encodings {
        let mut out = String::with_capacity(encoded.len());
        for c in encoded.chars() {
            escape(c, encoding, &mut out);
        }
        encoded = out;
    }
    encoded
}

/// Writes a character as Python's `json.dumps` does.
fn escape(c: char, encoding: Encoding, out: &mut String) {
    match c {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
        c if encoding == Encoding::AsciiJson && c >= '\u{7f}' => {
            for unit in c.encode_utf16(&mut [0; 2]) {
                out.push_str(&format!("\\u{unit:04x}"));
            }
        }
        c => out.push(c),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn placeholders_are_found_again_with_their_encodings() {
        let inner = encode(&format!("a\"{}", placeholder(12)), Encoding::Json);
        let written = format!("<{}>", encode(&inner, Encoding::AsciiJson));
        assert_eq!(
            pieces(&written).unwrap(),
            [
                Piece::Scaffold("<a\\\\\\\""),
                Piece::Text(12, vec![Encoding::Json, Encoding::AsciiJson]),
                Piece::Scaffold(">")
            ]
        );
    }

    #[test]
    fn damaged_placeholders_are_noticed() {
        for written in ["\u{f8ff}1", "1\u{f8ff}", "\u{f8ff}\u{f8ff}", "\u{f8ff}1x\u{f8ff}"] {
            assert_eq!(pieces(written), None, "{written:?}");
        }
    }

    #[test]
    fn texts_are_encoded_as_json() {
        let text = "a\"\\\n\u{1}é😀\u{7f}\u{f8ff}</s>";
        let json = "a\\\"\\\\\\n\\u0001é😀\u{7f}\u{f8ff}</s>";
        assert_eq!(encode_text(text, &[Encoding::Json]), json);
        assert_eq!(
            encode_text(text, &[Encoding::AsciiJson]),
            "a\\\"\\\\\\n\\u0001\\u00e9\\ud83d\\ude00\\u007f\\uf8ff</s>"
        );
        assert_eq!(encode_text("\"", &[Encoding::Json, Encoding::Json]), "\\\\\\\"");
    }
}

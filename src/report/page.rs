//! Views to HTML. Templates escape all they are given but the style sheet, the
//! script and drawings, which are the program's own; a content security policy
//! lets the page run that script and style alone, and load nothing.

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Serde, Value};
use minijinja::{AutoEscape, Environment, Error, UndefinedBehavior};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::item::ItemView;
use super::view::Section;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");
const TEMPLATES: [(&str, &str); 4] = [
    ("page.html", include_str!("page.html")),
    ("section.html", include_str!("section.html")),
    ("item.html", include_str!("item.html")),
    ("table.html", include_str!("table.html")),
];

/// All that is on a page.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Page {
    /// Its title.
    pub title: String,
    /// What was run, in a few words each.
    pub facts: Vec<(&'static str, String)>,
    /// The figures.
    pub sections: Vec<Section>,
    /// The items.
    pub items: Vec<ItemView>,
    /// How many more there are, not listed.
    pub unlisted: usize,
    /// The outcomes to filter by, with their words.
    pub outcomes: Vec<(&'static str, &'static str)>,
    /// The verdicts to filter by, with their words.
    pub verdicts: Vec<(&'static str, String)>,
    /// The categories to filter by, with their numbers.
    pub categories: Vec<(String, usize)>,
}

/// Renders a page.
///
/// # Errors
/// A template fails: none does on any content.
pub fn render(page: &Page) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_undefined_behavior(UndefinedBehavior::Strict);
    environment.set_auto_escape_callback(|_| AutoEscape::Html);
    environment.set_syntax(SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build()?);
    for (name, source) in TEMPLATES {
        environment.add_template(name, source)?;
    }
    environment.add_global("style", Value::from_safe_string(STYLE.to_owned()));
    environment.add_global("script", Value::from_safe_string(SCRIPT.to_owned()));
    environment.add_global("policy", policy());
    environment.get_template("page.html")?.render(Value::from(Serde(page)))
}

/// The page's content security policy.
fn policy() -> String {
    format!(
        "default-src 'none'; script-src 'sha256-{}'; style-src 'sha256-{}'; base-uri 'none'; \
         form-action 'none'",
        base64(&Sha256::digest(SCRIPT)),
        base64(&Sha256::digest(STYLE)),
    )
}

/// Base64 with padding (RFC 4648, section 4).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let letter = LETTERS[(bits >> (18 - 6 * at) & 63) as usize];
            text.push(if at <= chunk.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_of_the_standard() {
        for (bytes, expected) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
            ("foobar", "Zm9vYmFy"),
        ] {
            assert_eq!(base64(bytes.as_bytes()), expected);
        }
        assert_eq!(base64(&[0xff, 0xef, 0xbe]), "/+++");
    }
}

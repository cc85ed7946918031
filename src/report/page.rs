//! Renders views as HTML. The templates escape everything except the style sheet,
//! the script and the drawings, which are the program's own. A content security
//! policy allows only that script and style, and no loading of anything.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
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

/// The content of a page.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Page {
    /// The title.
    pub title: String,
    /// The facts in the header, each with its name.
    pub facts: Vec<(&'static str, String)>,
    /// The sections of figures.
    pub sections: Vec<Section>,
    /// Whether the page has a list of items.
    pub has_items: bool,
    /// The listed items.
    pub items: Vec<ItemView>,
    /// The number of items that are not listed.
    pub unlisted: usize,
    /// The outcomes to filter by, each with its label.
    pub outcomes: Vec<(&'static str, &'static str)>,
    /// The verdicts to filter by, each with its label.
    pub verdicts: Vec<(&'static str, String)>,
    /// The categories to filter by, each with its number.
    pub categories: Vec<(String, usize)>,
}

/// Renders a page.
///
/// # Errors
/// A template fails, which no content should cause.
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
        BASE64.encode(Sha256::digest(SCRIPT)),
        BASE64.encode(Sha256::digest(STYLE)),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policy_allows_the_page_s_own_script_and_style() {
        for (file, directive) in [(SCRIPT, "script-src"), (STYLE, "style-src")] {
            let policy = policy();
            let (_, hash) = policy.split_once(&format!("{directive} 'sha256-")).unwrap();
            let (hash, _) = hash.split_once('\'').unwrap();
            assert_eq!(BASE64.decode(hash).unwrap(), Sha256::digest(file)[..], "{directive}");
        }
    }
}

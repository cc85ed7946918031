//! The table of shapes in `docs/formats.md`.

use std::fmt::Write;

use super::read::{SHAPES, ShapeFacts};

/// The table of shapes, in Markdown.
#[must_use]
pub fn table() -> String {
    let mut table = String::from(
        "| shape | columns | labels | used by | read by | written by `--format` |\n\
         | --- | --- | --- | --- | --- | --- |\n",
    );
    for shape in SHAPES {
        let ShapeFacts { name, about, used_by, labels, kind, exports, .. } = shape.facts();
        let codes = |names: &[&str]| {
            names.iter().map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ")
        };
        let (commands, exports) = (codes(kind.commands()), codes(exports));
        // Writing to a String can't fail.
        let _ =
            writeln!(table, "| {name} | {about} | {labels} | {used_by} | {commands} | {exports} |");
    }
    table
}

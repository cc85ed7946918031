//! One constitution file's text to its form.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::form::File;
use super::schema;
use crate::document::diagnostic::Diagnostic;
use crate::document::schema::{Source, read, tables, twice};

/// The form of a file, or everything wrong in it, in the order of the text.
pub(super) fn read_form(source: &Source) -> Result<File, Vec<Diagnostic>> {
    read(schema::shared(), source, |tree| {
        let mut found = twice(source, tree, "principle");
        found.extend(twice(source, tree, "dimension"));
        found.extend(scales(source, tree));
        found
    })
}

/// Scales that do not run upwards.
fn scales(source: &Source, tree: &DeTable<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    for table in tables(tree, "dimension") {
        let Some(scale) = table.get("scale") else { continue };
        if let Some([low, high]) = pair(scale)
            && low >= high
        {
            found.push(
                source
                    .error(scale.span(), "`scale` must run from a lower to a higher score")
                    .with_label(format!("{low} is not below {high}")),
            );
        }
    }
    found
}

fn pair(value: &Spanned<DeValue<'_>>) -> Option<[i64; 2]> {
    let items: Vec<i64> = value
        .get_ref()
        .as_array()?
        .iter()
        .map(|item| {
            let integer = item.get_ref().as_integer()?;
            i64::from_str_radix(integer.as_str(), integer.radix()).ok()
        })
        .collect::<Option<_>>()?;
    items.try_into().ok()
}

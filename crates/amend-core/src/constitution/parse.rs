//! Parses the text of one constitution file into its form.

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::form::ConstitutionForm;
use super::schema;
use crate::document::diagnostic::Diagnostic;
use crate::document::schema::{SourceText, read, tables, twice};

/// Parses a file.
///
/// # Errors
/// All errors in the file, in the order of the text.
pub(super) fn read_form(source: &SourceText) -> Result<ConstitutionForm, Vec<Diagnostic>> {
    read(schema::shared(), source, |tree| {
        let mut errors = twice(source, tree, "principle");
        errors.extend(twice(source, tree, "dimension"));
        errors.extend(scale_errors(source, tree));
        errors
    })
}

/// Reports scales whose bounds are not in ascending order.
fn scale_errors(source: &SourceText, tree: &DeTable<'_>) -> Vec<Diagnostic> {
    let mut errors = Vec::new();
    for table in tables(tree, "dimension") {
        let Some(scale) = table.get("scale") else { continue };
        if let Some([low, high]) = pair(scale)
            && low >= high
        {
            errors.push(
                source
                    .error(scale.span(), "`scale` must run from a lower to a higher score")
                    .with_label(format!("{low} is not below {high}")),
            );
        }
    }
    errors
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

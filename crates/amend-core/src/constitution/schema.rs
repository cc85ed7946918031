//! The JSON Schema of a constitution file, generated from its form.

use std::sync::LazyLock;

use serde_json::Value;

use super::form::ConstitutionForm;

static SCHEMA: LazyLock<Value> =
    LazyLock::new(crate::document::schema::generate::<ConstitutionForm>);

/// Returns the JSON Schema of a constitution file. Editors use it, and amend checks
/// files against it.
#[must_use]
pub fn schema() -> Value {
    SCHEMA.clone()
}

/// Returns a reference to the schema, which is generated once.
pub(super) fn shared() -> &'static Value {
    &SCHEMA
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_walker_enforces_every_keyword() {
        assert_eq!(crate::document::schema::unchecked(&schema()), Vec::<String>::new());
    }

    #[test]
    fn no_key_allows_null() {
        let text = schema().to_string();
        assert!(!text.contains("null"), "{text}");
    }

    #[test]
    fn optional_enums_keep_their_reference_and_default() {
        assert_eq!(
            schema()["$defs"]["Loop"]["properties"]["select"],
            json!({
                "description": "How the principles of a round are selected.",
                "default": "random",
                "$ref": "#/$defs/Select"
            })
        );
    }
}

//! The JSON Schema of a constitution file, made from its form.

use std::sync::LazyLock;

use serde_json::Value;

use super::form::File;

static SCHEMA: LazyLock<Value> = LazyLock::new(crate::document::schema::of::<File>);

/// The JSON Schema of a constitution file, for editors; the checks are driven
/// by it too.
#[must_use]
pub fn schema() -> Value {
    SCHEMA.clone()
}

/// The schema, kept.
pub(super) fn shared() -> &'static Value {
    &SCHEMA
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn it_asks_for_nothing_that_goes_unchecked() {
        assert_eq!(crate::document::schema::unchecked(&schema()), Vec::<String>::new());
    }

    #[test]
    fn nothing_may_be_null() {
        let text = schema().to_string();
        assert!(!text.contains("null"), "{text}");
    }

    #[test]
    fn optional_enums_keep_their_reference_and_default() {
        assert_eq!(
            schema()["$defs"]["Loop"]["properties"]["select"],
            json!({
                "description": "How a round's principles are chosen.",
                "default": "random",
                "$ref": "#/$defs/Select"
            })
        );
    }
}

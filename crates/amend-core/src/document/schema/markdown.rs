//! Renders a schema as a Markdown reference: a table of keys for each TOML table.

use std::fmt::Write;

use serde_json::Value;

use super::ID;
use super::walk::{choices, range_words, resolve};

/// Renders the reference: a heading and a table for each TOML table, with the type,
/// default and meaning of every key, all taken from the schema.
pub fn markdown(schema: &Value) -> String {
    let mut page = Page { schema, text: String::new() };
    page.children(schema, "");
    page.text
}

struct Page<'a> {
    schema: &'a Value,
    text: String,
}

impl<'a> Page<'a> {
    /// Writes the tables among the keys of `parent`, whose path is `path`.
    fn children(&mut self, parent: &'a Value, path: &str) {
        for (key, value) in properties(parent) {
            let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
            let form = self.resolve(value);
            if form["properties"].is_object() {
                self.table(form, value, &path, &format!("[{path}]"));
            } else if let Some(item) = self.item(form) {
                self.table(item, value, &path, &format!("[[{path}]]"));
            }
        }
    }

    /// Writes one table: its heading, its keys, and the tables in it.
    fn table(&mut self, form: &'a Value, place: &'a Value, path: &str, heading: &str) {
        let depth = "#".repeat(2 + path.matches('.').count());
        let about = description(place).or_else(|| description(form)).unwrap_or_default();
        let separator = if self.text.is_empty() { "" } else { "\n" };
        let _ = write!(self.text, "{separator}{depth} `{heading}`\n\n{about}\n");
        let keys: Vec<_> =
            properties(form).filter(|(_, value)| !self.is_table(self.resolve(value))).collect();
        if !keys.is_empty() {
            self.text.push_str("\n| key | type | default | |\n| --- | --- | --- | --- |\n");
        }
        for (key, value) in &keys {
            let kind = cell(&self.kind(self.resolve(value)));
            let default = match place["default"].get(key).or_else(|| value.get("default")) {
                Some(default) => format!("`{}`", cell(&toml(default))),
                None if required(form, key) => "required".into(),
                None => String::new(),
            };
            let about = cell(&description(value).unwrap_or_default());
            let _ = writeln!(self.text, "| `{key}` | {kind} | {default} | {about} |");
        }
        for (key, value) in &keys {
            self.meanings(key, self.resolve(value));
        }
        self.children(form, path);
    }

    /// Writes the meaning of each value of an enumeration.
    fn meanings(&mut self, key: &str, form: &Value) {
        let variants = form["oneOf"].as_array().map_or(&[][..], Vec::as_slice);
        if !variants.is_empty() {
            let _ = writeln!(self.text, "\n| `{key}` | |\n| --- | --- |");
        }
        for variant in variants {
            let about = cell(&description(variant).unwrap_or_default());
            let _ = writeln!(self.text, "| `{}` | {about} |", cell(&variant["const"].to_string()));
        }
    }

    /// Describes the type of a value.
    fn kind(&self, form: &'a Value) -> String {
        if let Some(choices) = choices(form) {
            let quoted: Vec<_> = choices.iter().map(|choice| format!("`\"{choice}\"`")).collect();
            return quoted.join(", ");
        }
        match form["type"].as_str().unwrap_or_default() {
            "boolean" => "true or false".into(),
            "integer" => format!("whole number{}", range(form)),
            "number" => format!("number{}", range(form)),
            "string" if form["pattern"] == ID => "text of `a`-`z`, `0`-`9`, `-`, `_`".into(),
            "string" if form["pattern"].is_string() => "text, not blank".into(),
            "string" => "text".into(),
            "array" => {
                let items = self.kind(self.resolve(&form["items"]));
                if form.get("minItems").is_some() || form.get("maxItems").is_some() {
                    format!("list, {} of: {items}", range_words(form, "minItems", "maxItems"))
                } else {
                    format!("list of: {items}")
                }
            }
            "object" => "table of any keys".into(),
            other => other.into(),
        }
    }

    /// Returns the schema of the items if the value is an array of tables.
    fn item(&self, form: &'a Value) -> Option<&'a Value> {
        let item = self.resolve(&form["items"]);
        item["properties"].is_object().then_some(item)
    }

    fn is_table(&self, form: &'a Value) -> bool {
        form["properties"].is_object() || self.item(form).is_some()
    }

    fn resolve(&self, value: &'a Value) -> &'a Value {
        resolve(self.schema, value)
    }
}

fn properties(form: &Value) -> impl Iterator<Item = (&String, &Value)> {
    form["properties"].as_object().into_iter().flatten()
}

fn required(form: &Value, key: &str) -> bool {
    form["required"].as_array().into_iter().flatten().any(|name| name == key)
}

fn description(value: &Value) -> Option<String> {
    Some(value["description"].as_str()?.to_owned())
}

/// Describes the bounds of a number; empty if there are none in practice.
fn range(form: &Value) -> String {
    let mut form = form.clone();
    if form["maximum"] == u32::MAX {
        form["maximum"] = Value::Null;
    }
    let bounded = ["minimum", "maximum", "exclusiveMinimum"].iter().any(|key| !form[key].is_null());
    if bounded { format!(", {}", range_words(&form, "minimum", "maximum")) } else { String::new() }
}

/// Formats a default value as TOML.
fn toml(value: &Value) -> String {
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(toml).collect::<Vec<_>>().join(", "))
        }
        other => other.to_string(),
    }
}

/// Escapes a text for one cell of a Markdown table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn each_table_lists_its_keys_and_their_types() {
        let schema = json!({
            "properties": {
                "head": { "$ref": "#/$defs/Head" },
                "row": {
                    "type": "array",
                    "items": { "$ref": "#/$defs/Row" },
                    "description": "The rows."
                }
            },
            "$defs": {
                "Head": {
                    "type": "object",
                    "description": "The head.",
                    "properties": {
                        "name": { "type": "string", "pattern": "\\S", "description": "A\nname." },
                        "step": { "$ref": "#/$defs/Step", "default": { "most": 5 } }
                    },
                    "required": ["name"]
                },
                "Step": {
                    "type": "object",
                    "description": "A step.",
                    "properties": {
                        "most": { "type": "integer", "minimum": 0, "maximum": 4_294_967_295_u32 },
                        "way": {
                            "oneOf": [{ "const": "a", "description": "a | b" }],
                            "default": "a"
                        }
                    }
                },
                "Row": {
                    "type": "object",
                    "properties": {
                        "clamp": {
                            "type": "array",
                            "items": { "type": "number", "minimum": 0, "maximum": 1 },
                            "minItems": 2,
                            "maxItems": 2,
                            "default": [0.4, 0.6]
                        },
                        "id": { "type": "string", "pattern": ID },
                        "on": { "type": "boolean", "default": true },
                        "any": { "type": "object", "additionalProperties": { "type": "string" } }
                    }
                }
            }
        });
        let expected = "\
## `[head]`

The head.

| key | type | default | |
| --- | --- | --- | --- |
| `name` | text, not blank | required | A name. |

### `[head.step]`

A step.

| key | type | default | |
| --- | --- | --- | --- |
| `most` | whole number, at least 0 | `5` |  |
| `way` | `\"a\"` | `\"a\"` |  |

| `way` | |
| --- | --- |
| `\"a\"` | a \\| b |

## `[[row]]`

The rows.

| key | type | default | |
| --- | --- | --- | --- |
| `clamp` | list, 2 of: number, from 0 to 1 | `[0.4, 0.6]` |  |
| `id` | text of `a`-`z`, `0`-`9`, `-`, `_` |  |  |
| `on` | true or false | `true` |  |
| `any` | table of any keys |  |  |
";
        assert_eq!(markdown(&schema), expected);
    }
}
